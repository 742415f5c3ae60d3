"""Bounds the memory of all replies together.

Each reply is bounded alone, but forty at once would take forty times as much.

A reply's reservation grows with its decoded bytes. When the budget is used up, reading pauses, and TCP slows the server
down. The oldest reservation may always grow, so that replies which wait for each other cannot deadlock.

A reservation ends with its reply, unless the caller passes `HeldReservations`: then it lasts until the caller is done
with the items, or makes its next request. A task releases what it holds before it waits for a slot; otherwise the two
waits could deadlock.
"""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Self

DEFAULT_LIMIT_BYTES = 64 << 20


class HeldReservations:
    """Reservations of replies that are over while their items are still in memory.

    A context manager.
    """

    __slots__ = ("_closed", "_reservations")

    def __init__(self) -> None:
        self._reservations: list[Reservation] = []
        self._closed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closed = True
        self.release()

    def hold(self, reservation: Reservation) -> bool:
        """Take over a reservation; False if the block has ended."""
        if not self._closed:
            self._reservations.append(reservation)
        return not self._closed

    def release(self) -> None:
        """End what is held; called before the next request."""
        for reservation in self._reservations:
            reservation.release()
        self._reservations.clear()


class MemoryBudget:
    """`limit` bytes for all replies, beyond which only the oldest one grows.

    It belongs to one event loop.
    """

    def __init__(self, limit: int = DEFAULT_LIMIT_BYTES) -> None:
        self.limit = limit
        self.reserved = 0
        self._reservations: dict[Reservation, None] = {}  # oldest first
        self._freed = asyncio.Event()

    def reserve(self, held: HeldReservations | None = None) -> Reservation:
        """Return an empty reservation for a reply that begins.

        `held` takes it over when the reply ends.
        """
        return Reservation(self, held)

    def admits(self, reservation: Reservation, size: int) -> bool:
        """Return whether it may grow by `size` bytes.

        Its age counts from the first time it asks.
        """
        self._reservations.setdefault(reservation)
        return self.reserved + size <= self.limit or next(iter(self._reservations)) is reservation

    async def wait(self) -> None:
        """Wait until some reservation has ended."""
        self._freed.clear()
        await self._freed.wait()

    def release(self, reservation: Reservation) -> None:
        """Give a reservation's bytes back."""
        self._reservations.pop(reservation, None)
        self.reserved -= reservation.size
        self._freed.set()


class Reservation:
    """The bytes of one reply."""

    __slots__ = ("_budget", "_held", "size")

    def __init__(self, budget: MemoryBudget, held: HeldReservations | None) -> None:
        self._budget = budget
        self._held = held
        self.size = 0

    async def grow(self, size: int) -> bool:
        """Reserve `size` more bytes, once the budget admits them.

        Return whether it had to wait.
        """
        budget, waited = self._budget, False
        while not budget.admits(self, size):
            waited = True
            await budget.wait()
        self.size += size
        budget.reserved += size
        return waited

    def end(self) -> None:
        """Release the bytes at the end of the reply, unless the caller holds them."""
        if self._held is None or not self._held.hold(self):
            self.release()

    def release(self) -> None:
        """Give the bytes back to the budget."""
        self._budget.release(self)
