"""Runs a command: signals, exit codes, and the line that reports an error.

The first Ctrl-C, SIGTERM or SIGHUP cancels the work; the second ends the process at once. Either way the process ends
within two seconds with 130. The cache is consistent at every instant, so a hard exit costs only what was in flight. The
listener receives `run-finished` for every end. No traceback reaches the terminal: that of an internal error goes to
`crash.log` in the profile, without exception texts that could quote mail.
"""

from __future__ import annotations

import _thread  # `threading` needs locks to start a thread, and the signal may have interrupted their owner
import contextlib
import os
import sys
import time
import traceback
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar

from kerio_resync import signals, streams
from kerio_resync.cli.formatting import fit
from kerio_resync.errors import Exit, NotEnoughSpace, ResyncError, explain, kind_of
from kerio_resync.event_loop import loop_factory
from kerio_resync.events import Listener, RunFinished, ignore_events
from kerio_resync.plain_text import printable
from kerio_resync.version import VERSION

T = TypeVar("T")
INTERRUPT_GRACE_SECONDS = 1.4  # from the first signal to the hard exit
EXIT_GRACE_SECONDS = 0.4  # for the last message of a hard exit
# A symbolic link or a FIFO in its place is not opened.
_LOG_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
# Their texts name code; texts of other exceptions may quote data of the server.
_SAFE_TEXTS = (
    AttributeError,
    TypeError,
    NameError,
    ImportError,
    NotImplementedError,
    RecursionError,
    OSError,
)
ExitCodeOf = Callable[[BaseException, Exit], int]  # of an error and its `Exit`: the exit code of the process


def own_exit_code(error: BaseException, code: Exit) -> int:
    """Return the error's own exit code."""
    return code


def run_command(
    command: Callable[[], int],
    profile: Callable[[], Path],
    listen: Listener = ignore_events,
    exit_code_of: ExitCodeOf = own_exit_code,
) -> int:
    """Run the command, report an error as one line, and return the exit code.

    `listen` receives `run-finished` with the error's own code, and `exit_code_of` gives the code of the process.
    `profile` is called only to write `crash.log`.
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
                path = write_crash_log(error, profile)
                sentence += f" Please report it with {path}." if path else ""
            listen(RunFinished(ok=False, exit_code=kind, summary=_summary(error, sentence)))
            print_error(sentence)
            code = exit_code_of(error, kind)
    return code


def _summary(error: BaseException, sentence: str) -> dict[str, Any]:
    """Return the summary of a failed run: the sentence, and what programs need."""
    summary: dict[str, Any] = {"error": sentence, "kind": kind_of(error)}
    if isinstance(error, NotEnoughSpace):
        summary |= {"needed_bytes": error.needed, "free_bytes": error.available, "where": error.where}
    return summary


def print_error(sentence: str) -> None:
    """Print a sentence on standard error, with the name of the program."""
    with contextlib.suppress(OSError):
        print(fit(f"kerio-resync: {printable(sentence)}", sys.stderr), file=sys.stderr, flush=True)


def run(work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run `work` in an event loop until it ends or a signal cancels it."""
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

    with signals.caught(stop), asyncio.Runner(loop_factory=loop_factory()) as runner:
        return runner.run(main())


_listeners: list[Listener] = []  # receive `run-finished` if the process exits before its command ends


@contextlib.contextmanager
def _reporting_hard_exit(listen: Listener) -> Iterator[None]:
    _listeners.append(listen)
    try:
        yield
    finally:
        _listeners.pop()


@contextlib.contextmanager
def _without_lost_interrupts() -> Iterator[None]:
    """Hide the traceback of an interrupt that Python ignores, in a destructor.

    The process still ends, after the grace period.
    """
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
    """Start the grace period; the next signal ends it."""
    _thread.start_new_thread(_exit_after, (INTERRUPT_GRACE_SECONDS,))
    signals.catch(lambda number, frame: _thread.start_new_thread(_exit_after, (0.0,)))


def _exit_after(seconds: float) -> None:
    """Exit from a thread: the main thread may hang, or hold a stream's lock."""
    time.sleep(seconds)
    _thread.start_new_thread(_print_last_error, ())
    time.sleep(EXIT_GRACE_SECONDS)
    os._exit(Exit.INTERRUPTED)


def _print_last_error() -> None:
    with contextlib.suppress(Exception):
        interrupt = KeyboardInterrupt()
        sentence, code = explain(interrupt)
        for listen in _listeners:
            listen(RunFinished(ok=False, exit_code=code, summary=_summary(interrupt, sentence)))
        print_error(sentence)
        streams.drain(EXIT_GRACE_SECONDS / 2)
    os._exit(Exit.INTERRUPTED)


def write_crash_log(error: BaseException, profile: Callable[[], Path]) -> Path | None:
    """Write the traceback to a private `crash.log`; None if that fails."""
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
    text = f": {error}" if isinstance(error, _SAFE_TEXTS) else ""
    yield f"{type(error).__qualname__}{text}\n"
    if isinstance(error, BaseExceptionGroup):
        for member in error.exceptions:
            if id(member) not in seen:
                yield "inside\n"
                yield from _trace(member, seen)
