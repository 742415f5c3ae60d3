"""What each command does, from where its profile is to its exit code; nothing here knows how options are spelled.

Promises: a run is shown from its first event to its summary, and the last event of one that ended well is
`run-finished` with the exit code (`process.conduct` says that of the others). Refuses to start a run without a server,
a user and a password (BadSettings).
"""

from __future__ import annotations

import errno
import sys
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from kerio_resync import streams
from kerio_resync.cli import formatting
from kerio_resync.cli.process import print_error, run
from kerio_resync.errors import BadCredentials, BadSettings, Exit, LocalError, OtherAccount, OutputFull, explain
from kerio_resync.events import Event, Listener, Notice, RunFinished, RunStarted
from kerio_resync.os_errors import FAILING_DISK

if TYPE_CHECKING:
    from kerio_resync.settings import Settings
    from kerio_resync.upgrade.decide import UpgradeDecision

T = TypeVar("T")
JsonObject = dict[str, Any]


def rebuild(profile: Path, given: Mapping[str, Any], shown: Listener) -> Exit:
    settings = _load_online_settings(profile, given)
    try:
        return watch_rebuild(settings, shown, given)
    except OtherAccount as error:
        if settings.folders or settings.same_mailbox or not _confirm_other_account(error, settings):
            raise
    return watch_rebuild(settings.model_copy(update={"replace_other": True}), shown, given)


def _confirm_other_account(error: OtherAccount, settings: Settings) -> bool:
    """Whether the person at the terminal wants another mailbox in this profile; False where there is none to ask."""
    if any(each is None or not each.isatty() for each in (sys.stdin, sys.stderr)):
        return False
    print_error(explain(error)[0])
    question = f"Move its files aside and fetch the mailbox of {settings.user} into this profile? [y/N] "
    return _answer(question).strip().casefold() in ("y", "yes")


def verify(profile: Path, given: Mapping[str, Any], shown: Listener, *, deep: bool, repair: bool) -> Exit:
    return watch_verify(_load_online_settings(profile, given), shown, given, deep=deep, repair=repair)


def _saving_settings(
    settings: Settings, given: Mapping[str, Any] | None, work: Callable[[Settings, Listener], Coroutine[Any, Any, T]]
) -> Callable[[Listener], Coroutine[Any, Any, T]]:
    """`work`, with what was `given` written into the profile once the server has answered."""
    from kerio_resync.settings import is_bound, remember

    async def run_and_keep(listen: Listener) -> T:
        bound, kept = is_bound(settings), given is None

        def keep(*, before_work: bool = False) -> None:
            nonlocal kept
            if not kept and given is not None:
                kept = True
                try:
                    remember(settings, given, bound=bound)
                except LocalError as error:
                    if before_work and getattr(error.__cause__, "errno", None) in FAILING_DISK:
                        raise  # the cache would not last there either
                    listen(Notice(explain(error)[0]))

        def heard(event: Event) -> None:
            if isinstance(event, RunStarted):
                keep(before_work=True)
            listen(event)

        try:
            result = await work(settings, heard)
        except BadCredentials:
            keep()  # it answered; a mistyped name is corrected by the next run
            raise
        keep()
        return result

    return run_and_keep


def watch_rebuild(settings: Settings, shown: Listener, given: Mapping[str, Any] | None = None) -> Exit:
    import kerio_resync

    return run_with_display(
        shown,
        settings,
        _saving_settings(settings, given, kerio_resync.rebuild),
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
    import kerio_resync

    return run_with_display(
        shown,
        settings,
        _saving_settings(settings, given, partial(kerio_resync.verify, deep=deep, repair=repair)),
        lambda verdict: (Exit.DONE if verdict.ok else Exit.UNVERIFIED, verdict.as_json()),
    )


def status(profile: Path, shown: Listener) -> Exit:
    import kerio_resync
    from kerio_resync.settings import load

    settings = load(profile, {})
    streams.wait_for_reader()
    state = run(lambda: kerio_resync.status(settings)).as_json()
    shown(RunFinished(ok=True, exit_code=Exit.DONE, summary=state))
    _require_written()
    return Exit.DONE


def digest(profile: Path) -> Exit:
    from kerio_resync.settings import load

    settings = load(profile, {})
    streams.wait_for_reader()
    run(lambda: _print_digest(settings))
    _require_written()
    return Exit.DONE


async def _print_digest(settings: Settings) -> None:
    import kerio_resync

    async for line in kerio_resync.digest(settings):
        sys.stdout.write(line.rstrip("\n") + "\n")
        if streams.failure(sys.stdout) is not None:
            break


def _require_written() -> None:
    """For commands whose output is their work. A reader that went away had all it wanted. OutputFull, BadSettings."""
    sys.stdout.flush()
    error = streams.failure(sys.stdout)
    if error is None or error.errno in (errno.EPIPE, errno.EIO):  # EIO: the terminal is closed
        return
    kind = OutputFull if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG) else BadSettings
    raise kind(f"standard output can't be written: {error.strerror or error}")


async def digest_lines(settings: Settings) -> list[str]:
    """The digest as a list, without line ends."""
    import kerio_resync

    return [line.rstrip("\n") async for line in kerio_resync.digest(settings)]


def upgrade(profile: Path, given: Mapping[str, Any], shown: Listener) -> Exit:
    return _upgrade(profile, given, shown).exit


def start(profile: Path, command: Sequence[str], given: Mapping[str, Any], shown: Listener) -> int:
    """Ends with the program's own exit code; where it can take over this process, it does not end at all."""
    from kerio_resync.upgrade import launcher

    steps: list[UpgradeDecision] = []

    def upgraded() -> UpgradeDecision:
        steps.append(_upgrade(profile, given, shown))
        return steps[0]

    code = launcher.launch_when_ready(profile, command, upgraded)
    return code if steps[0].ready else launcher.FAILED


