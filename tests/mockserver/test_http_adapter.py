from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import aiohttp
import pytest

from kerio_mockserver import http_adapter
from kerio_mockserver.mailbox.blobs import NewBlob
from kerio_mockserver.messages import Reply, Request, TransportFault
from kerio_mockserver.server import MockServer
from kerio_mockserver.testing import Server, running
from tests.support.mock_caller import envelope, login, small

BODY = json.dumps({"jsonrpc": "2.0", "id": 1, "result": "x" * 5000}).encode()
Answer = Callable[[Request], Awaitable[Reply]]


@asynccontextmanager
async def answering(reply: Callable[[], Reply]) -> AsyncIterator[Server]:
    """A server that answers everything with this reply."""
    async with running(small().store) as server:

        async def answer(request: Request) -> Reply:
            return reply()

        server.core.handle = answer  # type: ignore[method-assign]
        yield server


async def raw(url: str) -> tuple[bytes, BaseException | None]:
    """All bytes of the answer to a GET, and how the connection ended."""
    host, port = url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"GET /x HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    got = b""
    try:
        while piece := await reader.read(65536):
            got += piece
    except ConnectionError as error:
        return got, error
    finally:
        writer.close()
        with_error = await asyncio.gather(writer.wait_closed(), return_exceptions=True)
        assert len(with_error) == 1
    return got, None


def body_of(answer: bytes) -> bytes:
    return answer.partition(b"\r\n\r\n")[2]


@pytest.mark.parametrize(
    ("mishap", "length", "reset"),
    [
        (TransportFault("reset-before-head"), None, True),
        (TransportFault("reset-after-head", at=0), 0, True),
        (TransportFault("reset-after-head", at=100), 100, True),
        (TransportFault("cut", at=0), 0, False),
        (TransportFault("cut", at=1234), 1234, False),
        (TransportFault("wrong-length", at=10), len(BODY), False),
        (TransportFault("wrong-length", at=len(BODY) + 10), len(BODY), False),
        (TransportFault("stall", at=10, seconds=0.001), len(BODY), False),
        (TransportFault("drip", at=10, rate=1e6), len(BODY), False),
    ],
)
async def test_transport_faults_reach_the_client(mishap: TransportFault, length: int | None, reset: bool) -> None:
    async with answering(lambda: Reply(200, {"Content-Type": "x/y"}, BODY, fault=mishap)) as server:
        got, error = await raw(server.url)
    assert (error is not None) is reset
    if length is None:
        assert got == b""
    else:
        assert body_of(got) == BODY[:length]
        promised = mishap.at if mishap.kind == "wrong-length" else len(BODY)
        assert f"Content-Length: {promised}".encode() in got


async def test_server_survives_a_transport_fault() -> None:
    replies = [Reply(200, {}, BODY, fault=TransportFault("cut", at=5)), Reply(200, {}, b"fine")]
    async with answering(lambda: replies.pop(0)) as server, aiohttp.ClientSession() as client:
        with pytest.raises(aiohttp.ClientPayloadError):
            await (await client.get(f"{server.url}/any")).read()
        assert await (await client.get(f"{server.url}/any")).read() == b"fine"


async def test_large_content_comes_whole_and_in_ranges() -> None:
    box = small()
    data = bytes(range(256)) * 8192
    box.store.add("mail", box.inbox, {"subject": "large"}, [NewBlob(data, "a b/ř.bin")])
    item = box.store.item(box.store.folder(box.inbox).ordered("id")[-1])
    async with running(box.store) as server, aiohttp.ClientSession() as client:
        headers = await login(client, server)
        url = server.url + item["attachments"][0]["url"]
        from yarl import URL

        async with client.get(URL(url, encoded=True), headers=headers) as reply:
            assert reply.status == 200
            assert reply.headers["Content-Length"] == str(len(data))
            assert await reply.read() == data
        async with client.get(URL(url, encoded=True), headers={**headers, "Range": "bytes=300000-"}) as reply:
            assert reply.status == 206
            assert await reply.read() == data[300000:]
        async with client.head(URL(url, encoded=True), headers=headers) as reply:
            assert reply.headers["Content-Length"] == str(len(data))
            assert await reply.read() == b""


