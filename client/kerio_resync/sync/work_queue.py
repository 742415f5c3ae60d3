"""Hands out queued rows, each to one worker at a time, in the database's order.

The database is the queue: a row says what is to be fetched, and the mutation that stores the result deletes it. A
`WorkQueue` reads slices behind a cursor, remembers only rows in progress, and starts again from the top when a producer
announces more. It ends when a whole scan finds nothing, no producer is left, and nothing is in progress. A row
completed while its slice was being read is not handed out again; the queue is scanned once more.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Hashable, Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

Row = TypeVar("Row")
Cursor = TypeVar("Cursor")

SLICE_ROWS = 1000


class WorkQueue(Generic[Row, Cursor]):
    """A queue of rows.

    `read(limit, after)` returns rows in a fixed order; `key` names a row, `cursor` is the position after it.
    """

    def __init__(
        self,
        read: Callable[[int, Cursor | None], Awaitable[tuple[Row, ...]]],
        key: Callable[[Row], Hashable],
        cursor: Callable[[Row], Cursor],
    ) -> None:
        self._read = read
        self._key = key
        self._cursor_of = cursor
        self._buffer: deque[Row] = deque()
        self._in_progress: set[Hashable] = set()
        self._aside: set[Hashable] = set()
        self._done: set[Hashable] = set()  # since the latest slice was requested
        self._after: Cursor | None = None
        self._scanning = False
        self._announced = True
        self._producers = 0
        self._changed = asyncio.Event()
        self._reading = asyncio.Lock()

    @contextmanager
    def producer(self) -> Iterator[None]:
        """Keep the queue open: more rows may be announced."""
        self._producers += 1
        try:
            yield
        finally:
            self._producers -= 1
            self.notify()

    def notify(self) -> None:
        """Announce that there may be new rows."""
        self._announced = True
        self._changed.set()

    def set_aside(self, row: Row) -> None:
        """Keep a row in progress queued, and do not hand it out again until `retry_aside`."""
        self._aside.add(self._key(row))

    def retry_aside(self) -> None:
        """Hand out the rows that were set aside."""
        self._aside.clear()
        self.notify()

    async def take(self, fits: Callable[[list[Row], Row], bool]) -> list[Row]:
        """Return the next rows, as many as fit (at least one); [] at the end.

        Pass them to `done` afterwards.
        """
        while True:
            if self._buffer:
                return self._pop(fits)
            async with self._reading:
                if self._buffer:
                    continue
                if self._scanning or self._announced:
                    await self._refill()
                    continue
                if not self._producers and not self._in_progress:
                    self._changed.set()  # wakes the other workers: the queue has ended
                    return []
                self._changed.clear()
            await self._changed.wait()

    def done(self, rows: list[Row]) -> None:
        """Mark rows as completed or dropped in the database."""
        keys = [self._key(row) for row in rows]
        self._in_progress.difference_update(keys)
        if self._reading.locked():
            self._done.update(keys)
        if not self._in_progress:
            self._changed.set()

    async def _refill(self) -> None:
        if not self._scanning:
            self._scanning, self._after, self._announced = True, None, False
        self._done.clear()
        rows = await self._read(SLICE_ROWS, self._after)
        if rows:
            self._after = self._cursor_of(rows[-1])
            keyed = [(self._key(row), row) for row in rows]
            self._announced |= any(key in self._done for key, _ in keyed)
            excluded = self._in_progress
            if self._aside or self._done:
                excluded = excluded | self._done | self._aside
            self._buffer.extend(row for key, row in keyed if key not in excluded)
        else:
            self._scanning = False

    def _pop(self, fits: Callable[[list[Row], Row], bool]) -> list[Row]:
        taken: list[Row] = []
        while self._buffer and (not taken or fits(taken, self._buffer[0])):
            taken.append(self._buffer.popleft())
        self._in_progress.update(map(self._key, taken))
        return taken
