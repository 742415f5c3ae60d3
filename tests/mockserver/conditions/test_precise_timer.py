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
    rung: list[float] = []
    one = PreciseTimer(asyncio.get_running_loop(), lambda: rung.append(time.monotonic()))
    at = time.monotonic() + 0.02
    one.set(at - 0.015)
    one.set(at)
    await asyncio.sleep(0.08)
    assert [round(late - at, 1) for late in rung] == [0.0]
    assert rung[0] > at - 0.001
    one.set(time.monotonic() + 0.01)
    one.set(math.inf)
    await asyncio.sleep(0.03)
    assert len(rung) == 1
    one.set(0.0)
    await asyncio.sleep(0.03)
    assert len(rung) == 2, "an instant that has passed rings at once"
    one.close()
