"""HTTP as the rest of the client sees it: one method, one request, one streamed response.

`Transport` is the seam that tests replace. `AiohttpTransport` (aiohttp) is the real one; only this module and
`connections` import aiohttp.

Promises: every foreign exception becomes `Unreachable` (surely not processed), `Interrupted` (unknown) or
`ProtocolError` here, with `from`; bodies are decoded within bounds; certificates are verified. Refuses to follow
redirects, and to keep cookies: a jar would hand them to whom it sees fit.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager
from types import SimpleNamespace
from typing import Any, NamedTuple, Protocol
from urllib.parse import urljoin, urlsplit

import aiohttp
from yarl import URL

from kerio_resync.errors import ForeignReply, Misconfigured, ResyncError
from kerio_resync.redaction import Redactor
from kerio_resync.server.http.bandwidth_limit import BandwidthLimit
from kerio_resync.server.http.connections import (
    FOREIGN,
    ReadTimeout,
    Route,
    diagnose,
    foreign_errors,
    map_transport_error,
    open_session,
    proxy_refusal,
    request_options,
    speaks_http,
    without_frames,
)
from kerio_resync.server.http.decompression import TooLong, decoder
from kerio_resync.server.http.link_stats import LinkStats
from kerio_resync.server.memory_budget import HeldReservations, MemoryBudget, Reservation

__all__ = ["AiohttpTransport", "ReadTimeout", "Request", "Response", "Route", "TooLong", "Transport", "refuse_redirect"]

DIRECT = Route()
CONNECT_SECONDS = 30.0  # seconds for name, TCP and TLS
MIN_BYTES_PER_SECOND = 64.0  # bytes/s below which a body counts as silent
BUFFER_BYTES = 1 << 20  # bytes of a body that may wait for us
COALESCE_BYTES = (
    32 * 1024
)  # bytes; less at a time costs more than it brings: a slow link brings a body packet by packet
MAX_COALESCE_SECONDS = 0.02  # seconds for which more of a long body is then let come, at most
COALESCE_PER_ROUND_TRIP = 4  # a round trip has at least so many of them
MIN_COALESCE_SECONDS = 0.002  # a shorter one would bring nothing


class Request(NamedTuple):
    """`url` is absolute. `timeout`: seconds without a byte. `held`: takes over the reply's memory reservation."""

    method: str
    url: str
    headers: Mapping[str, str] = {}
    body: bytes | None = None
    timeout: float = 60.0
    held: HeldReservations | None = None


class Response(Protocol):
    """A reply whose head has arrived.

    `wire_bytes`: body bytes received so far, before decompression. `connect_seconds`: the time to open its connection,
    0 if an open one was used.

    `headers` has lower-case names; what comes several times is joined by ", ", but `set-cookie` by newlines.
    """

    status: int
    headers: Mapping[str, str]
    wire_bytes: int
    connect_seconds: float

    async def read(self, limit: int) -> bytes:
        """The whole body, decoded; TooLong once it is longer than `limit` bytes, Interrupted if it is cut short."""
        ...

    def chunks(self) -> AsyncIterator[bytes]:
        """The body in pieces as they come, decoded; Interrupted if it is cut short."""
        ...


class Transport(Protocol):
    def send(self, request: Request) -> AbstractAsyncContextManager[Response]:
        """Sends once. Unreachable: surely nothing was processed; Interrupted: unknown. No redirects."""
        ...

    async def aclose(self) -> None: ...


def refuse_redirect(url: str, status: int, location: str, clean: Callable[[str], str] = str) -> None:
    """ForeignReply if the reply sends us elsewhere: the session's token must not travel."""
    if status not in (301, 302, 303, 307, 308):
        return
    try:
        there = urlsplit(urljoin(url, location))
        host = there.netloc.rpartition("@")[2]
        elsewhere = (there.scheme, host) != urlsplit(url)[:2]
    except ValueError:
        host, elsewhere = "an address that is none", True
    if elsewhere:
        host = clean(host)[:100]
        raise ForeignReply(
            f"a redirect to another place ({host}, status {status}), which is not followed", status=status
        )
    raise ForeignReply(
        f"a redirect (status {status}) where an answer was expected; perhaps the address is wrong", status=status
    )


