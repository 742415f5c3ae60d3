"""Calls of the server's methods: JSON-RPC 2.0 over the transport, paced and repeated as needed.

Promises: each attempt takes a slot and proves the session; a session that dies is renewed once for all; only errors of
`kerio_resync.errors` come out. What must not happen twice ends in `Interrupted` when its reply is unusable.
Refuses replies beyond the limit given, and passes no secret on in a message. Who answered is decided in `replies`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
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
from kerio_resync.events import Listener
from kerio_resync.redaction import emptied
from kerio_resync.server.http.transport import Request, Response, TooLong, Transport
from kerio_resync.server.kerio import error_codes, wire
from kerio_resync.server.kerio.replies import Envelope, parse_response
from kerio_resync.server.kerio.session import Session, retrieve
from kerio_resync.server.memory_budget import HeldReservations
from kerio_resync.server.pacing.limiter import Limiter, Slot
from kerio_resync.server.pacing.retry import Retrier, RetryState

T = TypeVar("T")

PATH = "/webmail/api/jsonrpc/"
SMALL_REPLY_BYTES = 4 << 20  # bytes of a reply that tells little
WHO = "Session.whoAmI"
LARGE_REPLY_BYTES = 64 << 20  # bytes of a reply with items
READ_TIMEOUT_SECONDS = 60.0  # seconds of silence

_HEADERS = {
    "Content-Type": "application/json-rpc; charset=UTF-8",
    "Accept": "application/json-rpc, application/json",
}


class RpcResponse(NamedTuple):
    """A call's `result`. `canonical` writes parts of it as canonical JSON; sizes in bytes, plain and as travelled;
    `seconds` of the last attempt beyond the way there and back, without waiting for a slot, of which the server had it
    for `held`; `way`: the least that any reply took."""

    result: Any
    canonical: wire.Canonical
    plain_bytes: int
    wire_bytes: int
    seconds: float
    set_cookie: str = ""
    held: float = 0.0
    way: float = 0.0


class RpcClient:
    """`call` and whatever else needs a slot, a session and retries. One for a mailbox."""

    def __init__(
        self,
        transport: Transport,
        session: Session,
        limiter: Limiter,
        retrier: Retrier,
        listen: Listener,
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
        self._confirming: asyncio.Task[None] | None = None
        self._coming: dict[Slot, Response] = {}
        self._listen = listen
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
        renewing: bool = True,
        outwaits: bool = True,
        check: Callable[[str, RpcResponse], None] | None = None,
        held: HeldReservations | None = None,
    ) -> RpcResponse:
        """The answer to `method`. A reply of more than `limit` bytes is TooLarge if that is LARGE, else nonsense.

        `check` may raise what the answer says inside; that counts as the call's error. Without `renewing` a dead
        session comes out as it is, without `outwaits` a ForeignReply.
        """
        number = next(self._numbers)
        body = wire.request(number, method, params or {})

        async def attempt() -> RpcResponse:
            answer = await self._attempt(method, body, number, idempotent, limit, held)
            if check:
                check(method, answer)
            return answer

        return await self.with_retries(
            attempt, method, idempotent=idempotent, retry_timeout=retry_timeout, renewing=renewing, outwaits=outwaits
        )

    async def with_retries(
        self,
        attempt: Callable[[], Awaitable[T]],
        name: str,
        *,
        idempotent: bool = True,
        state: RetryState | None = None,
        retry_timeout: float | None = None,
        renewing: bool = True,
        outwaits: bool = True,
    ) -> T:
        """Repeats `attempt` as long as that makes sense, logging in again in between if need be."""
        state = state or RetryState()
        if state.since is None:
            state.since = self.limiter.now()
        seen = self.session.generation
        first: ResyncError | None = None
        try:
            return await attempt()
        except ResyncError as error:
            first = error  # most attempts succeed at once, and need none of what follows

        async def again() -> T:
            nonlocal first, seen
            with self.redacting_secrets():
                if first is not None:
                    error, first = first, None
                    raise error
                seen = self.session.generation
                return await attempt()

        async def renew() -> None:
            await self.session.renew(seen, self._login)

        return await self.retrier.call(
            again, name, idempotent=idempotent, renew=renew if renewing else None, outwaits=outwaits,
            state=state, retry_timeout=retry_timeout,
        )  # fmt: skip

    async def answers_itself(self, retry_timeout: float | None = None) -> bool:
        """Whether the server answers as itself, within `retry_timeout` seconds; its session may be dead."""
        try:
            await self.call(WHO, retry_timeout=retry_timeout, renewing=False)
        except ServerRefused:
            return True
        except TransientServerError:
            return False
        return True

    async def confirm_session(self) -> None:
        """Waits until the server answers as itself, and renews a dead session. One call for all who ask meanwhile."""
        if self._confirming is None or self._confirming.done():
            self._confirming = asyncio.ensure_future(self._confirm())
            self._confirming.add_done_callback(retrieve)
        await asyncio.shield(self._confirming)

    async def _confirm(self) -> None:
        await self.call(WHO)

    async def close(self) -> None:
        if self._confirming and not self._confirming.done():
            self._confirming.cancel()
            await asyncio.wait([self._confirming])

    @property
    def arriving(self) -> int:
        """Body bytes that have come of replies to calls that are not whole yet."""
        return sum(each.wire_bytes for each in self._coming.values())

    async def _attempt(
        self, method: str, body: bytes, number: int, idempotent: bool, limit: int, held: HeldReservations | None
    ) -> RpcResponse:
        if held is not None:
            held.release()
        async with self.limiter.slot(method) as slot:
            try:
                return await self._exchange(method, body, number, idempotent, limit, slot, held)
            except TooLong as error:
                if limit < LARGE_REPLY_BYTES:
                    raise
                raise TooLarge(error.detail, code=413, method=method) from error
            except ProtocolError as error:
                if idempotent:
                    raise
                raise OutcomeUnknown(f"{method}: {error.detail}") from error

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
        """One request and its reply. A login proves nothing: whatever session there was is dead."""
        url = self.session.origin + PATH
        proof = {} if method == error_codes.LOGIN_METHOD else self.session.headers(url)
        headers = {**_HEADERS, "Accept-Encoding": self.limiter.meter.accept_encoding(), **proof}
        start = self.limiter.now()
        async with self.transport.send(Request("POST", url, headers, body, self.timeout, held)) as response:
            slot.answered(response.connect_seconds)
            self._coming[slot] = response
            try:
                data = await response.read(limit)
            finally:
                del self._coming[slot]
                self.wire_bytes += response.wire_bytes
        slot.complete(response.wire_bytes)
        seconds = max(0.0, self.limiter.now() - start - response.connect_seconds - self.limiter.min_latency)
        replied = response.headers
        result, canonical = parse_response(
            method, response.status, replied, data,
            idempotent=idempotent, envelope=self.envelope, number=number, clean=self.session.redactor.value,
        )  # fmt: skip
        cookies = replied.get("set-cookie", "")
        way = self.limiter.min_latency
        return RpcResponse(
            result, canonical, len(data), response.wire_bytes, seconds, cookies, slot.server_seconds, way
        )

    @contextmanager
    def redacting_secrets(self) -> Iterator[None]:
        """Takes the session's secrets out of what errors say: a server may quote what it was sent. And the replies out
        of what they hold on to, since they may be kept for long."""
        try:
            yield
        except ResyncError as error:
            emptied(error)
            self.session.redactor.error(error)
            raise


async def collect_lists(calls: list[Awaitable[T]]) -> list[T]:
    """All of them at once; the first error ends the others and comes out as itself, not in a group."""

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
