from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from kerio_resync.errors import (
    BadCredentials,
    CacheInUse,
    CertificateError,
    FolderDenied,
    ForeignReply,
    ItemGone,
    KeyExpired,
    OutcomeUnknown,
    Overloaded,
    ProtocolError,
    ResyncError,
    SessionExpired,
    TooLarge,
    Unreachable,
)
from kerio_resync.events import Event, Retrying
from kerio_resync.server.http.transport import ReadTimeout, TooLong
from kerio_resync.server.pacing.retry import (
    MAX_PROTOCOL_ERRORS,
    MAX_SESSION_RENEWALS,
    Backoff,
    Retrier,
    RetryContext,
    RetryState,
    retry_delay,
)
from simulation.virtual_time import run

FIRST = RetryContext()
ONCE = RetryContext(idempotent=False)


@pytest.mark.parametrize(
    ("error", "at", "wait"),
    [
        (Unreachable("x"), FIRST, 0.25),
        (Unreachable("x"), ONCE, 0.25),  # surely not processed
        (Unreachable("x"), RetryContext(seen=3), 2.0),
        (Unreachable("x"), RetryContext(seen=50), 15.0),
        (Unreachable("x"), RetryContext(seen=3, elapsed=599.5), 0.5),  # not beyond the retry timeout
        (
            Unreachable("x"),
            RetryContext(seen=3, elapsed=599.999),
            None,
        ),  # a timer may be early by that: no storm of calls
        (Unreachable("x"), RetryContext(seen=3, elapsed=19.999999999999996, retry_timeout=20.0), None),
        (Unreachable("x"), RetryContext(elapsed=600.0), None),
        (Unreachable("x"), RetryContext(retry_timeout=0.0), None),
        (CertificateError("x"), FIRST, None),
        (OutcomeUnknown("x"), FIRST, 0.125),
        (OutcomeUnknown("x"), ONCE, None),  # it may have been processed
        (ReadTimeout("x"), FIRST, 0.125),
        (ReadTimeout("x"), ONCE, None),
        (Overloaded("x"), FIRST, 0.75),
        (Overloaded("x"), ONCE, 0.75),
        (Overloaded("x"), RetryContext(seen=9), 22.5),
        (Overloaded("x", retry_after=7.0), FIRST, 7.0),
        (Overloaded("x", retry_after=0.0), FIRST, 0.75),
        (Overloaded("x", retry_after=0.0), RetryContext(seen=3, chance=0.0), 4.0),  # a floor that grows
        (Overloaded("x", retry_after=7.0), RetryContext(elapsed=594.0), 6.0),
        (Overloaded("x", retry_after=86400.0), FIRST, 600.0),  # the last try, when the retry timeout ends
        (Overloaded("x", retry_after=7.0), RetryContext(elapsed=600.0), None),
        (ForeignReply("x"), FIRST, 0.375),
        (ForeignReply("x"), ONCE, None),
        (ForeignReply("x"), RetryContext(seen=50, chance=0.0), 15.0),
        (ForeignReply("x", retry_after=7.0), FIRST, 7.0),
        (ForeignReply("x"), RetryContext(outwaits=False), None),
        (ProtocolError("x"), FIRST, 0.25),
        (ProtocolError("x"), RetryContext(seen=MAX_PROTOCOL_ERRORS - 2), 1.0),
        (ProtocolError("x"), RetryContext(seen=MAX_PROTOCOL_ERRORS - 1), None),
        (ProtocolError("x"), ONCE, None),
        (TooLong("x"), FIRST, None),  # it will be as long the next time
        (SessionExpired("x"), FIRST, 0.0),
        (SessionExpired("x"), ONCE, 0.0),
        (SessionExpired("x"), RetryContext(retry_timeout=0.0), 0.0),
        (SessionExpired("x"), RetryContext(seen=1), 0.375),
        (SessionExpired("x"), RetryContext(seen=MAX_SESSION_RENEWALS), None),
        (SessionExpired("x"), RetryContext(renews=False), None),
        (BadCredentials("x"), FIRST, None),
        (ItemGone("x"), FIRST, None),
        (FolderDenied("x"), FIRST, None),
        (KeyExpired("x"), FIRST, None),
        (TooLarge("x"), FIRST, None),
        (CacheInUse("x"), FIRST, None),
        (ResyncError("x"), FIRST, None),
    ],
)
def test_retry_delay_by_error_and_context(error: BaseException, at: RetryContext, wait: float | None) -> None:
    assert retry_delay(error, at) == wait


