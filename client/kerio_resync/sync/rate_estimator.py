"""Estimates the rate of a growing counter from its latest samples.

Pure: the caller passes the time.

The rate is the increase over the second half of the time so far, at most MAX_WINDOW_SECONDS: how a transfer starts
says little about how it continues. When the latest fifth is clearly faster, earlier samples are dropped.
"""

from __future__ import annotations

from collections import deque
from typing import Final

MAX_WINDOW_SECONDS: Final = 20.0
MIN_WINDOW_SECONDS: Final = 1.0
WINDOW_SHARE: Final = 0.5  # of the time so far
RECENT_SHARE: Final = 0.2  # of the time so far; compared with the window to see whether the rate has risen
RISING_RATIO: Final = 1.2  # recent rate over the window's rate from which the rate counts as risen


class RateEstimator:
    """The rate of one counter.

    `started`: the time, in seconds, at which the counter began to grow.
    """

    def __init__(self, started: float) -> None:
        self._started = started
        self._samples: deque[tuple[float, float]] = deque()

    def add(self, now: float, value: float) -> None:
        """Record the counter's `value` at `now` (seconds)."""
        self._samples.append((now, value))
        elapsed = now - self._started
        self._drop_before(now - min(MAX_WINDOW_SECONDS, max(MIN_WINDOW_SECONDS, elapsed * WINDOW_SHARE)))
        recent = now - max(MIN_WINDOW_SECONDS, elapsed * RECENT_SHARE)
        if self._rate_since(recent) > RISING_RATIO * self.rate:
            self._drop_before(recent)

    def reset(self) -> None:
        """Drop all samples: the counter will grow at another rate from now on."""
        self._samples.clear()

    @property
    def rate(self) -> float:
        """Units per second; 0 before the second sample."""
        return self._rate_since(float("-inf"))

    def seconds_left(self, remaining: float) -> float | None:
        """Seconds until the counter has grown by `remaining`; None while the rate is 0."""
        return remaining / self.rate if self.rate > 0 else None

    def is_steady(self, seconds: float = MIN_WINDOW_SECONDS) -> bool:
        """Return whether the counter grows at a steady rate.

        In the second half of the last `seconds` it grows no faster than in all of them.
        """
        if not self._samples:
            return False
        now = self._samples[-1][0]
        if now - self._samples[0][0] < seconds:
            return False
        return 0 < self._rate_since(now - seconds / 2) <= RISING_RATIO * self._rate_since(now - seconds)

    def _rate_since(self, since: float) -> float:
        """Return the rate from the time `since` to the latest sample.

        It begins with the last sample at or before `since`, or the first one.
        """
        if not self._samples:
            return 0.0
        first, last = self._samples[0], self._samples[-1]
        for sample in reversed(self._samples):
            if sample[0] <= since:
                first = sample
                break
        return (last[1] - first[1]) / (last[0] - first[0]) if last[0] > first[0] else 0.0

    def _drop_before(self, start: float) -> None:
        """Keep the samples from `start` on, and the one before them."""
        while len(self._samples) > 2 and self._samples[1][0] <= start:
            self._samples.popleft()
