"""Records the events of a run in bounded memory, for its report page.

Times are seconds since the first event. If there are too many samples, every second one is dropped, so a run of any
length keeps its shape.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from kerio_resync.events import (
    Event,
    FolderListed,
    Notice,
    Paused,
    PhaseChanged,
    Progress,
    Retrying,
    RunFinished,
    RunStarted,
    Skipped,
)

MAX_SAMPLES: Final = 600  # of a series
MAX_ENTRIES: Final = 100  # of a list whose further entries are only counted
MAX_PHASES: Final = 1000
RATE_POINTS: Final = 150
MAX_FOLDERS: Final = 20_000
OTHERS: Final = ("", "other reasons")


class Sample(NamedTuple):
    """The state of the run at one time.

    `fetched`: bytes in this run. `in_flight`: the most requests since the sample before. `predicted`: seconds from the
    start to the end, None if there was no estimate.
    """

    at: float
    fetched: int
    in_flight: int
    items: int
    predicted: float | None


@dataclass(slots=True)
class Buckets:
    """Sums over time, in at most MAX_SAMPLES buckets of `width` seconds."""

    width: float = 0.25
    sums: dict[int, float] = field(default_factory=dict)

    def add(self, at: float, amount: float) -> None:
        """Add an amount at a time; the buckets are widened until it fits."""
        while at >= self.width * MAX_SAMPLES:
            wider: dict[int, float] = {}
            for number, total in self.sums.items():
                wider[number // 2] = wider.get(number // 2, 0.0) + total
            self.width, self.sums = self.width * 2, wider
        number = int(at / self.width)
        self.sums[number] = self.sums.get(number, 0.0) + amount

    def columns(self) -> Iterator[tuple[float, float, float]]:
        """Yield (start, width, sum) of each bucket that has something."""
        for number, total in sorted(self.sums.items()):
            yield number * self.width, self.width, total


@dataclass(slots=True)
class RunSeries:
    """A listener that records a run. `clock` returns seconds."""

    clock: Callable[[], float] = time.monotonic
    started: RunStarted | None = None
    finished: RunFinished | None = None
    ended: float = 0.0
    phases: list[tuple[str, float]] = field(default_factory=list)  # phase, its start
    samples: list[Sample] = field(default_factory=list)
    last: Progress | None = None
    retries: Buckets = field(default_factory=Buckets)
    reasons: Counter[tuple[str, str]] = field(default_factory=Counter)  # of (method, reason)
    waited: float = 0.0  # seconds, of all retries together
    pauses: list[tuple[float, float, str]] = field(default_factory=list)  # start, seconds, reason
    pause_count: int = 0
    paused: float = 0.0
    skipped: list[Skipped] = field(default_factory=list)
    skipped_count: int = 0
    notices: list[str] = field(default_factory=list)
    listed: dict[str, tuple[int, float]] = field(default_factory=dict)  # folder id → items, time
    _origin: float | None = None
    _fetched: int = 0
    _peak: int = 0
    _spacing: int = 1
    _dropped: int = 0

    def __call__(self, event: Event) -> None:
        """Record one event."""
        now = self.clock()
        if self._origin is None:
            self._origin = now
        at = now - self._origin
        match event:
            case Progress():
                self._sample(event, at)
            case PhaseChanged() if len(self.phases) < MAX_PHASES:
                self.phases.append((event.phase, at))
            case Retrying():
                self._retry(event, at)
            case Paused():
                self._pause(event, at)
            case Skipped():
                self.skipped_count += 1
                self.skipped += [event] * (len(self.skipped) < MAX_ENTRIES)
            case Notice() if len(self.notices) < MAX_ENTRIES:
                self.notices.append(event.text)
            case FolderListed() if len(self.listed) < MAX_FOLDERS:
                self.listed.setdefault(event.folder, (event.items, at))
            case RunStarted():
                self.started = event
            case RunFinished():
                self.finished, self.ended = event, at

    @property
    def retries_count(self) -> int:
        """Return the number of retries."""
        return self.reasons.total()

    def _retry(self, event: Retrying, at: float) -> None:
        self.retries.add(at, 1)
        self.waited += event.wait
        key = (event.method, event.reason)
        self.reasons[key if key in self.reasons or len(self.reasons) < MAX_ENTRIES else OTHERS] += 1

    def _pause(self, event: Paused, at: float) -> None:
        self.pause_count += 1
        self.paused += event.seconds
        if len(self.pauses) < MAX_ENTRIES:
            self.pauses.append((at, event.seconds, event.reason))

    def _sample(self, event: Progress, at: float) -> None:
        if self.last is not None:
            self._fetched += max(0, event.bytes_done - self.last.bytes_done)
        self.last, self._peak = event, max(self._peak, event.in_flight)
        self._dropped += 1
        if self._dropped < self._spacing:
            return
        predicted = None if event.seconds_left is None else at + event.seconds_left
        self.samples.append(Sample(at, self._fetched, self._peak, event.items_done, predicted))
        self._dropped = self._peak = 0
        if len(self.samples) > MAX_SAMPLES:
            self._spacing *= 2
            halves = zip(self.samples[::2], self.samples[1::2], strict=False)
            self.samples = [
                later._replace(in_flight=max(earlier.in_flight, later.in_flight)) for earlier, later in halves
            ]

    def lanes(self) -> dict[str, list[tuple[float, float]]]:
        """Return the intervals (start, end) of each phase, in order of their first."""
        ends = [at for _, at in self.phases[1:]] + [self.ended] * bool(self.phases)
        lanes: dict[str, list[tuple[float, float]]] = {}
        for (phase, start), end in zip(self.phases, ends, strict=True):
            lanes.setdefault(phase, []).append((start, end))
        return lanes

    def rates(self) -> list[tuple[float, float]]:
        """Return (time, bytes per second), each the mean over a RATE_POINTS-th of the run."""
        rates: list[tuple[float, float]] = []
        before = self.samples[0] if self.samples else None
        for sample in self.samples:
            if before is not None and sample.at - before.at > self.ended / RATE_POINTS:
                rates.append((sample.at, (sample.fetched - before.fetched) / (sample.at - before.at)))
                before = sample
        return rates
