"""A client transport that calls the double as a function, for virtual time."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from kerio_resync.errors import OutcomeUnknown, Unreachable
from kerio_resync.server.http.transport import Request, Response, refuse_redirect
from simulation.direct_transport import DirectResponse, do_nothing
from tests.support.jmap_double.server import JmapDouble


@dataclass
class DirectTransport:
    """Calls `double` for each request, after `before`."""

    double: JmapDouble
    before: Callable[[Request], Awaitable[None]] = do_nothing

    @asynccontextmanager
    async def send(self, request: Request) -> AsyncIterator[Response]:
        """Send one request."""
        await self.before(request)
        headers = {name.lower(): value for name, value in request.headers.items()}
        reply = await self.double.handle(request.method, request.url, headers, request.body or b"")
        if reply.fault == "refused":
            raise Unreachable("no connection")
        if reply.fault == "lost":
            raise OutcomeUnknown("the connection broke")
        if not request.redirects:
            refuse_redirect(request.url, reply.status, reply.headers.get("location", ""))
        sent = {**reply.headers, "content-length": str(len(reply.body))}
        yield DirectResponse(reply.status, sent, reply.body, len(reply.body) // 2 if reply.fault == "cut" else None)

    async def aclose(self) -> None:
        """Do nothing: there is no connection to close."""
