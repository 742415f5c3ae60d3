"""What the process owes whoever started it: one line for an error, a documented exit code, and leaving when asked.

Promises: the first Ctrl-C (or SIGTERM) stops intake and lets what is whole be kept, the second leaves at once, and
either way the process is gone in under two seconds with 130: the cache is safe at every instant, so leaving hard costs
only what was in flight. No traceback reaches the terminal; an unforeseen one goes to `crash.log` in the profile.
Refuses to write there the texts of exceptions that could quote mail.
"""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar

from kerio_resync.errors import Exit, explain
from kerio_resync.version import VERSION
from kerio_resync.words import printable

T = TypeVar("T")
_SWEPT_AFTER = 50_000  # objects
_GRACE = 1.6  # seconds from the first signal to leaving hard
# Neither a link nor a FIFO in its place is opened.
_LOG_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
# Types whose text names code, not data; other texts may quote what a server sent.
_TELLING = (AttributeError, TypeError, NameError, ImportError, NotImplementedError, RecursionError, OSError)


def conduct(command: Callable[[], Exit], profile: Path) -> Exit:
    """Does the command and turns whatever comes out of it into an exit code and at most one line on standard error."""
    try:
        code = command()
        sys.stdout.flush()
    except BrokenPipeError:
        silence(sys.stdout.fileno())
        return Exit.DONE  # the reader has had all it wanted
    except BaseException as error:
        sentence, code = explain(error)
        if code is Exit.BUG:
            sentence += _where(record(error, profile))
        complain(sentence)
    return code


def complain(sentence: str) -> None:
    with contextlib.suppress(OSError):
        print(f"kerio-resync: {printable(sentence)}", file=sys.stderr, flush=True)


def run(work: Callable[[], Coroutine[Any, Any, T]], leave: Callable[[], None] = lambda: None) -> T:
    """Runs `work` in an event loop until it ends or a signal cancels it; `leave` tidies up before a hard exit."""
    import asyncio

    current: list[tuple[asyncio.AbstractEventLoop, asyncio.Task[Any]]] = []

    def stop(number: int, frame: object) -> None:
        if not current:
            raise KeyboardInterrupt
        loop, task = current.pop()
        _leave_later(leave)
        loop.call_soon_threadsafe(task.cancel)
        for each in (signal.SIGINT, signal.SIGTERM):
            signal.signal(each, lambda *_: _leave_now(leave))

    async def main() -> T:
        task = asyncio.current_task()
        assert task is not None
        current.append((asyncio.get_running_loop(), task))
        try:
            return await work()
        finally:
            current.clear()

    with _signals(stop), _seldom_swept(), asyncio.Runner(loop_factory=_loop_factory()) as runner:
        return runner.run(main())


@contextlib.contextmanager
def _seldom_swept() -> Iterator[None]:
    """A run makes millions of objects and hardly a cycle: to look for them as often as usual takes 3 % of its time, and
    what was imported need not be looked at again at all."""
    usual, enabled = gc.get_threshold(), gc.isenabled()
    gc.freeze()
    gc.set_threshold(_SWEPT_AFTER, *usual[1:])
    gc.enable()
    try:
        yield
    finally:
        gc.unfreeze()
        gc.set_threshold(*usual)
        if not enabled:
            gc.disable()


@contextlib.contextmanager
def _signals(handler: Callable[[int, object], None]) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may set handlers
        return
    former = {number: signal.signal(number, handler) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, old in former.items():
            signal.signal(number, old)


def _loop_factory() -> Callable[[], Any] | None:
    try:
        import uvloop
    except ImportError:
        return None
    factory: Callable[[], Any] = uvloop.new_event_loop
    return factory


def _leave_later(leave: Callable[[], None]) -> None:
    timer = threading.Timer(_GRACE, _leave_now, (leave,))  # a thread: it must fire even if the loop is stuck
    timer.daemon = True
    timer.start()


def _leave_now(leave: Callable[[], None]) -> None:
    with contextlib.suppress(Exception):
        leave()
    complain(explain(KeyboardInterrupt())[0])
    os._exit(Exit.INTERRUPTED)


def record(error: BaseException, profile: Path) -> Path | None:
    """Writes where `error` came from to `crash.log`, for its owner's eyes; None if it can't be written."""
    from datetime import UTC, datetime

    path = profile / "crash.log"
    about = f"kerio-resync {VERSION}, Python {sys.version.split()[0]}, {sys.platform}"
    head = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ} {about}\n"
    try:
        descriptor = os.open(path, _LOG_FLAGS, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8", errors="replace") as file:
            file.writelines([head, *_trace(error, set())])
    except OSError:
        return None
    return path


def _trace(error: BaseException, seen: set[int]) -> Iterator[str]:
    seen.add(id(error))
    before = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if before is not None and id(before) not in seen:
        yield from _trace(before, seen)
        yield "then\n"
    yield from traceback.format_tb(error.__traceback__)
    yield f"{type(error).__qualname__}: {error}\n" if isinstance(error, _TELLING) else f"{type(error).__qualname__}\n"
    if isinstance(error, BaseExceptionGroup):
        for each in error.exceptions:
            if id(each) not in seen:
                yield "inside\n"
                yield from _trace(each, seen)


def _where(path: Path | None) -> str:
    return f" Please report it with {path}." if path else ""


def silence(descriptor: int) -> None:
    """So that the interpreter's own flush at the end has nowhere to fail."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, descriptor)
    os.close(nowhere)
