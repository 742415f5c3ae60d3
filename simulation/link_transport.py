"""A client transport to the mock server over a modelled link, without sockets.

Requests and replies pass through the same arithmetic as in the mock's relay (`conditions/shaper.py`): one rate shared
by all connections, a round trip, the handshake of each new connection, and the bytes of the heads. In virtual time
minutes of transfer take seconds, are deterministic, and do not depend on the machine's load. Only the client's pacing
shows; processor time is measured over sockets.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Literal

from kerio_mockserver.conditions.link import Link
from kerio_mockserver.conditions.shaper import Flow, Mark, Shaper
from kerio_mockserver.server import MockServer
from kerio_resync.server.http.decompression import decoder
from kerio_resync.server.http.transport import Request, Response
from simulation.wire import reply_parts, server_request

FIRST_LINE_BYTES = 60  # of a request or reply, with the headers that the client's library adds
PIECE_BYTES = 64 * 1024


@dataclass
class LinkTransport:
    """Sends requests over `link`, on at most `connections` connections.

    An instance belongs to one run of a virtual event loop.
    """

    server: MockServer
    link: Link
    connections: int = 64
    in_flight: int = 0
    most_in_flight: int = 0
    _idle: list[_Connection] = field(default_factory=list)
    _shapers: tuple[Shaper, Shaper] | None = None
    _slots: asyncio.Semaphore | None = None

    @asynccontextmanager
    async def send(self, request: Request) -> AsyncIterator[Response]:
        """Send one request; reuse its connection if the whole reply was read."""
        self._slots = self._slots or asyncio.Semaphore(self.connections)
        async with self._slots, self._counted():
            connect_seconds = 0.0 if self._idle else self.link.setup_s
            connection = self._idle.pop() if self._idle else self._connect()
            up, down = connection.inboxes
            request_bytes = FIRST_LINE_BYTES + len(request.url) + _size(request.headers) + len(request.body or b"")
            connection.up.offer(bytes(request_bytes))
            await connection.receive(up, request_bytes)
            reply = await self.server.handle(server_request(request))
            if reply.fault is not None:
                raise NotImplementedError("transport faults over a link in virtual time")
            headers, body = reply_parts(reply)
            head_bytes = FIRST_LINE_BYTES + _size(headers)
            connection.down.offer(bytes(head_bytes))
            for start in range(0, len(body), PIECE_BYTES):
                connection.down.offer(body[start : start + PIECE_BYTES])
            first = await connection.receive(down, head_bytes)
            response = _LinkResponse(reply.status, headers, len(body), down, first, connect_seconds)
            yield response
            if response.wire_bytes == response.size:
                self._idle.append(connection)

    @asynccontextmanager
    async def _counted(self) -> AsyncIterator[None]:
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            yield
        finally:
            self.in_flight -= 1

    async def aclose(self) -> None:
        """Close all connections."""
        self._idle.clear()

    def _connect(self) -> _Connection:
        loop = asyncio.get_running_loop()
        self._shapers = self._shapers or (_shaper(self.link, "up", loop), _shaper(self.link, "down", loop))
        return _Connection(self._shapers, self.link, loop.time())


@dataclass(slots=True)
class _LinkResponse:
    """A response whose body still arrives over the link.

    `first` came together with the head.
    """

    status: int
    headers: Mapping[str, str]
    size: int
    inbox: _Inbox
    first: bytes
    connect_seconds: float
    wire_bytes: int = 0

    async def read(self, limit: int) -> bytes:
        return b"".join([chunk async for chunk in self._decoded(limit)])

    async def chunks(self) -> AsyncIterator[bytes]:
        async for chunk in self._decoded(None):
            yield chunk

    async def _decoded(self, limit: int | None) -> AsyncIterator[bytes]:
        decode = decoder(self.headers.get("content-encoding", ""), limit)
        while self.wire_bytes < self.size:
            piece, self.first = self.first or await self.inbox.next_piece(), b""
            self.wire_bytes += len(piece)
            for chunk in decode.feed(piece):
                yield chunk
        decode.end()


class _Connection:
    """One connection: a flow and an inbox in each direction."""

    def __init__(self, shapers: tuple[Shaper, Shaper], link: Link, now: float) -> None:
        up, down = shapers
        self.inboxes = _Inbox(), _Inbox()
        self.up = Flow(up, self.inboxes[0], now + link.setup_s, [])
        self.down = Flow(down, self.inboxes[1], now + 1.5 * link.setup_s, [])

    async def receive(self, inbox: _Inbox, size: int) -> bytes:
        """Wait for a head of `size` bytes; return the bytes that arrived with it."""
        data = b""
        while len(data) < size:
            data += await inbox.next_piece()
        return data[size:]


class _Inbox:
    """The receiving end of one direction of a connection."""

    def __init__(self) -> None:
        self._pieces: deque[bytes] = deque()
        self._arrival = asyncio.Event()

    def deliver(self, data: bytes | memoryview | Mark) -> None:
        if not isinstance(data, Mark):
            self._pieces.append(bytes(data))
            self._arrival.set()

    def hold_sender(self, hold: bool) -> None:
        """Do nothing: everything to send is in memory already."""

    async def next_piece(self) -> bytes:
        """Wait for data; return all that has arrived."""
        while not self._pieces:
            self._arrival.clear()
            await self._arrival.wait()
        data = b"".join(self._pieces)
        self._pieces.clear()
        return data


class _Timer:
    """A shaper's timer by the loop's own, which is exact in virtual time."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._handle: asyncio.TimerHandle | None = None
        self.shaper: Shaper

    def set(self, at: float) -> None:
        if self._handle is not None:
            self._handle.cancel()
        self._handle = self._loop.call_at(at, self.shaper.wake) if at < float("inf") else None


def _shaper(link: Link, direction: Literal["up", "down"], loop: asyncio.AbstractEventLoop) -> Shaper:
    timer = _Timer(loop)
    timer.shaper = Shaper(link, direction, seed=0, clock=loop.time, set_alarm=timer.set)
    return timer.shaper


def _size(headers: Mapping[str, str]) -> int:
    return sum(len(name) + len(value) + 4 for name, value in headers.items())
