"""A client transport that calls the mock server as a function, without sockets.

In virtual time a run of minutes takes milliseconds and is deterministic. The server's transport faults are raised as
the client's own transport would report them.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from kerio_mockserver.messages import Reply
from kerio_mockserver.server import MockServer
from kerio_resync.errors import OutcomeUnknown, ProtocolError
from kerio_resync.server.http.transport import ReadTimeout, Request, Response
from simulation.wire import reply_parts, server_request


async def do_nothing(request: Request) -> None:
    """Do nothing before a request: the hook by default."""


@dataclass(slots=True)
class DirectResponse:
    """A response held in memory.

    With `cut`, the connection breaks after that many bytes of the body.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    cut: int | None = None
    wire_bytes: int = 0
    connect_seconds: float = 0.0

    async def read(self, limit: int) -> bytes:
        """Return the whole body; raise `ProtocolError` beyond `limit` bytes."""
        body = b"".join([chunk async for chunk in self.chunks()])
        if len(body) > limit:
            raise ProtocolError(f"a reply of more than {limit} bytes")
        return body

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield the body in pieces of 64 KiB; raise `OutcomeUnknown` at the cut."""
        end = len(self.body) if self.cut is None else min(self.cut, len(self.body))
        for start in range(0, end, 65536):
            data = self.body[start : min(start + 65536, end)]
            self.wire_bytes += len(data)
            yield data
        if self.cut is not None:
            raise OutcomeUnknown("the reply was cut short")


@dataclass
class DirectTransport:
    """Calls `server` for each request, after `before`.

    There tests change the mailbox, pause or end the run.
    """

    server: MockServer
    before: Callable[[Request], Awaitable[None]] = do_nothing
    requests: list[str] = field(default_factory=list)

    @asynccontextmanager
    async def send(self, request: Request) -> AsyncIterator[Response]:
        """Send one request to the server."""
        await self.before(request)
        reply = await self.server.handle(server_request(request, without="accept-encoding"))
        self.requests.append(reply.rpc)
        yield await apply_fault(reply, request.timeout)

    async def aclose(self) -> None:
        """Do nothing: there is no connection to close."""


async def apply_fault(reply: Reply, timeout: float) -> DirectResponse:
    """Return `reply` with its fault, as a client with this read timeout receives it."""
    headers, body = reply_parts(reply)
    response = DirectResponse(reply.status, headers, body)
    fault = reply.fault
    if fault is None:
        return response
    match fault.kind:
        case "reset-before-head":
            raise OutcomeUnknown("the connection was reset")
        case "reset-after-head" | "cut":
            response.cut = fault.at
        case "stall":
            await asyncio.sleep(min(fault.seconds or timeout, timeout))
            if not 0 < fault.seconds < timeout:
                raise ReadTimeout(f"no byte arrived for {timeout:.0f} s")
        case "drip":
            await asyncio.sleep(min(len(body) / max(fault.rate, 1.0), 3600))
        case "wrong-length":
            headers["content-length"] = str(fault.at)
            response.body = body[: fault.at]
            response.cut = None if fault.at <= len(body) else len(body)
    return response
