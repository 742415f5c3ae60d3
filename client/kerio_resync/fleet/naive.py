"""What would happen without a plan.

All clients start at 08:00 of a working morning, without limits.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

import numpy as np

from kerio_resync.fleet.model.fluid import Flow, Rebuilds, Trace
from kerio_resync.fleet.model.server import ServerCurve
from kerio_resync.fleet.plan import Limits, NaiveStart
from kerio_resync.fleet.series import make_series, seconds_where

Array = Any
HORIZON_SECONDS: Final = 7 * 86_400.0
FULL: Final = 0.98  # of a link
SHORTEST_STEP_SECONDS: Final = 0.05
GROWTH: Final = 0.01  # of the time so far: the shortest step, so that a long crowd costs few of them


def run_naive(
    rebuilds: Rebuilds, curve: ServerCurve, links: Array, start: datetime, zone: ZoneInfo
) -> tuple[Trace, Array]:
    """Start all rebuilds at once.

    Return the trace and the seconds of each (NaN: not done within a week).
    """
    flow, trace = Flow(rebuilds, curve, links, np.full(len(links), np.inf)), Trace()
    seconds = np.full(len(rebuilds.wire), np.nan)
    flow.start(np.arange(len(rebuilds.wire)))
    while len(flow.members) and flow.now < HORIZON_SECONDS:
        local = (start + timedelta(seconds=flow.now)).astimezone(zone)
        level = curve.level_of[local.hour]
        flow.update(level)
        flow.record(trace, level)
        hour = 3600.0 - (local.minute * 60 + local.second + local.microsecond / 1e6) + 1e-6
        least = SHORTEST_STEP_SECONDS + flow.now * GROWTH
        ended, times = flow.advance(min(max(flow.next_change(), least), hour))
        seconds[ended] = times
    flow.update(curve.level_of[(start + timedelta(seconds=flow.now)).astimezone(zone).hour])
    flow.record(trace, curve.level_of[(start + timedelta(seconds=flow.now)).astimezone(zone).hour])
    return trace, seconds


def naive_start(
    rebuilds: Rebuilds,
    curve: ServerCurve,
    links: Array,
    names: Sequence[str],
    start: datetime,
    zone: ZoneInfo,
    limits: Limits,
) -> NaiveStart:
    """Return what the naive start does to users, server and links."""
    trace, seconds = run_naive(rebuilds, curve, links, start, zone)
    done = seconds[~np.isnan(seconds)]
    unfinished = len(seconds) - len(done)
    p95, alone = np.asarray(trace.p95), np.asarray(trace.alone)
    over = p95 > np.maximum(limits.users_p95 * alone, limits.unnoticed_s) + 1e-9
    rates = np.asarray(trace.links)
    full = {name: seconds_where(trace, rates[:, site] >= FULL * links[site]) for site, name in enumerate(names)}
    slowest = float(done.max()) if not unfinished and len(done) else HORIZON_SECONDS
    return NaiveStart(
        start=start,
        end=None if unfinished else start + timedelta(seconds=slowest),
        unfinished=unfinished,
        median_s=round(float(np.median(np.where(np.isnan(seconds), HORIZON_SECONDS, seconds))), 1),
        slowest_s=round(slowest, 1),
        worst_p95_s=round(float(p95.max()), 4),
        over_limit_s=round(seconds_where(trace, over), 1),
        links_full_s={name: round(value, 1) for name, value in full.items()},
        series=make_series(trace, start, names, links),
    )
