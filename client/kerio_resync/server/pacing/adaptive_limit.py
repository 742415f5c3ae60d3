"""Decides how many requests may be in flight.

The decision follows from the delay and the outcome of each reply. It needs no clock and no event loop.

The limit follows windowed delay, as TCP Vegas does. A reply waits for three things: the link and the service itself, a
queue in the server, and our own bytes ahead of it on the link. Only the queue in the server harms its other users.

- Calls differ in kind and size, so each class has its own unit, learned from its first replies. The *index* of a
  window is its waits over its units. The *base* is the index with few requests in flight; index over base is the
  *ratio*. Below TARGET_RATIO the limit grows, above it shrinks in proportion.
- The base is measured with at most PROBE_IN_FLIGHT requests in the server. Once it is BASE_SECONDS old, the limit drops
  to that for one window, which ends early if it has brought PROBE_BYTES: a mailbox may take few large replies in all.
- While waits are hardly longer than the minimum latency there is no queue, and the limit doubles each round trip.
- The part of a wait that our own bytes explain (`link_share`) does not count as a queue in the server. It may reach
  MAX_LINK_QUEUE_SECONDS.
- A refusal cuts the limit once per episode: replies to requests sent before the last change are ignored.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal, NamedTuple

Outcome = Literal["ok", "ignored", "dropped"]

INITIAL_IN_FLIGHT: Final = 8.0
PROBE_IN_FLIGHT: Final = 2.0
WINDOW_REPLIES: Final = 80  # the mean of 80 exponential times still scatters by a ninth
MIN_PROBE_REPLIES: Final = 20  # their mean scatters by a quarter
PROBE_BYTES: Final = 16e6
LEARNED_REPLIES: Final = 32  # of a class, until its unit is fixed
TARGET_RATIO: Final = 1.2
LOSS_FACTOR: Final = 0.7  # what a refusal leaves of the limit
BASE_SECONDS: Final = 180.0
MAX_LINK_QUEUE_SECONDS: Final = 1.0


class Sample(NamedTuple):
    """One attempt.

    `started`, `now`: its begin and its end, in the clock's seconds. `wait`: seconds until the head of the reply.
    `busy`: the share of that time in which the body of another reply was arriving. `used`: requests in flight when it
    started, itself among them. `size`: bytes of the body. `kind` names the call.
    """

    outcome: Outcome
    started: float = 0.0
    now: float = 0.0
    wait: float = 0.0
    busy: float = 0.0
    used: int = 1
    size: int = 0
    kind: str = ""


class Window(NamedTuple):
    """Sums over the replies since the limit was last evaluated.

    `wait`, `units` and `link` in seconds.
    """

    replies: int = 0
    wait: float = 0.0  # without `link`
    units: float = 0.0
    link: float = 0.0  # behind our own bytes
    used: int = 0  # most requests in flight
    size: int = 0  # bytes of the bodies


class AdaptiveLimit(NamedTuple):
    """A limit of `slots` requests in flight, between `least` and `most`.

    `after` returns the next one.

    `starting`: doubles until the first sign of a queue. `base_at`: when `base` was measured. `resume`: the value to
    return to after a measurement of the base; 0 if there is none. `changed`: when the value last changed. `units`:
    (replies, seconds) by class.
    """

    value: float = INITIAL_IN_FLIGHT
    most: int = 64
    least: int = 1
    starting: bool = True
    base: float = 1.0
    base_at: float = float("-inf")
    resume: float = 0.0
    ratio: float = 1.0
    min_latency: float = float("inf")
    changed: float = float("-inf")
    window: Window = Window()
    units: Mapping[tuple[str, int], tuple[int, float]] = {}

    @property
    def slots(self) -> int:
        """Requests that may be in flight."""
        return max(self.least, min(self.most, round(self.value)))

    def after(self, sample: Sample) -> AdaptiveLimit:
        """Return the limit after one attempt."""
        if sample.outcome == "ignored" or sample.started < self.changed:
            return self
        if sample.outcome == "dropped":
            return self._change(self.value * LOSS_FACTOR, sample.now, starting=False)
        return self._count(sample)._evaluate(sample.now)

    def _count(self, sample: Sample) -> AdaptiveLimit:
        wait = max(sample.wait, 1e-4)
        key = (sample.kind, sample.size.bit_length() // 2)
        share = link_share(sample.busy)
        seen, unit = self.units.get(key, (0, 0.0))
        units = self.units
        if seen < LEARNED_REPLIES and share == 0.0:
            unit += (wait / (self.ratio * self.base) - unit) / (seen + 1)
            units = {**units, key: (seen + 1, unit)}
        min_latency = min(self.min_latency, wait)
        # A class that was only seen on a busy link says nothing about the server.
        link = max(wait - (unit or min_latency), 0.0) * share
        window = Window(
            replies=self.window.replies + 1,
            wait=self.window.wait + wait - link,
            units=self.window.units + (unit or wait - link),
            link=self.window.link + link,
            used=max(self.window.used, sample.used),
            size=self.window.size + sample.size,
        )
        return self._replace(window=window, units=units, min_latency=min_latency)

    def _evaluate(self, now: float) -> AdaptiveLimit:
        window = self.window
        mean_wait = window.wait / window.replies
        near_minimum = mean_wait < TARGET_RATIO * self.min_latency
        few_are_enough = near_minimum and not self.resume
        is_costly_probe = self.resume > 0 and window.size >= PROBE_BYTES and window.replies >= MIN_PROBE_REPLIES
        if window.replies < (self.slots if few_are_enough else max(self.slots, WINDOW_REPLIES)) and not is_costly_probe:
            return self
        index = window.wait / window.units
        if self.resume:
            return self._finish_probe(index, now)
        limit = self._replace(window=Window())
        if window.link / window.replies > MAX_LINK_QUEUE_SECONDS:
            return limit._change(self.value * LOSS_FACTOR, now, starting=False, ratio=1.0)
        # Over a long link, more requests are in flight for each one in the server.
        probe = PROBE_IN_FLIGHT * mean_wait / max(mean_wait - self.min_latency, 1e-9)
        if near_minimum:
            limit = limit._replace(base=index, base_at=now)
        elif self.value <= probe:
            limit = limit._with_base(index, now)
        elif now - self.base_at > BASE_SECONDS:
            return limit._change(probe, now, resume=self.value, ratio=index / self.base)
        ratio = max(1.0, index / limit.base)
        if ratio > TARGET_RATIO:
            return limit._change(self.value * max(0.5, TARGET_RATIO / ratio), now, starting=False, ratio=ratio)
        limit = limit._replace(ratio=ratio)
        if window.used < self.slots:
            return limit
        if self.starting or near_minimum:
            return limit._change(self.value * 2, now)
        return limit._change(max(self.value + 0.25, self.value * 1.1), now)

    def _finish_probe(self, index: float, now: float) -> AdaptiveLimit:
        """Return to the earlier value, or to what the new base makes of it."""
        limit = self._with_base(index, now)
        before = self.ratio * self.base / limit.base
        value = max(self.value, self.resume * min(1.0, TARGET_RATIO / before))
        return limit._change(value, now, starting=self.starting and before <= TARGET_RATIO, ratio=1.0)

    def _with_base(self, index: float, now: float) -> AdaptiveLimit:
        """Measure the base, and average it with the earlier one.

        A single window scatters by a tenth.
        """
        base = (self.base + index) / 2 if self.base_at > float("-inf") else index
        return self._replace(base=base, base_at=now)

    def _change(
        self, value: float, now: float, *, ratio: float | None = None, starting: bool | None = None, resume: float = 0.0
    ) -> AdaptiveLimit:
        return self._replace(
            value=max(float(self.least), min(float(self.most), value)),
            ratio=self.ratio if ratio is None else ratio,
            starting=self.starting if starting is None else starting,
            resume=resume,
            changed=now,
            window=Window(),
        )


def link_share(busy: float) -> float:
    """Return the part of a reply's extra wait that the link explains.

    Bodies were arriving for the part `busy` of that wait. A link that is busy half of the time has hardly a queue; one
    that is never idle has nothing else.
    """
    return max(0.0, 2.0 * busy - 1.0)
