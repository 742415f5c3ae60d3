"""Webmail users, and the waits of users and of the client's calls.

Users are drawn from the seed alone: arrivals and service times are the same in every run. Their waits without the
client are therefore computed for the same users beside the real waits, not estimated.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Iterator
from random import Random
from typing import Any, NamedTuple

from kerio_mockserver.conditions.histogram import LatencyHistogram
from kerio_mockserver.conditions.model import Spread, Users

_BLOCK = 256  # users drawn from one generator; seeding one per user would cost more than the queue itself


class Arrival(NamedTuple):
    """A user's call: seconds since the first user, and its service time."""

    at: float
    service_s: float


def arrivals(users: Users, seed: int | str) -> Iterator[Arrival]:
    """Yield the users' calls without end, as a function of the seed."""
    at = 0.0
    for block in itertools.count():
        rng = Random(f"{seed}/users/{block}")
        for _ in range(_BLOCK):
            at += rng.expovariate(users.per_second)
            yield Arrival(at, users.service_s * draw_service_times(users.spread, rng))


def draw_service_times(spread: Spread, rng: Random) -> float:
    """Yield factors around 1."""
    return rng.expovariate(1.0) if spread == "exponential" else 1.0


class BaselineWaits:
    """The users' waits without the client, by Kiefer and Wolfowitz' recursion."""

    def __init__(self, workers: int) -> None:
        self._free = [0.0] * workers
        self.waits = LatencyHistogram()
        self.responses = LatencyHistogram()

    def add(self, arrival: Arrival) -> None:
        """Add the next arrival."""
        begin = max(arrival.at, self._free[0])
        heapq.heapreplace(self._free, begin + arrival.service_s)
        self.waits.add(begin - arrival.at)
        self.responses.add(begin - arrival.at + arrival.service_s)


class LoadStats:
    """Counts since the last reset; times in seconds."""

    def __init__(self, workers: int) -> None:
        self.calls = LatencyHistogram()
        self.users = LatencyHistogram()
        self.responses = LatencyHistogram()
        self.alone = BaselineWaits(workers)
        self.refused = 0
        self.turned_away = 0
        self.in_pause = 0
        self.longest_queue = 0
        self.busy_s = 0.0

    def as_json(self) -> dict[str, Any]:
        """Return the counts as JSON values."""
        users = {"wait": self.users.as_json(), "response": self.responses.as_json(), "turned_away": self.turned_away}
        alone = {"wait": self.alone.waits.as_json(), "response": self.alone.responses.as_json()}
        return {
            "calls": {"wait": self.calls.as_json(), "refused": self.refused, "arrived_in_pause": self.in_pause},
            "users": users | {"without_client": alone},
            "longest_queue": self.longest_queue,
            "busy_s": self.busy_s,
        }
