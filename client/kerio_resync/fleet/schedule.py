"""Chooses when each rebuild starts, within the limits and windows.

The planner simulates each window with the fluid model and starts a client whenever there is a place for it:

- at its site: a few clients at once, each with a `--bwlimit`, so that together they use the allowed share of the link;
- at the server: one more client must leave the webmail users' p95 within its limit, also under the highest load of
  webmail users until the client is expected to end.

Large mailboxes come first, because a late large one has no room before the window's end. Sites with more work per rate
of their link come first, because they take longest. Everything is deterministic.
"""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

import numpy as np

from kerio_resync.fleet.model.fluid import Flow, Rebuilds, Trace
from kerio_resync.fleet.model.server import ServerCurve
from kerio_resync.fleet.plan import Limits, Window

Array = Any
MIN_AT_ONCE: Final = 2  # clients at a site: the link is not idle while one of them starts or compares
MAX_STEP_SECONDS: Final = 60.0
MIN_SERVED: Final = 0.6  # of what the clients ask for; below it another client only slows the others down
RESERVE: Final = 0.9  # of the limit on waits: the lists of clients that start together make them a little longer
_STEPS_PER_WINDOW: Final = 4000


@dataclass(frozen=True)
class SitePlan:
    """How a site's link is shared.

    `links`: bytes per second. `at_once`: clients. `bwlimits`: of each of them, infinite if none is needed.
    """

    links: Array
    at_once: Array
    bwlimits: Array


@dataclass
class Schedule:
    """The window, start and end of each rebuild.

    `window`: its index, -1 for none. Times are seconds from `begin`.

    `traces`: one per window, with its index. `blocked`: the server had no place for a single client in any window.
    """

    begin: datetime
    window: Array
    start: Array
    end: Array
    traces: list[tuple[int, Trace]] = field(default_factory=list)
    blocked: bool = False


