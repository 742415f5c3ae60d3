"""Requests of one mailbox: paced, retried, counted, and without secrets in errors.

What the protocols share. Each attempt takes a slot of the limiter; the protocol's package says what the attempt does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

from kerio_resync.errors import OutcomeUnknown, Overloaded, ResyncError
from kerio_resync.model import ItemBatch
from kerio_resync.redaction import Redactor, emptied
from kerio_resync.server.http.transport import Request, Response, Transport
from kerio_resync.server.pacing.limiter import Limiter, Slot
from kerio_resync.server.pacing.retry import MIN_DELAY_SECONDS, Retrier, RetryState

T = TypeVar("T")

READ_TIMEOUT_SECONDS = 60.0
FIRST_CONTACT_SECONDS = 15.0  # a wrong address should be reported soon
SECOND_CONTACT_SECONDS = 60.0  # if something accepted the first request and the answer was lost


class Reply(NamedTuple):
    """A complete reply, and what it cost.

    `wire_bytes`: of the body as it travelled. `seconds`: of the attempt, without the minimum latency and without
    waiting for a slot; `server_seconds`: the part of them in the server. `min_latency`: seconds that any reply has
    taken at least.
    """

    status: int
    headers: Mapping[str, str]
    data: bytes
    wire_bytes: int
    seconds: float
    server_seconds: float
    min_latency: float


class Requests:
    """Makes the requests of one mailbox. `timeout`: seconds without a byte."""

    def __init__(
        self,
        transport: Transport,
        limiter: Limiter,
        retrier: Retrier,
        redactor: Redactor,
        *,
        timeout: float = READ_TIMEOUT_SECONDS,
    ) -> None:
        self.transport = transport
        self.limiter = limiter
        self.retrier = retrier
        self.redactor = redactor
        self.timeout = timeout
        self.wire_bytes = 0
        self._arriving: dict[Slot, Response] = {}
        self._shared: asyncio.Task[Any] | None = None

    @property
    def arriving(self) -> int:
        """Body bytes received of replies to calls that are not complete yet."""
        return sum(response.wire_bytes for response in self._arriving.values())

    async def exchange(self, slot: Slot, request: Request, limit: int) -> Reply:
        """Send a request and read its reply. TooLong if it has more than `limit` bytes."""
        start = self.limiter.now()
        async with self.transport.send(request) as response:
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
        return Reply(
            response.status,
            response.headers,
            data,
            response.wire_bytes,
            seconds,
            slot.server_seconds,
            min_latency,
        )

    async def repeat(
        self,
        attempt: Callable[[], Awaitable[T]],
        name: str,
        *,
        idempotent: bool = True,
        state: RetryState | None = None,
        retry_timeout: float | None = None,
        renew: Callable[[], Awaitable[None]] | None = None,
        outwaits: bool = True,
    ) -> T:
        """Repeat `attempt` as `Retrier.call` does; its errors have no secrets."""

        async def redacted() -> T:
            try:
                return await attempt()
            except ResyncError as error:
                emptied(error)
                self.redactor.error(error)
                raise

        return await self.retrier.call(
            redacted,
            name,
            idempotent=idempotent,
            renew=renew,
            outwaits=outwaits,
            state=state,
            retry_timeout=retry_timeout,
        )

    async def first_contact(self, contact: Callable[[float], Awaitable[None]]) -> None:
        """Make the first request of a run; give up early if nothing answers.

        `contact` gets the seconds for which it may be retried.
        """
        began, retry_timeout = self.limiter.now(), self.retrier.retry_timeout
        try:
            await contact(min(retry_timeout, FIRST_CONTACT_SECONDS))
        except (Overloaded, OutcomeUnknown) as error:
            left = retry_timeout - (self.limiter.now() - began)
            if left < MIN_DELAY_SECONDS:
                raise
            # An overloaded server exists, so the address is right. If the answer was lost, something exists: worth a
            # second try, but not the whole retry timeout.
            await contact(left if isinstance(error, Overloaded) else min(left, SECOND_CONTACT_SECONDS))

    async def share(self, call: Callable[[], Coroutine[Any, Any, object]]) -> None:
        """Wait for one call that all who wait share."""
        if self._shared is None or self._shared.done():
            self._shared = asyncio.ensure_future(call())
            self._shared.add_done_callback(retrieve_exception)
        await asyncio.shield(self._shared)

    async def close(self) -> None:
        """Cancel a pending shared call."""
        if self._shared and not self._shared.done():
            self._shared.cancel()
            await asyncio.wait([self._shared])


def retrieve_exception(task: asyncio.Task[Any]) -> None:
    """Retrieve a task's exception.

    asyncio would log it if all waiters were cancelled.
    """
    if not task.cancelled():
        task.exception()


def join_batches(batches: Sequence[ItemBatch]) -> ItemBatch:
    """Return several batches as one; bytes and seconds add up."""
    return ItemBatch(
        tuple(item for batch in batches for item in batch.items),
        tuple(item_id for batch in batches for item_id in batch.gone),
        tuple(item for batch in batches for item in batch.malformed),
        sum(batch.plain_bytes for batch in batches),
        sum(batch.wire_bytes for batch in batches),
        sum(batch.seconds for batch in batches),
        max((batch.server_seconds for batch in batches), default=0.0),
        max((batch.min_latency for batch in batches), default=0.0),
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
