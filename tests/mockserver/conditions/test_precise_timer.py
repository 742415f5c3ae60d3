"""The alarm rings near its instant, once, and only for the last setting."""

from __future__ import annotations

import asyncio
import math
import time

import pytest

from kerio_mockserver.conditions import precise_timer
from kerio_mockserver.conditions.precise_timer import PreciseTimer


@pytest.mark.parametrize("fine", [True, False])
async def test_timer_fires_at_the_last_instant_set(fine: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not fine:
        monkeypatch.setattr(precise_timer, "_CALLS", None)
    rung: asyncio.Queue[float] = asyncio.Queue()
    one = PreciseTimer(asyncio.get_running_loop(), lambda: rung.put_nowait(time.monotonic()))
    delays: list[float] = []
    async with asyncio.timeout(60):
        while not delays or min(delays) > 0.05:  # a busy machine may be late, but not always
            at = time.monotonic() + 0.02
            one.set(at - 0.015)
            one.set(at)
            delays.append(await rung.get() - at)
    assert min(delays) > -0.001
    one.set(time.monotonic() + 0.01)
    one.set(math.inf)
    await asyncio.sleep(0.03)
    assert rung.empty()
    one.set(0.0)
    async with asyncio.timeout(60):
        await rung.get()  # an instant that has passed rings at once
    one.close()
