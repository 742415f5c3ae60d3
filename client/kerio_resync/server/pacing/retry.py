"""When a call is made again, and after how long.

Promises: what was surely not processed may always be repeated; what may have been, only if it is idempotent; a server
that asks for time gets it, but no less than a pause that grows, and no more than is left of `patience`; nonsense is
heard a few times, not for ever; all of it ends when `patience` runs out, and then the last error comes out as it is.
Each repetition is told as an event with its reason. Refuses to sleep or to roll dice by itself: both are given. The
decision is `verdict`, a function of values; tenacity carries it out.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import NamedTuple, TypeVar

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type

from kerio_resync.errors import (
    CertificateError,
    ForeignReply,
    Misconfigured,
    OutcomeUnknown,
    Overloaded,
    ProtocolError,
    ResyncError,
    SessionExpired,
    Unreachable,
    words_of,
)
from kerio_resync.events import Listener, Retrying, ignore_events
from kerio_resync.server.http.decompression import TooLong

T = TypeVar("T")

MAX_PROTOCOL_ERRORS = 4  # times that nonsense is heard
MAX_SESSION_RENEWALS = 5  # sessions that may die under one call
MIN_DELAY_SECONDS = 0.01  # seconds of patience that are none: timers are no finer, and to wait for less is not to wait


@dataclass(frozen=True, slots=True)
class Backoff:
    """Full jitter: anything up to `base` doubled `n` times, but `cap` at most (seconds)."""

    base: float
    cap: float

    def after(self, n: int, chance: float) -> float:
        return chance * min(self.cap, self.base * 2.0 ** min(n, 30))

    def at_least_half(self, n: int, chance: float) -> float:
        """With half of it fixed: what refuses at once must not be asked again at once."""
        return self.after(n, 0.5 + chance / 2)


UNREACHABLE = Backoff(0.5, 30.0)
INTERRUPTED = Backoff(0.25, 15.0)
OVERLOADED = Backoff(1.0, 30.0)
FOREIGN = Backoff(0.5, 30.0)
EXPIRED = Backoff(0.5, 30.0)  # from the second session on that dies under one call
GARBLED = Backoff(0.5, 5.0)


class RetryContext(NamedTuple):
    """`seen`: how often this kind of trouble came before in this call; `elapsed` and `patience` in seconds; `chance` in
    [0, 1). `renews`: a dead session can be renewed; `outwaits`: a foreign reply is waited out."""

    seen: int = 0
    idempotent: bool = True
    elapsed: float = 0.0
    patience: float = 600.0
    chance: float = 0.5
    renews: bool = True
    outwaits: bool = True


def kind_of(error: BaseException) -> type[BaseException]:
    """The kind of trouble that counts together."""
    for kind in (Unreachable, ForeignReply, OutcomeUnknown, Overloaded, ProtocolError, SessionExpired):
        if isinstance(error, kind):
            return kind
    return type(error)


def retry_delay(error: BaseException, at: RetryContext) -> float | None:
    """Seconds to wait before the call is made again; None: the error is the result."""
    wait: float
    match error:
        case CertificateError() | Misconfigured():
            return None
        case SessionExpired():
            if not at.renews or at.seen >= MAX_SESSION_RENEWALS:
                return None
            return EXPIRED.at_least_half(at.seen - 1, at.chance) if at.seen else 0.0
        case Unreachable():
            wait = UNREACHABLE.after(at.seen, at.chance)
        case ForeignReply():
            if not at.outwaits or not at.idempotent:
                return None
            wait = max(error.retry_after or 0.0, FOREIGN.at_least_half(at.seen, at.chance))
        case OutcomeUnknown() if at.idempotent:
            wait = INTERRUPTED.after(at.seen, at.chance)
        case Overloaded():
            wait = max(error.retry_after or 0.0, OVERLOADED.at_least_half(at.seen, at.chance))
        case ProtocolError() if at.idempotent and at.seen < MAX_PROTOCOL_ERRORS - 1 and not isinstance(error, TooLong):
            wait = GARBLED.after(at.seen, at.chance)
        case _:
            return None
    left = at.patience - at.elapsed
    return min(wait, left) if left > MIN_DELAY_SECONDS else None


@dataclass(slots=True)
class RetryState:
    """What has happened to one call so far. A long transfer clears it whenever it has got further than ever before."""

    since: float | None = None
    attempts: int = 0
    seen: dict[type[BaseException], int] = field(default_factory=dict)

    def clear(self) -> None:
        self.since, self.attempts = None, 0
        self.seen.clear()


@dataclass(frozen=True, slots=True)
class Retrier:
    """Makes calls until they succeed or `verdict` gives them up. `patience` is in seconds; `chance` rolls a number in
    [0, 1). `retries` counts all repetitions."""

    timeout: float = 600.0
    listen: Listener = ignore_events
    clock: Callable[[], float] | None = None
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    chance: Callable[[], float] = random.random
    counts: dict[str, int] = field(default_factory=dict)

    @property
    def retries(self) -> int:
        return sum(self.counts.values())

    async def call(
        self,
        attempt: Callable[[], Awaitable[T]],
        name: str,
        *,
        idempotent: bool = True,
        renew: Callable[[], Awaitable[None]] | None = None,
        outwaiting: bool = True,
        history: RetryState | None = None,
        patience: float | None = None,
    ) -> T:
        """What `attempt` returns in the end, or its last error. `renew` logs in again; its errors come out at once.
        Without `outwaiting` a ForeignReply comes out at once."""
        if patience is None:
            patience = self.timeout
        run = _Run(self, name, idempotent, renew, history or RetryState(), patience, outwaiting)
        if run.history.since is None:
            run.history.since = self._now()
        try:
            return await attempt()
        except ResyncError as error:
            run.first = error

        async def again() -> T:
            # most calls succeed at once, and need none of what follows
            first, run.first = run.first, None
            if first is not None:
                raise first
            return await attempt()

        # one object a call: tenacity keeps the state of an iteration on the object
        retrying = AsyncRetrying(
            sleep=self.sleep,
            wait=run.wait,
            stop=run.stop,
            retry=retry_if_exception_type(ResyncError),
            before_sleep=run.prepare,
            reraise=True,
        )
        return await retrying(again)

    def _now(self) -> float:
        return self.clock() if self.clock else asyncio.get_running_loop().time()


@dataclass(slots=True)
class _Run:
    """tenacity's questions, answered for one call."""

    by: Retrier
    name: str
    idempotent: bool
    renew: Callable[[], Awaitable[None]] | None
    history: RetryState
    patience: float
    outwaiting: bool
    seconds: float | None = None
    first: ResyncError | None = None

    def wait(self, state: RetryCallState) -> float:
        error = _error(state)
        history = self.history
        kind = kind_of(error)
        at = RetryContext(
            seen=history.seen.get(kind, 0),
            idempotent=self.idempotent,
            elapsed=self.by._now() - (history.since or 0.0),
            patience=self.patience,
            chance=self.by.chance(),
            renews=self.renew is not None,
            outwaits=self.outwaiting,
        )
        self.seconds = retry_delay(error, at)
        history.seen[kind] = at.seen + 1
        history.attempts += 1
        return self.seconds or 0.0

    def stop(self, state: RetryCallState) -> bool:
        return self.seconds is None

    async def prepare(self, state: RetryCallState) -> None:
        error = _error(state)
        self.by.counts[self.name] = self.by.counts.get(self.name, 0) + 1
        self.by.listen(Retrying(self.name, self.history.attempts, self.seconds or 0.0, reason(error)))
        if isinstance(error, SessionExpired) and self.renew is not None:
            await self.renew()


def reason(error: BaseException) -> str:
    """One line for people, without mail text."""
    if isinstance(error, ResyncError) and error.detail and error.detail != error.summary:
        return f"{error.summary}: {error.detail}"
    return words_of(error)


def _error(state: RetryCallState) -> BaseException:
    error = state.outcome.exception() if state.outcome else None
    return error or ResyncError()
