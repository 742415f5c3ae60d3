"""Hands out work that is recorded in the database, each piece to one worker at a time, in the database's order.

The database is the queue: what is wanted is a row there, and the fact that fulfils it deletes the row. A `Feed` reads
slices behind a cursor, remembers only what is in hand, and starts again from the top when someone announces more. It
ends when a whole scan finds nothing, nobody will announce more, and nothing is in hand. A slice may be older than what
was done while it was on its way: such rows are not handed out again, but looked at afresh.
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
    """`read(limit, after)` gives rows in a steady order; `key` names a row, `cursor` says where to go on after it."""

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
        self._in_hand: set[Hashable] = set()
        self._aside: set[Hashable] = set()
        self._done: set[Hashable] = set()  # since the last slice was asked for
        self._after: Cursor | None = None
        self._scanning = False
        self._announced = True
        self._sources = 0
        self._changed = asyncio.Event()
        self._reading = asyncio.Lock()

    @contextmanager
    def producer(self) -> Iterator[None]:
        """While it is open the feed does not end: more may be announced."""
        self._sources += 1
        try:
            yield
        finally:
            self._sources -= 1
            self.notify()

    def notify(self) -> None:
        """There may be new rows."""
        self._announced = True
        self._changed.set()

    def set_aside(self, row: Row) -> None:
        """A row in hand stays in the database, and is not handed out again until `retry_aside`."""
        self._aside.add(self._key(row))

    def retry_aside(self) -> None:
        self._aside.clear()
        self.notify()

    async def take(self, fits: Callable[[list[Row], Row], bool]) -> list[Row]:
        """The next rows, as many as fit together (at least one); [] at the end. Give each back with `done`."""
        while True:
            if self._buffer:
                return self._pop(fits)
            async with self._reading:
                if self._buffer:
                    continue
                if self._scanning or self._announced:
                    await self._refill()
                    continue
                if not self._sources and not self._in_hand:
                    self._changed.set()  # wake the others: this is the end
                    return []
                self._changed.clear()
            await self._changed.wait()

    def done(self, rows: list[Row]) -> None:
        """The rows are dealt with: fulfilled, or dropped, in the database."""
        keys = [self._key(row) for row in rows]
        self._in_hand.difference_update(keys)
        if self._reading.locked():
            self._done.update(keys)
        if not self._in_hand:
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
            held = self._in_hand | self._done | self._aside if self._aside or self._done else self._in_hand
            self._buffer.extend(row for key, row in keyed if key not in held)
        else:
            self._scanning = False

    def _pop(self, fits: Callable[[list[Row], Row], bool]) -> list[Row]:
        taken: list[Row] = []
        while self._buffer and (not taken or fits(taken, self._buffer[0])):
            row = self._buffer.popleft()
            taken.append(row)
        self._in_hand.update(map(self._key, taken))
        return taken
