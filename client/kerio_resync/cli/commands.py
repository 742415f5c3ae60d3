"""What each command does, from its profile to its exit code.

A run is shown from its first event to its summary. The last event of a successful run is `run-finished`;
`process.run_command` reports the others. A run against a server needs a server, a user and a password (BadSettings).
"""

from __future__ import annotations

import errno
import sys
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from kerio_resync import plain_text, streams
from kerio_resync.cli import first_run
from kerio_resync.cli.process import print_error, run
from kerio_resync.errors import (
    BadCredentials,
    BadSettings,
    Exit,
    LocalError,
    OtherAccount,
    OutputFull,
    Postponed,
    explain,
)
from kerio_resync.events import Event, Listener, Notice, PhaseChanged, RunFinished, RunStarted
from kerio_resync.os_errors import FAILING_DISK

if TYPE_CHECKING:
    from kerio_resync.settings import Settings

T = TypeVar("T")
JsonObject = dict[str, Any]


def rebuild(profile: Path, shown: Listener, given: Mapping[str, Any], *, has_report: bool = False) -> Exit:
    """Rebuild the cache; ask before it replaces that of another account.

    On a terminal, ask for the server and the user if nothing is configured. `has_report`: BadSettings if what its page
    needs is not installed.
    """
    if has_report:
        from kerio_resync.report_page.page import require_jinja

        require_jinja("--report")
    given, is_first_run = first_run.complete(profile, given, _input)
    settings = load_online_settings(profile, given)
    if is_first_run:
        shown = first_run.offer_keyring(settings, _input, shown)
    try:
        return watch_rebuild(settings, shown, given)
    except OtherAccount as error:
        if settings.folders or settings.same_mailbox or not _confirm_other_account(error, settings):
            raise
    # It had its turn.
    return watch_rebuild(settings.model_copy(update={"replace_other": True, "splay": 0.0}), shown, given)


def dry_run(profile: Path, shown: Listener, given: Mapping[str, Any]) -> Exit:
    """Tell what a rebuild would fetch, how long it would take, and the room."""
    from kerio_resync.diagnose.dry_run import Plan, plan_rebuild
    from kerio_resync.upgrade import estimation

    missing = [folder for folder in (profile, *profile.parents) if not folder.exists()]
    settings = load_online_settings(profile, given)

    async def work(listen: Listener) -> tuple[Plan, estimation.Estimate]:
        listen(PhaseChanged("folders"))
        return await plan_rebuild(settings), await estimation.estimate(settings, listen)

    def to_exit(found: tuple[Plan, estimation.Estimate]) -> tuple[Exit, JsonObject]:
        plan, estimate = found
        if not plan.partial:  # the estimate is that of all folders
            plan = plan.with_measured(estimate.mailbox_bytes)
        fits = plan.needed_bytes <= plan.free_bytes
        measured = estimate.as_json()
        names = ("rebuild", "rebuild_problem", "round_trip", "rate")
        summary = plan.as_json() | {name: measured[name] for name in names} | _turn_as_json(settings)
        return Exit.DONE if fits else Exit.NOT_ENOUGH_SPACE, summary

    try:
        return run_with_display(shown, settings, work, to_exit)
    finally:
        for folder in missing:  # the estimate needed them
            with suppress(OSError):
                folder.rmdir()


def _turn_as_json(settings: Settings) -> JsonObject:
    """Return when a rebuild that is started now would begin, or why it would not."""
    from kerio_resync import turn

    if not turn.has_window(settings):
        return {}
    window, now = turn.window_of(settings), turn.local_now()
    try:
        found = turn.next_turn(settings, window, now, now)
    except Postponed as error:
        return {"begins": None, "postponed": explain(error)[0]}
    closes = found.closes.isoformat(timespec="seconds") if found.closes else None
    return {"begins": max(now, found.begins).isoformat(timespec="seconds"), "closes": closes}


def _confirm_other_account(error: OtherAccount, settings: Settings) -> bool:
    """Ask whether the profile is to hold another mailbox; False if not at a terminal."""
    if not first_run.can_ask():
        return False
    print_error(explain(error)[0])
    question = f"Move its files aside and download the mailbox of {settings.user} into this profile? [y/N] "
    return _input(question).strip().casefold() in ("y", "yes")


def verify(profile: Path, shown: Listener, given: Mapping[str, Any], *, deep: bool, repair: bool) -> Exit:
    """Compare the cache with the server."""
    return watch_verify(load_online_settings(profile, given), shown, given, deep=deep, repair=repair)


