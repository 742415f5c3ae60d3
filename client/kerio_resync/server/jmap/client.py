"""Makes method calls: several in a request, paced, retried, within limits.

Only errors of `kerio_resync.errors` are raised, without secrets. A request that must not be processed twice ends in
`OutcomeUnknown` if its reply is unusable.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, NamedTuple, TypeVar

from kerio_resync.errors import (
    BadCredentials,
    OutcomeUnknown,
    ProtocolError,
    TooLarge,
)
from kerio_resync.server.http.transport import Request, TooLong, Transport
from kerio_resync.server.jmap.methods import Call, decode, encode, names_of
from kerio_resync.server.jmap.resource import CORE, MAIL, Resource
from kerio_resync.server.jmap.session import Session
from kerio_resync.server.json_codec import Canonical
from kerio_resync.server.memory_budget import HeldReservations
from kerio_resync.server.pacing.limiter import Limiter
from kerio_resync.server.pacing.requests import READ_TIMEOUT_SECONDS, Requests
from kerio_resync.server.pacing.retry import Retrier, RetryState
from kerio_resync.settings import Settings

T = TypeVar("T")

MAX_REPLY_BYTES: Final = 64 << 20
MAX_CONCURRENT_CALLS: Final = 4  # more bring nothing where a user's mailbox has a lock, as on Cyrus
_HEADERS: Final = {"Content-Type": "application/json", "Accept": "application/json"}


class Answer(NamedTuple):
    """The results of a request's calls, and what its last attempt cost.

    See `pacing.requests.Reply` for the figures. `canonical` writes parts of the results as canonical JSON.
    """

    results: list[dict[str, Any]]
    canonical: Canonical
    plain_bytes: int
    wire_bytes: int
    seconds: float
    server_seconds: float
    min_latency: float


class JmapClient(Requests):
    """Makes the calls of one mailbox. `timeout`: seconds without a byte."""

    def __init__(
        self,
        transport: Transport,
        settings: Settings,
        limiter: Limiter,
        retrier: Retrier,
        *,
        timeout: float = READ_TIMEOUT_SECONDS,
    ) -> None:
        super().__init__(transport, limiter, retrier, settings.redactor, timeout=timeout)
        self.session = Session(settings)
        self._calling = asyncio.Semaphore(1)
        self.uploading = asyncio.Semaphore(1)

    @property
    def resource(self) -> Resource:
        """What the server offers."""
        return self.session.resource

    async def open(self) -> None:
        """Fetch the session resource. BadCredentials, Unreachable, UnknownServer."""
        await self.session.open(self)
        limits = self.resource.limits
        self._calling = asyncio.Semaphore(min(MAX_CONCURRENT_CALLS, limits.concurrent_requests))
        self.uploading = asyncio.Semaphore(limits.concurrent_uploads)

    async def call(
        self,
        calls: Sequence[Call],
        *,
        using: Sequence[str] = (),
        idempotent: bool = True,
        retry_timeout: float | None = None,
        check: Callable[[list[dict[str, Any]]], None] | None = None,
        held: HeldReservations | None = None,
    ) -> Answer:
        """Return the results of `calls`, made in one request.

        `using`: capabilities besides those of mail. `check` may raise an error that the results contain; the request
        is retried by that error. `held` takes over the memory reservation of the reply; earlier ones are released
        before the request. TooLarge: request less.
        """
        name = names_of(calls)
        resource = self.resource
        body = encode(calls, (CORE, MAIL, *using))
        if len(body) > resource.limits.request_bytes:
            raise TooLarge(f"a request of {len(body):,} bytes", code=413, method=name)

        async def attempt() -> Answer:
            if held is not None:
                held.release()  # before the wait for a slot; holding both could deadlock
            async with self._calling, self.limiter.slot(name) as slot:
                headers = {
                    **_HEADERS,
                    "Accept-Encoding": self.limiter.stats.accept_encoding(),
                    **self.session.headers(resource.api_url),
                }
                request = Request("POST", resource.api_url, headers, body, self.timeout, held)
                try:
                    reply = await self.exchange(slot, request, MAX_REPLY_BYTES)
                    results, canonical = decode(
                        calls, reply.status, reply.headers, reply.data, idempotent=idempotent, redactor=self.redactor
                    )
                except TooLong as error:
                    raise TooLarge(error.detail, code=413, method=name) from error
                except ProtocolError as error:
                    if idempotent:
                        raise
                    raise OutcomeUnknown(error.detail) from error
                except BadCredentials as error:
                    self.session.refused(error)
                    raise
            if check:
                check(results)
            return Answer(
                results,
                canonical,
                len(reply.data),
                reply.wire_bytes,
                reply.seconds,
                reply.server_seconds,
                reply.min_latency,
            )

        return await self.repeat(attempt, name, idempotent=idempotent, retry_timeout=retry_timeout)

    async def with_retries(
        self, attempt: Callable[[], Awaitable[T]], name: str, *, state: RetryState | None = None
    ) -> T:
        """Repeat an idempotent `attempt` as `Retrier.call` does."""
        return await self.repeat(attempt, name, state=state)

    def headers(self, url: str) -> dict[str, str]:
        """Return the headers that prove who the user is. ForeignAddress."""
        return self.session.headers(url)

    async def confirm_session(self) -> None:
        """Wait until the server itself answers. All waiting tasks share one call."""
        await self.share(lambda: self.call([Call("Core/echo", {})]))

    async def close(self) -> None:
        """Cancel a pending `confirm_session`, and close the connections."""
        await super().close()
        self.limiter.close()
        await self.transport.aclose()
