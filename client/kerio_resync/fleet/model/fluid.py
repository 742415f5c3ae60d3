"""The fluid model: rebuilds flow through their site's link and the server.

Between two events nothing changes but the volumes, which shrink at constant rates. An event is the start or the end of
a client, the end of an hour (webmail users), or the longest step. Rates follow from sharing:

- The clients at a site share its link evenly, each up to its own limit: `--bwlimit`, its processor, its window over the
  round trip.
- If the server cannot give what the links would take, each waiting client gets the same number of turns: its limiter
  keeps as many requests in flight as the others'.
- The server's total and the webmail users' p95 come from the server's curve, which has the limiters' effect.

A client's first seconds (start, login) take a fixed time and no capacity. Then it lists its folders, fetches, and lists
them again to compare: the lists are many small calls that load the server and hardly the link, so a crowd that starts
together waits for the server first.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from kerio_resync.fleet.model.server import ServerCurve

Array = Any
SHARING_TURNS: Final = 30


@dataclass(frozen=True)
class Rebuilds:
    """The rebuilds to simulate, one element each.

    `site`: index. `wire`: bytes. `cost`, `turns`: per byte, of the server. `own`: bytes per second that the client can
    take at most. `fixed`: its first seconds. `lists`: bytes of the lists at each end, part of `wire`; `list_cost`,
    `list_turns` and `list_own` apply to these.
    """

    site: Array
    wire: Array
    cost: Array
    turns: Array
    own: Array
    fixed: Array
    lists: Array
    list_cost: Array
    list_turns: Array
    list_own: Array

    def mean_cost(self) -> Array:
        """Return the cost per byte over a whole rebuild."""
        return (self.cost * (self.wire - 2 * self.lists) + self.list_cost * 2 * self.lists) / self.wire


@dataclass
class Trace:
    """The samples of a simulation: one row per step, and what a series needs of it.

    `at`: the begin of each step, in seconds from the simulation's begin. `links`: bytes per second by site.
    """

    at: list[float] = field(default_factory=list)
    active: list[float] = field(default_factory=list)
    load: list[float] = field(default_factory=list)
    webmail: list[float] = field(default_factory=list)
    p95: list[float] = field(default_factory=list)
    alone: list[float] = field(default_factory=list)
    links: list[Array] = field(default_factory=list)


class Flow:
    """Clients that rebuild at present, and their rates."""

    def __init__(self, rebuilds: Rebuilds, curve: ServerCurve, links: Array, bwlimits: Array) -> None:
        self.rebuilds, self.curve, self.links, self.bwlimits = rebuilds, curve, links, bwlimits
        self.now = 0.0
        self.members = np.empty(0, dtype=np.int64)
        self.left = np.empty(0)
        self.wait = np.empty(0)  # seconds until a client fetches
        self.rates = np.empty(0)
        self.at_site = np.zeros(len(links), dtype=np.int64)
        self.p95 = self.served_share = 0.0
        self.served = 0.0

    def start(self, members: Array) -> None:
        """Add clients."""
        self.members = np.concatenate((self.members, members))
        self.left = np.concatenate((self.left, self.rebuilds.wire[members]))
        self.wait = np.concatenate((self.wait, self.rebuilds.fixed[members]))
        np.add.at(self.at_site, self.rebuilds.site[members], 1)

    def demands(self) -> Array:
        """Return the rate of each client without the server's limit, in bytes per second."""
        site, fetching = self.rebuilds.site[self.members], self.wait <= 0
        own = np.where(self.listing(), self.rebuilds.list_own[self.members], self.rebuilds.own[self.members])
        own = np.minimum(own, self.bwlimits[site])
        return np.where(fetching, _share_links(own, site, fetching, self.links), 0.0)

    def update(self, level: int) -> None:
        """Compute the rates under a level of webmail load."""
        wanted = self.demands()
        listing, here = self.listing(), self.members
        cost = np.where(listing, self.rebuilds.list_cost[here], self.rebuilds.cost[here])
        turns = np.where(listing, self.rebuilds.list_turns[here], self.rebuilds.turns[here])
        demand = float((wanted * cost).sum())
        mean = demand / max(float((wanted * turns).sum()), 1e-12)
        begun = float((wanted > 0)[self._first_lists()].sum())
        self.served, self.p95 = self.curve.serve(level, float((wanted > 0).sum()), demand, mean, begun)
        self.served_share = self.served / demand if demand > 0 else 1.0
        self.rates = wanted if self.served_share > 0.999 else _share_server(wanted, cost, turns, self.served)

    def listing(self) -> Array:
        """Return which clients list their folders, at the beginning or at the end."""
        return self._first_lists() | (self.left <= self.rebuilds.lists[self.members])

    def _first_lists(self) -> Array:
        return self.left > self.rebuilds.wire[self.members] - self.rebuilds.lists[self.members]

    def next_change(self) -> float:
        """Return the seconds until a client ends or changes its stage.

        The stages are the start, the first lists, the fetch and the last lists.
        """
        lists, wire = self.rebuilds.lists[self.members], self.rebuilds.wire[self.members]
        goal = np.where(self.left > wire - lists, wire - lists, np.where(self.left > lists, lists, 0.0))
        with np.errstate(divide="ignore", invalid="ignore"):
            ends = np.where(self.rates > 0, (self.left - goal) / self.rates * (1 + 1e-9) + 1e-9, np.inf)
        waits = np.where(self.wait > 0, self.wait, np.inf)
        return float(min(ends.min(initial=np.inf), waits.min(initial=np.inf)))

    def advance(self, seconds: float) -> tuple[Array, Array]:
        """Let time pass; return (clients that ended, when).

        Several may end within a step; each at its own time.
        """
        with np.errstate(divide="ignore", invalid="ignore"):
            ends = np.where(self.rates > 0, self.left / self.rates, np.where(self.left <= 0, 0.0, np.inf))
        done = (ends <= seconds * (1 + 1e-9)) & (self.wait <= 0)
        ended, times = self.members[done], self.now + ends[done]
        np.subtract.at(self.at_site, self.rebuilds.site[ended], 1)
        keep = ~done
        self.left = np.maximum(self.left - self.rates * seconds, 0.0)[keep]
        self.wait = np.maximum(self.wait - seconds, 0.0)[keep]
        self.wait[self.wait < 1e-9] = 0.0
        self.members, self.rates = self.members[keep], self.rates[keep]
        self.now += seconds
        return ended, times

    def record(self, trace: Trace, level: int) -> None:
        """Add a row for the step that begins now."""
        load, webmail = self.curve.load(level, self.served)
        trace.at.append(self.now)
        trace.active.append(float(len(self.members)))
        trace.load.append(load)
        trace.webmail.append(webmail)
        trace.p95.append(self.p95)
        trace.alone.append(self.curve.alone(level))
        trace.links.append(np.bincount(self.rebuilds.site[self.members], self.rates, len(self.links)))


