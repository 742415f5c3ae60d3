"""The files of the pages, and the headers that keep other sites from using them."""

from __future__ import annotations

import re
from importlib.resources import files

import aiohttp
import pytest

from kerio_mockserver import static_files
from kerio_mockserver.testing import running
from tests.support.mock_caller import small

STATIC = files("kerio_mockserver") / "static"
CONTROL = sorted(entry.name for folder in ("shared", "control") for entry in (STATIC / folder).iterdir())


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


def test_pages_have_no_inline_script_or_style_and_no_address_elsewhere() -> None:
    for folder in STATIC.iterdir():
        for entry in folder.iterdir():
            text = entry.read_text(encoding="utf-8")
            if entry.name.endswith(".html"):
                assert not re.search(r"<style|style=|\son\w+=|<script(?![^>]*src=)", text), entry.name
            assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", text), entry.name
            assert "innerHTML" not in text, entry.name


def test_find_returns_none_for_an_unknown_name() -> None:
    assert static_files.find("control", "nothing.js") is None
    assert static_files.find("control", "../control.py") is None
