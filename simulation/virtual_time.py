"""An event loop with a virtual clock.

Hours of waiting pass at once, in the order in which they would have passed.

The clock stands still while a callback is ready, a socket is readable or a thread is at work. It jumps to the next
timer when only waiting is left. The loop knows of work in threads that goes through `run_in_executor` or is announced
with `real_work`; during other work the clock would run ahead and timeouts would fire too early. `aiosqlite` needs no
thread here: inside `run` the loop makes its calls itself, in order, so that a run is deterministic; the time that the
disk takes is virtual too.

If nothing is ready, no timer is set and no work is under way, the loop waits a few real seconds for a socket and then
raises `DeadlockError`, so that a test fails instead of hanging.
"""

from __future__ import annotations

import asyncio
import contextlib
import selectors
import sqlite3
from collections import deque
from collections.abc import Callable, Coroutine, Generator, Iterator
from functools import partial
from typing import Any, TypeVar
from unittest import mock

import aiosqlite

T = TypeVar("T")
SOCKET_WAIT_SECONDS = 5.0  # of real time


class DeadlockError(RuntimeError):
    """Every task waits for another; nothing can happen any more."""


def run(main: Coroutine[Any, Any, T], *, start: float = 0.0, disk: Callable[[], float] = lambda: 0.0) -> T:
    """Run `main` in virtual time, which begins at `start`, and return its result.

    `disk()` returns the seconds that the next call of a database takes.
    """
    with asyncio.Runner(loop_factory=lambda: VirtualLoop(start)) as runner, database_inside(disk):
        return runner.run(main)


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop whose clock begins at `start` and stops while work is outstanding."""

    def __init__(self, start: float = 0.0) -> None:
        self.outstanding = 0
        self._now = start
        selector = _Selector()
        selector.loop = self
        super().__init__(selector)

    def time(self) -> float:
        """Return the virtual time in seconds."""
        return self._now

    def jump(self, seconds: float) -> None:
        """Advance the clock."""
        self._now += seconds

    @contextlib.contextmanager
    def real_work(self) -> Iterator[None]:
        """Stop the clock while something outside the loop is at work."""
        self.outstanding += 1
        try:
            yield
        finally:
            self.outstanding -= 1

    def run_in_executor(self, executor: Any, func: Callable[..., T], *args: Any) -> asyncio.Future[T]:  # type: ignore[override]  # the base's signature needs TypeVarTuple
        """Run `func` in a thread and stop the clock until it has ended."""
        self.outstanding += 1
        future = super().run_in_executor(executor, func, *args)
        future.add_done_callback(self._work_done)
        return future

    def _work_done(self, _: object) -> None:
        self.outstanding -= 1

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:
        """Wait for the threads in real time.

        From Python 3.12 on, `Runner` calls this with a timeout.
        """
        with self.real_work():
            await super().shutdown_default_executor()


class _Selector(selectors.DefaultSelector):
    """Polls the real selector, and advances the clock where that one would wait."""

    loop: VirtualLoop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if ready or timeout == 0:
            return ready
        if self.loop.outstanding:
            return super().select(SOCKET_WAIT_SECONDS)
        if timeout is not None:
            self.loop.jump(timeout)
            return ready
        ready = super().select(SOCKET_WAIT_SECONDS)
        if not ready:
            raise DeadlockError("nothing is ready, no timer is set and no work is under way")
        return ready


@contextlib.contextmanager
def database_inside(disk: Callable[[], float]) -> Iterator[None]:
    """Run the calls of new `aiosqlite` connections in the loop.

    Each takes `disk()` seconds of virtual time.
    """
    with mock.patch.object(aiosqlite, "Connection", partial(_Connection, disk)):
        yield


class _Connection:
    """The part of `aiosqlite.Connection` that the cache uses, without a thread."""

    def __init__(self, disk: Callable[[], float], connector: Callable[[], sqlite3.Connection], **_: object) -> None:
        self._disk = disk
        self._connector = connector
        self._db: sqlite3.Connection | None = None
        self._waiting: deque[tuple[asyncio.Future[Any], Callable[[], Any]]] = deque()

    def __await__(self) -> Generator[Any, None, _Connection]:
        self._db = yield from self._submit(self._connector).__await__()
        return self

    async def executescript(self, script: Any) -> None:
        if self._db is None:
            raise ValueError("the connection is closed")
        await self._submit(partial(self._db.executescript, script))

    async def close(self) -> None:
        db, self._db = self._db, None
        if db is not None:
            await self._submit(db.close)

    def _submit(self, call: Callable[[], T]) -> asyncio.Future[T]:
        """Queue `call`; the future holds its result."""
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._waiting.append((future, call))
        if len(self._waiting) == 1:
            future.get_loop().call_later(self._disk(), self._run_next)
        return future

    def _run_next(self) -> None:
        future, call = self._waiting[0]
        try:
            result, error = call(), None
        except BaseException as raised:  # belongs to the caller, as from a thread
            result, error = None, raised
        self._waiting.popleft()
        if not future.done():
            future.set_exception(error) if error is not None else future.set_result(result)
        if self._waiting:
            future.get_loop().call_later(self._disk(), self._run_next)
