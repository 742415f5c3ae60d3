"""Gives attempts slots in order of request, and reports to the adaptive limit.

Calls and downloads are served alternately: a call reveals what else is to be fetched, and must not wait behind a
thousand small attachments. A task that is cancelled while it waits, or just after it was served, loses no slot.

A refusal for load, or a reply of another program, pauses all requests. The pause lasts as long as the server asks. It
lasts at least a time that grows with each refusal in a row. It lasts at most the retry timeout. After a pause one
request is the probe; the others wait until the server has accepted it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from types import TracebackType

from kerio_resync.errors import ForeignReply, OutcomeUnknown, Overloaded, ResyncError, Unreachable
from kerio_resync.server.http.link_stats import LinkStats
from kerio_resync.server.http.transport import ReadTimeout
from kerio_resync.server.pacing.adaptive_limit import AdaptiveLimit, Outcome, Sample, link_share

FIRST_PAUSE_SECONDS, PAUSE_GROWTH, MAX_PAUSE_SECONDS = 0.5, 1.5, 30.0  # of pauses that the server did not ask for


def outcome_of(error: BaseException | None) -> Outcome:
    """Return what an attempt says about load.

    A refusal or a timeout says "too much", a lost connection says nothing.
    """
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
    """The waiters for a slot, in two queues that are served alternately.

    One queue has the calls, the other one the downloads.
    """

    def __init__(self) -> None:
        self._queues: tuple[deque[asyncio.Future[bool]], deque[asyncio.Future[bool]]] = deque(), deque()
        self._next = 0

    def __len__(self) -> int:
        return len(self._queues[0]) + len(self._queues[1])

    def join(self, waiter: asyncio.Future[bool], *, download: bool, first: bool = False) -> None:
        """Add a waiter, at the front with `first`."""
        queue = self._queues[download]
        (queue.appendleft if first else queue.append)(waiter)

    def leave(self, waiter: asyncio.Future[bool]) -> None:
        """Remove a waiter, if it is there."""
        for queue in self._queues:
            if waiter in queue:
                queue.remove(waiter)

    def next(self) -> asyncio.Future[bool]:
        """Remove and return the next waiter; IndexError if there is none."""
        queue = self._queues[self._next] or self._queues[1 - self._next]
        self._next = 1 - self._next
        return queue.popleft()


class Limiter:
    """Slots for attempts. `in_flight`: attempts that have one.

    `clock` returns seconds; None: the event loop's time. `max_pause`: seconds. `on_pause` is called with the seconds
    that the server asked for, and the reason.
    """

    def __init__(
        self,
        limit: AdaptiveLimit,
        *,
        stats: LinkStats | None = None,
        clock: Callable[[], float] | None = None,
        max_pause: float = 600.0,
        on_pause: Callable[[float, str], None] | None = None,
    ) -> None:
        self.limit = limit
        self.stats = stats or LinkStats()
        self.in_flight = 0
        self._clock = clock
        self._waiting = FairQueue()
        self._paused_until = self._pause_began = self._refused_since = float("-inf")
        self._max_pause = max_pause
        self._on_pause = on_pause
        self._refusals = 0  # pauses since the server last accepted a request
        self._probing = False
        self._timer: asyncio.TimerHandle | None = None

    def now(self) -> float:
        """Return the clock's seconds."""
        return self._clock() if self._clock else asyncio.get_running_loop().time()

    @property
    def min_latency(self) -> float:
        """Return the seconds that the head of any reply has taken at least."""
        return self.stats.min_latency

    @property
    def paused(self) -> float:
        """Return the seconds until requests may start; 0 if there is no pause."""
        return max(0.0, self._paused_until - self.now())

    def slot(self, kind: str = "", *, download: bool = False) -> Slot:
        """Return an async context manager in which one attempt may be made.

        `kind` names the call.
        """
        return Slot(self, kind, download=download)

    def pause_until(self, when: float) -> None:
        """Let no request start before `when` (the clock's seconds).

        A pause is never shortened.
        """
        if when > self._paused_until:
            self._paused_until = when
            self._set_timer()

    def refused(self, started: float, retry_after: float | None, reason: str) -> None:
        """Start a pause, as a request begun at `started` was refused.

        Refusals during one pause count once.
        """
        now, floor = self.now(), 0.0
        if started > self._pause_began:
            floor = min(MAX_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * PAUSE_GROWTH ** min(self._refusals, 30))
            if not self._refusals:
                self._refused_since = now
            self._refusals += 1
            self._pause_began = now
        left = max(floor, self._refused_since + self._max_pause - now)
        seconds = min(max(retry_after or 0.0, floor), left)
        if retry_after and self._on_pause and self.paused < seconds * 0.5:
            self._on_pause(seconds, reason)
        self.pause_until(now + seconds)

    def accepted(self) -> None:
        """Let the other requests start: the server has accepted the probe."""
        self._refusals = 0
        self._serve()

    def end_probe(self) -> None:
        """End the probe, whatever its outcome."""
        self._probing = False
        self._serve()

    def close(self) -> None:
        """Stop the timer of a pause."""
        if self._timer:
            self._timer.cancel()
            self._timer = None

    async def acquire(self, *, download: bool = False) -> bool:
        """Wait for a slot.

        True: the request is the probe, and the caller must call `end_probe`.
        """
        first = False
        if not self._waiting and self._has_free_slot():
            return self._admit()
        while True:
            waiter: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
            self._waiting.join(waiter, download=download, first=first)
            try:
                probe = await waiter
            except asyncio.CancelledError:
                self._leave(waiter)
                raise
            if self.paused <= 0:
                return probe
            # A pause began after the slot was assigned: give the slot back, and keep the place in the queue.
            self._give_back(probe)
            first = True

    def release(self, sample: Sample) -> None:
        """Give a slot back, and adapt the limit."""
        self.in_flight -= 1
        self.limit = self.limit.after(sample)
        self._serve()

    def _has_free_slot(self) -> bool:
        waits_for_probe = self._refusals and self._probing
        return self.in_flight < self.limit.slots and self.paused <= 0 and not waits_for_probe

    def _admit(self) -> bool:
        self.in_flight += 1
        probe = self._refusals > 0
        self._probing |= probe
        return probe

    def _give_back(self, probe: bool) -> None:
        self.in_flight -= 1
        if probe:
            self._probing = False

    def _leave(self, waiter: asyncio.Future[bool]) -> None:
        if waiter.done() and not waiter.cancelled():
            self._give_back(waiter.result())
            self._serve()
        else:
            self._waiting.leave(waiter)

    def _serve(self) -> None:
        while self._waiting and self._has_free_slot():
            waiter = self._waiting.next()
            if waiter.done():
                continue  # cancelled; its task has not run yet
            waiter.set_result(self._admit())

    def _set_timer(self) -> None:
        if self._timer:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(self.paused, self._end_pause)

    def _end_pause(self) -> None:
        self._timer = None
        if self.paused > 0:  # a timer may fire a clock tick early
            self._set_timer()
        else:
            self._serve()


