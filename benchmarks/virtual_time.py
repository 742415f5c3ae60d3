"""An event loop whose time is a number: hours of waiting pass in no time, in the order in which they would have passed.

Time stands still while anything can happen: a callback that is ready, a socket to be read, work in a thread. It jumps
to the next timer only when nothing is left but to wait. Work in threads is known of if it goes through
`run_in_executor` or is said with `real_work`; without that, time would run ahead of it and every timeout would be a
false one. `aiosqlite` needs no thread here: inside `run` its calls are made by the loop itself, in their order, so that
the same run takes the same course each time; how long the disk takes is a number too.

If nothing is ready, nothing is awaited from outside and no timer is set, nothing can ever happen: then the loop waits a
few real seconds for a socket and raises `Stuck`, so that a test ends instead of hanging.
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
_PATIENCE = 5.0  # real seconds


class Stuck(RuntimeError):
    """Nothing is left that could ever happen."""


class _Selector(selectors.DefaultSelector):
    """Asks the real selector without waiting, and lets time jump where that one would wait."""

    loop: VirtualLoop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if ready or timeout == 0:
            return ready
        if self.loop.outstanding:
            return super().select(_PATIENCE)
        if timeout is not None:
            self.loop.jump(timeout)
            return ready
        ready = super().select(_PATIENCE)
        if not ready:
            raise Stuck("nothing is ready, no timer is set and no work is under way")
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """`outstanding`: how much real work is under way, during which time stands still. Time begins at `start`."""

    def __init__(self, start: float = 0.0) -> None:
        self.outstanding = 0
        self._now = start
        selector = _Selector()
        selector.loop = self
        super().__init__(selector)

    def time(self) -> float:
        return self._now

    def jump(self, seconds: float) -> None:
        """Lets so much time pass at once."""
        self._now += seconds

    @contextlib.contextmanager
    def real_work(self) -> Iterator[None]:
        """While inside, something outside the loop is at work and time stands still."""
        self.outstanding += 1
        try:
            yield
        finally:
            self.outstanding -= 1

    def run_in_executor(self, executor: Any, func: Callable[..., T], *args: Any) -> asyncio.Future[T]:  # type: ignore[override]  # the base's signature needs TypeVarTuple
        self.outstanding += 1
        future = super().run_in_executor(executor, func, *args)
        future.add_done_callback(self._done)
        return future

    def _done(self, _: object) -> None:
        self.outstanding -= 1

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:
        """Waits for the threads' end in real time; from Python 3.12 on, `Runner` asks for it with a timeout."""
        with self.real_work():
            await super().shutdown_default_executor()


def run(main: Coroutine[Any, Any, T], *, start: float = 0.0, disk: Callable[[], float] = lambda: 0.0) -> T:
    """Runs `main` in virtual time to its end. `disk()` tells for each call of a database how many seconds it takes."""
    with asyncio.Runner(loop_factory=lambda: VirtualLoop(start)) as runner, database_inside(disk):
        return runner.run(main)


@contextlib.contextmanager
def database_inside(disk: Callable[[], float]) -> Iterator[None]:
    """Connections that `aiosqlite` opens inside make their calls in the loop, each `disk()` seconds after its turn."""
    with mock.patch.object(aiosqlite, "Connection", partial(_Connection, disk)):
        yield


class _Connection:
    """What our cache uses of `aiosqlite.Connection`, without a thread."""

    def __init__(self, disk: Callable[[], float], connector: Callable[[], sqlite3.Connection], **_: object) -> None:
        self._disk = disk
        self._connector = connector
        self._db: sqlite3.Connection | None = None
        self._waiting: deque[tuple[asyncio.Future[Any], Callable[[], Any]]] = deque()

    def __await__(self) -> Generator[Any, None, _Connection]:
        self._db = yield from self._called(self._connector).__await__()
        return self

    async def executescript(self, script: Any) -> None:
        if self._db is None:
            raise ValueError("the connection is closed")
        await self._called(partial(self._db.executescript, script))

    async def close(self) -> None:
        db, self._db = self._db, None
        if db is not None:
            await self._called(db.close)

    def _called(self, call: Callable[[], T]) -> asyncio.Future[T]:
        """The result of `call`, which has its turn after those before it."""
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._waiting.append((future, call))
        if len(self._waiting) == 1:
            future.get_loop().call_later(self._disk(), self._make)
        return future

    def _make(self) -> None:
        future, call = self._waiting[0]
        try:
            result, error = call(), None
        except BaseException as raised:  # it is the caller's, as from a thread
            result, error = None, raised
        self._waiting.popleft()
        if not future.done():
            future.set_exception(error) if error is not None else future.set_result(result)
        if self._waiting:
            future.get_loop().call_later(self._disk(), self._make)
