"""One sample per second of the last 15 minutes, for the control page.

A sample has what happened in its second (requests by method, bytes, errors by kind) and the state at its end (requests
in flight, workers busy, queue). The users' p50 and p95 are those of the last `WINDOW_SECONDS`; the figures since the
last reset, which benchmarks report, are in `totals`. Sampling starts with the control server and costs less than 1 ms
a second.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from typing import Any

from kerio_mockserver.conditions.histogram import LatencyHistogram
from kerio_mockserver.server import MockServer

SAMPLE_SECONDS = 1.0
KEPT_SAMPLES = 900
WINDOW_SECONDS = 10
_TOO_LATE = 5  # seconds; after a longer pause, as of a suspended machine, no samples are made up for the time between

Traffic = Callable[[], tuple[int, int]]
"""Returns the bytes sent to clients, and those received from them, since the last reset."""


class History:
    """The samples of a server; `number` counts all samples ever made."""

    def __init__(self, core: MockServer, traffic: Traffic) -> None:
        self._core = core
        self._traffic = traffic
        self._samples: deque[dict[str, Any]] = deque(maxlen=KEPT_SAMPLES)
        self._waits: deque[LatencyHistogram] = deque(maxlen=WINDOW_SECONDS)
        self._counted = _Counts(core, traffic)
        self.number = 0

    async def run(self) -> None:
        """Take a sample every second until cancelled."""
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            due += SAMPLE_SECONDS
            if loop.time() - due > _TOO_LATE:
                due = loop.time()
            await asyncio.sleep(due - loop.time())
            self.take_sample()

    def take_sample(self) -> None:
        """Add the sample of the time since the previous one."""
        core = self._core
        now = _Counts(core, self._traffic)
        before, self._counted = self._counted, now
        recent = self._recent_waits(core.load.tally.users)
        self.number += 1
        self._samples.append(
            {
                "number": self.number,
                "time": round(time.time(), 3),
                "seconds": max(now.clock - before.clock, 1e-3),
                "requests": _added(now.requests, before.requests),
                "errors": _added(now.errors, before.errors),
                "statuses": _added(now.statuses, before.statuses),
                "faults": _added(now.faults, before.faults),
                "down_bytes": _increase(now.traffic[0], before.traffic[0]),
                "up_bytes": _increase(now.traffic[1], before.traffic[1]),
                "in_flight": core.stats.in_flight,
                "workers": core.load.load.workers if core.load.load else None,
                "busy": core.load.busy,
                "queue": core.load.queued,
                "users": {"count": recent.count, "p50": recent.percentile(0.50), "p95": recent.percentile(0.95)},
                "users_p95": core.load.tally.users.percentile(0.95),
                "users_p95_without_client": core.load.tally.alone.waits.percentile(0.95),
            }
        )

    def _recent_waits(self, waits: LatencyHistogram) -> LatencyHistogram:
        """Return the users' waits of the window, or those since a reset within it."""
        if self._waits and self._waits[-1].count > waits.count:
            self._waits.clear()
        recent = waits.since(self._waits[0]) if self._waits else waits.copy()
        self._waits.append(waits.copy())
        return recent

    def after(self, number: int) -> list[dict[str, Any]]:
        """Return the kept samples after sample `number`, oldest first."""
        newer = min(max(self.number - number, 0), len(self._samples))
        return list(self._samples)[len(self._samples) - newer :]

    def totals(self) -> dict[str, Any]:
        """Return the figures since the last reset, equal to those of `/stats`."""
        core, tally = self._core, self._core.load.tally
        down, up = self._traffic()
        waits, alone = tally.users, tally.alone.waits
        return {
            "requests": core.stats.requests.total(),
            "errors": dict(core.stats.errors),
            "statuses": {str(status): count for status, count in core.stats.statuses.items()},
            "faults": dict(core.faults.by_kind),
            "down_bytes": down,
            "up_bytes": up,
            "sessions": len(core.sessions),
            "watermark": core.store.journal.watermark,
            "mistakes": len(core.stats.internal_errors),
            "calls_refused": tally.refused,
            "calls_arrived_in_pause": tally.in_pause,
            "users": {
                "count": waits.count,
                "turned_away": tally.turned_away,
                "p50": waits.percentile(0.50),
                "p95": waits.percentile(0.95),
                "p95_without_client": alone.percentile(0.95),
            },
        }


class _Counts:
    """The server's counts at one time."""

    def __init__(self, core: MockServer, traffic: Traffic) -> None:
        self.clock = time.monotonic()
        self.requests = core.stats.requests.copy()
        self.errors = core.stats.errors.copy()
        self.statuses = Counter({str(status): count for status, count in core.stats.statuses.items()})
        self.faults = core.faults.by_kind.copy()
        self.traffic = traffic()


def _added(now: Mapping[str, int], before: Mapping[str, int]) -> dict[str, int]:
    """Return what was added to each count; a reset within the second sets it to 0."""
    changes = ((name, _increase(count, before.get(name, 0))) for name, count in now.items())
    return {name: change for name, change in changes if change}


def _increase(now: int, before: int) -> int:
    return now - before if now >= before else now
