"""Calls the server's methods: JSON-RPC 2.0 over the transport, paced and retried.

Each attempt takes a slot and carries the session. An expired session is renewed once for all calls. Only errors of
`kerio_resync.errors` are raised, without secrets. A call that must not be processed twice ends in `OutcomeUnknown` if
its reply is unusable. Whether the server itself answered is decided in `replies`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from itertools import count
from typing import Any, NamedTuple, TypeVar

from kerio_resync.errors import (
    OutcomeUnknown,
    ProtocolError,
    ResyncError,
    ServerRefused,
    TooLarge,
    TransientServerError,
)
from kerio_resync.redaction import emptied
from kerio_resync.server.http.transport import Request, Response, TooLong, Transport
from kerio_resync.server.kerio import error_codes, wire
from kerio_resync.server.kerio.json_codec import Canonical
from kerio_resync.server.kerio.replies import Envelope, parse_response
from kerio_resync.server.kerio.session import Session, retrieve_exception
from kerio_resync.server.memory_budget import HeldReservations
from kerio_resync.server.pacing.limiter import Limiter, Slot
from kerio_resync.server.pacing.retry import Retrier, RetryState

T = TypeVar("T")

PATH = "/webmail/api/jsonrpc/"
WHO = "Session.whoAmI"
SMALL_REPLY_BYTES = 4 << 20  # limit for replies without items
LARGE_REPLY_BYTES = 64 << 20  # limit for replies with items
READ_TIMEOUT_SECONDS = 60.0

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


class RpcClient:
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
        self.transport = transport
        self.session = session
        self.limiter = limiter
        self.retrier = retrier
        self.timeout = timeout
        self.wire_bytes = 0
        self.envelope = Envelope()
        self._login = login
        self._confirming: asyncio.Task[RpcResponse] | None = None
        self._arriving: dict[Slot, Response] = {}
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
                    answer = await self._exchange(method, body, number, idempotent, limit, slot, held)
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

        async def redacted() -> T:
            nonlocal generation
            generation = self.session.generation
            try:
                return await attempt()
            except ResyncError as error:
                emptied(error)
                self.session.redactor.error(error)
                raise

        async def renew() -> None:
            await self.session.renew(generation, self._login)

        return await self.retrier.call(
            redacted,
            name,
            idempotent=idempotent,
            renew=renew if renews else None,
            outwaits=outwaits,
            state=state,
            retry_timeout=retry_timeout,
        )

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
        if self._confirming is None or self._confirming.done():
            self._confirming = asyncio.ensure_future(self.call(WHO))
            self._confirming.add_done_callback(retrieve_exception)
        await asyncio.shield(self._confirming)

    async def close(self) -> None:
        """Cancel a pending `confirm_session`."""
        if self._confirming and not self._confirming.done():
            self._confirming.cancel()
            await asyncio.wait([self._confirming])

    @property
    def arriving(self) -> int:
        """Body bytes received of replies to calls that are not complete yet."""
        return sum(response.wire_bytes for response in self._arriving.values())

    async def _exchange(
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
        start = self.limiter.now()
        async with self.transport.send(Request("POST", url, headers, body, self.timeout, held)) as response:
            slot.answered(response.connect_seconds)
            self._arriving[slot] = response
            try:
                data = await response.read(limit)
            finally:
                del self._arriving[slot]
                self.wire_bytes += response.wire_bytes
        slot.complete(response.wire_bytes)
        min_latency = self.limiter.min_latency
        seconds = max(0.0, self.limiter.now() - start - response.connect_seconds - min_latency)
        result, canonical = parse_response(
            method,
            response.status,
            response.headers,
            data,
            idempotent=idempotent,
            envelope=self.envelope,
            number=number,
            clean=self.session.redactor.value,
        )
        return RpcResponse(
            result,
            canonical,
            len(data),
            response.wire_bytes,
            seconds,
            response.headers.get("set-cookie", ""),
            slot.server_seconds,
            min_latency,
        )


async def gather_or_raise_first(calls: list[Awaitable[T]]) -> list[T]:
    """Run calls at once; the first error cancels the others.

    It is raised as itself, not in a group.
    """

    async def run(call: Awaitable[T]) -> T:
        return await call

    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(run(call)) for call in calls]
    except BaseExceptionGroup as errors:
        raise _first(errors) from errors
    return [task.result() for task in tasks]


def _first(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
