"""What each command does, from where its profile is to its exit code; nothing here knows how options are spelled.

Promises: a run is shown from its first event to its summary, `--json` keeps standard output to JSON whatever happens,
and the last event of every run is `run-finished` with the exit code. Refuses to start a run without a server, a user
and a password (BadSettings).
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

from kerio_resync import display, words
from kerio_resync.errors import BadSettings, Exit, explain
from kerio_resync.events import Event, Listener, Notice, RunFinished
from kerio_resync.process import complain, run

if TYPE_CHECKING:
    from kerio_resync.settings import Settings
    from kerio_resync.upgrade.decide import Step

T = TypeVar("T")
Summary = dict[str, Any]


@dataclass(frozen=True, slots=True)
class View:
    """How a run is shown."""

    as_json: bool = False
    quiet: bool = False
    log_file: Path | None = None


def rebuild(profile: Path, given: Mapping[str, Any], view: View) -> Exit:
    return watch_rebuild(_online(profile, given), view)


def verify(profile: Path, given: Mapping[str, Any], view: View, *, deep: bool, repair: bool) -> Exit:
    return watch_verify(_online(profile, given), view, deep=deep, repair=repair)


def watch_rebuild(settings: Settings, view: View) -> Exit:
    import kerio_resync

    return watch(
        view,
        settings,
        lambda listen: kerio_resync.rebuild(settings, listen),
        lambda report: (Exit.UNFINISHED if report.unfinished else Exit.DONE, report.as_json()),
        words.summary_of_rebuild,
    )


def watch_verify(settings: Settings, view: View, *, deep: bool = False, repair: bool = False) -> Exit:
    import kerio_resync

    return watch(
        view,
        settings,
        lambda listen: kerio_resync.verify(settings, listen, deep=deep, repair=repair),
        lambda verdict: (Exit.DONE if verdict.ok else Exit.UNVERIFIED, verdict.as_json()),
        partial(words.summary_of_verify, repair=repair),
    )


def status(profile: Path, *, as_json: bool) -> Exit:
    import kerio_resync
    from kerio_resync.settings import load

    settings = load(profile, {})
    state = run(lambda: kerio_resync.status(settings)).as_json()
    for line in [json.dumps(state, default=str)] if as_json else map(words.printable, words.lines_of_status(state)):
        print(line)
    return Exit.DONE


def digest(profile: Path) -> Exit:
    from kerio_resync.settings import load

    settings = load(profile, {})
    run(lambda: _print_digest(settings))
    return Exit.DONE


async def _print_digest(settings: Settings) -> None:
    import kerio_resync

    async for line in kerio_resync.digest(settings):
        sys.stdout.write(line.rstrip("\n") + "\n")


async def digest_lines(settings: Settings) -> list[str]:
    """The digest as a list, without line ends."""
    import kerio_resync

    return [line.rstrip("\n") async for line in kerio_resync.digest(settings)]


def upgrade(profile: Path, view: View) -> Exit:
    return _upgrade(profile, view, _sentences).exit


def start(profile: Path, command: Sequence[str], view: View) -> Exit:
    """Ends with the program's own exit code; where it can take over this process, it does not end at all."""
    from kerio_resync.upgrade.gate import start as pass_gate

    return cast(Exit, pass_gate(profile, command, lambda: _upgrade(profile, view, lambda _: ())))


def _upgrade(profile: Path, view: View, summarise: Callable[[Mapping[str, Any]], Sequence[str]]) -> Step:
    """The step that was taken; why the database is not ready, if it isn't, is said on standard error."""
    step = _up_to_date(profile)
    if step is not None:
        with display.opened(
            as_json=view.as_json, quiet=view.quiet, log_file=view.log_file, summarise=summarise
        ) as shown:
            shown(RunFinished(ok=True, exit_code=step.exit, summary=_step_as_json(step)))
        return step
    from kerio_resync.settings import load
    from kerio_resync.upgrade import procedure

    taken: list[Step] = []

    async def rebuild(settings: Settings, listen: Listener) -> Any:
        import kerio_resync

        online = _online(profile, {})
        try:
            return await kerio_resync.rebuild(online, listen)
        except Exception as error:
            online.redactor.error(error)
            raise

    def judge(step: Step) -> tuple[Exit, Summary]:
        taken.append(step)
        return step.exit, _step_as_json(step)

    settings = load(profile, {})
    watch(view, settings, lambda listen: procedure.upgrade(settings, listen, rebuild=rebuild), judge, summarise)
    if not taken[0].ready:
        for sentence in taken[0].sentences(words.size):
            complain(sentence)
    return taken[0]


