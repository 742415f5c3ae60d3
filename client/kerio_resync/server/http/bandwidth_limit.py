"""Limits the rate at which bodies are read, over all connections together.

Each piece is paid for after it was read, on one account, so the rate holds within 3 % over some seconds, and a sleep
that was too long is made up for later. After an idle time at most BURST_SECONDS' worth is read faster. Not reading is
enough to slow the server down, by TCP's own window.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

BURST_SECONDS = 0.25
MIN_SLEEP_SECONDS = 0.002  # a shorter sleep costs more than it holds back


def next_free(free_at: float, now: float, n: int, rate: float) -> float:
    """Return when `n` more bytes are paid for at `rate` bytes/s.

    Earlier bytes are paid for at `free_at`.
    """
    return max(free_at, now - BURST_SECONDS) + n / rate


class BandwidthLimit:
    """A rate limit of `rate` bytes/s."""

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
    def chunk_bytes(self) -> int:
        """Bytes to read at once for an even rate."""
        return int(min(65536, max(1024, self.rate / 10)))

    async def acquire(self, n: int) -> None:
        """Pay for `n` bytes that were read; return when reading may continue."""
        now = self._clock() if self._clock else asyncio.get_running_loop().time()
        self._free_at = next_free(now if self._free_at is None else self._free_at, now, n, self.rate)
        if self._free_at - now > MIN_SLEEP_SECONDS:
            await self._sleep(self._free_at - now)