def _saving_settings(
    settings: Settings, given: Mapping[str, Any] | None, work: Callable[[Settings, Listener], Coroutine[Any, Any, T]]
) -> Callable[[Listener], Coroutine[Any, Any, T]]:
    """Wrap `work`: writes `given` to profile.toml once the server has answered."""
    from kerio_resync.profile_file import is_bound, remember, remember_protocol

    async def run_and_save(listen: Listener) -> T:
        bound, saved = is_bound(settings), given is None

        def save(*, before_work: bool = False) -> None:
            nonlocal saved
            if saved or given is None:
                return
            saved = True
            try:
                remember(settings, given, bound=bound)
            except LocalError as error:
                if before_work and getattr(error.__cause__, "errno", None) in FAILING_DISK:
                    raise  # the cache could not be written either
                listen(Notice(explain(error)[0]))

        def save_at_start(event: Event) -> None:
            if isinstance(event, RunStarted):
                save(before_work=True)
                with suppress(LocalError):  # it is found out again the next time
                    remember_protocol(settings, event.protocol)
            listen(event)

        try:
            result = await work(settings, save_at_start)
        except BadCredentials:
            save()  # the server answered; the next run corrects a mistyped name
            raise
        save()
        return result

    return run_and_save


def watch_rebuild(settings: Settings, shown: Listener, given: Mapping[str, Any] | None = None) -> Exit:
    """Rebuild in the run's turn and show it; save the `given` settings."""
    import kerio_resync
    from kerio_resync.turn import own_turn

    async def work(settings: Settings, listen: Listener) -> Any:
        async with own_turn(settings, listen) as hear:
            return await kerio_resync.rebuild(settings, hear)

    return run_with_display(
        shown,
        settings,
        _saving_settings(settings, given, work),
        lambda report: (Exit.UNFINISHED if report.unfinished else Exit.DONE, report.as_json()),
    )


def watch_verify(
    settings: Settings,
    shown: Listener,
    given: Mapping[str, Any] | None = None,
    *,
    deep: bool = False,
    repair: bool = False,
) -> Exit:
    """Verify and show the run; save the `given` settings."""
    import kerio_resync

    return run_with_display(
        shown,
        settings,
        _saving_settings(settings, given, partial(kerio_resync.verify, deep=deep, repair=repair)),
        lambda verdict: (Exit.DONE if verdict.ok else Exit.UNVERIFIED, verdict.as_json()),
    )


def status(profile: Path, shown: Listener) -> Exit:
    """Show the state of the profile's files, and the last runs."""
    streams.wait_for_reader()
    shown(RunFinished(ok=True, exit_code=Exit.DONE, summary=state_of(profile)))
    require_written()
    return Exit.DONE


def state_of(profile: Path, runs: int = 5) -> JsonObject:
    """Return the status of a profile, with the last runs as `runs`, at most so many."""
    import kerio_resync
    from kerio_resync import run_log
    from kerio_resync.profile_file import load

    settings = load(profile, {})
    found = run(lambda: kerio_resync.status(settings)).as_json()
    return {**found, "runs": [record.as_json() for record in run_log.last_runs(profile, runs)]}


def digest(profile: Path, shown: Listener) -> Exit:
    """Print the digest; nothing else goes to standard output."""
    from kerio_resync.profile_file import load

    settings = load(profile, {})
    streams.wait_for_reader()
    run(lambda: _print_digest(settings))
    require_written()
    return Exit.DONE


async def _print_digest(settings: Settings) -> None:
    import kerio_resync

    async for line in kerio_resync.digest(settings):
        sys.stdout.write(line.rstrip("\n") + "\n")
        if streams.failure(sys.stdout) is not None:
            break


def require_written() -> None:
    """Raise OutputFull or BadSettings if standard output could not be written.

    For commands whose result is their output. A reader that closed the pipe needs no more of it.
    """
    sys.stdout.flush()
    error = streams.failure(sys.stdout)
    if error is None or error.errno in (errno.EPIPE, errno.EIO):  # EIO: the terminal is closed
        return
    kind = OutputFull if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG) else BadSettings
    raise kind(f"standard output cannot be written: {error.strerror or error}")


async def digest_lines(settings: Settings) -> list[str]:
    """Return the digest as a list, without line ends."""
    import kerio_resync

    return [line.rstrip("\n") async for line in kerio_resync.digest(settings)]