class AiohttpTransport:
    """`connections` at most at once; `way` says how to get there. `meter` is told of
    compressed bodies, `throttle` is paid for each piece, `memory` bounds what is read whole. Must be used in one event
    loop, and closed there."""

    def __init__(
        self,
        *,
        connections: int = 64,
        way: Route = DIRECT,
        connect: float = CONNECT_SECONDS,
        meter: LinkStats | None = None,
        throttle: BandwidthLimit | None = None,
        memory: MemoryBudget | None = None,
        redactor: Redactor | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._connections = connections
        self.way = way
        self._through = request_options(way.proxy)
        self._foreign = foreign_errors(way.proxy)
        self._reached = self._probed = False
        self._connect = connect
        self.meter = meter or LinkStats()
        self.throttle = throttle
        self.memory = memory or MemoryBudget()
        self.redactor = redactor or Redactor()
        self.sleep = sleep
        self._session: aiohttp.ClientSession | None = None
        self._limits: dict[float, aiohttp.ClientTimeout] = {}

    def send(self, request: Request) -> AbstractAsyncContextManager[Response]:
        return _Exchange(self, request)

    @property
    def coalesce_delay(self) -> float:
        """The seconds for which more of a long body is let come; 0 where the way is short, or not known yet."""
        lull = self.meter.min_latency / COALESCE_PER_ROUND_TRIP
        return min(MAX_COALESCE_SECONDS, lull) if MIN_COALESCE_SECONDS <= lull < float("inf") else 0.0

    async def _dispatch(self, request: Request, sending: _Exchange) -> aiohttp.ClientResponse:
        """The reply's head, translated errors, no redirects; to be released by the caller."""
        session = self._session or self._opened(request.url)
        limits = self._limits.get(request.timeout)
        if limits is None:
            limits = aiohttp.ClientTimeout(total=None, sock_connect=self._connect, sock_read=request.timeout)
            self._limits[request.timeout] = limits
        try:
            async with asyncio.timeout(self._connect + request.timeout) as sending.deadline:
                raw = await session.request(
                    request.method,
                    URL(request.url, encoded=True),
                    headers=request.headers,
                    data=request.body,
                    allow_redirects=False,
                    timeout=limits,
                    trace_request_ctx=sending,
                    **self._through,
                )
        except self._foreign as error:
            ours = map_transport_error(error, request.url, request.timeout, self.way, reached=self._reached)
            if not self._reached and not self._probed:
                self._probed = True
                ours = await diagnose(error, ours, session, request.url, self.way)
            raise ours from without_frames(error)
        if not self._reached or raw.status >= 300:
            await self._look_at(raw, request, session)
        return raw

    async def _look_at(self, raw: aiohttp.ClientResponse, request: Request, session: aiohttp.ClientSession) -> None:
        """Raises the error of a reply's head that is no answer of the server's: a redirect, a proxy's, a TLS port's."""
        plain = request.url.startswith("http:")
        try:
            if raw.status == 407 and plain and self.way.proxy is not None:
                raise proxy_refusal(self.way.proxy, raw.headers, self._reached)
            if raw.status == 400 and plain and not self._reached:
                host = urlsplit(request.url).netloc
                if await speaks_http(session, f"https://{host}", self.way):
                    raise Misconfigured(f"{host} speaks TLS; did you mean https://{host}?")
            location = raw.headers.get("location", "")
            refuse_redirect(request.url, raw.status, location, self.redactor.foreign)
        except ResyncError:
            raw.release()
            raise
        self._reached = True

    async def aclose(self) -> None:
        if self._session:
            await self._session.close()
            self._session = None

    def _opened(self, url: str) -> aiohttp.ClientSession:
        self._session = open_session(
            self.way,
            url,
            connections=self._connections,
            trace_configs=[_watched()],
            read_bufsize=self.throttle.most if self.throttle else BUFFER_BYTES,
        )
        return self._session


def _watched() -> aiohttp.TraceConfig:
    """Tells each request under way when its connection is being made."""

    async def begins(_: aiohttp.ClientSession, context: SimpleNamespace, __: object) -> None:
        context.trace_request_ctx.began = asyncio.get_running_loop().time()

    async def ends(_: aiohttp.ClientSession, context: SimpleNamespace, __: object) -> None:
        sending = context.trace_request_ctx
        now = asyncio.get_running_loop().time()
        sending.connect_seconds = now - sending.began
        if sending.deadline is not None:  # the time to connect is over; interim replies without end count as silence
            sending.deadline.reschedule(now + sending.timeout)

    config = aiohttp.TraceConfig()
    config.on_connection_create_start.append(begins)
    config.on_connection_create_end.append(ends)
    return config


class _Exchange:
    """One request under way. A class, because a generator in its place costs a tenth of a small request."""

    __slots__ = ("_by", "_raw", "_request", "_reservation", "began", "connect_seconds", "deadline", "timeout")

    def __init__(self, by: AiohttpTransport, request: Request) -> None:
        self._by = by
        self._request = request
        self.began = self.connect_seconds = 0.0  # of its connection, if one has to be made
        self.timeout = request.timeout
        self.deadline: asyncio.Timeout | None = None

    async def __aenter__(self) -> Response:
        by, request = self._by, self._request
        self._raw = await by._dispatch(request, self)
        self._reservation = by.memory.reserve(request.held)
        return _AioResponse(by, self._raw, request, self._reservation, self.connect_seconds)

    async def __aexit__(self, *_: object) -> None:
        self._reservation.end()
        self._raw.release()
        del self._raw  # it knows us, as what its traces are told: nothing but the collector would let go of it


class _Headers(Mapping[str, str]):
    """A reply's headers as `Response` promises them; put together only where they are looked at."""

    __slots__ = ("_raw",)

    def __init__(self, raw: Mapping[str, str]) -> None:
        self._raw = raw

    def __getitem__(self, name: str) -> str:
        values: list[str] = self._raw.getall(name)  # type: ignore[attr-defined]  # a multidict, whose type is aiohttp's
        return values[0] if len(values) == 1 else ("\n" if name == "set-cookie" else ", ").join(values)

    def get(self, name: str, default: Any = None) -> Any:
        return self[name] if name in self._raw else default

    def __iter__(self) -> Iterator[str]:
        return iter({name.lower(): None for name in self._raw})

    def __len__(self) -> int:
        return sum(1 for _ in self)


class _AioResponse:
    __slots__ = (
        "_by",
        "_clock",
        "_come",
        "_due",
        "_least",
        "_mark",
        "_raw",
        "_request",
        "_reservation",
        "_sparse",
        "connect_seconds",
        "headers",
        "status",
        "wire_bytes",
    )

    def __init__(
        self,
        by: AiohttpTransport,
        raw: aiohttp.ClientResponse,
        request: Request,
        reservation: Reservation,
        connect_seconds: float,
    ) -> None:
        self._by = by
        self._raw = raw
        self._request = request
        self._reservation = reservation
        self._clock = asyncio.get_running_loop().time
        self._mark = self._clock()
        # what is decoded counts: a compressed body can go on for ever without holding anything
        self._come = 0
        self._least = (
            1 if by.throttle else MIN_BYTES_PER_SECOND * request.timeout
        )  # in each timeout; with a throttle we are slow
        self._due: float = self._least
        self._sparse = False
        self.status = raw.status
        self.wire_bytes = 0
        self.connect_seconds = connect_seconds
        self.headers: Mapping[str, str] = _Headers(raw.headers)

    async def read(self, limit: int) -> bytes:
        encoding = self.headers.get("content-encoding", "")
        if not encoding and (self._raw.content_length or 0) > limit:
            raise TooLong(f"a reply of more than {limit:,} bytes")
        decode = decoder(encoding, limit)
        parts: list[bytes] = []
        spent = 0.0
        while piece := await self._piece():
            arrived, start = self._clock(), time.perf_counter()
            for part in decode.feed(piece):
                spent += time.perf_counter() - start
                parts.append(part)
                self._come += len(part)
                if await self._reservation.grow(len(part)):
                    self._mark, self._due = self._clock(), self._come + self._least
                start = time.perf_counter()
            spent += time.perf_counter() - start
            self._judge(arrived)
        decode.end()
        body = parts[0] if len(parts) == 1 else b"".join(parts)
        if encoding:
            self._by.meter.decoded(self.wire_bytes, len(body), spent)
        return body

    async def chunks(self) -> AsyncIterator[bytes]:
        decode = decoder(self.headers.get("content-encoding", ""))
        while piece := await self._piece():
            arrived = self._clock()
            for chunk in decode.feed(piece):
                self._come += len(chunk)
                yield chunk
            self._judge(arrived)
        decode.end()

    def _judge(self, arrived: float) -> None:
        """To be called when all of a piece that arrived then is decoded. A trickle is as good as silence, and so is
        what the decoder makes nothing of."""
        if arrived - self._mark > self._request.timeout:
            if self._come < self._due:
                raise ReadTimeout(f"hardly a byte in {self._request.timeout:.0f} s")
            self._mark, self._due = arrived, self._come + self._least

    async def _piece(self) -> bytes:
        """What has come of the body, as it travels; empty at its end."""
        content, throttle = self._raw.content, self._by.throttle
        if self._sparse and self._is_long and not content.is_eof() and (lull := self._by.coalesce_delay):
            await self._by.sleep(lull)
        try:
            reading = content.read(throttle.most) if throttle else content.readany()
            if content.is_eof():  # all is here, nothing is waited for
                piece = await reading
            else:
                async with asyncio.timeout(self._request.timeout):  # the library hears bytes that are none of the body
                    piece = await reading
        except FOREIGN as error:
            ours = map_transport_error(error, self._request.url, self._request.timeout, self._by.way, reached=True)
            raise ours from without_frames(error)
        if not piece:
            return piece
        self.wire_bytes += len(piece)
        self._sparse = len(piece) < COALESCE_BYTES and not throttle
        if throttle:
            await throttle.acquire(len(piece))
        return piece

    @property
    def _is_long(self) -> bool:
        """Whether enough of the body is to come yet for it to be let come for a while."""
        length = self._raw.content_length
        return length is None or length - self.wire_bytes > COALESCE_BYTES