@pytest.mark.parametrize(("n", "chance", "wait"), [(0, 0.0, 0.0), (0, 1.0, 1.0), (3, 0.5, 4.0), (10_000, 1.0, 60.0)])
def test_backoff_is_full_jitter_below_its_cap(n: int, chance: float, wait: float) -> None:
    assert Backoff(1.0, 60.0).after(n, chance) == wait


def failing(*errors: BaseException) -> tuple[Callable[[], Awaitable[str]], list[float]]:
    """A call that fails so, then succeeds; and when it was made."""
    left, times = list(errors), []

    async def attempt() -> str:
        times.append(asyncio.get_running_loop().time())
        if left:
            raise left.pop(0)
        return "done"

    return attempt, times


def retrier(events: list[Event] | None = None, retry_timeout: float = 600.0) -> Retrier:
    return Retrier(retry_timeout, (events if events is not None else []).append, chance=lambda: 1.0)


def test_call_retries_until_success_and_announces_each_retry() -> None:
    events: list[Event] = []
    attempt, times = failing(Unreachable("no way"), OutcomeUnknown("cut"), Overloaded("busy", retry_after=5.0))
    attempts = retrier(events)
    assert run(attempts.call(attempt, "Mails.get")) == "done"
    assert times == [0.0, 0.5, 0.75, 5.75]
    assert events == [
        Retrying("Mails.get", 1, 0.5, "the server cannot be reached: no way"),
        Retrying("Mails.get", 2, 0.25, "the connection broke: cut"),
        Retrying("Mails.get", 3, 5.0, "the server is busy: busy"),
    ]
    assert attempts.retries == 3


def test_call_raises_last_error_when_retry_timeout_ends() -> None:
    async def attempt() -> None:
        raise Unreachable("still no way")

    async def main() -> float:
        with pytest.raises(Unreachable, match="still"):
            await retrier(retry_timeout=100.0).call(attempt, "x")
        return asyncio.get_running_loop().time()

    assert run(main()) == pytest.approx(100.0)


def test_call_with_unknown_outcome_is_not_repeated_unless_idempotent() -> None:
    attempt, times = failing(OutcomeUnknown("cut"))
    with pytest.raises(OutcomeUnknown):
        run(retrier().call(attempt, "Mails.create", idempotent=False))
    assert len(times) == 1


def test_malformed_replies_are_retried_up_to_the_limit() -> None:
    attempt, times = failing(*[ProtocolError("what?")] * 10)
    with pytest.raises(ProtocolError):
        run(retrier().call(attempt, "x"))
    assert len(times) == MAX_PROTOCOL_ERRORS


def test_expired_session_is_renewed_before_the_retry() -> None:
    order: list[str] = []

    async def attempt() -> str:
        order.append("call")
        if len(order) < 4:
            raise SessionExpired("over")
        return "done"

    async def renew() -> None:
        order.append("login")

    assert run(retrier(retry_timeout=0.0).call(attempt, "x", renew=renew)) == "done"
    assert order == ["call", "login", "call", "login", "call"]


def test_refused_renewal_is_raised_at_once() -> None:
    attempt, times = failing(SessionExpired("over"))

    async def renew() -> None:
        raise BadCredentials("no")

    with pytest.raises(BadCredentials):
        run(retrier().call(attempt, "x", renew=renew))
    assert len(times) == 1


def test_other_exceptions_pass_without_retry() -> None:
    for error in (KeyError("x"), asyncio.CancelledError()):
        attempt, times = failing(error)
        with pytest.raises(type(error)):
            run(retrier().call(attempt, "x"))
        assert len(times) == 1


def test_concurrent_calls_keep_their_own_state() -> None:
    async def main() -> list[int]:
        attempts = retrier()

        async def one(n: int) -> int:
            left = n

            async def attempt() -> int:
                nonlocal left
                await asyncio.sleep(0.1)
                if left:
                    left -= 1
                    raise OutcomeUnknown("cut")
                return n

            return await attempts.call(attempt, f"call {n}")

        return await asyncio.gather(*(one(n) for n in range(40)))

    assert run(main()) == list(range(40))


def test_cleared_state_starts_the_retry_timeout_again() -> None:
    state = RetryState(since=0.0, attempts=4, seen={OutcomeUnknown: 4})
    state.clear()
    assert state == RetryState()
