"""The command line: options into Settings, a command into one call of the library, its outcome into an exit code.

Promises: `--help` answers at once (what is heavy is imported inside the commands), every error is one line on standard
error, and the exit codes are those of `errors.Exit`. Refuses a password as an argument: it would stand in the shell's
history and in the list of processes.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from pathlib import Path
from tempfile import mkdtemp
from typing import Annotated, Any, NoReturn

import typer

from kerio_resync.cli import arguments, commands, display, formatting
from kerio_resync.cli.display import Summarise, View
from kerio_resync.cli.process import EndsWith, own_code, run_command
from kerio_resync.errors import BadSettings, Exit
from kerio_resync.events import Listener
from kerio_resync.version import VERSION

UsageError: Any = typer.BadParameter.__base__  # typer has a click of its own, and exports this one only

app = typer.Typer(
    name="kerio-resync",
    help="Rebuilds the local cache of a mailbox from its server.",
    epilog=(
        "Exit codes: 0 done, 1 error in kerio-resync itself, 2 usage or settings, 3 postponed, 4 server unreachable or"
        " overloaded (run again to go on), 5 credentials refused, 6 cache in use, 7 not enough room, 8 the server's"
        " answers make no sense, 9 verification failed, 10 a rebuild is needed, 11 another account's cache,"
        " 130 interrupted (run again to go on)."
    ),
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


class AttachmentPolicy(StrEnum):
    """Whose attachments to fetch."""

    ALL = "all"
    INBOX = "inbox"
    NONE = "none"


def _named(value: str) -> Path:
    if not value:
        raise typer.BadParameter("a path is missing (a variable that is not set?)")
    return Path(value)


Profile = Annotated[
    Path | None,
    typer.Option(
        "--profile", metavar="DIR", parser=_named, help="The profile: the folder of profile.toml and cache.db."
    ),
]
Json = Annotated[bool, typer.Option("--json", help="JSON on standard output, one object a line, and nothing else.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Show errors only.")]
LogFile = Annotated[Path | None, typer.Option("--log-file", metavar="PATH", help="Append every event to this file.")]
CaFile = Annotated[
    Path | None, typer.Option("--ca-file", metavar="PATH", help="Trust this certificate authority (PEM) only.")
]
ClientCert = Annotated[
    Path | None,
    typer.Option("--client-cert", metavar="PATH", help="Show the server this certificate (PEM, with its key)."),
]
Fingerprint = Annotated[
    str | None,
    typer.Option("--fingerprint", metavar="SHA256", help="Trust the server's certificate with this fingerprint."),
]
Proxy = Annotated[
    str | None,
    typer.Option("--proxy", metavar="URL", help="Connect through http://, socks5:// or socks5h://; none: no proxy."),
]
BwLimit = Annotated[
    str | None, typer.Option("--bwlimit", metavar="RATE", help="At most so many bytes a second: 500k, 10M, 1.5MiB.")
]
SameMailbox = Annotated[
    bool,
    typer.Option("--same-mailbox", help="The server or the account was renamed: use the cache for its new name."),
]
InFlight = Annotated[int | None, typer.Option("--max-in-flight", metavar="N", help="At most so many requests at once.")]


@dataclass(slots=True)
class GlobalOptions:
    """What stood before the command."""

    profile: Path | None = None

    def folder(self, after: Path | None) -> Path:
        """The profile: as named after the command, before it, or the system's default. BadSettings."""
        named = after or self.profile
        if named is None:
            from kerio_resync.settings import default_profile

            named = default_profile()
        return located(named, "--profile")


def located(path: Path, option: str) -> Path:
    """The absolute path of what was named. BadSettings."""
    try:
        return path.expanduser().absolute()
    except RuntimeError:  # of expanduser
        whose = path.parts[0]
        raise BadSettings(f"{option}: the home folder {whose} is not known here; write out where it is") from None
    except FileNotFoundError:
        raise BadSettings(
            f"{option}: the working folder is gone, so {path} leads nowhere; name it from the root, or go elsewhere"
        ) from None


_before = GlobalOptions()


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"kerio-resync {VERSION}")
        raise typer.Exit


@app.callback()
def before(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Say the version and leave.")
    ] = False,
    profile: Annotated[
        Path | None,
        typer.Option(
            "--profile",
            metavar="DIR",
            parser=_named,
            envvar="KERIO_RESYNC_PROFILE",
            help="The profile: the folder of profile.toml and cache.db. It may stand after the command too.",
        ),
    ] = None,
) -> None:
    _before.profile = profile


