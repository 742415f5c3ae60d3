"""The real client and the real mock server over a modelled link, in virtual time and without sockets.

A transport that calls the server as a function and carries both ways over the same arithmetic as the mock's relay
(`conditions/shaper.py`): a rate shared by all connections, a round trip, the handshake of each new connection, and the
bytes of heads. Minutes of transfer take seconds, always go the same way, and owe nothing to the machine's load: what is
seen here is the client's pace alone. What the processors need is not in it; that is measured over sockets.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

from kerio_mockserver.conditions.link import Link
from kerio_mockserver.conditions.shaper import Flow, Mark, Shaper
from kerio_mockserver.messages import Reply
from kerio_mockserver.messages import Request as ServerRequest
from kerio_mockserver.server import MockServer
from kerio_resync.server.http.decompression import decoder
from kerio_resync.server.http.transport import Request, Response

ORIGIN = "http://mail.test"
_HEAD = 60  # bytes of the first line of a request or reply, and of what the client's library adds
_PIECE = 64 * 1024


class _Alarm:
    """The loop's own timer, for which virtual time is exact."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._handle: asyncio.TimerHandle | None = None
        self.line: Shaper

    def set(self, at: float) -> None:
        if self._handle is not None:
            self._handle.cancel()
        self._handle = self._loop.call_at(at, self.line.wake) if at < float("inf") else None


class _Inbox:
    """Where one way of a connection comes out."""

    def __init__(self) -> None:
        self._pieces: deque[bytes] = deque()
        self._came = asyncio.Event()

    def deliver(self, data: bytes | memoryview | Mark) -> None:
        if not isinstance(data, Mark):
            self._pieces.append(bytes(data))
            self._came.set()

    def hold_sender(self, hold: bool) -> None:
        """Nobody is held: what is sent is in memory already."""

    async def piece(self) -> bytes:
        """What has come, in one."""
        while not self._pieces:
            self._came.clear()
            await self._came.wait()
        found = b"".join(self._pieces)
        self._pieces.clear()
        return found


class _Connection:
    def __init__(self, lines: tuple[Shaper, Shaper], link: Link, now: float) -> None:
        up, down = lines
        self.inboxes = _Inbox(), _Inbox()
        self.up = Flow(up, self.inboxes[0], now + link.setup_s, [])
        self.down = Flow(down, self.inboxes[1], now + 1.5 * link.setup_s, [])

    async def arrived(self, inbox: _Inbox, size: int) -> bytes:
        """Once a head of `size` bytes is there: what came behind it by then."""
        came = b""
        while len(came) < size:
            came += await inbox.piece()
        return came[size:]


@dataclass(slots=True)
class _LinkResponse:
    status: int
    headers: Mapping[str, str]
    size: int
    inbox: _Inbox
    first: bytes
    connect_seconds: float
    wire_bytes: int = 0

    async def read(self, limit: int) -> bytes:
        return b"".join([each async for each in self._decoded(limit)])

    async def chunks(self) -> AsyncIterator[bytes]:
        async for each in self._decoded(None):
            yield each

    async def _decoded(self, limit: int | None) -> AsyncIterator[bytes]:
        decode = decoder(self.headers.get("content-encoding", ""), limit)
        while self.wire_bytes < self.size:
            piece, self.first = self.first or await self.inbox.piece(), b""
            self.wire_bytes += len(piece)
            for chunk in decode.feed(piece):
                yield chunk
        decode.end()


@dataclass
class LinkTransport:
    """The client's transport to `core` over `link`; at most `connections` at once, each used for one request at a time.
    To be used in one run of a virtual event loop."""

    core: MockServer
    link: Link
    connections: int = 64
    in_flight: int = 0
    most_in_flight: int = 0
    _free: list[_Connection] = field(default_factory=list)
    _lines: tuple[Shaper, Shaper] | None = None
    _room: asyncio.Semaphore | None = None

    @asynccontextmanager
    async def send(self, request: Request) -> AsyncIterator[Response]:
        self._room = self._room or asyncio.Semaphore(self.connections)
        async with self._room, self._counted():
            connect_seconds = 0.0 if self._free else self.link.setup_s
            connection = self._free.pop() if self._free else self._connected()
            up, down = connection.inboxes
            asked = _HEAD + len(request.url) + _size(request.headers) + len(request.body or b"")
            connection.up.offer(bytes(asked))
            await connection.arrived(up, asked)
            reply = await self.core.handle(arrived(request))
            assert reply.fault is None, "a link of virtual time knows no mishaps"
            headers, body = sent(reply)
            head = _HEAD + _size(headers)
            connection.down.offer(bytes(head))
            for start in range(0, len(body), _PIECE):
                connection.down.offer(body[start : start + _PIECE])
            first = await connection.arrived(down, head)
            response = _LinkResponse(reply.status, headers, len(body), down, first, connect_seconds)
            yield response
            if response.wire_bytes == response.size:
                self._free.append(connection)

    @asynccontextmanager
    async def _counted(self) -> AsyncIterator[None]:
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            yield
        finally:
            self.in_flight -= 1

    async def aclose(self) -> None:
        self._free.clear()

    def _connected(self) -> _Connection:
        loop = asyncio.get_running_loop()
        self._lines = self._lines or (_line(self.link, "up", loop), _line(self.link, "down", loop))
        return _Connection(self._lines, self.link, loop.time())


def arrived(request: Request, *, without: str = "") -> ServerRequest:
    """A request of the client's as the server has it; a header may be left out."""
    parts = urlsplit(request.url)
    headers = {name.lower(): value for name, value in request.headers.items() if name.lower() != without}
    return ServerRequest(request.method, unquote(parts.path), headers, request.body or b"", parts.query, "10.0.0.1")


def sent(reply: Reply) -> tuple[dict[str, str], bytes]:
    """A reply of the server's as it leaves: its headers, in lower case and with the length, and its body."""
    body = reply.body if isinstance(reply.body, bytes) else reply.body.read(0, len(reply.body))
    return {"content-length": str(len(body))} | {name.lower(): value for name, value in reply.headers.items()}, body


def _line(link: Link, way: str, loop: asyncio.AbstractEventLoop) -> Shaper:
    alarm = _Alarm(loop)
    alarm.line = Shaper(link, "up" if way == "up" else "down", seed=0, clock=loop.time, set_alarm=alarm.set)
    return alarm.line


def _size(headers: Mapping[str, str]) -> int:
    return sum(len(name) + len(value) + 4 for name, value in headers.items())
