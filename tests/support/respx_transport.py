"""A transport whose requests a `respx.Router` answers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import httpx
import respx

from kerio_resync.errors import OutcomeUnknown, Unreachable
from kerio_resync.server.http.decompression import decoder
from kerio_resync.server.http.transport import ReadTimeout, Request, Response, refuse_redirect


class RouterResponse:
    """`raw`: the body as it travelled, in the pieces in which it came."""

    def __init__(self, status: int, headers: Mapping[str, str], raw: AsyncIterator[bytes]) -> None:
        self.status = status
        self.headers = headers
        self.wire_bytes = 0
        self.connect_seconds = 0.0
        self._raw = raw

    async def read(self, limit: int) -> bytes:
        return b"".join([piece async for piece in self._decoded(limit)])

    def chunks(self) -> AsyncIterator[bytes]:
        return self._decoded(None)

    async def _decoded(self, limit: int | None) -> AsyncIterator[bytes]:
        decode = decoder(self.headers.get("content-encoding", ""), limit)
        try:
            async for piece in self._raw:
                self.wire_bytes += len(piece)
                for chunk in decode.feed(piece):
                    yield chunk
        except httpx.TransportError as error:
            raise OutcomeUnknown("the reply was cut short") from error
        decode.end()


class RouterTransport:
    """`requests`: what was sent, in order."""

    def __init__(self, router: respx.Router) -> None:
        self.router = router
        self.requests: list[Request] = []
        self.closed = False

    @asynccontextmanager
    async def send(self, request: Request) -> AsyncIterator[Response]:
        self.requests.append(request)
        try:
            asked = httpx.Request(request.method, request.url, headers=dict(request.headers), content=request.body)
            reply = await self.router.async_handler(asked)
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            raise Unreachable("no connection") from error
        except httpx.ReadTimeout as error:
            raise ReadTimeout("no byte came") from error
        except httpx.TransportError as error:
            raise OutcomeUnknown("the connection broke") from error
        headers: dict[str, str] = {}
        for name, value in reply.headers.multi_items():
            known = headers.get(name)
            headers[name] = value if known is None else known + ("\n" if name == "set-cookie" else ", ") + value
        if not request.redirects:
            refuse_redirect(request.url, reply.status_code, headers.get("location", ""))
        stream = reply.stream
        assert isinstance(stream, httpx.AsyncByteStream)
        yield RouterResponse(reply.status_code, headers, aiter(stream))

    async def aclose(self) -> None:
        self.closed = True
