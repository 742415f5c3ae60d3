"""The real transport against a bare socket server that behaves badly, byte by byte."""

from __future__ import annotations

import asyncio
import gc
import gzip
import resource
import socket
import ssl
import zlib
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import aiohttp
import pytest
import zstandard
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from kerio_resync.errors import (
    BadSettings,
    ForeignReply,
    Misconfigured,
    OutcomeUnknown,
    ProtocolError,
    ResyncError,
    Unreachable,
)
from kerio_resync.server.http.bandwidth_limit import BandwidthLimit
from kerio_resync.server.http.link_stats import LinkStats
from kerio_resync.server.http.transport import (
    MAX_COALESCE_SECONDS,
    AiohttpTransport,
    ReadTimeout,
    Request,
    Route,
    TooLong,
    refuse_redirect,
)
from tests.support.socket_server import JSON, Handler, body, saying, serving


async def got(url: str, transport: AiohttpTransport | None = None, limit: int = 1 << 20, timeout: float = 5.0) -> bytes:
    transport = transport or AiohttpTransport(connect_timeout=0.3)
    try:
        async with transport.send(Request("GET", url + "/x", timeout=timeout)) as response:
            return await response.read(limit)
    finally:
        await transport.aclose()


async def fails(
    handler: Handler, kind: type[ResyncError], match: str | None = None, timeout: float = 5.0
) -> ResyncError:
    async with serving(handler) as url:
        with pytest.raises(kind, match=match) as caught:
            await got(url, timeout=timeout)
    return caught.value


async def test_a_reply_and_what_is_known_of_it() -> None:
    transport = AiohttpTransport()
    async with serving(
        saying(body(b"hello", b"Set-Cookie: a=1; HttpOnly", b"X-A: 1", b"X-A: 2", b"Set-Cookie: b=2"))
    ) as url:
        async with transport.send(Request("POST", url + "/x", {"X-Token": "t"}, b"{}")) as response:
            assert response.status == 200
            assert response.headers["set-cookie"] == "a=1; HttpOnly\nb=2"
            assert response.headers["x-a"] == "1, 2"
            assert list(response.headers) == ["content-type", "set-cookie", "x-a", "content-length"]
            assert len(response.headers) == 4
            assert await response.read(100) == b"hello"
            assert response.wire_bytes == 5
        await transport.aclose()


