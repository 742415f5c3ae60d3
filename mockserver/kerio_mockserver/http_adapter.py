"""The HTTP side: converts aiohttp's messages and applies transport faults.

The files of the webmail page are answered here, before load, faults and statistics: they are not the API that clients
use, and measurements do not count them. Only the link applies to them. What the page then asks of the API is treated as
any client's calls.

Large bodies are sent in slices of 256 KiB. Transport faults act on the connection itself: a reset is a TCP reset
(SO_LINGER 0), a cut an orderly end in the middle of the body.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import Callable, Iterator
from urllib.parse import unquote

from aiohttp import web
from multidict import CIMultiDict

from kerio_mockserver import static_files
from kerio_mockserver.messages import Blob, Reply, Request, TransportFault
from kerio_mockserver.server import MockServer

SLICE = 256 * 1024
MAX_BODIES_BYTES = 512 << 20
BODY_PAUSE_SECONDS = 60.0
SERVER = "Kerio Connect (mock)"
PAGE = "/webmail/"
_RESET = struct.pack("ii", 1, 0)
_FOREVER = 86_400.0


class HttpAdapter:
    """The handler of all requests, whatever their path."""

    def __init__(self, core: MockServer) -> None:
        self._core = core
        self._bodies = Bodies(MAX_BODIES_BYTES)

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request."""
        if (page := page_reply(request)) is not None:
            return page
        with self._bodies.reserve() as take:
            try:
                wanted = await parse_request(request, self._core.max_request, take)
            except TimeoutError:
                return _given_up(408)
            except TooMuchAtOnce:
                return _given_up(503)
            reply = await self._core.handle(wanted)
        if reply.fault is not None:
            return await spoil_reply(request, reply, reply.fault)
        if isinstance(reply.body, bytes):
            return web.Response(status=reply.status, headers=headers_of(reply), body=reply.body)
        return await stream_body(request, reply)

    def runner(self, patience: float) -> web.ServerRunner:
        """Return an aiohttp runner.

        When it is cleaned up, replies under way get `patience` seconds.
        """
        server = web.Server(self.handle, access_log=None, keepalive_timeout=75.0)
        return web.ServerRunner(server, shutdown_timeout=patience)


class TooMuchAtOnce(Exception):
    """The bodies of all requests together exceed the server's limit."""