async def test_requests_become_values() -> None:
    seen: list[Request] = []
    async with running(small().store) as server:

        async def answer(request: Request) -> Reply:
            seen.append(request)
            return Reply(200, {"Set-Cookie": "a=1\nb=2"}, b"")

        server.core.handle = answer  # type: ignore[method-assign]
        async with (
            aiohttp.ClientSession() as client,
            client.post(server.url + "/p%20q?x=1&y=2", data=b"z" * 1_000_000, headers={"X-Some": "v"}) as reply,
        ):
            assert reply.headers.getall("Set-Cookie") == ["a=1", "b=2"]
            assert "aiohttp" not in reply.headers["Server"]
    (request,) = seen
    assert (request.method, request.path, request.query, request.peer) == ("POST", "/p q", "x=1&y=2", "127.0.0.1")
    assert request.body == b"z" * 1_000_000
    assert request.headers["x-some"] == "v"


async def test_body_that_is_too_large_is_refused() -> None:
    async with (
        running(small().store, max_request=100_000) as server,
        aiohttp.ClientSession() as client,
        client.post(server.url + "/webmail/api/jsonrpc", data=b" " * 300_000) as reply,
    ):
        assert reply.status == 413


@pytest.mark.parametrize("coding", ["gzip", "deflate", "zstd", "br"])
async def test_compression_as_asked_for(coding: str) -> None:
    async with running(small().store) as server, aiohttp.ClientSession(auto_decompress=False) as client:
        headers = await login(client, server)
        url, body = server.url + "/webmail/api/jsonrpc/", envelope("Folders.get")
        async with client.post(url, data=body, headers={**headers, "Accept-Encoding": coding}) as reply:
            assert reply.headers["Content-Encoding"] == coding
            squeezed = await reply.read()
        async with client.post(url, data=body, headers={**headers, "Accept-Encoding": "identity"}) as reply:
            assert "Content-Encoding" not in reply.headers
            assert len(squeezed) < len(await reply.read())


async def test_garbage_instead_of_http_is_survived() -> None:
    async with running(small().store) as server:
        host, port = server.url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"\x16\x03\x01 this is no HTTP\r\n\r\n")
        assert b" 400 " in await reader.read()
        writer.close()
        await writer.wait_closed()
        async with aiohttp.ClientSession() as client:
            assert await login(client, server)


def test_mock_server_is_exported_by_app() -> None:
    from kerio_mockserver import app

    assert app.MockServer is MockServer


async def test_stalled_request_body_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_adapter, "BODY_PAUSE_SECONDS", 0.1)
    async with running(small(5).store) as server:
        assert await first_line(server, b"Content-Length: 1000\r\n\r\n{") == b"HTTP/1.1 408 Request Timeout"


async def test_bodies_larger_together_than_the_server_holds_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_adapter, "MAX_BODIES_BYTES", 1000)
    async with running(small(5).store) as server:
        told = await first_line(server, b"Content-Length: 2000\r\n\r\n" + b" " * 2000)
        assert told == b"HTTP/1.1 503 Service Unavailable"
        for _ in range(3):  # what was held is released
            assert await first_line(server, b"Content-Length: 900\r\n\r\n" + b" " * 900) != told


async def first_line(server: Server, rest: bytes) -> bytes:
    """The status line of the reply to a POST with this end of its header and this body."""
    host, port = server.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"POST /webmail/api/jsonrpc/ HTTP/1.1\r\nHost: x\r\n" + rest)
    line = await asyncio.wait_for(reader.readline(), 10)
    writer.close()
    await writer.wait_closed()
    return line.strip()