def own_failure(error: BaseException, code: Exit) -> int:
    """What `start` ends with when it is not the program that ended, as `env` and `timeout` do."""
    from kerio_resync.upgrade import launcher

    match error:
        case launcher.NoProgram():
            return launcher.NOT_FOUND
        case launcher.NotExecutable():
            return launcher.NOT_EXECUTABLE
    return code if code is Exit.INTERRUPTED else launcher.FAILED


def _upgrade(profile: Path, given: Mapping[str, Any], shown: Listener) -> UpgradeDecision:
    """The step that was taken; why the database is not ready, if it isn't, is said on standard error."""
    step = _up_to_date(profile)
    if step is not None:
        shown(RunFinished(ok=True, exit_code=step.exit, summary=_step_as_json(step)))
        return step
    from kerio_resync.settings import load
    from kerio_resync.upgrade import procedure

    taken: list[UpgradeDecision] = []

    async def rebuild(settings: Settings, listen: Listener) -> Any:
        import kerio_resync

        online = _load_online_settings(profile, given)
        try:
            return await kerio_resync.rebuild(online, listen)
        except Exception as error:
            online.redactor.error(error)
            raise

    def judge(step: UpgradeDecision) -> tuple[Exit, JsonObject]:
        taken.append(step)
        return step.exit, _step_as_json(step)

    settings = load(profile, {})
    run_with_display(shown, settings, lambda listen: procedure.upgrade(settings, listen, rebuild=rebuild), judge)
    if not taken[0].ready:
        for sentence in taken[0].sentences(formatting.format_size):
            print_error(sentence)
    return taken[0]


def _up_to_date(profile: Path) -> UpgradeDecision | None:
    """The quick way, for every start: nothing but the file's first bytes is read."""
    from kerio_resync.upgrade.decide import UpgradeState, decide
    from kerio_resync.upgrade.detect_format import detect_format
    from kerio_resync.upgrade.formats import format_version

    found = detect_format(profile / "cache.db")
    if found.state != "current" or any((profile / each).exists() for each in ("upgrade.json", "kerio-resync.holder")):
        return None
    return decide(UpgradeState("current", format_version(found.version), format_version(found.version)))


def _step_as_json(step: UpgradeDecision) -> JsonObject:
    sentences = step.sentences(formatting.format_size)
    return step.as_json() | ({"sentences": sentences} if step.ready else {"error": " ".join(sentences)})


def sentences(summary: Mapping[str, Any]) -> Sequence[str]:
    return [str(each) for each in summary["sentences"]]


def estimate(profile: Path, given: Mapping[str, Any], shown: Listener) -> Exit:
    from kerio_resync.settings import load
    from kerio_resync.upgrade.estimation import forecast

    settings = load(profile, given)
    if settings.server and settings.user:
        with suppress(BadSettings):  # without a password the half that needs none is said
            settings = _load_online_settings(profile, given)
    return run_with_display(
        shown,
        settings,
        lambda listen: forecast.estimate(settings, listen),
        lambda found: (
            Exit.DONE,
            {**found.as_json(), "lines": found.lines(formatting.format_size, formatting.format_duration)},
        ),
    )


def run_with_display(
    shown: Listener,
    settings: Settings,
    work: Callable[[Listener], Coroutine[Any, Any, T]],
    judge: Callable[[T], tuple[Exit, JsonObject]],
) -> Exit:
    """Runs `work` while `shown` shows its events; the exit code is what `judge` makes of its result."""
    show = settings.redactor.listening(shown)

    def listen(event: Event) -> None:
        if not isinstance(event, RunFinished):  # that one is said here, where the exit code is known
            show(event)

    if settings.sends_in_clear:
        listen(Notice(f"{settings.server} is not encrypted: the password and the mail can be read on the way."))
    try:
        code, summary = judge(run(lambda: work(listen)))
    except BaseException as error:
        settings.redactor.error(error)
        raise
    show(RunFinished(ok=code is Exit.DONE, exit_code=code, summary=summary))
    return code


def _load_online_settings(profile: Path, given: Mapping[str, Any]) -> Settings:
    """Settings with everything that a run against a server needs."""
    from kerio_resync.settings import load, make_profile, with_password

    settings = _named_by_cache(load(profile, given))
    for name, value in (("server", settings.server), ("user", settings.user)):
        if not value:
            option = "--server URL" if name == "server" else "--user NAME"
            raise BadSettings(f"no {name} is named: use `rebuild {option}`, or set it in {profile / 'profile.toml'}")
    settings = with_password(settings, _ask if sys.stdin is not None and sys.stdin.isatty() else None)
    make_profile(settings)
    return settings


def _named_by_cache(settings: Settings) -> Settings:
    """The same with the server and the user of the profile's cache, where nothing else names them."""
    if settings.server and settings.user:
        return settings
    from kerio_resync.cache.file_identity import stored_owner
    from kerio_resync.settings import Settings

    held = stored_owner(settings.cache) or stored_owner(settings.next_cache)
    if held is None:
        return settings
    named = {"server": settings.server or held.server, "user": settings.user or held.user}
    try:
        return Settings.model_validate(settings.model_dump() | named)
    except ValueError:  # pydantic's
        raise BadSettings(
            f"the cache in {settings.profile} names no usable server: use `rebuild --server URL`"
        ) from None


def _answer(question: str) -> str:
    print(question, end="", file=sys.stderr, flush=True)
    try:
        return input()
    except EOFError:
        return ""


def _ask(prompt: str) -> str:
    from getpass import getpass

    try:
        return getpass(prompt)
    except EOFError:
        return ""
