"""Calls of the server's methods: JSON-RPC 2.0 over the transport, paced and repeated as needed.

Promises: the body is read before the status is judged, since servers in the field answer errors with 200 as well; each
attempt takes a slot and proves the session; a session that dies is renewed once for all; only errors of
`kerio_resync.errors` come out. What must not happen twice ends in `Interrupted` when its reply is unusable.
Refuses replies beyond the limit given, and passes no secret on in a message.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import count
from traceback import clear_frames
from typing import Any, NamedTuple, TypeVar

from kerio_resync.errors import Interrupted, Overloaded, ResyncError, ServerNonsense, TooLarge
from kerio_resync.events import Listener, Paused
from kerio_resync.server import refusals, wire
from kerio_resync.server.limiter import Limiter, Slot
from kerio_resync.server.retry import History, Persistence, never
from kerio_resync.server.room import let_go
from kerio_resync.server.session import Session
from kerio_resync.server.transport import Request, Response, TooLong, Transport

T = TypeVar("T")

PATH = "/webmail/api/jsonrpc/"
SMALL = 4 << 20  # bytes of a reply that tells little
LARGE = 64 << 20  # bytes of a reply with items
TIMEOUT = 60.0  # seconds of silence

_HEADERS = {
    "Content-Type": "application/json-rpc; charset=UTF-8",
    "Accept": "application/json-rpc, application/json",
}


class Garbled(ServerNonsense):
    """A reply that is JSON but for a fault in it: one item may have spoilt it."""


class Answer(NamedTuple):
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


class Caller:
    """`call` and whatever else needs a slot, a session and patience. One for a mailbox."""

    def __init__(
        self,
        transport: Transport,
        session: Session,
        limiter: Limiter,
        persistence: Persistence,
        listen: Listener,
        login: Callable[[], Awaitable[None]],
        *,
        timeout: float = TIMEOUT,
    ) -> None:
        self.transport = transport
        self.session = session
        self.limiter = limiter
        self.persistence = persistence
        self.timeout = timeout
        self.wire_bytes = 0
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
        limit: int = SMALL,
        patience: float | None = None,
        renewing: bool = True,
        check: Callable[[str, Answer], None] | None = None,
    ) -> Answer:
        """The answer to `method`. A reply of more than `limit` bytes is TooLarge if that is LARGE, else nonsense.

        `check` may raise what the answer says inside; that counts as the call's error.
        """
        body = wire.request(next(self._numbers), method, params or {})

        async def attempt() -> Answer:
            answer = await self._attempt(method, body, idempotent, limit)
            if check:
                check(method, answer)
            return answer

        return await self.persist(attempt, method, idempotent=idempotent, patience=patience, renewing=renewing)

    async def persist(
        self,
        attempt: Callable[[], Awaitable[T]],
        name: str,
        *,
        idempotent: bool = True,
        history: History | None = None,
        patience: float | None = None,
        renewing: bool = True,
    ) -> T:
        """Repeats `attempt` as long as that makes sense, logging in again in between if need be."""
        history = history or History()
        if history.since is None:
            history.since = self.limiter.now()
        seen = self.session.generation
        first: ResyncError | None = None
        try:
            return await attempt()
        except ResyncError as error:
            first = error  # most attempts succeed at once, and need none of what follows

        async def again() -> T:
            nonlocal first, seen
            with self.hushed():
                if first is not None:
                    error, first = first, None
                    raise error
                seen = self.session.generation
                return await attempt()

        async def renew() -> None:
            await self.session.renew(seen, self._login)

        return await self.persistence.call(
            again, name, idempotent=idempotent, renew=renew if renewing else never, history=history, patience=patience
        )

    def overloaded(self, error: Overloaded) -> None:
        """The server named a time: everyone waits. One beyond all patience ends the run instead, at once."""
        if error.retry_after and error.retry_after <= self.persistence.patience:
            if self.limiter.paused < error.retry_after * 0.5:
                self._listen(Paused(error.retry_after, error.detail))
            self.limiter.pause_until(self.limiter.now() + error.retry_after)

    @property
    def arriving(self) -> int:
        """Body bytes that have come of replies to calls that are not whole yet."""
        return sum(each.wire_bytes for each in self._coming.values())

    async def _attempt(self, method: str, body: bytes, idempotent: bool, limit: int) -> Answer:
        let_go()
        async with self.limiter.slot(method) as slot:
            try:
                return await self._exchange(method, body, idempotent, limit, slot)
            except TooLong as error:
                if limit < LARGE:
                    raise
                raise TooLarge(error.detail, code=413, method=method) from error
            except ServerNonsense as error:
                if idempotent:
                    raise
                raise Interrupted(f"{method}: {error.detail}") from error

    async def _exchange(self, method: str, body: bytes, idempotent: bool, limit: int, slot: Slot) -> Answer:
        """One request and its reply. A login proves nothing: whatever session there was is dead."""
        url = self.session.origin + PATH
        proof = {} if method == refusals.LOGIN else self.session.headers(url)
        headers = {**_HEADERS, "Accept-Encoding": self.limiter.meter.accept(), **proof}
        start = self.limiter.now()
        async with self.transport.send(Request("POST", url, headers, body, self.timeout)) as response:
            slot.answered(response.set_up)
            self._coming[slot] = response
            try:
                data = await response.read(limit)
            finally:
                del self._coming[slot]
                self.wire_bytes += response.wire_bytes
        slot.complete(response.wire_bytes)
        seconds = max(0.0, self.limiter.now() - start - response.set_up - self.limiter.least_wait)
        replied = response.headers
        result, canonical = judged(
            method, response.status, replied, data, idempotent=idempotent, clean=self.session.redactor.value
        )
        cookies = replied.get("set-cookie", "")
        way = self.limiter.least_wait
        return Answer(result, canonical, len(data), response.wire_bytes, seconds, cookies, slot.held, way)

    @contextmanager
    def hushed(self) -> Iterator[None]:
        """Takes the session's secrets out of what errors say: a server may quote what it was sent. And the replies out
        of what they hold on to, since they may be kept for long."""
        try:
            yield
        except ResyncError as error:
            emptied(error)
            self.session.redactor.error(error)
            raise


def judged(
    method: str,
    status: int,
    headers: Mapping[str, str],
    data: bytes,
    *,
    idempotent: bool = True,
    clean: Callable[[Any], Any] = lambda value: value,
) -> tuple[Any, wire.Canonical]:
    """The `result` of a reply and how to write parts of it; the reply's error is raised.

    `clean` takes the secrets out of what the reply says about errors, before anything is made of it.
    """
    after = refusals.retry_after(headers.get("retry-after"))
    try:
        value, canonical = wire.parsed(data)
    except ValueError as error:
        if status == 200 and data[:4].removeprefix(wire.BOM)[:1] == b"{":
            raise Garbled(f"{method} is answered with broken JSON ({error})") from error
        raise refusals.of_status(
            method, status, idempotent=idempotent, after=after, html=wire.looks_like_html(data)
        ) from error
    if isinstance(value, dict):
        if (refused := value.get("error")) is not None:
            code, message = wire.error_of(clean(refused))
            raise refusals.of_code(method, code, message, idempotent=idempotent, after=after)
        if isinstance(result := value.get("result"), dict):
            if result.get("errors"):
                result["errors"] = clean(result["errors"])
            return result, canonical
    if status != 200:
        raise refusals.of_status(method, status, idempotent=idempotent, after=after)
    raise ServerNonsense(f"{method} is answered with neither a result nor an error")


def emptied(error: BaseException) -> None:
    """Lets go of what the functions worked on that an error, and those before it, went through."""
    each: BaseException | None = error
    seen: list[BaseException] = []
    while each is not None and each not in seen:
        clear_frames(each.__traceback__)
        seen.append(each)
        each = each.__cause__ or each.__context__


async def gathered(calls: list[Awaitable[T]]) -> list[T]:
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
