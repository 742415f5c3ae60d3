"""Gives each attempt a slot, in the order of asking, and tells the limit what came of it.

Promises: never more attempts in flight than the limit says (`limit.py`); first come, first served, but calls and
downloads by turns, since a call tells what else there is to fetch and must not wait behind a thousand small contents; a
task cancelled while it waits, or just after it was served, loses no slot. Refuses to know why a limit changes: that is
the pure value's business.

A refusal for load, or a reply of something on the way, pauses all requests: for as long as it asks, but no less than a
time that grows with each refusal in a row, and no more than the retry timeout. After a pause one request is the probe;
the others wait until the server has taken it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from types import TracebackType

from kerio_resync.errors import ForeignReply, OutcomeUnknown, Overloaded, ResyncError, Unreachable
from kerio_resync.server.http.link_stats import LinkStats
from kerio_resync.server.http.transport import ReadTimeout
from kerio_resync.server.pacing.adaptive_limit import Limit, Outcome, Sample, blame

FIRST_PAUSE, PAUSE_GROWTH, MAX_PAUSE = 0.5, 1.5, 30.0  # seconds, factor, seconds: of pauses that nobody asked for


def outcome_of(error: BaseException | None) -> Outcome:
    """A refusal for load and a silence say that there was too much; a lost connection says nothing about that."""
    match error:
        case None:
            return "ok"
        case Overloaded() | ReadTimeout():
            return "dropped"
        case ResyncError() if not error.retryable:
            return "ok"
        case _:
            return "ignored"


class FairQueue:
    """Those who wait for a slot, in two lines that are served by turns: calls, and downloads."""

    def __init__(self) -> None:
        self._lines: tuple[deque[asyncio.Future[bool]], deque[asyncio.Future[bool]]] = deque(), deque()
        self._turn = 0

    def __len__(self) -> int:
        return len(self._lines[0]) + len(self._lines[1])

    def join(self, turn: asyncio.Future[bool], *, download: bool, first: bool = False) -> None:
        line = self._lines[download]
        (line.appendleft if first else line.append)(turn)

    def leave(self, turn: asyncio.Future[bool]) -> None:
        for line in self._lines:
            if turn in line:
                line.remove(turn)

    def next(self) -> asyncio.Future[bool]:
        """Takes out who is to be served; to be asked only while somebody waits."""
        line = self._lines[self._turn] or self._lines[1 - self._turn]
        self._turn = 1 - self._turn
        return line.popleft()


class Limiter:
    """`in_flight` attempts are under way; no reply's head came sooner than after `least_wait` seconds.

    `clock` in seconds, the event loop's if none is given. `longest_pause` in seconds; `on_pause` is called with the
    seconds that were asked for and the reason.
    """

    def __init__(
        self,
        limit: Limit,
        *,
        meter: LinkStats | None = None,
        clock: Callable[[], float] | None = None,
        longest_pause: float = 600.0,
        on_pause: Callable[[float, str], None] | None = None,
    ) -> None:
        self.limit = limit
        self.meter = meter or LinkStats()
        self.in_flight = 0
        self._clock = clock
        self._waiting = FairQueue()
        self._paused_until = self._pause_began = self._refused_since = float("-inf")
        self._longest_pause = longest_pause
        self._on_pause = on_pause
        self._refusals = 0  # pauses since the server last took a request
        self._probing = False
        self._timer: asyncio.TimerHandle | None = None

    def now(self) -> float:
        return self._clock() if self._clock else asyncio.get_running_loop().time()

    @property
    def min_latency(self) -> float:
        return self.meter.min_latency

    @property
    def paused(self) -> float:
        """For how many seconds more nobody may start."""
        return max(0.0, self._paused_until - self.now())

    def slot(self, kind: str = "", *, download: bool = False) -> Slot:
        """An asynchronous context in which one attempt may be made; `kind` names it."""
        return Slot(self, kind, download=download)

    def pause_until(self, when: float) -> None:
        """Nobody starts before `when`, in the clock's seconds; an earlier end than the present one changes nothing."""
        if when > self._paused_until:
            self._paused_until = when
            self._set_timer()

    def refused(self, started: float, retry_after: float | None, reason: str) -> None:
        """A request begun at `started` was refused for now. Those refused in the same pause count as one."""
        now, floor = self.now(), 0.0
        if started > self._pause_began:
            floor = min(MAX_PAUSE, FIRST_PAUSE * PAUSE_GROWTH ** min(self._refusals, 30))
            if not self._refusals:
                self._refused_since = now
            self._refusals += 1
            self._pause_began = now
        left = max(floor, self._refused_since + self._longest_pause - now)
        seconds = min(max(retry_after or 0.0, floor), left)
        if retry_after and self._on_pause and self.paused < seconds * 0.5:
            self._on_pause(seconds, reason)
        self.pause_until(now + seconds)

    def taken(self) -> None:
        """The server has taken the probe: the others need not wait any more."""
        self._refusals = 0
        self._serve()

    def end_probe(self) -> None:
        self._probing = False
        self._serve()

    def close(self) -> None:
        if self._timer:
            self._timer.cancel()
            self._timer = None

    async def acquire(self, *, download: bool = False) -> bool:
        """Waits for a slot. True: the request is the probe, and `end_probe` is to be called."""
        first = False
        if not self._waiting and self._is_free():
            return self._admit()
        while True:
            turn: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
            self._waiting.join(turn, download=download, first=first)
            try:
                probe = await turn
            except asyncio.CancelledError:
                self._leave(turn)
                raise
            if self.paused <= 0:
                return probe
            # a pause began between being served and getting the word: give the slot back, but keep the place
            self._give_back(probe)
            first = True

    def _is_free(self) -> bool:
        held = self._refusals and self._probing
        return self.in_flight < self.limit.slots and self.paused <= 0 and not held

    def _admit(self) -> bool:
        self.in_flight += 1
        probe = self._refusals > 0
        self._probing |= probe
        return probe

    def _give_back(self, probe: bool) -> None:
        self.in_flight -= 1
        if probe:
            self._probing = False

    def release(self, sample: Sample) -> None:
        self.in_flight -= 1
        self.limit = self.limit.after(sample)
        self._serve()

    def _leave(self, turn: asyncio.Future[bool]) -> None:
        if turn.done() and not turn.cancelled():
            self._give_back(turn.result())
            self._serve()
        else:
            self._waiting.leave(turn)

    def _serve(self) -> None:
        while self._waiting and self._is_free():
            turn = self._waiting.next()
            if turn.done():
                continue  # cancelled, and not yet told so
            turn.set_result(self._admit())

    def _set_timer(self) -> None:
        if self._timer:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(self.paused, self._pause_over)

    def _pause_over(self) -> None:
        self._timer = None
        if self.paused > 0:  # a timer may fire a clock's tick early
            self._set_timer()
        else:
            self._serve()


