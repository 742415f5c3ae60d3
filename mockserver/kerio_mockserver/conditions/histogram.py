"""A histogram of latencies.

Counts in narrow classes, so that a million samples need no more memory than a few.

Mean and maximum are exact; a percentile is exact within one class (2 %), and 0 if nothing waited.
"""

from __future__ import annotations

import math
from typing import Any

_FINEST = 1e-5  # seconds
_WIDTH = math.log(1.02)
_SHOWN = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0)


class LatencyHistogram:
    """A histogram of times in seconds."""

    def __init__(self) -> None:
        self.count = 0
        self.total = 0.0
        self.longest = 0.0
        self._classes: dict[int, int] = {}

    def add(self, seconds: float) -> None:
        """Add one time."""
        self.count += 1
        self.total += seconds
        self.longest = max(self.longest, seconds)
        index = 0 if seconds < _FINEST else 1 + int(math.log(seconds / _FINEST) / _WIDTH)
        self._classes[index] = self._classes.get(index, 0) + 1

    def copy(self) -> LatencyHistogram:
        """Return the present state."""
        state = LatencyHistogram()
        state.count, state.total, state.longest = self.count, self.total, self.longest
        state._classes = dict(self._classes)
        return state

    def since(self, earlier: LatencyHistogram) -> LatencyHistogram:
        """Return the times added after `earlier`, a copy of this histogram.

        Its maximum is that of all times.
        """
        added = LatencyHistogram()
        added.count, added.total, added.longest = self.count - earlier.count, self.total - earlier.total, self.longest
        counts = ((index, number - earlier._classes.get(index, 0)) for index, number in self._classes.items())
        added._classes = {index: number for index, number in counts if number}
        return added

    @property
    def mean(self) -> float:
        """The mean in seconds, 0 without samples."""
        return self.total / self.count if self.count else 0.0

    def percentile(self, share: float) -> float:
        """Return the time that a `share` (0 to 1) of the samples does not exceed."""
        wanted = share * self.count
        seen = 0
        for index in sorted(self._classes):
            seen += self._classes[index]
            if seen >= wanted:
                return min(_edge(index), self.longest)
        return 0.0

    def as_json(self) -> dict[str, Any]:
        """count, mean, p50, p95, p99, max (seconds) and how many took at most how long."""
        return {
            "count": self.count,
            "mean": self.mean,
            "p50": self.percentile(0.50),
            "p95": self.percentile(0.95),
            "p99": self.percentile(0.99),
            "max": self.longest,
            "at_most": {f"{edge:g}": self._at_most(edge) for edge in _SHOWN} | {"inf": self.count},
        }

    def _at_most(self, seconds: float) -> int:
        return sum(number for index, number in self._classes.items() if _edge(index) <= seconds * 1.02)


def _edge(index: int) -> float:
    return 0.0 if index == 0 else _FINEST * math.exp(index * _WIDTH)
