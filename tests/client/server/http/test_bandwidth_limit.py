from __future__ import annotations

import asyncio

import pytest

from kerio_resync.server.http.bandwidth_limit import BURST_SECONDS, BandwidthLimit, next_free
from simulation.virtual_time import run


@pytest.mark.parametrize(
    ("free_at", "now", "n", "rate", "then"),
    [
        (10.0, 10.0, 1000, 1000.0, 11.0),
        (12.0, 10.0, 1000, 1000.0, 13.0),  # what is owed adds up
        (9.9, 10.0, 1000, 1000.0, 10.9),  # a sleep that was too long is made up for
        (0.0, 10.0, 1000, 1000.0, 11.0 - BURST_SECONDS),  # an idle time is not saved up
        (10.0, 10.0, 0, 1000.0, 10.0),
    ],
)
def test_due(free_at: float, now: float, n: int, rate: float, then: float) -> None:
    assert next_free(free_at, now, n, rate) == pytest.approx(then)


@pytest.mark.parametrize("rate", [20e3, 1e6, 50e6])
@pytest.mark.parametrize("readers", [1, 7])
def test_the_rate_holds_over_all_readers(rate: float, readers: int) -> None:
    async def main() -> float:
        throttle = BandwidthLimit(rate)
        total = int(rate * 10)
        left = [total]

        async def read() -> None:
            while left[0] > 0:
                n = min(throttle.chunk_bytes, left[0])
                left[0] -= n
                await throttle.acquire(n)

        await asyncio.gather(*(read() for _ in range(readers)))
        return total / asyncio.get_running_loop().time()

    assert run(main()) == pytest.approx(rate, rel=0.03)


def test_sleeps_that_last_too_long_do_not_lower_the_rate() -> None:
    async def main() -> float:
        async def oversleep(seconds: float) -> None:
            await asyncio.sleep(seconds + 0.015)

        throttle = BandwidthLimit(1e6, sleep=oversleep)
        for _ in range(500):
            await throttle.acquire(10_000)
        return 5e6 / asyncio.get_running_loop().time()

    assert run(main()) == pytest.approx(1e6, rel=0.03)
