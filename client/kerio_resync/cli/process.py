"""What the process owes whoever started it: one line for an error, a documented exit code, and leaving when asked.

Promises: the first Ctrl-C (or SIGTERM, SIGHUP) stops intake and lets what is whole be kept, the second leaves at once,
and either way the process is gone in under two seconds with 130: the cache is safe at every instant, so leaving hard
costs only what was in flight. Every end is told to the listener as `run-finished`. No traceback reaches the terminal;
an unforeseen one goes to `crash.log` in the profile. Refuses to write there the texts of exceptions that could quote
mail.
"""

from __future__ import annotations

import _thread  # `threading` takes locks to start a thread, and a signal may have interrupted their holder
import contextlib
import os
import sys
import time
import traceback
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar

from kerio_resync import signals, streams
from kerio_resync.cli.formatting import printable
from kerio_resync.errors import Exit, ResyncError, explain
from kerio_resync.events import Listener, RunFinished, ignore_events
from kerio_resync.version import VERSION

T = TypeVar("T")
INTERRUPT_GRACE_SECONDS = 1.4  # from the first signal to leaving hard
EXIT_GRACE_SECONDS = 0.4  # and from there to the end, whatever hangs
# Neither a link nor a FIFO in its place is opened.
_LOG_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
# Types whose text names code, not data; other texts may quote what a server sent.
_REPORTING_SIGNALS = (AttributeError, TypeError, NameError, ImportError, NotImplementedError, RecursionError, OSError)


EndsWith = Callable[[BaseException, Exit], int]  # the process's exit code, of an error and its own


def own_code(error: BaseException, code: Exit) -> int:
    return code


def run_command(
    command: Callable[[], int],
    profile: Callable[[], Path],
    listen: Listener = ignore_events,
    ends_with: EndsWith = own_code,
) -> int:
    """Does the command and turns whatever comes out of it into an exit code and at most one line on standard error.

    `ends_with` makes the process's code of an error's; `listen` is told the latter. `profile` is asked only where to
    write `crash.log`.
    """
    working = True

    def interrupt(number: int, frame: object) -> None:
        if working:
            _exit_on_next_signal()
            raise KeyboardInterrupt
        streams.skip_waiting()

    with _reporting_hard_exit(listen), signals.caught(interrupt), _without_lost_interrupts():
        try:
            code = command()
            working = False
        except BaseException as error:
            working = False
            sentence, kind = explain(error)
            if kind is Exit.INTERNAL_ERROR:
                sentence += _where(write_crash_log(error, profile))
            listen(RunFinished(ok=False, exit_code=kind, summary={"error": sentence}))
            print_error(sentence)
            code = ends_with(error, kind)
    return code


def print_error(sentence: str) -> None:
    with contextlib.suppress(OSError):
        print(f"kerio-resync: {printable(sentence)}", file=sys.stderr, flush=True)


def run(work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Runs `work` in an event loop until it ends or a signal cancels it."""
    import asyncio

    current: list[tuple[asyncio.AbstractEventLoop, asyncio.Task[Any]]] = []
    stopped = False

    def stop(number: int, frame: object) -> None:
        nonlocal stopped
        stopped = True
        _exit_on_next_signal()
        if current:
            loop, task = current[0]
            loop.call_soon_threadsafe(task.cancel)

    async def main() -> T:
        task = asyncio.current_task()
        assert task is not None
        current.append((asyncio.get_running_loop(), task))
        try:
            if stopped:
                raise asyncio.CancelledError
            return await work()
        finally:
            current.clear()

    with signals.caught(stop), asyncio.Runner(loop_factory=_loop_factory()) as runner:
        return runner.run(main())


def _loop_factory() -> Callable[[], Any] | None:
    try:
        import uvloop
    except ImportError:
        return None
    factory: Callable[[], Any] = uvloop.new_event_loop
    return factory


_listeners: list[Listener] = []  # who is told if the process has to leave before its command has ended


@contextlib.contextmanager
def _reporting_hard_exit(listen: Listener) -> Iterator[None]:
    _listeners.append(listen)
    try:
        yield
    finally:
        _listeners.pop()


@contextlib.contextmanager
def _without_lost_interrupts() -> Iterator[None]:
    """An interrupt that reaches the process in a destructor ends nothing and is reported with a traceback; the process
    ends all the same, after the grace."""
    usual = sys.unraisablehook

    def hook(lost: Any) -> None:
        if lost.exc_type is not KeyboardInterrupt:
            usual(lost)

    sys.unraisablehook = hook
    try:
        yield
    finally:
        sys.unraisablehook = usual


def _exit_on_next_signal() -> None:
    """After the first signal: the grace begins, and the next signal ends it."""
    _thread.start_new_thread(_exit_after, (INTERRUPT_GRACE_SECONDS,))
    signals.catch(lambda number, frame: _thread.start_new_thread(_exit_after, (0.0,)))


def _exit_after(seconds: float) -> None:
    """Ends the process from a thread: the main thread may be stuck, or hold the lock of a stream."""
    time.sleep(seconds)
    _thread.start_new_thread(_print_last_error, ())
    time.sleep(EXIT_GRACE_SECONDS)
    os._exit(Exit.INTERRUPTED)


def _print_last_error() -> None:
    with contextlib.suppress(Exception):
        sentence, code = explain(KeyboardInterrupt())
        for listen in _listeners:
            listen(RunFinished(ok=False, exit_code=code, summary={"error": sentence}))
        print_error(sentence)
        streams.drain(EXIT_GRACE_SECONDS / 2)
    os._exit(Exit.INTERRUPTED)


def write_crash_log(error: BaseException, profile: Callable[[], Path]) -> Path | None:
    """Writes where `error` came from to `crash.log`, for its owner's eyes; None if it can't be written."""
    from datetime import UTC, datetime

    about = f"kerio-resync {VERSION}, Python {sys.version.split()[0]}, {sys.platform}"
    head = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ} {about}\n"
    try:
        path = profile() / "crash.log"
        descriptor = os.open(path, _LOG_FLAGS, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8", errors="replace") as file:
            file.writelines([head, *_trace(error, set())])
    except (OSError, ResyncError):
        return None
    return path


def _trace(error: BaseException, seen: set[int]) -> Iterator[str]:
    seen.add(id(error))
    before = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if before is not None and id(before) not in seen:
        yield from _trace(before, seen)
        yield "then\n"
    yield from traceback.format_tb(error.__traceback__)
    yield (
        f"{type(error).__qualname__}: {error}\n"
        if isinstance(error, _REPORTING_SIGNALS)
        else f"{type(error).__qualname__}\n"
    )
    if isinstance(error, BaseExceptionGroup):
        for each in error.exceptions:
            if id(each) not in seen:
                yield "inside\n"
                yield from _trace(each, seen)


def _where(path: Path | None) -> str:
    return f" Please report it with {path}." if path else ""