class Slot:
    """One attempt. Call `answered` when the reply's head is there, `complete` once its body is, with its bytes; and
    `taken` as soon as it is clear that the server itself answers, if that is before the attempt ends.

    `waited`: seconds until the head came, without those that went into a connection.
    """

    __slots__ = (
        "_answered", "_before", "_busy", "_coming", "_download", "_limiter", "_probe", "_size", "_started", "_used",
        "kind", "waited",
    )  # fmt: skip

    def __init__(self, limiter: Limiter, kind: str, *, download: bool) -> None:
        self._limiter = limiter
        self._download = download
        self.kind = kind
        self._answered: float | None = None
        self.waited = 0.0
        self._coming = False
        self._busy = 0.0
        self._size = 0

    async def __aenter__(self) -> Slot:
        limiter = self._limiter
        self._probe = await limiter.acquire(download=self._download)
        self._started = limiter.now()
        self._used = limiter.in_flight
        self._before = limiter.meter.busy(self._started)
        return self

    def answered(self, connect_seconds: float = 0.0) -> None:
        """`connect_seconds`: seconds that went into the connection."""
        limiter = self._limiter
        self._answered = now = limiter.now()
        passed = now - self._started
        self.waited = max(0.0, passed - connect_seconds)
        if passed > 0:
            self._busy = min(1.0, (limiter.meter.busy(now) - self._before) / passed)
        limiter.meter.min_latency = min(limiter.meter.min_latency, self.waited)
        limiter.meter.began(now)
        self._coming = True

    def taken(self) -> None:
        if self._probe:
            self._probe = False
            self._limiter.end_probe()
            self._limiter.taken()

    @property
    def server_seconds(self) -> float:
        """Seconds until the head came that neither the way nor our own bodies explain: the server's queue and work."""
        if self._answered is None:
            return 0.0
        return max(0.0, self.waited - self._limiter.min_latency) * (1.0 - blame(self._busy))

    def complete(self, size: int) -> None:
        """`size` of the body as it travelled."""
        self._size = size
        self._ended(size)

    def _ended(self, size: int) -> None:
        if self._coming and self._answered is not None:
            self._coming = False
            now = self._limiter.now()
            self._limiter.meter.ended(now, size, now - self._answered)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended(0)
        self._judge(error)
        outcome = outcome_of(error)
        if outcome == "ok" and self._answered is None:
            outcome = "ignored"
        limiter = self._limiter
        limiter.release(
            Sample(
                outcome,
                started=self._started,
                now=limiter.now(),
                wait=self.waited,
                busy=self._busy,
                used=self._used,
                full=limiter.in_flight >= limiter.limit.slots,
                size=self._size,
                kind=self.kind,
            )
        )

    def _judge(self, error: BaseException | None) -> None:
        """What the attempt says about whether the server takes requests."""
        match error:
            case ForeignReply() | Overloaded(pauses_all=True):
                self._limiter.refused(self._started, error.retry_after, error.detail)
            case None | ResyncError() if self._answered is not None and not isinstance(
                error, OutcomeUnknown | Unreachable
            ):
                self.taken()
        if self._probe:
            self._probe = False
            self._limiter.end_probe()
