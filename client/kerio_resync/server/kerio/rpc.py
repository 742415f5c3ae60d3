"""Calls the server's methods: JSON-RPC 2.0 over the transport, paced and retried.

Each attempt takes a slot and carries the session. An expired session is renewed once for all calls. Only errors of
`kerio_resync.errors` are raised, without secrets. A call that must not be processed twice ends in `OutcomeUnknown` if
its reply is unusable. Whether the server itself answered is decided in `replies`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from itertools import count
from typing import Any, NamedTuple, TypeVar

from kerio_resync.errors import (
    OutcomeUnknown,
    ProtocolError,
    ServerRefused,
    TooLarge,
    TransientServerError,
)
from kerio_resync.server.http.transport import Request, TooLong, Transport
from kerio_resync.server.json_codec import Canonical
from kerio_resync.server.kerio import error_codes, wire
from kerio_resync.server.kerio.replies import Envelope, parse_response
from kerio_resync.server.kerio.session import Session
from kerio_resync.server.memory_budget import HeldReservations
from kerio_resync.server.pacing.limiter import Limiter, Slot
from kerio_resync.server.pacing.requests import READ_TIMEOUT_SECONDS, Requests
from kerio_resync.server.pacing.retry import Retrier, RetryState

T = TypeVar("T")

PATH = "/webmail/api/jsonrpc/"
WHO = "Session.whoAmI"
SMALL_REPLY_BYTES = 4 << 20  # limit for replies without items
LARGE_REPLY_BYTES = 64 << 20  # limit for replies with items

_HEADERS = {
    "Content-Type": "application/json-rpc; charset=UTF-8",
    "Accept": "application/json-rpc, application/json",
}


class RpcResponse(NamedTuple):
    """A call's `result`, and what its last attempt cost.

    `canonical` writes parts of the result as canonical JSON. Sizes in bytes, plain and as travelled. `seconds`: of the
    attempt, without the minimum latency and without waiting for a slot; `server_seconds`: the part of them in the
    server. `min_latency`: seconds that any reply has taken at least.
    """

    result: Any
    canonical: Canonical
    plain_bytes: int
    wire_bytes: int
    seconds: float
    set_cookie: str = ""
    server_seconds: float = 0.0
    min_latency: float = 0.0


class RpcClient(Requests):
    """Makes the calls of one mailbox.

    `timeout`: seconds without a byte; `login` renews the session.
    """

    def __init__(
        self,
        transport: Transport,
        session: Session,
        limiter: Limiter,
        retrier: Retrier,
        login: Callable[[], Awaitable[None]],
        *,
        timeout: float = READ_TIMEOUT_SECONDS,
    ) -> None:
        super().__init__(transport, limiter, retrier, session.redactor, timeout=timeout)
        self.session = session
        self.envelope = Envelope()
        self._login = login
        self._numbers = count(1)

    async def call(
        self,
        method: str,
        params: Mapping[str, Any] | None = None,
        *,
        idempotent: bool = True,
        limit: int = SMALL_REPLY_BYTES,
        retry_timeout: float | None = None,
        renews: bool = True,
        outwaits: bool = True,
        check: Callable[[str, RpcResponse], None] | None = None,
        held: HeldReservations | None = None,
    ) -> RpcResponse:
        """Return the answer to `method`.

        A reply of more than `limit` bytes raises TooLarge if the limit is LARGE_REPLY_BYTES, else ProtocolError.
        `check` may raise an error that the answer contains; the call is retried by that error. With `renews` False an
        expired session is raised, with `outwaits` False a ForeignReply. `held` takes over the memory reservation of the
        reply; earlier ones are released before the request.
        """
        number = next(self._numbers)
        body = wire.request(number, method, params or {})

        async def attempt() -> RpcResponse:
            if held is not None:
                held.release()  # before the wait for a slot; holding both could deadlock
            async with self.limiter.slot(method) as slot:
                try:
                    answer = await self._answer(method, body, number, idempotent, limit, slot, held)
                except TooLong as error:
                    if limit < LARGE_REPLY_BYTES:
                        raise
                    raise TooLarge(error.detail, code=413, method=method) from error
                except ProtocolError as error:
                    if idempotent:
                        raise
                    raise OutcomeUnknown(f"{method}: {error.detail}") from error
            if check:
                check(method, answer)
            return answer

        return await self.with_retries(
            attempt, method, idempotent=idempotent, retry_timeout=retry_timeout, renews=renews, outwaits=outwaits
        )

    async def with_retries(
        self,
        attempt: Callable[[], Awaitable[T]],
        name: str,
        *,
        idempotent: bool = True,
        state: RetryState | None = None,
        retry_timeout: float | None = None,
        renews: bool = True,
        outwaits: bool = True,
    ) -> T:
        """Repeat `attempt` as `Retrier.call` does, and renew the session in between."""
        generation = self.session.generation

        async def noted() -> T:
            nonlocal generation
            generation = self.session.generation
            return await attempt()

        async def renew() -> None:
            await self.session.renew(generation, self._login)

        return await self.repeat(
            noted,
            name,
            idempotent=idempotent,
            renew=renew if renews else None,
            outwaits=outwaits,
            state=state,
            retry_timeout=retry_timeout,
        )

    def headers(self, url: str) -> dict[str, str]:
        """Return the headers that carry the session. ForeignAddress."""
        return self.session.headers(url)

    async def answers_itself(self, retry_timeout: float | None = None) -> bool:
        """Return whether the server itself answers within `retry_timeout` seconds.

        An answer that the session has expired counts, too.
        """
        try:
            await self.call(WHO, retry_timeout=retry_timeout, renews=False)
        except ServerRefused:
            return True
        except TransientServerError:
            return False
        return True

    async def confirm_session(self) -> None:
        """Wait until the server itself answers, and renew an expired session.

        All waiting tasks share one call.
        """
        await self.share(lambda: self.call(WHO))

    async def _answer(
        self,
        method: str,
        body: bytes,
        number: int,
        idempotent: bool,
        limit: int,
        slot: Slot,
        held: HeldReservations | None,
    ) -> RpcResponse:
        """Send one request and parse its reply.

        A login carries no session: any earlier one is dead.
        """
        url = self.session.origin + PATH
        proof = {} if method == error_codes.LOGIN_METHOD else self.session.headers(url)
        headers = {**_HEADERS, "Accept-Encoding": self.limiter.stats.accept_encoding(), **proof}
        reply = await self.exchange(slot, Request("POST", url, headers, body, self.timeout, held), limit)
        result, canonical = parse_response(
            method,
            reply.status,
            reply.headers,
            reply.data,
            idempotent=idempotent,
            envelope=self.envelope,
            number=number,
            clean=self.session.redactor.value,
        )
        return RpcResponse(
            result,
            canonical,
            len(reply.data),
            reply.wire_bytes,
            reply.seconds,
            reply.headers.get("set-cookie", ""),
            reply.server_seconds,
            reply.min_latency,
        )
