"""An event loop whose time is a number: hours of waiting pass in no time, in the order in which they would have passed.

Time stands still while anything can happen: a callback that is ready, a socket to be read, work in a thread. It jumps
to the next timer only when nothing is left but to wait. Work in threads is known of if it goes through
`run_in_executor`, through `aiosqlite` (inside `database_counted`), or is said with `real_work`; without that, time
would run ahead of the disk and every timeout would be a false one.

If nothing is ready, nothing is awaited from outside and no timer is set, nothing can ever happen: then the loop waits a
few real seconds for a socket and raises `Stuck`, so that a test ends instead of hanging.
"""

from __future__ import annotations

import asyncio
import contextlib
import selectors
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, TypeVar
from unittest import mock

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


def run(main: Coroutine[Any, Any, T], *, start: float = 0.0) -> T:
    """Runs `main` in virtual time to its end, its database work counted."""
    with asyncio.Runner(loop_factory=lambda: VirtualLoop(start)) as runner, database_counted():
        return runner.run(main)


@contextlib.contextmanager
def database_counted() -> Iterator[None]:
    """Connections that `aiosqlite` opens inside count their calls as real work of a `VirtualLoop` that makes them.

    A call counts until its result is on its way to the loop, also when nobody waits for it any more.
    """
    from aiosqlite import core

    with mock.patch.object(core, "SimpleQueue", _Counted):
        yield


class _Counted:
    """The queue between a connection and its thread: what was put and not yet done is outstanding.

    The thread takes the next call after it has handed over the result of the one before; that is when it is done.
    """

    def __init__(self) -> None:
        from queue import SimpleQueue

        self._queue: SimpleQueue[Any] = SimpleQueue()
        self._under_way: VirtualLoop | None = None

    def put_nowait(self, item: tuple[asyncio.Future[Any] | None, Callable[[], Any]]) -> None:
        loop = item[0].get_loop() if item[0] is not None else None
        counted = loop if isinstance(loop, VirtualLoop) else None
        if counted is not None:
            counted.outstanding += 1
            last = getattr(item[1], "__name__", "") == "close_and_stop"  # after this the thread takes nothing more
            if last and item[0] is not None:
                item[0].add_done_callback(counted._done)
                counted = None
        self._queue.put((item, counted))

    def get(self) -> Any:
        if self._under_way is not None:
            self._under_way.call_soon_threadsafe(self._under_way._done, None)
        item, self._under_way = self._queue.get()
        return item
