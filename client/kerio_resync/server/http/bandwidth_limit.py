"""Holds what is read to a rate, over all connections together.

Promises the rate within 3 % over transfers of some seconds: each piece is paid for after it was read, on one account
for all, and a sleep that was too long is made up for by the next ones. Refuses to save up: after an idle time at most
`SLACK` seconds' worth come faster. Not reading is enough to slow the server down, by TCP's own window.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

BURST_SECONDS = 0.25  # seconds
MIN_SLEEP_SECONDS = 0.002  # seconds; a shorter sleep costs more than it holds back


def next_free(free_at: float, now: float, n: int, rate: float) -> float:
    """When `n` more bytes will have been paid for at `rate` bytes/s, if what came before is paid for at `free_at`."""
    return max(free_at, now - BURST_SECONDS) + n / rate


class BandwidthLimit:
    """`pay` returns when reading may go on. `rate` in bytes/s."""

    def __init__(
        self,
        rate: float,
        *,
        clock: Callable[[], float] | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.rate = rate
        self._clock = clock
        self._sleep = sleep
        self._free_at: float | None = None

    @property
    def most(self) -> int:
        """How many bytes to read at once, so that the rate is even."""
        return int(min(65536, max(1024, self.rate / 10)))

    async def acquire(self, n: int) -> None:
        now = self._clock() if self._clock else asyncio.get_running_loop().time()
        self._free_at = next_free(now if self._free_at is None else self._free_at, now, n, self.rate)
        if self._free_at - now > MIN_SLEEP_SECONDS:
            await self._sleep(self._free_at - now)
