"""Decides whether a failed call is made again, and after how long.

- A call that was surely not processed may always be repeated; one whose outcome is unknown only if it is idempotent.
- A server that asks for time gets it: at least the growing pause, at most what is left of the retry timeout.
- Malformed replies are retried a few times only.
- When the retry timeout ends, the last error is raised unchanged.

`retry_delay` is the decision, a pure function; tenacity carries it out. Clock, sleep and random source are passed in.
Every retry is announced as a `Retrying` event.
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

MAX_PROTOCOL_ERRORS = 4  # malformed replies to one call
MAX_SESSION_RENEWALS = 5  # logins on behalf of one call
MIN_DELAY_SECONDS = 0.01  # below timer resolution; treated as no time left


@dataclass(frozen=True, slots=True)
class Backoff:
    """Exponential backoff with full jitter, in seconds.

    The wait is at most `base` doubled `n` times, and at most `cap`.
    """

    base: float
    cap: float

    def after(self, n: int, chance: float) -> float:
        """Seconds to wait after `n` earlier failures; `chance` in [0, 1) is the jitter."""
        return chance * min(self.cap, self.base * 2.0 ** min(n, 30))

    def at_least_half(self, n: int, chance: float) -> float:
        """Return the seconds to wait, of which half are fixed.

        A server that refuses at once must not be asked again at once.
        """
        return self.after(n, 0.5 + chance / 2)


UNREACHABLE = Backoff(0.5, 30.0)
INTERRUPTED = Backoff(0.25, 15.0)
OVERLOADED = Backoff(1.0, 30.0)
FOREIGN = Backoff(0.5, 30.0)
EXPIRED = Backoff(0.5, 30.0)  # from the second session on that expires during one call
MALFORMED = Backoff(0.5, 5.0)


class RetryContext(NamedTuple):
    """What `retry_delay` knows of a call besides its latest error.

    `seen`: earlier failures of the same kind; `elapsed`, `retry_timeout`: seconds; `chance`: in [0, 1). `renews`: an
    expired session can be renewed. `outwaits`: a foreign reply is retried.
    """

    seen: int = 0
    idempotent: bool = True
    elapsed: float = 0.0
    retry_timeout: float = 600.0
    chance: float = 0.5
    renews: bool = True
    outwaits: bool = True


def kind_of(error: BaseException) -> type[BaseException]:
    """Return the class of errors that an error is counted under."""
    for kind in (Unreachable, ForeignReply, OutcomeUnknown, Overloaded, ProtocolError, SessionExpired):
        if isinstance(error, kind):
            return kind
    return type(error)


def retry_delay(error: BaseException, at: RetryContext) -> float | None:
    """Return the seconds to wait before a retry; None: raise `error`."""
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
            wait = MALFORMED.after(at.seen, at.chance)
        case _:
            return None
    left = at.retry_timeout - at.elapsed
    return min(wait, left) if left > MIN_DELAY_SECONDS else None


@dataclass(slots=True)
class RetryState:
    """The failures of one call so far.

    A download clears it whenever it gets further than ever before.
    """

    since: float | None = None
    attempts: int = 0
    seen: dict[type[BaseException], int] = field(default_factory=dict)

    def clear(self) -> None:
        """Start the retry timeout and all counts again."""
        self.since, self.attempts = None, 0
        self.seen.clear()


@dataclass(frozen=True, slots=True)
class Retrier:
    """Repeats calls until they succeed or `retry_delay` gives up.

    `retry_timeout`: seconds per call; `chance`: returns a random number in [0, 1). `counts`: retries by method.
    """

    retry_timeout: float = 600.0
    listen: Listener = ignore_events
    clock: Callable[[], float] | None = None
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    chance: Callable[[], float] = random.random
    counts: dict[str, int] = field(default_factory=dict)

    @property
    def retries(self) -> int:
        """Retries so far, of all calls."""
        return sum(self.counts.values())

    async def call(
        self,
        attempt: Callable[[], Awaitable[T]],
        name: str,
        *,
        idempotent: bool = True,
        renew: Callable[[], Awaitable[None]] | None = None,
        outwaits: bool = True,
        state: RetryState | None = None,
        retry_timeout: float | None = None,
    ) -> T:
        """Return the result of `attempt`, or raises its last error.

        `renew` logs in again after SessionExpired; its errors are raised at once. With `outwaits` False a
        ForeignReply is raised at once. `state` carries failures over from an earlier call.
        """
        if retry_timeout is None:
            retry_timeout = self.retry_timeout
        run = _Run(self, name, idempotent, renew, state or RetryState(), retry_timeout, outwaits)
        if run.state.since is None:
            run.state.since = self._now()
        try:
            return await attempt()  # most calls succeed at once, and need no AsyncRetrying
        except ResyncError as error:
            run.first = error

        async def again() -> T:
            first, run.first = run.first, None
            if first is not None:
                raise first
            return await attempt()

        # One object per call: tenacity keeps the state of its iteration on the object.
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
    """The callbacks that tenacity needs for one call."""

    retrier: Retrier
    name: str
    idempotent: bool
    renew: Callable[[], Awaitable[None]] | None
    state: RetryState
    retry_timeout: float
    outwaits: bool
    seconds: float | None = None
    first: ResyncError | None = None

    def wait(self, call: RetryCallState) -> float:
        error = _error_of(call)
        state = self.state
        kind = kind_of(error)
        at = RetryContext(
            seen=state.seen.get(kind, 0),
            idempotent=self.idempotent,
            elapsed=self.retrier._now() - (state.since or 0.0),
            retry_timeout=self.retry_timeout,
            chance=self.retrier.chance(),
            renews=self.renew is not None,
            outwaits=self.outwaits,
        )
        self.seconds = retry_delay(error, at)
        state.seen[kind] = at.seen + 1
        state.attempts += 1
        return self.seconds or 0.0

    def stop(self, call: RetryCallState) -> bool:
        return self.seconds is None

    async def prepare(self, call: RetryCallState) -> None:
        error = _error_of(call)
        self.retrier.counts[self.name] = self.retrier.counts.get(self.name, 0) + 1
        self.retrier.listen(Retrying(self.name, self.state.attempts, self.seconds or 0.0, reason(error)))
        if isinstance(error, SessionExpired) and self.renew is not None:
            await self.renew()


def reason(error: BaseException) -> str:
    """Return one line about an error, without mail text."""
    if isinstance(error, ResyncError) and error.detail and error.detail != error.summary:
        return f"{error.summary}: {error.detail}"
    return words_of(error)


def _error_of(call: RetryCallState) -> BaseException:
    error = call.outcome.exception() if call.outcome else None
    return error or ResyncError()
