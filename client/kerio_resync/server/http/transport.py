"""HTTP for the rest of the client: one method, one request, one streamed reply.

`Transport` is the seam that tests replace. `AiohttpTransport` is the real one; only this module and `connections`
import aiohttp. It maps every foreign exception to `Unreachable` (not processed), `OutcomeUnknown` or `ProtocolError`.
It does not follow redirects, which would carry the session to another server, and keeps no cookies.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager
from io import BytesIO
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
CONNECT_SECONDS = 30.0  # for the name, TCP and TLS
MIN_BYTES_PER_SECOND = 64.0  # a slower body counts as silent
BUFFER_BYTES = 1 << 20  # of a body that has not been read yet
MAX_BLOCK_BYTES = 1 << 20  # of a request's body that is sent as one block
# A slow link delivers a body packet by packet; handling each costs more than waiting for several.
COALESCE_BYTES = 32 * 1024  # wait for more if a read returned less
MAX_COALESCE_SECONDS = 0.02
MIN_COALESCE_SECONDS = 0.002
COALESCE_PER_ROUND_TRIP = 4  # waits that fit into one round trip


class Request(NamedTuple):
    """`url` is absolute. `timeout`: seconds without a byte.

    `held`: takes over the reply's memory reservation. `redirects`: a redirect is a reply like others, not an error.
    """

    method: str
    url: str
    headers: Mapping[str, str] = {}
    body: bytes | None = None
    timeout: float = 60.0
    held: HeldReservations | None = None
    redirects: bool = False


class Response(Protocol):
    """A reply whose head has arrived.

    `headers` has lower-case names; repeated headers are joined by ", ", but `set-cookie` by newlines. `wire_bytes`:
    body bytes received so far, before decompression. `connect_seconds`: the time to open the connection, 0 if an open
    one was used.
    """

    status: int
    headers: Mapping[str, str]
    wire_bytes: int
    connect_seconds: float

    async def read(self, limit: int) -> bytes:
        """Return the whole body, decoded.

        TooLong if it is longer than `limit` bytes, OutcomeUnknown if it was cut short.
        """
        ...

    def chunks(self) -> AsyncIterator[bytes]:
        """Yield the body as it arrives, decoded. OutcomeUnknown if it was cut short."""
        ...


class Transport(Protocol):
    """Sends requests."""

    def send(self, request: Request) -> AbstractAsyncContextManager[Response]:
        """Send a request once.

        Unreachable: it was not processed. OutcomeUnknown: it may have been. ForeignReply for a redirect.
        """
        ...

    async def aclose(self) -> None:
        """Close all connections."""
        ...


def refuse_redirect(url: str, status: int, location: str, clean: Callable[[str], str] = str) -> None:
    """Raise ForeignReply for a redirect; `clean` redacts secrets from the address."""
    if status not in (301, 302, 303, 307, 308):
        return
    try:
        there = urlsplit(urljoin(url, location))
        host = there.netloc.rpartition("@")[2]
        elsewhere = (there.scheme, host) != urlsplit(url)[:2]
    except ValueError:
        host, elsewhere = "an invalid URL", True
    if elsewhere:
        host = clean(host)[:100]
        raise ForeignReply(
            f"a redirect to another server ({host}, status {status}), which is not followed", status=status
        )
    raise ForeignReply(f"a redirect (status {status}) instead of an answer; the address may be wrong", status=status)


class AiohttpTransport:
    """The transport over aiohttp, for one event loop; close it there.

    At most `connections` at once; `route` says how to reach the server. `stats` records compressed bodies, `throttle`
    limits the rate, `memory` bounds the replies that are read whole.
    """

    def __init__(
        self,
        *,
        connections: int = 64,
        route: Route = DIRECT,
        connect_timeout: float = CONNECT_SECONDS,
        stats: LinkStats | None = None,
        throttle: BandwidthLimit | None = None,
        memory: MemoryBudget | None = None,
        redactor: Redactor | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._connections = connections
        self.route = route
        self._proxy_options = request_options(route.proxy)
        self._foreign = foreign_errors(route.proxy)
        self._reached = self._probed = False
        self._connect_timeout = connect_timeout
        self.stats = stats or LinkStats()
        self.throttle = throttle
        self.memory = memory or MemoryBudget()
        self.redactor = redactor or Redactor()
        self.sleep = sleep
        self._session: aiohttp.ClientSession | None = None
        self._timeouts: dict[float, aiohttp.ClientTimeout] = {}

    def send(self, request: Request) -> AbstractAsyncContextManager[Response]:
        return _Exchange(self, request)

    @property
    def coalesce_delay(self) -> float:
        """Seconds to wait for more of a long body.

        0 if the link is short, or its latency not known yet.
        """
        delay = self.stats.min_latency / COALESCE_PER_ROUND_TRIP
        return min(MAX_COALESCE_SECONDS, delay) if MIN_COALESCE_SECONDS <= delay < float("inf") else 0.0

    async def _dispatch(self, request: Request, exchange: _Exchange) -> aiohttp.ClientResponse:
        """Return a reply when its head is there; the caller releases it."""
        session = self._session or self._open(request.url)
        timeouts = self._timeouts.get(request.timeout)
        if timeouts is None:
            timeouts = aiohttp.ClientTimeout(total=None, sock_connect=self._connect_timeout, sock_read=request.timeout)
            self._timeouts[request.timeout] = timeouts
        try:
            async with asyncio.timeout(self._connect_timeout + request.timeout) as exchange.deadline:
                raw = await session.request(
                    request.method,
                    URL(request.url, encoded=True),
                    headers=request.headers,
                    data=_streamed(request.body),
                    allow_redirects=False,
                    timeout=timeouts,
                    trace_request_ctx=exchange,
                    **self._proxy_options,
                )
        except self._foreign as error:
            ours = map_transport_error(error, request.url, request.timeout, self.route, reached=self._reached)
            if not self._reached and not self._probed:
                self._probed = True
                ours = await diagnose(error, ours, session, request.url, self.route)
            raise ours from without_frames(error)
        if not self._reached or raw.status >= 300:
            await self._check_head(raw, request, session)
        return raw

    async def _check_head(self, raw: aiohttp.ClientResponse, request: Request, session: aiohttp.ClientSession) -> None:
        """Raise the error of a reply that is not the server's.

        Such are a redirect, a proxy's refusal, and a TLS port's error.
        """
        plain = request.url.startswith("http:")
        try:
            if raw.status == 407 and plain and self.route.proxy is not None:
                raise proxy_refusal(self.route.proxy, raw.headers, self._reached)
            if raw.status == 400 and plain and not self._reached:
                host = urlsplit(request.url).netloc
                if await speaks_http(session, f"https://{host}", self.route):
                    raise Misconfigured(f"{host} speaks TLS; did you mean https://{host}?")
            if not request.redirects:
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

    def _open(self, url: str) -> aiohttp.ClientSession:
        self._session = open_session(
            self.route,
            url,
            connections=self._connections,
            trace_configs=[_trace_connections()],
            read_bufsize=self.throttle.chunk_bytes if self.throttle else BUFFER_BYTES,
        )
        return self._session


def _trace_connections() -> aiohttp.TraceConfig:
    """Record in each exchange how long its connection took."""

    async def begins(_: aiohttp.ClientSession, context: SimpleNamespace, __: object) -> None:
        context.trace_request_ctx.began = asyncio.get_running_loop().time()

    async def ends(_: aiohttp.ClientSession, context: SimpleNamespace, __: object) -> None:
        exchange = context.trace_request_ctx
        now = asyncio.get_running_loop().time()
        exchange.connect_seconds = now - exchange.began
        if exchange.deadline is not None:  # endless interim replies count as silence
            exchange.deadline.reschedule(now + exchange.timeout)

    config = aiohttp.TraceConfig()
    config.on_connection_create_start.append(begins)
    config.on_connection_create_end.append(ends)
    return config


def _streamed(body: bytes | None) -> bytes | BytesIO | None:
    """Return a body for aiohttp, which sends a long one in pieces."""
    return BytesIO(body) if body and len(body) > MAX_BLOCK_BYTES else body


class _Exchange:
    """One request in flight.

    A class: an `asynccontextmanager` would cost a tenth of a small request.
    """

    __slots__ = ("_by", "_raw", "_request", "_reservation", "began", "connect_seconds", "deadline", "timeout")

    def __init__(self, by: AiohttpTransport, request: Request) -> None:
        self._by = by
        self._request = request
        self.began = self.connect_seconds = 0.0  # of its connection, if a new one is made
        self.timeout = request.timeout
        self.deadline: asyncio.Timeout | None = None

    async def __aenter__(self) -> Response:
        by, request = self._by, self._request
        self._raw = await by._dispatch(request, self)
        self._reservation = by.memory.reserve(request.held)
        return _AiohttpResponse(by, self._raw, request, self._reservation, self.connect_seconds)

    async def __aexit__(self, *_: object) -> None:
        self._reservation.end()
        self._raw.release()
        del self._raw  # breaks a reference cycle through the trace context


class _Headers(Mapping[str, str]):
    """Headers as `Response` describes them, joined on access."""

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


class _AiohttpResponse:
    __slots__ = (
        "_by",
        "_checked",
        "_clock",
        "_decoded",
        "_due",
        "_raw",
        "_request",
        "_required",
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
        self._checked = self._clock()
        self._decoded = 0  # an endless compressed body without content counts as silence
        # Decoded bytes required in each timeout; with a throttle we are slow ourselves.
        self._required = 1 if by.throttle else MIN_BYTES_PER_SECOND * request.timeout
        self._due: float = self._required
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
                self._decoded += len(part)
                if await self._reservation.grow(len(part)):
                    self._checked, self._due = self._clock(), self._decoded + self._required
                start = time.perf_counter()
            spent += time.perf_counter() - start
            self._check_rate(arrived)
        decode.end()
        body = parts[0] if len(parts) == 1 else b"".join(parts)
        if encoding:
            self._by.stats.decoded(self.wire_bytes, len(body), spent)
        return body

    async def chunks(self) -> AsyncIterator[bytes]:
        decode = decoder(self.headers.get("content-encoding", ""))
        while piece := await self._piece():
            arrived = self._clock()
            for chunk in decode.feed(piece):
                self._decoded += len(chunk)
                yield chunk
            self._check_rate(arrived)
        decode.end()

    def _check_rate(self, arrived: float) -> None:
        """Raise ReadTimeout if hardly anything was decoded before `arrived`.

        What counts are the bytes decoded within the timeout before that time.
        """
        if arrived - self._checked > self._request.timeout:
            if self._decoded < self._due:
                raise ReadTimeout(f"hardly a byte in {self._request.timeout:.0f} s")
            self._checked, self._due = arrived, self._decoded + self._required

    async def _piece(self) -> bytes:
        """Return the bytes of the body that have arrived, still encoded; empty at the end."""
        content, throttle = self._raw.content, self._by.throttle
        if self._sparse and self._is_long and not content.is_eof() and (delay := self._by.coalesce_delay):
            await self._by.sleep(delay)
        try:
            reading = content.read(throttle.chunk_bytes) if throttle else content.readany()
            if content.is_eof():  # no need to wait
                piece = await reading
            else:
                async with asyncio.timeout(
                    self._request.timeout
                ):  # aiohttp's own timeout also counts bytes outside the body
                    piece = await reading
        except FOREIGN as error:
            ours = map_transport_error(error, self._request.url, self._request.timeout, self._by.route, reached=True)
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
        """Return whether more than COALESCE_BYTES of the body may be missing."""
        length = self._raw.content_length
        return length is None or length - self.wire_bytes > COALESCE_BYTES
