"""How many requests may be in flight: a pure value that learns from each reply.

Promises: a refusal cuts once an episode, however many requests it hits; delay counts too, so that a server that queues
instead of refusing is spared as well; nothing grows that isn't used. It refuses to read much into few replies: delay is
judged in windows of at least `WINDOW` replies sent after the last change, because service times scatter.

Why so. What a reply waits for has three parts: the way and the service themselves, a queue in the server, and our own
bytes that are before it on the link. Only the second one hurts the people in front of the server. The third shows by
some body being on its way all the time (`Sample.busy`): then the excess is the link's, and judged apart, mildly, since
a slow link wants its round trip times rate in flight, and no more. The first differs by call and size, so each class of
replies has its own unit, learnt once, and a window's index is its waits in such units. What the index was is
remembered for each level of the limit; the least of the levels up to the present one is the floor. The first one is
looked for as soon as waits turn out to vary: who begins on a busy server has never seen it idle. A floor of an hour ago
says little about a server's afternoon, so once it is `STALE` the limit dips for one window to look at it afresh; what
was known then counts as two more, since one look alone is off by a tenth. Between growing and being cut the limit is
led to where waits are `AIM` times the floor: going back and forth costs users as much as the peaks, and throughput too.
Ideas: TCP Vegas; Netflix's concurrency-limits (Vegas, Gradient2); BBR for the dips.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import log2
from typing import Literal, NamedTuple

Outcome = Literal["ok", "ignored", "dropped"]
Class = tuple[str, int]

WINDOW = 80  # replies; the mean of 80 exponential times still scatters by a ninth
SHORT = 4  # replies where waits are those of the way
LOOK = 80  # replies that a look at the floor takes
HIGH = 1.5  # a window this many times the floor is a queue
AIM = 1.3  # where the limit is led: below that it may grow, above that it is drawn back
LOUD = 2.0  # a window this many times the floor is one, whatever those before it were
STEP = 0.25  # what is added at once when there were few, so that it takes four quiet windows for one more
DROP = 0.7  # what a refusal leaves of the limit
DIP = 0.25  # what a look at the floor leaves of it in the server
DEEP = 2.0  # and at most this
KEPT = 2 * LOOK  # replies that a level's record counts for at the next look
STALE = 180.0  # seconds after which the floor is looked at afresh
WORTH = 2.0  # waits from which on, in times the way, a look at the floor is worth its second
STEADY = 1.25  # waits below so many times the least are those of the way
LINK_FULL = 1.0  # seconds of our own bytes before a reply: the link has enough to do
LINK_LONG = 3.0  # and this is too much: a lost reply would cost much, and memory
# shares of time: from where on the link is to blame for a wait, and from where on for all of it
HALF_BUSY, BUSY = 0.5, 0.9
LEARNT = 32  # replies that make a class's unit
FAMILIAR = 8  # replies of a class from which on it tells something
FIRST = 8.0  # requests in flight to begin with


class Sample(NamedTuple):
    """One attempt. `started` and `now` in the clock's seconds; `wait` until the reply's head; `busy` the share of it
    during which the body of some other reply was on its way; `used` requests in flight when it started, itself among
    them, and `full` whether the limit allowed no more when it ended; `size` of the reply's body in bytes; `kind` names
    the call."""

    outcome: Outcome
    started: float = 0.0
    now: float = 0.0
    wait: float = 0.0
    busy: float = 0.0
    used: int = 1
    size: int = 0
    kind: str = ""
    full: bool = False


class Window(NamedTuple):
    """What the replies since the last judgement add up to."""

    replies: int = 0
    wait: float = 0.0
    units: float = 0.0
    link: float = 0.0
    used: int = 0
    familiar: int = 0  # of classes that are known


@dataclass(frozen=True, slots=True)
class Record:
    """The index at one level of the limit: the mean of `replies`, last seen at `time`."""

    index: float
    replies: int
    time: float


class Limit(NamedTuple):
    """`value` requests may be in flight, between `least` and `most`; `after` gives the limit that a reply leaves."""

    value: float = FIRST
    most: int = 64
    least: int = 1
    starting: bool = True  # doubling until the first sign of a limit
    opening: bool = True  # growing with each reply, until they wait for more than the way
    back: float = 0.0  # what a dip returns to; 0: none is under way
    looked: float = float("-inf")  # when the floor was last looked at
    way: float = float("inf")  # the least wait of all, in seconds
    changed: float = float("-inf")  # replies to what was sent before say nothing about this value
    pressure: float = 1.0  # the last window's index over the floor
    window: Window = Window()
    records: Mapping[int, Record] = {}
    units: Mapping[Class, tuple[int, float]] = {}

    @property
    def slots(self) -> int:
        return max(self.least, min(self.most, round(self.value)))

    def after(self, sample: Sample) -> Limit:
        """The limit after one attempt. An attempt sent before the last change can't cut again, nor be grown upon."""
        if sample.outcome == "ignored" or sample.started < self.changed:
            return self
        if sample.outcome == "dropped":
            return self._cut(DROP, sample.now)
        counted = self._counted(sample)
        return counted._opened(sample)._judged(sample.now)

    def _opened(self, sample: Sample) -> Limit:
        """While every wait so far was that of the way, each reply makes room for one more: double in a round trip."""
        if not (self.starting and self.opening):
            return self
        if not self._is_steady or self.window.link > LINK_FULL * self.window.replies:
            return self._replace(opening=False)
        return self._replace(value=min(self.value + sample.full, float(self.most)))

    def _counted(self, sample: Sample) -> Limit:
        wait = max(sample.wait, 1e-4)
        key = (sample.kind, sample.size.bit_length() // 2)
        links = blame(sample.busy)
        seen, unit = self.units.get(key, (0, 0.0))
        units = self.units
        if seen < LEARNT and links == 0.0:
            unit += (wait / self.pressure - unit) / (seen + 1)
            units = {**units, key: (seen + 1, unit)}
        # a class that was never seen without a busy link says nothing about the server
        way = min(self.way, wait)
        link = max(wait - (unit or way), 0.0) * links
        unit = unit or wait - link
        window = Window(
            replies=self.window.replies + 1,
            wait=self.window.wait + wait - link,
            units=self.window.units + unit,
            link=self.window.link + link,
            used=max(self.window.used, sample.used),
            familiar=self.window.familiar + (seen >= FAMILIAR),
        )
        return self._replace(window=window, units=units, way=way)

    def _judged(self, now: float) -> Limit:
        window = self.window
        if window.replies < self._enough:
            return self
        level = round(2 * log2(self.slots))
        latest = _merged(self.records.get(level), window, now)
        # what this window is held against is what was known before it
        known = [record for at, record in self.records.items() if at <= level] or [latest]
        floor = min(known, key=lambda record: record.index)
        # one window may have met a quiet or a busy moment: unless it speaks loudly, it is heard with those before it
        seen = window.wait / window.units / floor.index
        pressure = seen if seen > LOUD else latest.index / floor.index
        records = {**self.records, level: latest}
        link = window.link / window.replies
        kept = self._replace(window=Window(), records=records, pressure=max(pressure, 1.0))
        if self.back:
            return kept._returned(latest.index, now)
        if self.starting and self.opening:
            return kept
        steady = self._is_steady
        mostly_way = window.wait < WORTH * self.way * window.replies
        if now - self.looked > STALE and not mostly_way and self.slots > 1:
            return kept._dipped(now, window.wait / window.replies)
        if pressure > HIGH and not steady:
            return kept._cut(max(AIM / pressure, 0.5), now)
        if link > LINK_LONG:
            return kept._cut(DROP, now)
        if pressure > AIM and not steady and not self.starting:
            return kept._drawn(AIM / pressure, now)
        easy = (pressure <= AIM or steady) and link < LINK_FULL
        # calls that are all new look like no queue whatever they wait for
        telling = steady or 2 * window.familiar > window.replies or self.value <= FIRST
        if easy and telling and window.used >= self.slots:
            return kept._grown(now, at_once=self.starting or steady)
        return kept._replace(starting=self.starting and easy)

    @property
    def _is_steady(self) -> bool:
        """Whether the window's waits are those of the way, as near as makes no difference."""
        return self.window.wait < STEADY * self.way * self.window.replies

    @property
    def _enough(self) -> int:
        """How many replies make a window: few where waits don't vary, since then few tell as much as many."""
        if self.back:
            return LOOK
        return max(SHORT, self.slots) if self._is_steady else max(WINDOW, self.slots)

    def _dipped(self, now: float, wait: float) -> Limit:
        """Looks at the floor afresh, low enough to see it; what was known of the levels counts for less from now on.

        Low enough is when few are in the server. Of those in flight that is the share which a `wait` is longer than the
        way: over a long one a look with two in flight would take forty round trips, and see no more."""
        there = wait / max(wait - self.way, 1e-9)  # in flight for each one in the server
        value = max(float(self.least), min(self.value, min(self.value * DIP, DEEP) * there))
        faded = {level: replace(each, replies=min(each.replies, KEPT)) for level, each in self.records.items()}
        return self._replace(value=value, back=self.value, changed=now, looked=now, records=faded)

    def _returned(self, floor: float, now: float) -> Limit:
        """Back to where the dip began, or to what that turns out to be worth beside the floor."""
        before = self.records.get(round(2 * log2(max(1.0, self.back))))
        pressure = before.index / floor if before else 1.0
        value = self.back * (min(1.0, AIM / pressure) if pressure > HIGH else 1.0)
        starting = self.starting and pressure <= AIM
        return self._replace(value=max(self.value, value), back=0.0, changed=now, starting=starting)

    def _grown(self, now: float, *, at_once: bool) -> Limit:
        value = self.value * 2 if at_once else max(self.value + STEP, self.value * 1.1)
        if min(value, self.most) == self.value:
            return self
        return self._replace(value=min(value, float(self.most)), changed=now)

    def _drawn(self, factor: float, now: float) -> Limit:
        """Nearer to where the index is `AIM` times the floor. The fraction counts: it decides how soon a slot goes."""
        drawn = self._replace(value=max(self.value * factor, float(self.least)))
        return drawn if drawn.slots == self.slots else drawn._replace(changed=now)

    def _cut(self, factor: float, now: float) -> Limit:
        value = max(float(self.least), self.value * factor)
        return self._replace(value=value, starting=False, back=0.0, changed=now, window=Window())


def blame(busy: float) -> float:
    """Which part of a reply's excess wait the link is to blame for, if bodies were on their way for `busy` of it.

    A link that is busy half of the time has hardly a queue; one that is never idle has nothing else.
    """
    return min(1.0, max(0.0, (busy - HALF_BUSY) / (BUSY - HALF_BUSY)))


def _merged(record: Record | None, window: Window, now: float) -> Record:
    """A level's record with one more window; a window weighs at least a fifth, so that a level can change its mind."""
    index = window.wait / window.units
    if record is None:
        return Record(index, window.replies, now)
    known = min(record.replies, 4 * WINDOW)
    total = known + window.replies
    return Record(record.index + (index - record.index) * window.replies / total, total, now)