@app.command()
def rebuild(
    server: Annotated[
        str | None, typer.Option(metavar="URL", help="The server, such as https://mail.example.com.")
    ] = None,
    user: Annotated[str | None, typer.Option(metavar="NAME", help="The name to log in with.")] = None,
    fresh: Annotated[
        bool,
        typer.Option("--fresh/--salvage", help="Start over and take nothing from old caches, or take what holds."),
    ] = False,
    folder: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Rebuild only this folder and those inside it; repeatable."),
    ] = None,
    drop_first: Annotated[
        bool, typer.Option("--drop-first", help="Drop the old cache first, when there is no room for two.")
    ] = False,
    same_mailbox: SameMailbox = False,
    attachments: Annotated[AttachmentPolicy | None, typer.Option(help="Whose attachments to fetch.")] = None,
    shared: Annotated[
        bool | None, typer.Option("--shared/--no-shared", help="Also what others share with you.")
    ] = None,
    public: Annotated[bool | None, typer.Option("--public/--no-public", help="Also the public folders.")] = None,
    bwlimit: BwLimit = None,
    max_in_flight: InFlight = None,
    ca_file: CaFile = None,
    client_cert: ClientCert = None,
    fingerprint: Fingerprint = None,
    proxy: Proxy = None,
    json: Json = False,
    quiet: Quiet = False,
    log_file: LogFile = None,
    profile: Profile = None,
) -> None:
    """Rebuild the cache from the server; what an interrupted run fetched is gone on with."""
    given = (
        _persistent_options(bwlimit, max_in_flight)
        | _way(ca_file, client_cert, fingerprint, proxy)
        | {
            "server": server,
            "user": user,
            "attachments": attachments.value if attachments else None,
            "shared": shared,
            "public": public,
            "fresh": fresh or None,
            "drop_first": drop_first or None,
            "same_mailbox": same_mailbox or None,
            "folders": tuple(folder) if folder else None,
        }
    )
    shown = View(json, quiet, log_file), formatting.summary_of_rebuild
    _run_and_exit(lambda place, listen: commands.rebuild(place, given, listen), profile, *shown)


@app.command()
def verify(
    deep: Annotated[bool, typer.Option("--deep", help="Compare the contents too, not only ids and versions.")] = False,
    repair: Annotated[bool, typer.Option("--repair", help="Fetch again what differs.")] = False,
    same_mailbox: SameMailbox = False,
    bwlimit: BwLimit = None,
    max_in_flight: InFlight = None,
    ca_file: CaFile = None,
    client_cert: ClientCert = None,
    fingerprint: Fingerprint = None,
    proxy: Proxy = None,
    json: Json = False,
    quiet: Quiet = False,
    log_file: LogFile = None,
    profile: Profile = None,
) -> None:
    """Compare the cache with the server, item by item."""
    given = _persistent_options(bwlimit, max_in_flight) | _way(ca_file, client_cert, fingerprint, proxy)
    given |= {"same_mailbox": same_mailbox or None}
    _run_and_exit(
        lambda place, listen: commands.verify(place, given, listen, deep=deep, repair=repair),
        profile,
        View(json, quiet, log_file),
        partial(formatting.summary_of_verify, repair=repair),
    )


@app.command()
def status(json: Json = False, profile: Profile = None) -> None:
    """Say what state the cache, a half-built one and the changes not yet sent are in; asks no server."""
    _run_and_exit(commands.status, profile, View(json, flat=True), formatting.lines_of_status)


@app.command()
def digest(profile: Profile = None) -> None:
    """Print one line an item, sorted: kind, id, watermark, sha256; asks no server."""
    _run_and_exit(lambda place, listen: commands.digest(place), profile, View())


