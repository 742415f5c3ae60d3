"""A rebuild begun for some seconds and broken off, and what is foretold from what was measured of it.

Promises to end within `LONGEST` seconds, with all the manners towards the server that a rebuild has. Measured are the
bytes as they arrive, also those of replies that are not complete yet (on a slow line that is most of them in the first
seconds), and how long calls take. The rebuild itself says what is still to come. Then:

    time = so far + bytes to come / bytes a second of late + the calls of the end

That holds where the line is full or the server has a queue. Where heads still come as fast as the way allows, neither
is so yet: on a very long way ten seconds are not enough to get up to speed. Then that pace is the slowest, the width of
the line, as single bodies show it, the quickest, and what is likely lies between.
"""

from __future__ import annotations

import asyncio
import math
import statistics
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Final

from kerio_resync.events import Event, Progress
from kerio_resync.server.http.transport import Request, Response, Transport
from kerio_resync.server.mailbox import Mailbox
from kerio_resync.settings import Settings
from kerio_resync.sync.listing.concurrency import CONCURRENT_LISTINGS
from kerio_resync.sync.rebuild import rebuild
from kerio_resync.sync.report import Report

LONGEST: Final = 10.0  # seconds for all of it
PROBE: Final = 9.0  # of these until it is broken off; letting go takes the rest
STEP: Final = 0.25  # seconds between two looks
LATE: Final = 0.5  # the share of the fetching that tells how it goes on: it begins slowly
LATEST: Final = 0.85  # and while it still gets faster
PAGE: Final = 500  # lines of a listing in a call, about
ENDING: Final = 4  # calls one after the other at the end: for changes, twice, the list of folders, the logout
PROMPT: Final = 1.3  # times the round trip: a head that comes within it waited for nobody
SPREAD: Final = 0.2  # a range is at least this wide, both ways
FEW: Final = 8  # replies, or bodies, below which nothing is told by them
BODY: Final = 16 * 1024  # bytes from which on a body tells how wide the line is


@dataclass(frozen=True, slots=True)
class Look:
    """At `when`: `bytes` have arrived."""

    when: float
    bytes: int


@dataclass(slots=True)
class Heard:
    """A reply whose head came `waited` seconds after the request, at `since`; `ended` when the last byte of it did.
    `size` in bytes, as its head told it or as it came."""

    waited: float
    since: float
    size: int
    call: bool
    ended: float | None = None

    @property
    def whole(self) -> float:
        """Seconds from asking to the end."""
        return self.waited + (self.ended or self.since) - self.since


class Counter:
    """Stands around a transport, and counts."""

    def __init__(self) -> None:
        self.heard: list[Heard] = []
        self._ended = 0
        self._open: dict[int, Response] = {}
        self._inner: Transport | None = None

    def around(self, inner: Transport) -> Transport:
        self._inner = inner
        return self

    @property
    def bytes(self) -> int:
        """That have arrived so far, as they travelled, without heads."""
        return self._ended + sum(each.wire_bytes for each in self._open.values())

    @asynccontextmanager
    async def send(self, request: Request) -> AsyncIterator[Response]:
        assert self._inner is not None
        now = asyncio.get_running_loop().time
        asked = now()
        async with self._inner.send(request) as response:
            length = response.headers.get("content-length", "")
            size = int(length) if length.isdecimal() else 0
            heard = Heard(now() - asked, now(), size, request.method == "POST")
            self.heard.append(heard)
            self._open[id(response)] = response
            try:
                yield response
                heard.ended = now()
            finally:
                del self._open[id(response)]
                self._ended += response.wire_bytes
                heard.size = heard.size or response.wire_bytes

    async def aclose(self) -> None:
        assert self._inner is not None
        await self._inner.aclose()


@dataclass(slots=True)
class Probe:
    """What was measured. `seconds` that it took; `report` if the rebuild came to its end in that time."""

    seconds: float = 0.0
    looks: list[Look] = field(default_factory=list)
    heard: list[Heard] = field(default_factory=list)
    last: Progress | None = None
    report: Report | None = None

    @property
    def round_trip(self) -> float:
        """Seconds of the quickest call."""
        return min((each.waited for each in self.heard), default=0.0)

    @property
    def rate(self) -> float:
        """Bytes a second of late."""
        return self._rate(LATE)

    def _rate(self, share: float) -> float:
        """From that share of the time on."""
        looks = [each for each in self.looks if each.bytes]
        if len(looks) < 2:
            return 0.0
        late = looks[0].when + (looks[-1].when - looks[0].when) * share
        first = next(each for each in looks if each.when >= late or each is looks[-2])
        return (looks[-1].bytes - first.bytes) / (looks[-1].when - first.when)

    def foretold(self) -> tuple[float, float, float] | None:
        """Seconds that the whole rebuild takes: likely, at least, at most. None if that can't be said."""
        if self.report is not None:
            return self.seconds, self.seconds * (1 - SPREAD), self.seconds * (1 + SPREAD)
        if self.last is None or self.rate <= 0 or not self.last.bytes_done:
            return None
        fixed, least = self.looks[-1].when + self.ending(), self.at_full_width()
        most = self.last.wire_left / self.rate
        if least is None or least >= most:
            return fixed + most, (fixed + most) * (1 - SPREAD), (fixed + most) * (1 + SPREAD)
        pace = self.last.wire_left / max(self._rate(LATEST), self.rate)
        return fixed + math.sqrt(least * max(least, pace)), (fixed + least) * (1 - SPREAD), fixed + most

    def at_full_width(self) -> float | None:
        """Seconds for what is to come if the line is going to be full; None if it is full now, or the server busy."""
        contents = [each for each in self.heard if not each.call]
        widths = [each.size / (each.ended - each.since) for each in self.heard
                  if each.ended and each.ended > each.since and each.size >= BODY]  # fmt: skip
        if self.last is None or len(contents) < FEW or len(widths) < FEW:
            return None
        if statistics.median(each.waited for each in contents) > PROMPT * self.round_trip:
            return None
        return self.last.wire_left / statistics.quantiles(widths, n=4)[2]

    def ending(self) -> float:
        """Seconds of what follows on the fetching: each folder is listed again, some of them at once."""
        calls = [each.whole for each in self.heard if each.call and each.ended]
        if self.last is None or len(calls) < 2:
            return 0.0
        pages = self.last.folders_total + self.last.items_total / PAGE
        return statistics.quantiles(calls, n=4)[0] * (ENDING + pages / CONCURRENT_LISTINGS)


async def probe(settings: Settings, mailbox: Mailbox, counter: Counter) -> Probe:
    """Begins a rebuild of `mailbox`, which `counter` watches, in the profile of `settings`. What it raises."""
    found = Probe()

    def hear(event: Event) -> None:
        if isinstance(event, Progress):
            found.last = event

    loop = asyncio.get_running_loop()
    began = loop.time()
    task = asyncio.create_task(rebuild(settings, hear, mailbox=mailbox, clock=loop.time))
    try:
        while not task.done() and loop.time() - began < PROBE:
            await asyncio.wait([task], timeout=STEP)
            found.looks.append(Look(loop.time() - began, counter.bytes))
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            found.report = await task
    found.seconds, found.heard = loop.time() - began, counter.heard
    return found
