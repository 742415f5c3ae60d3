"""What the server gives to a number of clients, and what its webmail users feel.

Two models with one interface.

`QueueServer` computes it from workers and service times; `MeasuredServer` reads it from a capacity file. Costs are in a
unit of the model's own: seconds of a worker, or bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Protocol

import numpy as np

from kerio_resync.fleet.capacity import Capacity
from kerio_resync.fleet.inputs.settings import PlanSettings
from kerio_resync.fleet.model.queue import EVENTS, make_table
from kerio_resync.server.pacing.adaptive_limit import INITIAL_IN_FLIGHT

# What the client's adaptive limit keeps in flight on a busy server. Alone it holds the delay at 1.2 times that of two
# requests; several clients each see the others' queue as the base. Measured in virtual time with 1, 4 and 8 clients
# (docs/fleet.md).
ALONE_IN_FLIGHT: Final = 2.6
IN_FLIGHT: Final = 4.5
MAX_IN_FLIGHT: Final = 32  # 16 tasks for items and 16 for attachments
TARGET_RATIO: Final = 1.2  # of the limit: it fills free workers, and a little more
Array = Any


class ServerCurve(Protocol):
    """A server under the load of clients.

    `level_of`: its level of webmail load for each hour of the day; a higher level is a higher load. `most_clients`:
    more than so many were not measured, None for any number. `has_waits`: it knows the users' waits.
    """

    level_of: tuple[int, ...]
    most_clients: int | None
    has_waits: bool

    def cost(self, wire: Array, calls: Array) -> tuple[Array, Array]:
        """Return (cost per byte, turns per byte) of rebuilds.

        `wire`: their bytes. `calls`: their requests.

        Clients that wait for the server get the same number of turns per second.
        """
        ...

    def serve(
        self, level: int, clients: float, demand: float, mean: float = 0.0, begun: float = 0.0
    ) -> tuple[float, float]:
        """Return (what is served of `demand`, the users' p95 wait).

        The first is in cost per second, the second in seconds.

        `mean`: cost of a request at present; 0 for the usual one. `begun`: clients that are new, whose limits have not
        adapted to the server yet.
        """
        ...

    def alone(self, level: int) -> float:
        """Return the users' p95 wait without clients, in seconds."""
        ...

    def load(self, level: int, served: float) -> tuple[float, float]:
        """Return the shares of the server in use.

        The first is that by users and clients, the second by users alone.
        """
        ...


class QueueServer:
    """A server with workers and one queue."""

    def __init__(self, settings: PlanSettings, mean_call_bytes: float, hours: Sequence[int]) -> None:
        server = settings.server
        self.most_clients: int | None = None
        self.has_waits = True
        self._workers, self._places = server.workers, server.places
        self._call_s, self._kb_s = server.call_s, server.kb_s
        self._mean_call_s = max(1e-6, server.call_s + server.kb_s * mean_call_bytes / 1000)
        self._service_s = server.webmail.service_s
        day = server.webmail.by_hour()
        rates = tuple(sorted({day[hour] for hour in hours}))
        if len(rates) > _MAX_LEVELS:
            rates = tuple(float(rate) for rate in np.linspace(rates[0], rates[-1], _MAX_LEVELS))
        self._table = make_table(server.workers, rates, server.webmail.service_s, self._mean_call_s, EVENTS)
        # between two levels the higher one counts
        self.level_of = tuple(min(int(np.searchsorted(rates, rate - 1e-9)), len(rates) - 1) for rate in day)

    def cost(self, wire: Array, calls: Array) -> tuple[Array, Array]:
        """Return worker seconds per byte, and calls per byte."""
        return self._kb_s / 1000 + self._call_s * calls / wire, calls / wire

    def serve(
        self, level: int, clients: float, demand: float, mean: float = 0.0, begun: float = 0.0
    ) -> tuple[float, float]:
        """Look up what the queue serves, and what the users wait.

        Shorter calls make shorter queues.
        """
        calls = demand / self._mean_call_s
        in_flight = self._in_flight(level, clients, calls)
        if begun:
            kept = in_flight * (1 - begun / clients) + INITIAL_IN_FLIGHT * begun
            in_flight = max(in_flight, kept if self._places is None else min(kept, self._places + self._workers))
        served, p95 = self._table.look_up(level, in_flight, calls)
        alone = float(self._table.alone[level])
        return served * self._mean_call_s, alone + (p95 - alone) * (mean / self._mean_call_s if mean else 1.0)

    def _in_flight(self, level: int, clients: float, calls: float) -> float:
        """Return the requests that the clients' limits keep in flight.

        The less the links take of what the server can give, the shorter its queue, and the further the limits grow.
        """
        spare = float(self._table.spare[level])
        kept = ALONE_IN_FLIGHT * clients if clients <= 1 else IN_FLIGHT * clients
        kept *= max(1.0, spare / max(calls, 1e-9))
        kept = min(MAX_IN_FLIGHT * clients, max(kept, TARGET_RATIO * spare * self._mean_call_s))
        return kept if self._places is None else min(kept, self._places + self._workers)

    def alone(self, level: int) -> float:
        """Return the users' p95 by Erlang's formula."""
        return float(self._table.alone[level])

    def load(self, level: int, served: float) -> tuple[float, float]:
        """Return the workers' shares."""
        users = float(self._table.rates[level]) * self._service_s / self._workers
        return min(1.0, users + served / self._workers), min(1.0, users)


_MAX_LEVELS: Final = 4  # of webmail load; more hours with other loads are rounded up to one of them


class MeasuredServer:
    """A server whose capacity was measured by `fleet measure`.

    Between two points it is interpolated; beyond the last one the total stays and waits grow with the clients. The
    webmail users' load is that of the time of the measurement, at every hour.
    """

    def __init__(self, capacity: Capacity) -> None:
        points = sorted(capacity.points, key=lambda point: point.clients)
        self.level_of: tuple[int, ...] = (0,) * 24
        self.most_clients: int | None = points[-1].clients
        self._clients = np.array([0.0, *(point.clients for point in points)])
        self._totals = np.maximum.accumulate(np.array([0.0, *(point.bytes_per_s for point in points)]))
        waits = [point.users_p95_s if point.users_p95_s is not None else point.probe_p95_s for point in points]
        alone = capacity.users_alone_p95_s if capacity.users_alone_p95_s is not None else capacity.probe_alone_p95_s
        known = [wait for wait in waits if wait is not None]
        self.has_waits = bool(known) and len(known) == len(waits)
        self._alone = (alone if alone is not None else min(known)) if self.has_waits else 0.0
        waits_known = [float(wait or 0.0) for wait in waits] if self.has_waits else [0.0] * len(points)
        self._waits = np.maximum.accumulate(np.array([self._alone, *waits_known]))

    def cost(self, wire: Array, calls: Array) -> tuple[Array, Array]:
        """Return 1 per byte for both: the measurement knows bytes only."""
        return np.ones_like(wire), np.ones_like(wire)

    def serve(
        self, level: int, clients: float, demand: float, mean: float = 0.0, begun: float = 0.0
    ) -> tuple[float, float]:
        """Interpolate the measured totals and waits."""
        total = float(np.interp(clients, self._clients, self._totals))
        served = min(demand, total)
        # what links hold back loads the server as fewer clients would
        like = float(np.interp(served, self._totals, self._clients)) if served < total else clients
        wait = float(np.interp(like, self._clients, self._waits))
        if like > self._clients[-1] and self.has_waits:
            wait += (self._waits[-1] - self._alone) * (like / self._clients[-1] - 1)
        return served, wait

    def alone(self, level: int) -> float:
        """Return the p95 before the first client."""
        return float(self._alone)

    def load(self, level: int, served: float) -> tuple[float, float]:
        """Return the share of the highest total that was measured."""
        return min(1.0, served / max(float(self._totals[-1]), 1.0)), 0.0