def share_sites(rebuilds: Rebuilds, links: Array, limits: Limits) -> SitePlan:
    """Decide how many clients run at once at each site, and the limit of each."""
    at_once, bwlimits = np.ones(len(links), dtype=np.int64), np.full(len(links), np.inf)
    for site, link in enumerate(links):
        own = rebuilds.own[rebuilds.site == site]
        if not len(own):
            continue
        allowed, usual = float(link) * limits.link_share, float(np.median(own))
        at_once[site] = max(1, min(len(own), max(MIN_AT_ONCE, -int(-allowed // usual))))
        if at_once[site] * float(own.max()) > allowed:
            bwlimits[site] = allowed // at_once[site]
    return SitePlan(links, at_once, bwlimits)


class Planner:
    """Plans rebuilds into windows; `zone` is that of the webmail users' day."""

    def __init__(
        self,
        rebuilds: Rebuilds,
        sites: SitePlan,
        curve: ServerCurve,
        limits: Limits,
        zone: ZoneInfo,
        uncertainty: float,
    ) -> None:
        self._rebuilds, self._sites, self._curve, self._limits = rebuilds, sites, curve, limits
        self._zone, self._margin = zone, 1.0 + uncertainty
        self._queues: list[list[tuple[float, int]]] = []
        for site in range(len(sites.links)):
            here = np.flatnonzero(rebuilds.site == site)
            self._queues.append(sorted(zip(rebuilds.wire[here].tolist(), here.tolist(), strict=True)))
        self._waiting = np.array([len(queue) for queue in self._queues])
        self._wire = np.array([sum(size for size, _ in queue) for queue in self._queues])
        count = len(sites.links)
        self._rate = np.array([
            min(float(sites.bwlimits[site]), float(np.median(own)) if len(own := rebuilds.own[rebuilds.site == site])
                else np.inf, float(sites.links[site]))
            for site in range(count)
        ])  # fmt: skip
        self._cost = rebuilds.mean_cost()
        self._fixed = float(rebuilds.fixed.max(initial=0.0))

    def plan(self, windows: Sequence[Window], now: datetime) -> Schedule:
        """Plan all windows in turn."""
        begin = windows[0].start
        count = len(self._rebuilds.wire)
        self._schedule = Schedule(begin, np.full(count, -1), np.full(count, np.nan), np.full(count, np.nan))
        self._schedule.blocked = count > 0
        for index, window in enumerate(windows):
            if not self._waiting.any():
                break
            first = max(window.start, now)
            self._run_window(index, (first - begin).total_seconds(), (window.end - begin).total_seconds())
        return self._schedule

    def _run_window(self, index: int, first: float, last: float) -> None:
        flow = Flow(self._rebuilds, self._curve, self._sites.links, self._sites.bwlimits)
        flow.now, trace = first, Trace()
        shortest = (last - first) / _STEPS_PER_WINDOW
        while flow.now < last - 1e-6:
            level = self._level(flow.now)
            flow.update(level)
            if self._admit(index, flow, last):
                flow.update(level)
            flow.record(trace, level)
            step = min(max(flow.next_change(), shortest), MAX_STEP_SECONDS, self._next_hour(flow.now), last - flow.now)
            if not len(flow.members):
                step = min(self._next_hour(flow.now), last - flow.now)
            ended, times = flow.advance(step)
            self._schedule.end[ended] = times
            if not len(flow.members) and not self._waiting.any():
                break
        flow.record(trace, self._level(flow.now))
        if self._return_late(index, flow, last) or self._schedule.window.max(initial=-1) >= index:
            self._schedule.traces.append((index, trace))

    def _admit(self, index: int, flow: Flow, last: float) -> bool:
        """Start clients as long as a site and the server have a place.

        Return whether any started.
        """
        closed = (self._waiting == 0) | (flow.at_site >= self._sites.at_once)
        demand = float((self._rate[self._rebuilds.site[flow.members]] * self._cost[flow.members]).sum())
        clients, served = len(flow.members), flow.served_share
        before = clients
        while not closed.all():
            urgency = np.where(closed, -1.0, self._wire / self._sites.links)
            site = int(urgency.argmax())
            chosen = self._largest_fitting(site, (last - flow.now) / self._margin, max(served, MIN_SERVED))
            if chosen is None:
                closed[site] = True
                continue
            place, seconds = chosen
            number = self._queues[site][place][1]
            more = self._rate[site] * float(self._cost[number])
            if not self._has_place(flow.now, seconds, clients + 1, demand + more):
                break
            self._take(site, place)
            flow.start(np.array([number]))
            self._schedule.window[number], self._schedule.start[number] = index, flow.now
            self._schedule.blocked = False
            clients, demand = clients + 1, demand + more
            closed[site] = not self._queues[site] or flow.at_site[site] >= self._sites.at_once[site]
        return clients > before

    def _largest_fitting(self, site: int, seconds: float, served: float) -> tuple[int, float] | None:
        """Return the largest mailbox that is done within `seconds`, and its time."""
        queue, rate = self._queues[site], self._rate[site] * served
        place = bisect.bisect_right(queue, ((seconds - self._fixed) * rate, len(self._rebuilds.wire))) - 1
        if place < 0:
            return None
        return place, self._fixed + queue[place][0] / rate

    def _has_place(self, now: float, seconds: float, clients: int, demand: float) -> bool:
        """Return whether the limits hold with so many clients, until the new one ends."""
        if self._curve.most_clients is not None and clients > self._curve.most_clients:
            return False
        hours = range(min(24, int((now % 3600 + seconds * self._margin) // 3600) + 1))
        for level in {self._level(now + 3600 * hour) for hour in hours}:
            served, p95 = self._curve.serve(level, clients, demand)
            if p95 > RESERVE * max(self._limits.users_p95 * self._curve.alone(level), self._limits.unnoticed_s):
                return False
            if clients > 1 and served < MIN_SERVED * demand:
                return False
        return True

    def _take(self, site: int, place: int) -> None:
        size, _ = self._queues[site].pop(place)
        self._waiting[site] -= 1
        self._wire[site] -= size

    def _return_late(self, index: int, flow: Flow, last: float) -> bool:
        """Return those to the queues whose latest likely end is after the window.

        Return whether there are any.
        """
        schedule = self._schedule
        here = schedule.window == index
        with np.errstate(invalid="ignore"):
            latest = schedule.start + (schedule.end - schedule.start) * self._margin
        late = np.flatnonzero(here & ~(latest <= last + 1.0))
        for number in late.tolist():
            site = int(self._rebuilds.site[number])
            bisect.insort(self._queues[site], (float(self._rebuilds.wire[number]), number))
            self._waiting[site] += 1
            self._wire[site] += float(self._rebuilds.wire[number])
        schedule.window[late], schedule.start[late], schedule.end[late] = -1, np.nan, np.nan
        return len(late) > 0

    def _level(self, seconds: float) -> int:
        instant = self._schedule.begin + timedelta(seconds=seconds)
        return self._curve.level_of[instant.astimezone(self._zone).hour]

    def _next_hour(self, seconds: float) -> float:
        local = (self._schedule.begin + timedelta(seconds=seconds)).astimezone(self._zone)
        return 3600.0 - (local.minute * 60 + local.second + local.microsecond / 1e6) + 1e-6