async def test_what_goes_out_is_what_was_asked_for() -> None:
    seen = b""

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        raise AssertionError("not reached")

    async def act(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal seen
        seen = await reader.readuntil(b"\r\n\r\n")
        writer.write(body(b""))
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(act, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    transport = AiohttpTransport()
    async with transport.send(
        Request("GET", url + "/a%20b/%C3%BC?x=%2F", {"Cookie": "k=v", "Range": "bytes=3-"})
    ) as response:
        assert await response.read(1) == b""
    await transport.aclose()
    server.close()
    lines = seen.decode().split("\r\n")
    assert lines[0] == "GET /a%20b/%C3%BC?x=%2F HTTP/1.1"
    assert {"Cookie: k=v", "Range: bytes=3-"} <= set(lines)
    assert not [line for line in lines if line.startswith(("User-Agent", "Accept-Encoding"))]


async def test_long_body_is_sent_whole_each_time() -> None:
    """Not chunked, which some servers refuse."""
    sent, received = bytes(range(256)) * 12_000, []

    async def receive(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        received.append(await reader.readexactly(len(sent)))
        writer.write(body(b"{}"))

    transport = AiohttpTransport()
    async with serving(receive) as url:
        for _ in range(2):
            async with transport.send(Request("POST", url + "/x", {"Content-Type": "text/plain"}, sent)) as response:
                assert await response.read(100) == b"{}"
        await transport.aclose()
    assert received == [sent, sent]


async def test_only_the_first_reply_on_a_connection_waited_for_it() -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(body(b"{}"))

    transport, took = AiohttpTransport(), []
    async with serving(handler) as url:
        try:
            for _ in range(3):
                async with transport.send(Request("GET", url + "/x")) as response:
                    await response.read(100)
                    took.append(response.connect_seconds)
        finally:
            await transport.aclose()
    assert took[0] > 0
    assert took[1:] == [0.0, 0.0]


async def test_nothing_stays_of_a_reply_that_was_read() -> None:
    """Without the collector's help: it comes once in thousands of replies, and until then they fill memory."""

    async def handler(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(body(b"hello"))

    def here() -> int:
        return sum(isinstance(each, aiohttp.ClientResponse) for each in gc.get_objects())

    transport = AiohttpTransport()
    gc.collect()
    before = here()
    gc.disable()
    try:
        async with serving(handler) as url:
            for _ in range(20):
                async with transport.send(Request("GET", url + "/x")) as response:
                    assert await response.read(100) == b"hello"
            del response
            assert here() - before < 3
    finally:
        gc.enable()
        await transport.aclose()


async def test_connections_are_kept_and_do_not_wait_for_small_packets() -> None:
    peers: set[object] = set()
    transport = AiohttpTransport()
    gate = asyncio.Event()

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peers.add(writer.get_extra_info("peername"))
        writer.write(JSON + b"Content-Length: 1\r\n\r\n")
        await gate.wait()
        writer.write(b"x")

    async with serving(handler) as url:
        for _ in range(5):
            gate.clear()
            async with transport.send(Request("GET", url + "/x")) as response:
                raw = response._raw.connection.transport.get_extra_info("socket")  # type: ignore[attr-defined]
                assert raw.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
                gate.set()
                await response.read(10)
        await transport.aclose()
    assert len(peers) == 1


@pytest.mark.parametrize(
    ("encoding", "packed"),
    [
        (b"gzip", gzip.compress(b"hello" * 1000)),
        (b"zstd", zstandard.ZstdCompressor().compress(b"hello" * 1000)),
    ],
    ids=["gzip", "zstd"],
)
async def test_compressed_replies(encoding: bytes, packed: bytes) -> None:
    async with serving(saying(body(packed, b"Content-Encoding: " + encoding))) as url:
        assert await got(url, AiohttpTransport()) == b"hello" * 1000


async def test_a_bomb_is_nonsense() -> None:
    packed = gzip.compress(bytes(50_000_000))
    await fails(saying(body(packed, b"Content-Encoding: gzip")), TooLong)


async def test_a_reply_that_says_it_is_too_long_is_not_even_read() -> None:
    await fails(saying(JSON + b"Content-Length: 99999999999\r\n\r\n"), TooLong)


async def test_an_endless_reply_ends() -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(JSON + b"Transfer-Encoding: chunked\r\n\r\n")
        while True:
            writer.write(b"10000\r\n" + bytes(0x10000) + b"\r\n")
            await writer.drain()

    await fails(handler, TooLong)


@pytest.mark.parametrize(
    "reply",
    [
        JSON + b"Content-Length: 100\r\n\r\nonly this",
        JSON + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
        JSON + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhel",
        body(gzip.compress(b"hello" * 1000, mtime=0)[:-9], b"Content-Encoding: gzip"),
        JSON + b"Content-",
        b"",
    ],
)
async def test_what_is_cut_short_is_interrupted(reply: bytes) -> None:
    await fails(saying(reply), OutcomeUnknown)


@pytest.mark.parametrize("after", [b"", JSON + b"Content-Length: 100\r\n\r\nonly this"])
async def test_a_reset_is_interrupted(after: bytes) -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(after)
        await writer.drain()
        raw = writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
        writer.transport.abort()

    await fails(handler, OutcomeUnknown)


@pytest.mark.parametrize(
    "said", [b"", JSON, JSON + b"Content-Length: 100\r\n\r\nand then nothing", b"HTTP/1.1 100 Continue\r\n\r\n"]
)
async def test_silence(said: bytes) -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(said)
        await writer.drain()
        await reader.read()

    await fails(handler, ReadTimeout, timeout=0.05)


async def test_a_trickle_is_as_good_as_silence() -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(JSON + b"Content-Length: 100000\r\n\r\n")
        while True:
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(0.05)

    await fails(handler, ReadTimeout, match="hardly", timeout=0.2)


async def test_bytes_that_are_none_of_the_body_are_as_good_as_silence() -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(JSON + b"Transfer-Encoding: chunked\r\n\r\n1;")
        while True:
            writer.write(b"0" * 100)
            await writer.drain()
            await asyncio.sleep(0.05)

    await fails(handler, ReadTimeout, timeout=0.2)


@pytest.mark.parametrize(
    "reply",
    [
        b"220 mail.example.com ESMTP\r\n\r\n",
        b"\x15\x03\x01\x00\x02\x02\x46\r\n\r\n",
        b"HTTP/1.1 abc OK\r\n\r\n",
        JSON + b"Content-Length: -5\r\n\r\n",
        JSON + b"X-Long: " + b"x" * 100_000 + b"\r\n\r\n",
        JSON + b"X: y\r\n" * 5000 + b"\r\n",
        JSON + b"Transfer-Encoding: chunked\r\n\r\nzz\r\nhello\r\n0\r\n\r\n",
    ],
)
async def test_what_is_no_http_is_an_error_of_ours(reply: bytes) -> None:
    async with serving(saying(reply)) as url:
        with pytest.raises((ProtocolError, OutcomeUnknown, Misconfigured)):
            await got(url)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirects_are_not_followed(status: int) -> None:
    head = b"HTTP/1.1 %d Moved\r\nContent-Length: 0\r\n" % status
    error = await fails(saying(head + b"Location: https://evil.example/login\r\n\r\n"), ForeignReply)
    assert "evil.example" in error.detail
    error = await fails(saying(head + b"Location: /login\r\n\r\n"), ForeignReply)
    assert "address may be wrong" in error.detail


@pytest.mark.parametrize("location", ["http://[", "", "//h:port/", "https://u:secret@evil.example/"])
def test_redirects_to_nowhere(location: str) -> None:
    with pytest.raises(ForeignReply) as caught:
        refuse_redirect("https://mail.example.com/x", 302, location)
    assert "secret" not in caught.value.detail


async def test_nobody_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(Unreachable, match=f"127.0.0.1:{port}"):
        await got(f"http://127.0.0.1:{port}")


async def test_a_name_that_is_none() -> None:
    with pytest.raises(Unreachable, match=r"mail\.invalid"):
        await got("http://mail.invalid")


async def test_tls_where_there_is_none() -> None:
    async with serving(saying(b"HTTP/1.1 400 Bad Request\r\n\r\n")) as url:
        with pytest.raises((Unreachable, OutcomeUnknown)):
            await got(url.replace("http:", "https:"))


def certificate(folder: Path, host: str) -> tuple[ssl.SSLContext, Path]:
    """A server's context with a certificate of its own for `host`, and the file to trust it by."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address(host))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    public, private = folder / "cert.pem", folder / "key.pem"
    public.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    private.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(public, private)
    return context, public


async def test_a_certificate_must_be_trusted(tmp_path: Path) -> None:
    tls, public = certificate(tmp_path, "127.0.0.1")
    async with serving(saying(body(b"hello")), tls) as url:
        assert await got(url, AiohttpTransport(route=Route(ca_file=public))) == b"hello"
        with pytest.raises(Unreachable, match=r"self-signed.*--ca-file.*--fingerprint"):
            await got(url)


async def test_a_certificate_must_be_that_of_the_server(tmp_path: Path) -> None:
    tls, public = certificate(tmp_path, "127.0.0.2")
    async with serving(saying(body(b"hello")), tls) as url:
        with pytest.raises(Unreachable, match="certificate"):
            await got(url, AiohttpTransport(route=Route(ca_file=public)))


@pytest.mark.parametrize("content", [None, "this is no certificate"])
async def test_a_ca_file_that_can_not_be_used(tmp_path: Path, content: str | None) -> None:
    file = tmp_path / "ca.pem"
    if content is not None:
        file.write_text(content)
    with pytest.raises(BadSettings, match=r"ca\.pem"):
        await got("https://127.0.0.1:9", AiohttpTransport(route=Route(ca_file=file)))


async def test_chunks_come_as_they_come() -> None:
    gate = asyncio.Event()

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(JSON + b"Content-Length: 10\r\n\r\nfirst")
        await writer.drain()
        await gate.wait()
        writer.write(b"secon")

    transport = AiohttpTransport()
    async with serving(handler) as url:
        async with transport.send(Request("GET", url + "/x")) as response:
            chunks = response.chunks()
            assert await anext(chunks) == b"first"
            gate.set()
            assert [chunk async for chunk in chunks] == [b"secon"]
        await transport.aclose()


@pytest.mark.parametrize("long", [True, False])
async def test_more_of_a_body_is_let_come_where_the_way_is_long(long: bool) -> None:
    lull, sent = asyncio.Event(), asyncio.Event()

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + bytes(1000))
        if long:
            await lull.wait()
        for _ in range(9):
            writer.write(bytes(11_000))
            await writer.drain()
        sent.set()

    async def sleep(seconds: float) -> None:
        assert seconds == MAX_COALESCE_SECONDS
        lull.set()
        await sent.wait()
        await asyncio.sleep(0)

    async with serving(handler) as url:
        transport = AiohttpTransport(sleep=sleep, stats=LinkStats(min_latency=0.5 if long else 0.001))
        try:
            async with transport.send(Request("GET", url)) as response:
                found = [len(piece) async for piece in response.chunks()]
        finally:
            await transport.aclose()
    assert sum(found) == 100_000
    assert lull.is_set() is long


async def test_the_throttle_is_paid_for_each_piece() -> None:
    slept: list[float] = []
    now = 100.0

    async def sleep(seconds: float) -> None:
        nonlocal now
        now += seconds
        slept.append(seconds)

    throttle = BandwidthLimit(100_000.0, clock=lambda: now, sleep=sleep)
    async with serving(saying(body(bytes(500_000)))) as url:
        assert len(await got(url, AiohttpTransport(throttle=throttle))) == 500_000
    assert sum(slept) == pytest.approx(5.0, rel=0.03)
    assert max(slept) < 0.5


async def test_a_request_that_is_cancelled_leaves_the_transport_usable() -> None:
    hung = asyncio.Event()

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not hung.is_set():
            hung.set()
            await reader.read()
        writer.write(body(b"x"))

    transport = AiohttpTransport(connections=1)
    async with serving(handler) as url:
        task = asyncio.create_task(got(url, transport))
        await hung.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await got(url, transport) == b"x"


async def test_who_speaks_first_speaks_no_tls() -> None:
    async def act(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mail.example.com ESMTP\r\n")
        await reader.read(1)
        writer.close()

    server = await asyncio.start_server(act, "127.0.0.1", 0)
    async with server:
        with pytest.raises(Unreachable, match=r"is not a web server|the TLS handshake with"):
            await got(f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}", AiohttpTransport())


@pytest.mark.parametrize("url", ["ftp://127.0.0.1", "http://127.0.0.1:99999", "http://"])
async def test_addresses_that_are_none(url: str) -> None:
    with pytest.raises((ProtocolError, ForeignReply)):
        await got(url)


async def test_a_good_beginning_does_not_excuse_a_trickle() -> None:
    gate = asyncio.Event()
    now = 0.0

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(JSON + b"Content-Length: 100000\r\n\r\n" + bytes(5000))
        await writer.drain()
        await gate.wait()
        writer.write(b"x")
        await writer.drain()
        await reader.read()

    transport = AiohttpTransport()
    async with serving(handler) as url:
        async with transport.send(Request("GET", url + "/x", timeout=10.0)) as response:
            response._clock, response._checked = lambda: now, 0.0  # type: ignore[attr-defined]
            chunks = response.chunks()
            now = 11.0  # 5,000 bytes in 11 s will do
            assert sum([len(await anext(chunks))]) == 5000
            now = 22.0  # one in the next 11 s will not
            gate.set()
            assert await anext(chunks) == b"x"
            with pytest.raises(ReadTimeout, match="hardly"):
                await anext(chunks)
        await transport.aclose()


async def taken(transport: AiohttpTransport, request: Request, streamed: bool) -> bytes:
    async with transport.send(request) as response:
        if streamed:
            return b"".join([chunk async for chunk in response.chunks()])
        return await response.read(1 << 20)


DEFLATED = zlib.compress(b"hello")
ENDLESS = {
    "deflate tail": ("deflate", DEFLATED, b"x" * 1000),
    "deflate blocks": ("deflate", b"\x78\x9c", b"\x00\x00\x00\xff\xff" * 200),
    "gzip blocks": ("gzip", gzip.compress(b"")[:10], b"\x00\x00\x00\xff\xff" * 200),
    "gzip name": ("gzip", b"\x1f\x8b\x08\x08\x00\x00\x00\x00\x00\x03", b"n" * 1000),
    "zstd tail": ("zstd", zstandard.ZstdCompressor().compress(b"hello"), b"x" * 1000),
    "zstd skippable": ("zstd", b"\x50\x2a\x4d\x18\xff\xff\xff\xff", b"s" * 1000),
}


@pytest.mark.parametrize("rate", [None, 1e6])
@pytest.mark.parametrize("kind", ENDLESS)
@pytest.mark.parametrize("streamed", [True, False])
async def test_a_compressed_body_that_gives_nothing_counts_as_silence(
    kind: str, rate: float | None, streamed: bool
) -> None:
    encoding, first, tail = ENDLESS[kind]

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(JSON + b"Content-Encoding: %s\r\nTransfer-Encoding: chunked\r\n\r\n" % encoding.encode())
        writer.write(b"%x\r\n%s\r\n" % (len(first), first))
        while True:
            writer.write(b"%x\r\n%s\r\n" % (len(tail), tail))
            await writer.drain()
            await asyncio.sleep(0.01)

    transport = AiohttpTransport(throttle=BandwidthLimit(rate) if rate else None)
    async with serving(handler) as url, asyncio.timeout(60):
        with pytest.raises(ReadTimeout):
            await taken(transport, Request("GET", url + "/x", timeout=0.3), streamed)
        await transport.aclose()


@pytest.mark.parametrize(
    "tail",
    [b"5;" + b"e" * 1000, b"0\r\n" + b"X-Trailer: 1\r\n" * 1000, b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" * 100],
    ids=["chunk extension", "trailers", "hints"],
)
async def test_what_is_no_body_ends_in_the_timeout_and_in_little_memory(tail: bytes) -> None:
    hints = tail.startswith(b"HTTP")

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not hints:
            writer.write(JSON + b"Transfer-Encoding: chunked\r\n\r\n")
        writer.write(tail)
        more = tail if hints else tail[-14:] * 1000
        while True:
            writer.write(more)
            await writer.drain()
            await asyncio.sleep(0)

    transport = AiohttpTransport(connect_timeout=0.5)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    async with serving(handler) as url, asyncio.timeout(60):
        with pytest.raises((OutcomeUnknown, ProtocolError, Misconfigured)):
            await taken(transport, Request("GET", url + "/x", timeout=1.0), streamed=False)
        await transport.aclose()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # KiB


@pytest.mark.parametrize(
    "headers",
    [b"X-Long: " + b"x" * 32_000 + b"\r\n", b"".join(b"X-%03d: %s\r\n" % (n, b"y" * 150) for n in range(200))],
    ids=["one", "many"],
)
async def test_headers_of_32_kb_are_read(headers: bytes) -> None:
    async with serving(saying(JSON + headers + b"Content-Length: 2\r\n\r\nok")) as url:
        assert await got(url) == b"ok"
