"""The control port takes orders from this machine's programs, and from no web page of another site."""

from __future__ import annotations

import asyncio
import socket
from contextlib import nullcontext
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import orjson
import pytest

from kerio_mockserver import control_guard
from kerio_mockserver.app import serve
from kerio_mockserver.control_guard import Foreign, check, require_local
from kerio_mockserver.server import MockServer
from kerio_mockserver.testing import Server, running
from tests.support.mock_caller import small


async def send(server: Server, method: str, path: str, headers: list[tuple[str, str]], body: bytes = b"") -> int:
    """The status of the reply to exactly this request."""
    where = urlsplit(server.control_url)
    reader, writer = await asyncio.open_connection(where.hostname, where.port)
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers), "Connection: close"]
    lines += [f"Content-Length: {len(body)}"] if body else []
    writer.write("\r\n".join([*lines, "", ""]).encode() + body)
    status = await reader.readline()
    await reader.read()
    writer.close()
    await writer.wait_closed()
    return int(status.split()[1])


JSON = ("Content-Type", "application/json")


@pytest.mark.parametrize(
    "path",
    ["/digest", "/stats", "/conditions", "/journal", "/churn", "/nowhere", "/", "/control/", "/history", "/metrics"],
)
@pytest.mark.parametrize(
    "hosts",
    [
        ["evil.example"], ["evil.example:{port}"], ["127.0.0.1"], ["127.0.0.1:1"], ["localhost"], ["10.0.0.1:{port}"],
        ["127.0.0.1.evil.example:{port}"], ["127.0.0.1:{port}", "evil.example"], [], [""],
        ["127.0.0.1:{port}@evil.example"],
        ["localhost.:{port}"], ["127.0.0.1:0{port}"], ["[::1:{port}"], [":{port}"],
    ],
)  # fmt: skip
async def test_read_with_a_foreign_host_is_refused(path: str, hosts: list[str]) -> None:
    async with running(small(5).store) as server:
        port = urlsplit(server.control_url).port
        headers = [("Host", host.format(port=port)) for host in hosts]
        assert await send(server, "GET", path, headers) in {400, 403}


@pytest.mark.parametrize("host", ["127.0.0.1:{port}", "localhost:{port}", "LOCALHOST:{port}", "[::1]:{port}"])
async def test_read_from_this_machine_is_answered(host: str) -> None:
    async with running(small(5).store) as server:
        port = urlsplit(server.control_url).port
        assert await send(server, "GET", "/stats", [("Host", host.format(port=port))]) == 200


@pytest.mark.parametrize(
    ("header", "status"),
    [
        (("Origin", "https://evil.example"), 403),
        (("Origin", "null"), 403),
        (("Origin", ""), 403),
        (("Origin", "http://127.0.0.1"), 403),
        (("Origin", "http://127.0.0.1:1"), 403),
        (("Origin", "https://127.0.0.1:{port}"), 403),
        (("Origin", "http://127.0.0.1:{port}.evil.example"), 403),
        (("Origin", "http://127.0.0.1:{port}"), 200),
        (("Sec-Fetch-Site", "cross-site"), 403),
        (("Sec-Fetch-Site", "same-site"), 403),
        (("Sec-Fetch-Site", "same-origin"), 200),
        (("Sec-Fetch-Site", "none"), 200),
    ],
)
@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/reset", {}),
        ("PUT", "/conditions", {}),
        ("PATCH", "/conditions", {}),
        ("POST", "/churn", {"steps": []}),
        ("GET", "/stats", None),
    ],
)
async def test_request_of_another_site_is_refused(
    method: str, path: str, body: Any, header: tuple[str, str], status: int
) -> None:
    async with running(small(5).store) as server:
        port = urlsplit(server.control_url).port
        headers = [("Host", f"127.0.0.1:{port}"), (header[0], header[1].format(port=port))]
        headers += [JSON] if body is not None else []
        assert await send(server, method, path, headers, b"" if body is None else orjson.dumps(body)) == status


@pytest.mark.parametrize(
    ("kinds", "body", "status"),
    [
        (["text/plain"], b"{}", 415),
        (["application/x-www-form-urlencoded"], b"{}", 415),
        (["multipart/form-data; boundary=x"], b"{}", 415),
        (["text/plain; application/json"], b"{}", 415),
        (["application/json", "text/plain"], b"{}", 415),
        (["application/jsonp"], b"{}", 415),
        ([], b"{}", 415),
        (["text/plain"], b"", 415),
        (["application/x-www-form-urlencoded"], b"", 415),
        (["application/octet-stream"], b"{}", 415),
        (["application/octet-stream"], b"", 200),
        (["application/json"], b"{}", 200),
        (["Application/JSON; charset=utf-8"], b"{}", 200),
        ([], b"", 200),
    ],
)
async def test_body_that_is_not_json_is_refused(kinds: list[str], body: bytes, status: int) -> None:
    async with running(small(5).store) as server:
        port = urlsplit(server.control_url).port
        headers = [("Host", f"127.0.0.1:{port}"), *(("Content-Type", kind) for kind in kinds)]
        told = await send(server, "POST", "/reset", headers, body)
        assert told == status or (told == 400 and len(kinds) > 1)


