"""Gives each attempt a slot, in the order of asking, and tells the limit what came of it.

Promises: never more attempts in flight than the limit says (`limit.py`); first come, first served, but calls and
downloads by turns, since a call tells what else there is to fetch and must not wait behind a thousand small contents; a
pause holds everyone; a task cancelled while it waits, or just after it was served, loses no slot. Refuses to know why a
limit changes: that is the pure value's business.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from types import TracebackType

from kerio_resync.errors import Overloaded, ResyncError
from kerio_resync.server.limit import Limit, Outcome, Sample, blame
from kerio_resync.server.meter import Meter
from kerio_resync.server.transport import Silence


def outcome_of(error: BaseException | None) -> Outcome:
    """A refusal for load and a silence say that there was too much; a lost connection says nothing about that."""
    match error:
        case None:
            return "ok"
        case Overloaded() | Silence():
            return "dropped"
        case ResyncError() if not error.retryable:
            return "ok"
        case _:
            return "ignored"


class Queue:
    """Those who wait for a slot, in two lines that are served by turns: calls, and downloads."""

    def __init__(self) -> None:
        self._lines: tuple[deque[asyncio.Future[None]], deque[asyncio.Future[None]]] = deque(), deque()
        self._turn = 0

    def __len__(self) -> int:
        return len(self._lines[0]) + len(self._lines[1])

    def join(self, turn: asyncio.Future[None], *, download: bool, first: bool = False) -> None:
        line = self._lines[download]
        (line.appendleft if first else line.append)(turn)

    def leave(self, turn: asyncio.Future[None]) -> None:
        for line in self._lines:
            if turn in line:
                line.remove(turn)

    def next(self) -> asyncio.Future[None]:
        """Takes out who is to be served; to be asked only while somebody waits."""
        line = self._lines[self._turn] or self._lines[1 - self._turn]
        self._turn = 1 - self._turn
        return line.popleft()


class Limiter:
    """`in_flight` attempts are under way; no reply's head came sooner than after `least_wait` seconds.

    `clock` in seconds, the event loop's if none is given.
    """

    def __init__(self, limit: Limit, *, meter: Meter | None = None, clock: Callable[[], float] | None = None) -> None:
        self.limit = limit
        self.meter = meter or Meter()
        self.in_flight = 0
        self._clock = clock
        self._waiting = Queue()
        self._paused_until = float("-inf")
        self._timer: asyncio.TimerHandle | None = None

    def now(self) -> float:
        return self._clock() if self._clock else asyncio.get_running_loop().time()

    @property
    def least_wait(self) -> float:
        return self.meter.way

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

    def close(self) -> None:
        if self._timer:
            self._timer.cancel()
            self._timer = None

    async def acquire(self, *, download: bool = False) -> None:
        first = False
        if not self._waiting and self.in_flight < self.limit.slots and self.paused <= 0:
            self.in_flight += 1
            return
        while True:
            turn = asyncio.get_running_loop().create_future()
            self._waiting.join(turn, download=download, first=first)
            try:
                await turn
            except asyncio.CancelledError:
                self._leave(turn)
                raise
            if self.paused <= 0:
                return
            # a pause began between being served and getting the word: give the slot back, but keep the place
            self.in_flight -= 1
            first = True

    def release(self, sample: Sample) -> None:
        self.in_flight -= 1
        self.limit = self.limit.after(sample)
        self._serve()

    def _leave(self, turn: asyncio.Future[None]) -> None:
        if turn.done() and not turn.cancelled():
            self.in_flight -= 1
            self._serve()
        else:
            self._waiting.leave(turn)

    def _serve(self) -> None:
        if not self._waiting or self.paused > 0:
            return
        while self._waiting and self.in_flight < self.limit.slots:
            turn = self._waiting.next()
            if turn.done():
                continue  # cancelled, and not yet told so
            self.in_flight += 1
            turn.set_result(None)

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
    """One attempt. Call `answered` when the reply's head is there, `complete` once its body is, with its bytes.

    `waited`: seconds until the head came, without those that went into a connection.
    """

    __slots__ = (
        "_answered", "_before", "_busy", "_coming", "_download", "_limiter", "_size", "_started", "_used", "kind",
        "waited",
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
        await limiter.acquire(download=self._download)
        self._started = limiter.now()
        self._used = limiter.in_flight
        self._before = limiter.meter.busy(self._started)
        return self

    def answered(self, set_up: float = 0.0) -> None:
        """`set_up`: seconds that went into the connection."""
        limiter = self._limiter
        self._answered = now = limiter.now()
        passed = now - self._started
        self.waited = max(0.0, passed - set_up)
        if passed > 0:
            self._busy = min(1.0, (limiter.meter.busy(now) - self._before) / passed)
        limiter.meter.way = min(limiter.meter.way, self.waited)
        limiter.meter.began(now)
        self._coming = True

    @property
    def held(self) -> float:
        """Seconds until the head came that neither the way nor our own bodies explain: the server's queue and work."""
        if self._answered is None:
            return 0.0
        return max(0.0, self.waited - self._limiter.least_wait) * (1.0 - blame(self._busy))

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