class Slot:
    """One attempt.

    Call `answered` when the head of the reply is there, and `complete` with the bytes of its body. Call `accepted` as
    soon as it is clear that the server itself answers, if that is before the attempt ends.

    `waited`: seconds until the head, without those that went into a connection.
    """

    __slots__ = (
        "_answered", "_arriving", "_busy", "_busy_before", "_download", "_limiter", "_probe", "_size", "_started",
        "_used", "kind", "waited",
    )  # fmt: skip

    def __init__(self, limiter: Limiter, kind: str, *, download: bool) -> None:
        self._limiter = limiter
        self._download = download
        self.kind = kind
        self._answered: float | None = None
        self.waited = 0.0
        self._arriving = False
        self._busy = 0.0
        self._size = 0

    async def __aenter__(self) -> Slot:
        limiter = self._limiter
        self._probe = await limiter.acquire(download=self._download)
        self._started = limiter.now()
        self._used = limiter.in_flight
        self._busy_before = limiter.stats.busy(self._started)
        return self

    def answered(self, connect_seconds: float = 0.0) -> None:
        """Record the head of the reply; `connect_seconds` went into the connection."""
        limiter = self._limiter
        self._answered = now = limiter.now()
        passed = now - self._started
        self.waited = max(0.0, passed - connect_seconds)
        if passed > 0:
            self._busy = min(1.0, (limiter.stats.busy(now) - self._busy_before) / passed)
        limiter.stats.min_latency = min(limiter.stats.min_latency, self.waited)
        limiter.stats.began(now)
        self._arriving = True

    def accepted(self) -> None:
        """Let requests that wait for the probe start: the server itself answers."""
        if self._probe:
            self._probe = False
            self._limiter.end_probe()
            self._limiter.accepted()

    @property
    def server_seconds(self) -> float:
        """Return the seconds of the server's queue and work.

        That is the wait for the head that neither the link nor our own bytes explain.
        """
        if self._answered is None:
            return 0.0
        return max(0.0, self.waited - self._limiter.min_latency) * (1.0 - link_share(self._busy))

    def complete(self, size: int) -> None:
        """Record a complete body, with `size` bytes as they travelled."""
        self._size = size
        self._end_body(size)

    def _end_body(self, size: int) -> None:
        if self._arriving and self._answered is not None:
            self._arriving = False
            now = self._limiter.now()
            self._limiter.stats.ended(now, size, now - self._answered)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end_body(0)
        self._evaluate(error)
        outcome = outcome_of(error)
        if outcome == "ok" and self._answered is None:
            outcome = "ignored"
        self._limiter.release(
            Sample(
                outcome,
                started=self._started,
                now=self._limiter.now(),
                wait=self.waited,
                busy=self._busy,
                used=self._used,
                size=self._size,
                kind=self.kind,
            )
        )

    def _evaluate(self, error: BaseException | None) -> None:
        """Start a pause, or end the probe, by what the attempt says about the server."""
        match error:
            case ForeignReply() | Overloaded(pauses_all=True):
                self._limiter.refused(self._started, error.retry_after, error.detail)
            case None | ResyncError() if self._answered is not None and not isinstance(
                error, OutcomeUnknown | Unreachable
            ):
                self.accepted()
        if self._probe:
            self._probe = False
            self._limiter.end_probe()