LINK = [("Sec-Fetch-Site", "cross-site"), ("Sec-Fetch-Mode", "navigate"), ("Sec-Fetch-Dest", "document")]


@pytest.mark.parametrize(
    ("method", "path", "more", "status"),
    [
        ("GET", "/control/", LINK, 200),
        ("GET", "/", LINK, 302),
        ("GET", "/control/main.js", LINK, 403),
        ("GET", "/control/?x=1", LINK, 403),
        ("GET", "/stats", LINK, 403),
        ("GET", "/metrics", LINK, 403),
        ("POST", "/control/", LINK, 403),
        ("POST", "/reset", LINK, 403),
        ("GET", "/control/", LINK[:2], 403),
        ("GET", "/control/", [*LINK[:2], ("Sec-Fetch-Dest", "iframe")], 403),
        ("GET", "/control/", [LINK[0], ("Sec-Fetch-Mode", "no-cors"), LINK[2]], 403),
        ("GET", "/control/", [*LINK, ("Origin", "https://evil.example")], 403),
    ],
)
async def test_link_of_another_site_opens_the_page_and_nothing_else(
    method: str, path: str, more: list[tuple[str, str]], status: int
) -> None:
    async with running(small(5).store) as server:
        port = urlsplit(server.control_url).port
        assert await send(server, method, path, [("Host", f"127.0.0.1:{port}"), *more]) == status
        assert await send(server, method, path, [("Host", f"evil.example:{port}"), *more]) == 403


async def test_refused_request_changes_nothing() -> None:
    async with running(small(30).store) as server:
        before = list(server.core.store.digest())
        order = orjson.dumps({"steps": [{"action": "delete", "times": 15}]})
        headers = [("Host", "evil.example"), ("Origin", "https://evil.example"), ("Content-Type", "text/plain")]
        assert await send(server, "POST", "/churn", headers, order) == 403
        assert list(server.core.store.digest()) == before


async def test_another_address_in_the_request_line_is_refused() -> None:
    async with running(small(5).store) as server:
        port = urlsplit(server.control_url).port
        headers = [("Host", f"127.0.0.1:{port}")]
        assert await send(server, "GET", f"http://evil.example:{port}/stats", headers) in {400, 403}


@pytest.mark.parametrize(
    ("peer", "local"),
    [
        (("127.0.0.1", 5), True), (("127.8.9.10", 5), True), (("::1", 5, 0, 0), True),
        (("::ffff:127.0.0.1", 5, 0, 0), True), (("192.0.2.7", 5), False), (("::ffff:192.0.2.7", 5, 0, 0), False),
        (("fe80::1%eth0", 5, 0, 2), False), (("", 5), False), (None, False),
    ],
)  # fmt: skip
def test_require_local_refuses_other_machines(peer: object, local: bool) -> None:
    with nullcontext() if local else pytest.raises(Foreign, match="--control-host"):
        require_local(peer)


async def test_opening_the_mock_does_not_open_the_control_port() -> None:
    served = await serve(MockServer(small(5).store), "0.0.0.0")
    try:
        assert served.control_url.startswith("http://127.0.0.1:")
    finally:
        await served.aclose()


@pytest.mark.parametrize(("control_host", "status"), [("127.0.0.1", 403), ("0.0.0.0", 200)])
async def test_other_machine_is_answered_only_if_control_host_allows_it(
    monkeypatch: pytest.MonkeyPatch, control_host: str, status: int
) -> None:
    served = await serve(MockServer(small(5).store), control_host=control_host)
    monkeypatch.setattr(control_guard, "is_loopback", lambda host: False)  # the client is on another machine
    try:
        port = urlsplit(served.control_url).port
        async with aiohttp.ClientSession() as client, client.get(f"http://127.0.0.1:{port}/stats") as reply:
            assert reply.status == status
    finally:
        await served.aclose()


def test_address_of_the_connection_is_accepted() -> None:
    from multidict import CIMultiDict, CIMultiDictProxy

    def refused(host: str, listening: tuple[str, int]) -> bool:
        try:
            check("/", CIMultiDictProxy(CIMultiDict({"Host": host})), listening, has_body=False)
        except Foreign:
            return True
        return False

    assert not refused("192.0.2.7:81", ("192.0.2.7", 81))
    assert not refused("192.0.2.7:81", ("::ffff:192.0.2.7", 81))
    assert not refused("[2001:db8::1]:81", ("2001:db8:0:0:0:0:0:1", 81))
    assert not refused("127.0.0.1", ("127.0.0.1", 80))
    assert refused("192.0.2.8:81", ("192.0.2.7", 81))
    assert refused(f"{socket.gethostname()}.invalid:81", ("192.0.2.7", 81))
