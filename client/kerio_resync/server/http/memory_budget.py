"""The memory that replies may take together: each is bounded alone, but forty at once would be forty times as much.

A reply takes a share that grows with what has really come of it, decoded; where the room is full it waits, and the
server with it. The oldest share may always grow, so that of many that wait for each other one goes on; what takes
nothing, because it is handed on as it comes, is nobody whom others wait for. Ordinary replies never come near the
bound: for them this is an addition and a comparison a piece.

A share ends with its reply. Who needs longer, because what came waits for the disk, says so with `kept`; the share then
ends with that block, or when a next reply is asked for in it (`let_go`): nobody holds a share while waiting for a turn
to ask, which those may have who wait for room.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

DEFAULT_LIMIT_BYTES = 64 << 20  # bytes

_keeping: ContextVar[_Kept | None] = ContextVar("_keeping", default=None)


class MemoryBudget:
    """Room for `most` bytes, and what the oldest reply takes beyond. For one event loop."""

    def __init__(self, most: int = DEFAULT_LIMIT_BYTES) -> None:
        self.most = most
        self.taken = 0
        self._shares: dict[Reservation, None] = {}  # oldest first
        self._freed = asyncio.Event()

    def share(self) -> Reservation:
        """A share of nothing yet, for a reply that begins. What is kept of replies before it in this `kept` ends."""
        release_held()
        return Reservation(self, _keeping.get())

    def admits(self, share: Reservation, size: int) -> bool:
        """Whether it may grow by `size`. It is as old as the first time that it was asked about."""
        self._shares.setdefault(share)
        return self.taken + size <= self.most or next(iter(self._shares)) is share

    async def wait(self) -> None:
        """Until some share has ended."""
        self._freed.clear()
        await self._freed.wait()

    def end(self, share: Reservation) -> None:
        self._shares.pop(share, None)
        self.taken -= share.size
        self._freed.set()


class Reservation:
    """What one reply takes of the room, in bytes."""

    __slots__ = ("_keeping", "_room", "size")

    def __init__(self, room: MemoryBudget, keeping: _Kept | None) -> None:
        self._room = room
        self._keeping = keeping
        self.size = 0

    async def grow(self, size: int) -> bool:
        """Takes `size` bytes more, once there is room; whether it had to wait."""
        room, waited = self._room, False
        while not room.admits(self, size):
            waited = True
            await room.wait()
        self.size += size
        room.taken += size
        return waited

    def end(self) -> None:
        """The reply is over; its share too, unless somebody keeps what came."""
        if self._keeping is None or self._keeping.over:
            self.leave()
        else:
            self._keeping.shares.append(self)

    def leave(self) -> None:
        self._room.end(self)


class _Kept:
    """The shares of replies that are over, while what came of them is still here."""

    __slots__ = ("over", "shares")

    def __init__(self) -> None:
        self.shares: list[Reservation] = []
        self.over = False

    def let_go(self) -> None:
        for each in self.shares:
            each.leave()
        self.shares.clear()


def release_held() -> None:
    """What is kept of replies in this `kept`, if there is one, ends: the next one is asked for."""
    keeping = _keeping.get()
    if keeping is not None:
        keeping.let_go()


@contextmanager
def hold_reservations() -> Iterator[None]:
    """Replies that come within keep their share of the room to the end of the block. Blocks do not nest."""
    keeping = _Kept()
    token = _keeping.set(keeping)
    try:
        yield
    finally:
        _keeping.reset(token)
        keeping.over = True
        keeping.let_go()
