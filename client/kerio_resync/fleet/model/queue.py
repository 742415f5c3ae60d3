"""The server's queue: how long webmail users wait beside the clients' calls.

A fluid has no tail: it says how much of the server is left, not how long one user in twenty waits. So this one part is
simulated event by event: users come at random, clients keep a number of calls in flight, all wait in one queue for the
same workers (first come, first served), and the links let the next call through at their rate. Many combinations are
simulated side by side as vectors, with the same random numbers. The results are a table over (users' rate, calls in
flight, rate of the links), between which the fluid model interpolates.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import numpy as np

EVENTS: Final = 16_000  # per combination; the p95 of a busy queue then scatters by about 5 %
WARM_UP: Final = 0.1  # of the events, whose waits do not count
DEMANDS: Final = (0.02, 0.3, 0.5, 0.7, 0.85, 1.0, 1.3, 20.0)  # rate of the links, of what the server can do
_BLOCK: Final = 4096
_MIN_SPARE: Final = 0.02  # of the workers, that users leave to clients in any case
Array = Any  # numpy's arrays of floats


@dataclass(frozen=True)
class QueueTable:
    """What the server gives, and what users wait, on a grid.

    `rates`: users' requests per second. `flights`: calls in flight. `served`: calls per second, as a share of `spare`,
    by (rate, in flight, demand); `p95`: seconds that users wait, by the same. `spare`: calls per second that the server
    can serve beside the users, by rate. `alone`: the users' p95 without clients, by rate.
    """

    rates: Array
    flights: Array
    served: Array
    p95: Array
    spare: Array
    alone: Array

    def look_up(self, level: int, in_flight: float, demand: float) -> tuple[float, float]:
        """Return (calls served per second, users' p95 in seconds).

        `level`: index of the users' rate. `in_flight`: calls that the clients keep. `demand`: calls per second that
        links and clients would take from a server without a queue.
        """
        spare, alone = float(self.spare[level]), float(self.alone[level])
        if demand <= 0 or in_flight <= 0:
            return 0.0, alone
        share = demand / spare
        count = len(self.flights)
        flights = float(np.interp(math.log2(max(1.0, in_flight)), np.log2(self.flights), np.arange(count)))
        low = min(int(flights), count - 2)
        part = flights - low
        served, p95 = (
            (1 - part) * np.interp(share, DEMANDS, grid[level, low])
            + part * np.interp(share, DEMANDS, grid[level, low + 1])
            for grid in (self.served, self.p95)
        )
        if share < DEMANDS[0]:
            return demand, alone + (float(p95) - alone) * share / DEMANDS[0]
        served = min(float(served) * spare, demand)
        beyond = in_flight - float(self.flights[-1])
        if beyond > 0 and share > 1:
            p95 += beyond / served  # the longer queue is served at the same rate
        return served, max(alone, float(p95))


@lru_cache(maxsize=16)
def make_table(
    workers: int, rates: tuple[float, ...], service_s: float, call_s: float, events: int = EVENTS, seed: int = 1
) -> QueueTable:
    """Simulate the grid; equal arguments are simulated once.

    `rates`: users' requests per second, `service_s` and `call_s`: mean seconds that a user's request and a client's
    call occupy one of the `workers`; both are exponential.
    """
    users = np.asarray(rates, dtype=float)
    busy = np.minimum(users * service_s, workers * (1 - _MIN_SPARE))
    spare = (workers - busy) / call_s
    counts = np.array(sorted({1, 2, 4, max(1, workers // 2), workers, 2 * workers, max(64, 4 * workers)}))
    shape = (len(rates), len(counts), len(DEMANDS))
    levels, flights, shares = (axis.ravel() for axis in np.meshgrid(
        np.arange(len(rates)), counts, np.asarray(DEMANDS), indexing="ij"))  # fmt: skip
    arrive = busy[levels] / service_s if service_s else users[levels]
    served, p95 = _simulate(workers, arrive, service_s, flights, shares * spare[levels], call_s, events, seed)
    alone = np.array(
        [alone_p95(workers, rate, service_s) for rate in busy / service_s if service_s] or [0.0] * len(rates)
    )
    grid = np.maximum.accumulate(np.maximum.accumulate(p95.reshape(shape), axis=1), axis=2)
    return QueueTable(
        users, counts, (served / spare[levels]).reshape(shape), np.maximum(grid, alone[:, None, None]), spare, alone
    )


def alone_p95(workers: int, rate: float, service_s: float) -> float:
    """Return the p95 of the wait in a queue M/M/c, by Erlang's formula C."""
    offered = rate * service_s
    if offered <= 0:
        return 0.0
    if offered >= workers:
        return math.inf
    term, total = 1.0, 1.0
    for number in range(1, workers):
        term *= offered / number
        total += term
    last = term * offered / workers * workers / (workers - offered)
    waits = last / (total + last)
    return max(0.0, math.log(waits / 0.05) / ((workers - offered) / service_s)) if waits > 0 else 0.0


def _simulate(
    workers: int, users: Array, user_s: float, flights: Array, links: Array, call_s: float, events: int, seed: int
) -> tuple[Array, Array]:
    """Return calls served per second and users' p95, by combination.

    Arrivals are taken in order of time; each takes the worker that is free first. Where users are rare, probes with no
    work take their place, so that there are enough samples.
    """
    count, every = len(users), np.arange(len(users))
    probes = np.maximum(users, 0.3 * links.clip(max=workers / call_s) + 1e-9)
    is_real = users / probes
    free = np.zeros((count, workers))
    ready = np.where(np.arange(int(flights.max())) < flights[:, None], 0.0, np.inf)
    gate, next_user, calls = np.zeros(count), np.zeros(count), np.zeros(count)
    waits = np.full((events, count), np.nan, dtype=np.float32)
    warm, began = int(events * WARM_UP), np.zeros(count)
    for event, (work, gap, travel, chance) in enumerate(_draws(events, seed)):
        slot = ready.argmin(axis=1)
        call_at = np.maximum(ready[every, slot], gate)
        is_call = call_at < next_user
        now = np.where(is_call, call_at, next_user)
        worker = free.argmin(axis=1)
        begin = np.maximum(now, free[every, worker])
        real = is_call | (chance < is_real)
        done = begin + work * np.where(is_call, call_s, user_s)
        free[every, worker] = np.where(real, done, free[every, worker])
        gate = np.where(is_call, now + travel / links, gate)
        ready[every, slot] = np.where(is_call, done, ready[every, slot])
        next_user = np.where(is_call, next_user, next_user + gap / probes)
        if event == warm:
            began, calls = now, np.zeros(count)
        if event >= warm:
            waits[event] = np.where(is_call, np.nan, begin - now)
        calls += is_call
    seconds = np.maximum(now - began, 1e-9)
    return calls / seconds, np.nan_to_num(np.nanpercentile(waits[warm:], 95, axis=0))


def _draws(count: int, seed: int) -> Iterator[tuple[float, float, float, float]]:
    """Yield random numbers for each event.

    Factors of its work, of the gap to the next user, of the link; and a chance from 0 to 1.
    """
    rng = np.random.default_rng(seed)
    for begin in range(0, count, _BLOCK):
        size = min(_BLOCK, count - begin)
        yield from zip(*rng.exponential(size=(3, size)).tolist(), rng.random(size).tolist(), strict=True)