def estimate(profile: Path, shown: Listener, given: Mapping[str, Any]) -> Exit:
    """Estimate the times of an upgrade and, with a password, of a rebuild."""
    from kerio_resync.profile_file import load
    from kerio_resync.upgrade import estimation

    settings = load(profile, given)
    if settings.server and settings.user:
        with suppress(BadSettings):  # without a password, only the upgrade is estimated
            settings = load_online_settings(profile, given)
    return run_with_display(
        shown,
        settings,
        lambda listen: estimation.estimate(settings, listen),
        lambda found: (
            Exit.DONE,
            {**found.as_json(), "lines": found.lines(plain_text.format_size, plain_text.format_duration)},
        ),
    )


def export(profile: Path, shown: Listener, given: Mapping[str, Any]) -> Exit:
    """Write the cache to files of other programs."""
    from kerio_resync.export.dialect import require_icalendar
    from kerio_resync.export.options import ExportOptions, parse_since, parse_zone, system_zone
    from kerio_resync.export.run import export as export_cache
    from kerio_resync.profile_file import load

    if any(name in ("ics", "vcf") for name, _ in given["targets"]):
        require_icalendar()
    since, zone = given["since"], given["time_zone"]
    options = ExportOptions(
        targets=given["targets"],
        layout=given["layout"],
        folders=given["folders"],
        since=parse_since(since) if since else None,
        split=given["split"],
        text_notes=given["notes"] == "text",
        zone=parse_zone(zone) if zone else system_zone(),
        dry_run=given["dry_run"],
    )
    settings = load(profile, {})
    return run_with_display(
        shown,
        settings,
        lambda listen: export_cache(settings, options, listen),
        lambda report: (report.exit, report.as_json()),
    )


def browse(profile: Path, shown: Listener, *, port: int, opens_browser: bool, has_search: bool) -> Exit:
    """Show the cache in a browser until the command is interrupted."""
    from importlib.util import find_spec

    from kerio_resync.profile_file import load

    if any(find_spec(name) is None for name in ("datasette", "nh3")):
        raise BadSettings("datasette is not installed: run `pip install 'kerio-resync[browse]'`")
    from kerio_resync.browse.run import BrowseOptions
    from kerio_resync.browse.run import browse as browse_cache

    settings = load(profile, {})
    options = BrowseOptions(port, opens_browser, has_search)

    def announce(url: str, opened: bool) -> None:
        shown(RunFinished(ok=True, exit_code=Exit.DONE, summary={}))  # ends the display of the progress
        where = "It is opened in your browser. For another browser, start it again." if opened else ""
        lines = [f"{settings.cache} is shown, read-only, at this address, which works once:", f"  {url}", where]
        print("\n".join(filter(None, [*lines, "Press Ctrl-C to end."])), flush=True)

    run(lambda: browse_cache(settings, options, shown, announce))
    return Exit.DONE


def run_with_display(
    shown: Listener,
    settings: Settings,
    work: Callable[[Listener], Coroutine[Any, Any, T]],
    to_exit: Callable[[T], tuple[Exit, JsonObject]],
) -> Exit:
    """Run `work` and show it; `to_exit` gives exit code and summary of the result."""
    show = settings.redactor.listening(shown)

    def listen(event: Event) -> None:
        if not isinstance(event, RunFinished):  # shown below, with the exit code
            show(event)

    if settings.sends_in_clear:
        listen(Notice(f"{settings.server} is not encrypted: the network can read the password and the mail."))
    try:
        code, summary = to_exit(run(lambda: work(listen)))
    except BaseException as error:
        settings.redactor.error(error)
        raise
    show(RunFinished(ok=code is Exit.DONE, exit_code=code, summary=summary))
    return code


def load_online_settings(profile: Path, given: Mapping[str, Any]) -> Settings:
    """Load the settings of a run against a server; may ask for the password."""
    from kerio_resync.profile_file import load, make_profile
    from kerio_resync.settings import with_password

    settings = load(profile, given)
    if not (settings.server and settings.user):
        from kerio_resync.diagnose.origins import with_owner_of_cache

        settings = with_owner_of_cache(settings)
    for name, value, option in (("server", settings.server, "--server URL"), ("user", settings.user, "--user NAME")):
        if not value:
            raise BadSettings(f"no {name} is set: use `rebuild {option}`, or set it in {profile / 'profile.toml'}")
    settings = with_password(settings, password_prompt())
    make_profile(settings)
    return settings


def _input(question: str) -> str:
    print(question, end="", file=sys.stderr, flush=True)
    try:
        return input()
    except EOFError:
        return ""


def password_prompt() -> Callable[[str], str] | None:
    """Return a function that asks for a password; None without a terminal."""
    return _ask_password if sys.stdin is not None and sys.stdin.isatty() else None


def _ask_password(prompt: str) -> str:
    from getpass import getpass

    try:
        return getpass(prompt)
    except EOFError:
        return ""
