"""The command line: turns options into settings, and runs a command.

Every error is one line on standard error, and the exit codes are those of `errors.Exit`. The commands import what is
slow to import, so that `--help` is fast. A password is never an argument: other users could read it in the list of
processes.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from tempfile import mkdtemp
from typing import Annotated, Any, NoReturn

import typer

from kerio_resync.cli import arguments, commands, diagnose_commands, display, fleet, formatting, upgrade_commands
from kerio_resync.cli.display import Summarise, View
from kerio_resync.cli.options import (
    AttachmentPolicy,
    BwLimit,
    CaFile,
    ClientCert,
    Fingerprint,
    InFlight,
    Json,
    LogFile,
    LogLevel,
    LogLevelName,
    MailLayout,
    NotAfter,
    NotBefore,
    NoteFormat,
    Notify,
    PasswordFile,
    Profile,
    Protocol,
    Proxy,
    Quiet,
    SameMailbox,
    Server,
    SourcePolicy,
    Splay,
    User,
    located,
    parse_path,
)
from kerio_resync.cli.process import ExitCodeOf, own_exit_code, run_command
from kerio_resync.errors import BadSettings, Exit
from kerio_resync.events import Listener
from kerio_resync.run_log import Level
from kerio_resync.version import VERSION

UsageError: Any = typer.BadParameter.__base__  # of the click inside typer, which exports no other name for it

app = typer.Typer(
    name="kerio-resync",
    help="Rebuilds the local cache of a mailbox from its server.",
    epilog=(
        "Exit codes: 0 done, 1 internal error, 2 usage or settings, 3 postponed, 4 server unreachable or overloaded,"
        " 5 credentials refused, 6 cache in use, 7 not enough space, 8 unexpected response from the server,"
        " 9 verification failed, 10 a rebuild is needed, 11 the cache of another account, 130 interrupted."
        " After 4 and 130, run the command again to resume."
    ),
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


_before_command: dict[str, Path | None] = {}


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"kerio-resync {VERSION}")
        raise typer.Exit


@app.callback()
def global_options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version and exit.")
    ] = False,
    profile: Annotated[
        Path | None,
        typer.Option(
            "--profile",
            metavar="DIR",
            parser=parse_path,
            envvar="KERIO_RESYNC_PROFILE",
            help="The profile folder, with profile.toml and cache.db. Also accepted after the command.",
        ),
    ] = None,
) -> None:
    """Keep the profile named before the command."""
    _before_command["profile"] = profile


@app.command()
def rebuild(
    server: Server = None,
    protocol: Protocol = None,
    user: User = None,
    fresh: Annotated[
        bool,
        typer.Option("--fresh/--salvage", help="Reuse nothing, or what is intact, of older caches."),
    ] = False,
    folder: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Rebuild only this folder and its subfolders; repeatable."),
    ] = None,
    exclude_folder: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Leave out this folder and its subfolders; repeatable."),
    ] = None,
    drop_first: Annotated[
        bool, typer.Option("--drop-first", help="Delete the old cache first: for a disk without room for both.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only tell what would be fetched, how long, and how much room.")
    ] = False,
    same_mailbox: SameMailbox = False,
    attachments: Annotated[AttachmentPolicy | None, typer.Option(help="Which attachments to download.")] = None,
    since: Annotated[
        str | None, typer.Option(metavar="DATE", help="Leave out attachments and sources of older mails: 2026-03-01.")
    ] = None,
    sources: Annotated[
        SourcePolicy | None, typer.Option(help="Whether to keep the raw text of mails (JMAP). Default: yes.")
    ] = None,
    shared: Annotated[
        bool | None, typer.Option("--shared/--no-shared", help="Include folders that other users share with you.")
    ] = None,
    public: Annotated[bool | None, typer.Option("--public/--no-public", help="Include public folders.")] = None,
    bwlimit: BwLimit = None,
    max_in_flight: InFlight = None,
    ca_file: CaFile = None,
    client_cert: ClientCert = None,
    fingerprint: Fingerprint = None,
    proxy: Proxy = None,
    password_file: PasswordFile = None,
    splay: Splay = None,
    not_before: NotBefore = None,
    not_after: NotAfter = None,
    report: Annotated[
        Path | None,
        typer.Option("--report", metavar="FILE", parser=parse_path, help="Write a page with charts of the run (HTML)."),
    ] = None,
    json: Json = False,
    quiet: Quiet = False,
    log_file: LogFile = None,
    log_level: LogLevel = None,
    notify: Notify = None,
    profile: Profile = None,
) -> None:
    """Rebuild the cache from the server, or resume a rebuild."""
    given = _connection(bwlimit, max_in_flight, ca_file, client_cert, fingerprint, proxy, password_file) | {
        "server": server,
        "protocol": protocol.value if protocol else None,
        "user": user,
        "attachments": attachments.value if attachments else None,
        "since": since,
        "sources": sources.value if sources else None,
        "shared": shared,
        "public": public,
        "fresh": fresh or None,
        "drop_first": drop_first or None,
        "same_mailbox": same_mailbox or None,
        "folders": tuple(folder) if folder else None,
        "exclude_folders": tuple(exclude_folder) if exclude_folder else None,
        "splay": splay,
        "not_before": not_before,
        "not_after": not_after,
    }
    if dry_run:
        view = View(json, quiet, log_file, _level(log_level), "rebuild --dry-run", notify or "", in_profile=False)
        _run_and_exit(partial(commands.dry_run, given=given), profile, view, formatting.lines_of_plan)
    page = located(report, "--report") if report else None
    view = View(json, quiet, log_file, _level(log_level), "rebuild", notify or "", report=page)
    run = partial(commands.rebuild, given=given, has_report=page is not None)
    _run_and_exit(run, profile, view, formatting.summary_of_rebuild)


@app.command()
def verify(
    deep: Annotated[bool, typer.Option("--deep", help="Compare contents too, not only ids and versions.")] = False,
    repair: Annotated[bool, typer.Option("--repair", help="Fetch what differs again.")] = False,
    same_mailbox: SameMailbox = False,
    bwlimit: BwLimit = None,
    max_in_flight: InFlight = None,
    ca_file: CaFile = None,
    client_cert: ClientCert = None,
    fingerprint: Fingerprint = None,
    proxy: Proxy = None,
    password_file: PasswordFile = None,
    json: Json = False,
    quiet: Quiet = False,
    log_file: LogFile = None,
    log_level: LogLevel = None,
    notify: Notify = None,
    profile: Profile = None,
) -> None:
    """Compare the cache with the server, item by item."""
    given = _connection(bwlimit, max_in_flight, ca_file, client_cert, fingerprint, proxy, password_file)
    given |= {"same_mailbox": same_mailbox or None}
    _run_and_exit(
        partial(commands.verify, given=given, deep=deep, repair=repair),
        profile,
        View(json, quiet, log_file, _level(log_level), "verify", notify or ""),
        partial(formatting.summary_of_verify, repair=repair),
    )


@app.command()
def status(
    check: Annotated[
        bool, typer.Option("--check", help="Print one line; exit with 0, 1, 2 or 3 as Nagios plugins do.")
    ] = False,
    prometheus: Annotated[
        Path | None,
        typer.Option(
            "--prometheus", metavar="FILE", parser=parse_path, help="Write metrics for node exporter; - prints them."
        ),
    ] = None,
    json: Json = False,
    profile: Profile = None,
) -> None:
    """Show the state of the cache, and the last runs.

    Unsent changes are listed. Works offline. An unfinished cache of an interrupted rebuild is shown too.
    """
    if check or prometheus:
        target = located(prometheus, "--prometheus") if prometheus and str(prometheus) != "-" else prometheus
        run = partial(diagnose_commands.check_status, check=check, prometheus=target)
        exit_code_of = diagnose_commands.check_exit_code if check else own_exit_code
        _run_and_exit(run, profile, View(json), exit_code_of=exit_code_of)
    _run_and_exit(commands.status, profile, View(json, flat=True), formatting.lines_of_status)


@app.command()
def digest(profile: Profile = None) -> None:
    """Print one line per item: kind, id, version, SHA-256.

    The lines are sorted. Works offline.
    """
    _run_and_exit(commands.digest, profile, View())


@app.command()
def estimate(
    server: Server = None,
    protocol: Protocol = None,
    user: User = None,
    bwlimit: BwLimit = None,
    max_in_flight: InFlight = None,
    ca_file: CaFile = None,
    client_cert: ClientCert = None,
    fingerprint: Fingerprint = None,
    proxy: Proxy = None,
    password_file: PasswordFile = None,
    json: Json = False,
    quiet: Quiet = False,
    log_file: LogFile = None,
    log_level: LogLevel = None,
    profile: Profile = None,
) -> None:
    """Estimate the time of an upgrade and of a rebuild.

    Includes a notice to send to users.
    """
    given = _connection(bwlimit, max_in_flight, ca_file, client_cert, fingerprint, proxy, password_file)
    given |= {"server": server, "protocol": protocol.value if protocol else None, "user": user}
    _run_and_exit(
        partial(commands.estimate, given=given),
        profile,
        View(json, quiet, log_file, _level(log_level), "estimate"),
        lambda summary: [str(line) for line in summary["lines"]],
    )


def _target(name: str, text: str) -> Any:
    return typer.Option(f"--{name}", metavar="DIR", parser=parse_path, help=text)


@app.command()
def export(
    maildir: Annotated[Path | None, _target("maildir", "Write the mails as Maildirs.")] = None,
    mbox: Annotated[Path | None, _target("mbox", "Write the mails as one mbox file per folder.")] = None,
    eml: Annotated[Path | None, _target("eml", "Write the mails as .eml files.")] = None,
    ics: Annotated[Path | None, _target("ics", "Write events, tasks and notes as .ics files.")] = None,
    vcf: Annotated[Path | None, _target("vcf", "Write the contacts as .vcf files (vCard 4.0).")] = None,
    folder: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Export only this folder and its subfolders; repeatable."),
    ] = None,
    since: Annotated[
        str | None, typer.Option(metavar="DATE", help="Leave out what is older, such as 2026-03-01.")
    ] = None,
    layout: Annotated[
        MailLayout,
        typer.Option(help="Folders within folders, Maildir++ (Dovecot), or Thunderbird's (mbox)."),
    ] = MailLayout.NESTED,
    split: Annotated[bool, typer.Option("--split", help="Write one .ics or .vcf file per item.")] = False,
    notes: Annotated[NoteFormat, typer.Option(help="Notes in .ics files, or as .txt files.")] = NoteFormat.JOURNAL,
    time_zone: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Time zone of events, such as Europe/Prague; this computer's by default."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be written; write nothing.")] = False,
    json: Json = False,
    quiet: Quiet = False,
    log_file: LogFile = None,
    log_level: LogLevel = None,
    notify: Notify = None,
    profile: Profile = None,
) -> None:
    """Write the cache to files that other programs read.

    Works offline, changes nothing in the cache, and never replaces a file that it did not write. Run it again to resume
    an interrupted export, or to add what is new.
    """
    folders = (("maildir", maildir), ("mbox", mbox), ("eml", eml), ("ics", ics), ("vcf", vcf))
    given = {
        "folders": tuple(folder or ()),
        "since": since,
        "layout": layout.value,
        "split": split,
        "notes": notes.value,
        "time_zone": time_zone,
        "dry_run": dry_run,
    }

    def run(named: Path, shown: Listener) -> int:
        targets = tuple((name, located(path, f"--{name}")) for name, path in folders if path is not None)
        return commands.export(named, shown, {**given, "targets": targets})

    view = View(json, quiet, log_file, _level(log_level), "export", notify or "")
    _run_and_exit(run, profile, view, formatting.summary_of_export)


@app.command()
def browse(
    port: Annotated[int, typer.Option(metavar="N", min=0, max=65535, help="Listen on this port; 0: a free one.")] = 0,
    no_open: Annotated[bool, typer.Option("--no-open", help="Print the address; open no browser.")] = False,
    no_search: Annotated[bool, typer.Option("--no-search", help="Build no search index.")] = False,
    profile: Profile = None,
) -> None:
    """Show the cache in a browser: mails, search, SQL.

    Works offline and changes nothing in the cache. Only this computer can reach the pages, and only the browser that
    opens the printed address. Ctrl-C ends it.
    """
    run = partial(commands.browse, port=port, opens_browser=not no_open, has_search=not no_search)
    _run_and_exit(run, profile, View())


@app.command()
def upgrade(
    same_mailbox: SameMailbox = False,
    password_file: PasswordFile = None,
    splay: Splay = None,
    not_before: NotBefore = None,
    not_after: NotAfter = None,
    json: Json = False,
    quiet: Quiet = False,
    log_file: LogFile = None,
    log_level: LogLevel = None,
    notify: Notify = None,
    profile: Profile = None,
) -> None:
    """Upgrade an old database, or say what to do instead.

    An upgrade that cannot be done now is postponed. A missing or damaged database needs a rebuild, which begins at once
    if profile.toml has `on_failure = "rebuild"`.
    """
    given = {
        "same_mailbox": same_mailbox or None,
        "password_file": password_file,
        "splay": splay,
        "not_before": not_before,
        "not_after": not_after,
    }
    view = View(json, quiet, log_file, _level(log_level), "upgrade", notify or "")
    _run_and_exit(partial(upgrade_commands.upgrade, given=given), profile, view, upgrade_commands.sentences)


@app.command()
def start(
    command: Annotated[list[str], typer.Argument(metavar="-- COMMAND...", help="The program, with its arguments.")],
    same_mailbox: SameMailbox = False,
    password_file: PasswordFile = None,
    json: Json = False,
    quiet: Quiet = False,
    log_file: LogFile = None,
    log_level: LogLevel = None,
    profile: Profile = None,
) -> None:
    """Upgrade the database, then run a program.

    The program runs only with a ready database. If the upgrade fails, the database is rebuilt from the server if
    profile.toml has `on_failure = "rebuild"`. The exit code is the program's.
    """
    given = {"same_mailbox": same_mailbox or None, "password_file": password_file}
    run = partial(upgrade_commands.start, command=command, given=given)
    _run_and_exit(
        run,
        profile,
        View(json, quiet, log_file, _level(log_level), "start"),
        exit_code_of=upgrade_commands.start_exit_code,
    )


config_app = typer.Typer(help="Show the settings.", no_args_is_help=True)
app.add_typer(config_app, name="config")
app.add_typer(fleet.fleet_app, name="fleet")


@config_app.command("show")
def config_show(json: Json = False, profile: Profile = None) -> None:
    """Show each setting, its value, and where it comes from.

    The password is shown as set or not set.
    """
    _run_and_exit(diagnose_commands.config_show, profile, View(json), formatting.lines_of_settings)


@app.command()
def doctor(
    login: Annotated[
        bool, typer.Option("--login", help="Log in, too; check the size of the mailbox and the speed.")
    ] = False,
    server: Server = None,
    protocol: Protocol = None,
    user: User = None,
    ca_file: CaFile = None,
    client_cert: ClientCert = None,
    fingerprint: Fingerprint = None,
    proxy: Proxy = None,
    password_file: PasswordFile = None,
    json: Json = False,
    profile: Profile = None,
) -> None:
    """Check this computer, the way to the server, and the cache.

    One line per check, with what to do. The exit code is the one that a rebuild would end with. Changes nothing.
    """
    given = _connection(None, None, ca_file, client_cert, fingerprint, proxy, password_file)
    given |= {"server": server, "protocol": protocol.value if protocol else None, "user": user}
    _run_and_exit(
        partial(diagnose_commands.doctor, given=given, login=login, as_json=json), profile, View(json), lambda _: ()
    )


@app.command("support-bundle")
def support_bundle(
    output: Annotated[
        Path | None,
        typer.Option("--output", metavar="FILE", parser=parse_path, help="The zip file; in this folder if not given."),
    ] = None,
    with_names: Annotated[bool, typer.Option("--with-names", help="Keep the names of folders.")] = False,
    login: Annotated[bool, typer.Option("--login", help="Let doctor log in, too.")] = False,
    server: Server = None,
    user: User = None,
    password_file: PasswordFile = None,
    json: Json = False,
    profile: Profile = None,
) -> None:
    """Write one zip file for support, without secrets.

    It holds what doctor finds, versions, settings, the status, counts per folder, the schema, the last logs and a
    sample of timings, and no text of a mail. What is inside is printed before it is written.
    """
    given = {"server": server, "user": user, "password_file": password_file}
    target = located(output, "--output") if output else None
    run = partial(
        diagnose_commands.support_bundle, given=given, output=target, with_names=with_names, login=login, as_json=json
    )
    _run_and_exit(run, profile, View(json))


@app.command()
def demo(
    imports: Annotated[
        list[Path] | None,
        typer.Option(
            "--import",
            metavar="PATH",
            help="Serve this mail: mbox, Maildir, Thunderbird profiles, .eml, .ics, .vcf; folders and archives of them;"
            " repeatable.",
        ),
    ] = None,
    keep: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Use this folder instead of a temporary one.")
    ] = None,
) -> None:
    """Rebuild from a mock server with real mail, and verify.

    A few queries on the result follow at the end.
    """
    folders: list[Path] = []

    def folder() -> Path:
        if not folders:
            folders.append(located(keep, "--keep") if keep else Path(mkdtemp(prefix="kerio-resync-demo-")))
        return folders[0]

    def run() -> int:
        from kerio_resync.cli.demo import run_demo

        return run_demo(folder(), [located(path, "--import").resolve() for path in imports or ()])

    raise typer.Exit(run_command(run, folder))


def _level(chosen: LogLevelName | None) -> Level | None:
    return chosen.value if chosen else None


def _connection(
    bwlimit: str | None,
    max_in_flight: int | None,
    ca_file: Path | None,
    client_cert: Path | None,
    fingerprint: str | None,
    proxy: str | None,
    password_file: Path | None,
) -> dict[str, Any]:
    return {
        "bwlimit": bwlimit,
        "max_in_flight": max_in_flight,
        "ca_file": ca_file,
        "client_cert": client_cert,
        "fingerprint": fingerprint,
        "proxy": proxy,
        "password_file": password_file,
    }


def _run_and_exit(
    command: Callable[[Path, Listener], int],
    profile: Path | None,
    view: View,
    summarise: Summarise = lambda _: (),
    exit_code_of: ExitCodeOf = own_exit_code,
) -> NoReturn:
    """Run a command of `commands` on the profile, show it, and exit with its code."""
    named = profile or _before_command["profile"]

    def folder() -> Path:
        from kerio_resync.settings import default_profile

        return located(named or default_profile(), "--profile")

    with display.open_display(view, summarise, folder) as shown:
        code = run_command(lambda: command(folder(), shown), folder, shown, exit_code_of)
    raise typer.Exit(code)


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Run the command line, and exit with an `Exit` or a code of `start`."""
    given = list(sys.argv[1:] if argv is None else argv)
    try:
        code = app(given, prog_name="kerio-resync", standalone_mode=False)
    except UsageError as error:
        if not given:
            print(error, file=sys.stderr)
            sys.exit(Exit.USAGE)
        code = _refuse(error, given)
    sys.exit(code)


def _refuse(error: Any, given: Sequence[str]) -> int:
    """Report a usage error as the arguments ask for, as far as they can be parsed."""
    options, _ = arguments.split_at_dashes(given)
    path = error.ctx.command_path if error.ctx else "kerio-resync"
    reason = " ".join(error.format_message().rstrip(".").split())

    def refuse() -> int:
        raise BadSettings(f"{reason}; see `{path} --help`")

    is_start = "start" in options or path.endswith(" start")
    is_check = "--check" in options and (path.endswith(" status") or "status" in options)
    exit_code_of = upgrade_commands.start_exit_code if is_start else own_exit_code
    if is_check:
        exit_code_of = diagnose_commands.check_exit_code
    log_file = arguments.log_file(options)
    view = View(as_json=arguments.wants_json(options), log_file=Path(log_file) if log_file else None)
    with display.open_display(view, lambda _: ()) as shown:
        return run_command(refuse, Path, shown, exit_code_of)