class Bodies:
    """The bytes of request bodies in memory at the same time."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.held = 0

    @contextlib.contextmanager
    def reserve(self) -> Iterator[Callable[[int], None]]:
        """Yield a function to call with the size of each piece read.

        It raises TooMuchAtOnce.
        """
        taken = 0

        def take(size: int) -> None:
            nonlocal taken
            taken += size
            self.held += size
            if self.held > self._limit:
                raise TooMuchAtOnce

        try:
            yield take
        finally:
            self.held -= taken


def page_reply(request: web.BaseRequest) -> web.Response | None:
    """Return the reply to a request for the webmail page; None for all others."""
    if request.method not in {"GET", "HEAD"}:
        return None
    path = request.raw_path.partition("?")[0]
    if path in {"/", "/webmail"}:
        return web.Response(status=302, headers={"Server": SERVER, "Location": PAGE})
    if not path.startswith(PAGE):
        return None
    file = static_files.find("webmail", path.removeprefix(PAGE))
    if file is None:
        return None
    unchanged = request.headers.get("If-None-Match") == file.etag
    headers = {"Server": SERVER, **file.headers}
    return web.Response(status=304, headers=headers) if unchanged else web.Response(body=file.body, headers=headers)


async def parse_request(
    request: web.BaseRequest, limit: int, take: Callable[[int], None] = lambda size: None
) -> Request:
    """Return the request as a value.

    Of a body beyond the limit, only enough is read to exceed it.

    Raise TimeoutError if no byte of the body arrives for a minute.
    """
    path, _, query = request.raw_path.partition("?")
    if path.startswith(("http://", "https://")):
        path = request.rel_url.raw_path
    body = b""
    if request.can_read_body:
        pieces: list[bytes] = []
        size = 0
        clock = asyncio.get_running_loop().time
        async with asyncio.timeout(BODY_PAUSE_SECONDS) as deadline:
            while size <= limit and (piece := await request.content.readany()):
                take(len(piece))
                pieces.append(piece)
                size += len(piece)
                deadline.reschedule(clock() + BODY_PAUSE_SECONDS)
        body = b"".join(pieces)
    headers = {name.lower(): value for name, value in request.headers.items()}
    return Request(request.method, unquote(path), headers, body, query, request.remote or "")


def headers_of(reply: Reply) -> CIMultiDict[str]:
    """Return a reply's headers in aiohttp's form."""
    headers: CIMultiDict[str] = CIMultiDict({"Server": SERVER})
    for name, value in reply.headers.items():
        for line in value.split("\n"):
            headers.add(name, line)
    return headers


async def stream_body(request: web.BaseRequest, reply: Reply) -> web.StreamResponse:
    """Send a large body in slices; a client that disconnects is no error."""
    response = await _head(request, reply, len(reply.body))
    if request.method != "HEAD":
        with contextlib.suppress(ConnectionError):
            await _send(response, reply.body, 0, len(reply.body))
    return response


async def spoil_reply(request: web.BaseRequest, reply: Reply, mishap: TransportFault) -> web.StreamResponse:
    """Send a reply with its transport fault."""
    size = len(reply.body)
    at = min(mishap.at, size)
    if mishap.kind == "reset-before-head":
        return _reset(request)
    with contextlib.suppress(ConnectionError):
        response = await _head(request, reply, mishap.at if mishap.kind == "wrong-length" else size)
        match mishap.kind:
            case "reset-after-head":
                await _send(response, reply.body, 0, at)
                _reset(request)
            case "cut":
                await _send(response, reply.body, 0, at)
                _close(request)
            case "stall":
                await _send(response, reply.body, 0, at)
                await asyncio.sleep(mishap.seconds or _FOREVER)
                await _send(response, reply.body, at, size)
            case "drip":
                await _send(response, reply.body, 0, at)
                await _drip(response, reply.body, at, mishap.rate)
            case "wrong-length":
                await _overrun(request, response, reply.body, at)
        return response
    return _reset(request)


async def _head(request: web.BaseRequest, reply: Reply, length: int) -> web.StreamResponse:
    response = web.StreamResponse(status=reply.status, headers=headers_of(reply))
    response.content_length = length
    await response.prepare(request)
    return response


async def _send(response: web.StreamResponse, body: bytes | Blob, start: int, stop: int) -> None:
    for offset in range(start, stop, SLICE):
        await response.write(_part(body, offset, min(offset + SLICE, stop)))


def _part(body: bytes | Blob, start: int, stop: int) -> bytes:
    return body[start:stop] if isinstance(body, bytes) else body.read(start, stop)


async def _drip(response: web.StreamResponse, body: bytes | Blob, start: int, rate: float) -> None:
    """Send the rest at `rate` bytes per second, ten pieces per second or by bytes."""
    step = max(int(rate / 10), 1)
    for offset in range(start, len(body), step):
        await response.write(_part(body, offset, min(offset + step, len(body))))
        await asyncio.sleep(step / max(rate, 0.01))


async def _overrun(request: web.BaseRequest, response: web.StreamResponse, body: bytes | Blob, promised: int) -> None:
    """Send the whole body whatever its head promised, then close the connection."""
    await _send(response, body, 0, min(promised, len(body)))
    if request.transport is not None and promised < len(body):
        request.transport.write(_part(body, promised, len(body)))
    _close(request)


def _given_up(status: int) -> web.Response:
    """Refuse a request that was not read to its end, and close the connection."""
    response = web.Response(status=status, headers={"Server": SERVER})
    response.force_close()
    return response


def _close(request: web.BaseRequest) -> None:
    if request.transport is not None:
        request.transport.close()


def _reset(request: web.BaseRequest) -> web.Response:
    """End the connection with a TCP reset; the returned response cannot be sent."""
    transport = request.transport
    if transport is not None:
        connection = transport.get_extra_info("socket")
        if connection is not None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        transport.abort()
    return web.Response(status=500)