def _share_links(own: Array, site: Array, fetching: Array, links: Array) -> Array:
    """Share each site's link evenly among its clients, each up to its own limit.

    The level of a crowded link grows as the clients below it leave their part to the others; it settles in a few turns.
    """
    own = np.where(fetching, own, 0.0)
    crowded = np.bincount(site, own, len(links)) > links
    if not crowded.any():
        return own
    count = np.bincount(site, fetching, len(links))
    level = np.where(crowded, links / np.maximum(count, 1), np.inf)
    for _ in range(SHARING_TURNS):
        below = fetching & (own <= level[site])
        used = np.bincount(site, np.where(below, own, 0.0), len(links))
        others = count - np.bincount(site, below, len(links))
        new = np.where(crowded & (others > 0), (links - used) / np.maximum(others, 1), level)
        if np.array_equal(new, level):
            break
        level = new
    return np.minimum(own, level[site])


def _share_server(wanted: Array, cost: Array, turns: Array, served: float) -> Array:
    """Share what the server gives: the same number of turns to all who wait for it."""
    with np.errstate(divide="ignore", invalid="ignore"):
        filled = water_fill(wanted * turns, np.where(turns > 0, cost / turns, 0.0), served)
        return np.where(turns > 0, filled / turns, 0.0)


def water_fill(limits: Array, weights: Array, total: float) -> Array:
    """Return equal values whose weighted sum is `total`, each at most its limit.

    If all limits together stay below it, they are returned.
    """
    if float((limits * weights).sum()) <= total:
        return limits
    order = np.argsort(limits, kind="stable")
    sizes, heavy = limits[order], weights[order]
    below = np.concatenate(([0.0], np.cumsum(sizes * heavy)[:-1]))  # of all smaller ones
    above = np.cumsum(heavy[::-1])[::-1]  # weights from here on
    level_here = below + sizes * above  # the sum if this one were the level
    place = int(np.searchsorted(level_here, total))
    if place >= len(sizes):
        return limits
    return np.minimum(limits, max(0.0, (total - below[place]) / above[place]))