@app.command()
def estimate(
    server: Annotated[
        str | None, typer.Option(metavar="URL", help="The server, such as https://mail.example.com.")
    ] = None,
    user: Annotated[str | None, typer.Option(metavar="NAME", help="The name to log in with.")] = None,
    bwlimit: BwLimit = None,
    max_in_flight: InFlight = None,
    ca_file: CaFile = None,
    client_cert: ClientCert = None,
    fingerprint: Fingerprint = None,
    proxy: Proxy = None,
    json: Json = False,
    quiet: Quiet = False,
    log_file: LogFile = None,
    profile: Profile = None,
) -> None:
    """Say how long a local upgrade and a rebuild would take here, now, with a notice to send to users."""
    given = (
        _persistent_options(bwlimit, max_in_flight)
        | _way(ca_file, client_cert, fingerprint, proxy)
        | {"server": server, "user": user}
    )
    shown = View(json, quiet, log_file), lambda summary: [str(line) for line in summary["lines"]]
    _run_and_exit(lambda place, listen: commands.estimate(place, given, listen), profile, *shown)


@app.command()
def upgrade(
    same_mailbox: SameMailbox = False,
    json: Json = False,
    quiet: Quiet = False,
    log_file: LogFile = None,
    profile: Profile = None,
) -> None:
    """Bring the database up to date: nothing to do, upgraded, put off to the next start, or to be rebuilt."""
    given = {"same_mailbox": same_mailbox or None}
    view = View(json, quiet, log_file)
    _run_and_exit(lambda place, listen: commands.upgrade(place, given, listen), profile, view, commands.sentences)


@app.command()
def start(
    command: Annotated[list[str], typer.Argument(metavar="-- COMMAND...", help="The program, with its arguments.")],
    same_mailbox: SameMailbox = False,
    json: Json = False,
    quiet: Quiet = False,
    log_file: LogFile = None,
    profile: Profile = None,
) -> None:
    """Upgrade first, then run COMMAND; never before the database is ready. Ends with COMMAND's exit code."""
    view = View(json, quiet, log_file)
    given = {"same_mailbox": same_mailbox or None}
    _run_and_exit(
        lambda place, listen: commands.start(place, command, given, listen),
        profile,
        view,
        ends_with=commands.own_failure,
    )


@app.command()
def demo(
    imports: Annotated[
        list[Path] | None,
        typer.Option(
            "--import",
            metavar="PATH",
            help="Serve this mail instead: mbox, Maildir, .eml, .ics, .vcf, a folder or an archive (repeatable).",
        ),
    ] = None,
    keep: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Build in this folder, not in a temporary one.")
    ] = None,
) -> None:
    """Start a mock server with real mail, rebuild from it, verify, and say what happened."""
    folders: list[Path] = []

    def place() -> Path:
        if not folders:
            folders.append(located(keep, "--keep") if keep else Path(mkdtemp(prefix="kerio-resync-demo-")))
        return folders[0]

    def show() -> int:
        from kerio_resync.cli.demo import run_demo

        return run_demo(place(), [located(path, "--import").resolve() for path in imports or ()])

    raise typer.Exit(run_command(show, place))


def _persistent_options(bwlimit: str | None, max_in_flight: int | None) -> dict[str, Any]:
    return {"bwlimit": bwlimit, "max_in_flight": max_in_flight}


def _way(ca_file: Path | None, client_cert: Path | None, fingerprint: str | None, proxy: str | None) -> dict[str, Any]:
    return {"ca_file": ca_file, "client_cert": client_cert, "fingerprint": fingerprint, "proxy": proxy}


def _run_and_exit(
    command: Callable[[Path, Listener], int],
    profile: Path | None,
    view: View,
    summarise: Summarise = lambda _: (),
    ends_with: EndsWith = own_code,
) -> NoReturn:
    """Does what was asked, shown as asked, in the profile that was named, and ends with its code."""

    def place() -> Path:
        return _before.folder(profile)

    with display.open_display(view, summarise) as shown:
        code = run_command(lambda: command(place(), shown), place, shown, ends_with)
    raise typer.Exit(code)


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """The entry point: leaves the process with one of `Exit`, or with what `start` documents."""
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
    """Says in one line what is wrong with the arguments, in the way that they ask for as far as they can be read."""
    ours, _ = arguments.split_at_dashes(given)
    path = error.ctx.command_path if error.ctx else "kerio-resync"
    reason = error.format_message().rstrip(".")

    def refuse() -> int:
        raise BadSettings(f"{' '.join(reason.split())}; see `{path} --help`")

    started = "start" in ours or path.endswith(" start")
    log_file = arguments.log_file(ours)
    view = View(as_json=arguments.wants_json(ours), log_file=Path(log_file) if log_file else None)
    with display.open_display(view, lambda _: ()) as shown:
        return run_command(refuse, Path, shown, commands.own_failure if started else own_code)