def _up_to_date(profile: Path) -> Step | None:
    """The quick way, for every start: nothing but the file's first bytes is read."""
    from kerio_resync.upgrade.decide import Facts, decide
    from kerio_resync.upgrade.look import look
    from kerio_resync.upgrade.versions import spoken

    found = look(profile / "cache.db")
    if found.state != "current" or (profile / "upgrade.json").exists():
        return None
    return decide(Facts("current", spoken(found.version), spoken(found.version)))


def _step_as_json(step: Step) -> Summary:
    sentences = step.sentences(words.size)
    return step.as_json() | ({"sentences": sentences} if step.ready else {"error": " ".join(sentences)})


def _sentences(summary: Mapping[str, Any]) -> Sequence[str]:
    return [str(each) for each in summary["sentences"]]


def estimate(profile: Path, given: Mapping[str, Any], view: View) -> Exit:
    from kerio_resync.settings import load
    from kerio_resync.upgrade import forecast

    settings = load(profile, given)
    if settings.server and settings.user:
        with suppress(BadSettings):  # without a password the half that needs none is said
            settings = _online(profile, given)
    return watch(
        view,
        settings,
        lambda listen: forecast.estimate(settings, listen),
        lambda found: (Exit.DONE, {**found.as_json(), "lines": found.lines(words.size, words.span)}),
        lambda summary: [str(line) for line in summary["lines"]],
    )


def watch(
    view: View,
    settings: Settings,
    work: Callable[[Listener], Coroutine[Any, Any, T]],
    judge: Callable[[T], tuple[Exit, Summary]],
    summarise: Callable[[Mapping[str, Any]], Sequence[str]],
) -> Exit:
    """Runs `work` while showing its events; the exit code is what `judge` makes of its result."""
    with display.opened(as_json=view.as_json, quiet=view.quiet, log_file=view.log_file, summarise=summarise) as shown:
        show = settings.redactor.listening(shown)

        def listen(event: Event) -> None:
            if not isinstance(event, RunFinished):  # that one is said here, where the exit code is known
                show(event)

        if settings.sends_in_clear:
            listen(Notice(f"{settings.server} is not encrypted: the password and the mail can be read on the way."))

        def fail(error: BaseException) -> None:
            sentence, code = explain(error)
            show(RunFinished(ok=False, exit_code=code, summary={"error": sentence}))

        def leave() -> None:
            fail(KeyboardInterrupt())
            shown.close()

        try:
            code, summary = judge(run(lambda: work(listen), leave))
        except BaseException as error:
            fail(settings.redactor.error(error))
            raise
        show(RunFinished(ok=code is Exit.DONE, exit_code=code, summary=summary))
        return code


def _online(profile: Path, given: Mapping[str, Any]) -> Settings:
    """Settings with everything that a run against a server needs; what the profile is to keep is written down."""
    from kerio_resync.settings import load, remember, with_password

    settings = load(profile, given)
    for name, value in (("server", settings.server), ("user", settings.user)):
        if not value:
            option = "--server URL" if name == "server" else "--user NAME"
            raise BadSettings(f"no {name} is named: use `rebuild {option}`, or set it in {profile / 'profile.toml'}")
    settings = with_password(settings, _ask if sys.stdin is not None and sys.stdin.isatty() else None)
    remember(settings, given)
    with _no_authorities():
        import_module("kerio_resync.server.transport")
    return settings


@contextmanager
def _no_authorities() -> Iterator[None]:
    """OpenSSL finds no certificates of the system's meanwhile: those who import aiohttp read all of them twice, for
    connections that come without a context of their own, a tenth of a second of each start. Ours have their own, made
    afterwards. Only for a process that is nobody else's."""
    kept = {name: os.environ.get(name) for name in ("SSL_CERT_FILE", "SSL_CERT_DIR")}
    os.environ.update(dict.fromkeys(kept, os.devnull))
    try:
        yield
    finally:
        for name, value in kept.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _ask(prompt: str) -> str:
    from getpass import getpass

    try:
        return getpass(prompt)
    except EOFError:
        return ""
