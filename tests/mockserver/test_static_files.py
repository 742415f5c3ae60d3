"""The files of the pages, and the headers that keep other sites from using them."""

from __future__ import annotations

import asyncio
import re
from importlib.resources import files

import aiohttp
import pytest
from yarl import URL

from kerio_mockserver import static_files
from kerio_mockserver.testing import running
from tests.support.mock_caller import envelope, small

STATIC = files("kerio_mockserver") / "static"
CONTROL = sorted(entry.name for folder in ("shared", "control") for entry in (STATIC / folder).iterdir())
WEBMAIL = sorted(entry.name for folder in ("shared", "webmail") for entry in (STATIC / folder).iterdir())


@pytest.mark.parametrize("name", ["", *CONTROL])
async def test_control_page_has_each_file_with_strict_headers(name: str) -> None:
    async with (
        running(small(5).store) as server,
        aiohttp.ClientSession() as client,
        client.get(f"{server.control_url}/control/{name}") as reply,
    ):
        body = await reply.read()
        assert (reply.status, len(body) > 100) == (200, True)
        policy = reply.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert reply.headers["X-Content-Type-Options"] == "nosniff"
        etag = reply.headers["ETag"]
        async with client.get(reply.url, headers={"If-None-Match": etag}) as again:
            assert (again.status, await again.read()) == (304, b"")


@pytest.mark.parametrize("name", ["nothing.js", "..%2fcontrol.py", "%2e%2e/control.py", "webmail.js", "index.html/x"])
async def test_control_page_has_no_other_file(name: str) -> None:
    async with (
        running(small(5).store) as server,
        aiohttp.ClientSession() as client,
        client.get(f"{server.control_url}/control/{name}") as reply,
    ):
        assert reply.status == 404


@pytest.mark.parametrize("path", ["/", "/control"])
async def test_control_port_leads_to_its_page(path: str) -> None:
    async with (
        running(small(5).store) as server,
        aiohttp.ClientSession() as client,
        client.get(server.control_url + path) as reply,
    ):
        assert (reply.status, reply.url.path) == (200, "/control/")


@pytest.mark.parametrize("name", ["", *WEBMAIL])
async def test_webmail_page_has_each_file_with_strict_headers(name: str) -> None:
    async with (
        running(small(5).store) as server,
        aiohttp.ClientSession() as client,
        client.get(f"{server.url}/webmail/{name}") as reply,
    ):
        body = await reply.read()
        assert (reply.status, len(body) > 100) == (200, True)
        policy = reply.headers["Content-Security-Policy"]
        assert "script-src 'self';" in policy
        assert "frame-ancestors 'none'" in policy
        async with client.get(reply.url, headers={"If-None-Match": reply.headers["ETag"]}) as again:
            assert (again.status, await again.read()) == (304, b"")
        async with client.head(reply.url) as head:
            assert (head.status, head.headers["Content-Length"]) == (200, str(len(body)))


async def test_webmail_page_is_neither_counted_nor_refused_nor_spoiled() -> None:
    conditions = {
        "load": {"refusal_windows": [{"seconds": 600}]},
        "faults": [{"kind": "reset-before-head"}],
    }
    async with running(small(5).store, conditions=conditions) as server, aiohttp.ClientSession() as client:
        async with client.get(f"{server.url}/webmail/") as reply:
            assert reply.status == 200
        assert server.core.stats.requests.total() == 0
        async with client.post(f"{server.url}/webmail/api/jsonrpc/", data=envelope("Session.login")) as reply:
            assert reply.status == 503
        assert server.core.stats.requests.total() == 1


async def test_link_slows_the_webmail_page_as_everything() -> None:
    async with running(small(5).store, conditions={"link": {"rtt_s": 0.2}}) as server:
        began = asyncio.get_running_loop().time()
        async with aiohttp.ClientSession() as client, client.get(f"{server.url}/webmail/") as reply:
            await reply.read()
        assert asyncio.get_running_loop().time() - began >= 0.4  # the handshake, and the request


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", "/webmail/", 404),
        ("GET", "/webmail/nothing.js", 404),
        ("GET", "/webmail/%2e%2e/control/main.js", 404),
        ("GET", "/control/", 404),
        ("GET", "/webmail/api/jsonrpc/", 405),
        ("GET", "/webmail/api/download/attachment/x", 401),
    ],
)
async def test_other_paths_of_the_public_port_stay_what_they_were(method: str, path: str, status: int) -> None:
    async with (
        running(small(5).store) as server,
        aiohttp.ClientSession() as client,
        client.request(method, URL(server.url + path, encoded=True)) as reply,
    ):
        assert reply.status == status
    assert server.core.stats.requests.total() == 1


@pytest.mark.parametrize("path", ["/", "/webmail"])
async def test_public_port_leads_to_the_webmail(path: str) -> None:
    async with (
        running(small(5).store) as server,
        aiohttp.ClientSession() as client,
        client.get(server.url + path) as reply,
    ):
        assert (reply.status, reply.url.path) == (200, "/webmail/")


def test_pages_have_no_inline_script_or_style_and_no_address_elsewhere() -> None:
    for folder in STATIC.iterdir():
        for entry in folder.iterdir():
            text = entry.read_text(encoding="utf-8")
            if entry.name.endswith(".html"):
                assert not re.search(r"<style|style=|\son\w+=|<script(?![^>]*src=)", text), entry.name
            assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", text), entry.name
            assert "innerHTML" not in text, entry.name


def test_the_charts_are_a_small_module() -> None:
    assert len((STATIC / "control" / "charts.js").read_text(encoding="utf-8").splitlines()) <= 200


def test_find_returns_none_for_an_unknown_name() -> None:
    assert static_files.find("control", "nothing.js") is None
    assert static_files.find("control", "../control.py") is None
