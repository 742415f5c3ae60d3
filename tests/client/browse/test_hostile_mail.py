"""A hostile mail in Chromium: it runs and loads nothing, by each layer of the protection alone."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from kerio_resync.browse import pages, safe_html
from kerio_resync.browse.safe_html import SafeHtml
from kerio_resync.cache.mutations import PutItems
from tests.support.browser import Browser, needs_browser
from tests.support.browsing import html_mail, make_cache, running

pytestmark = needs_browser
HOSTILE = """
<base href="{canary}/base/"><meta http-equiv="refresh" content="0;url={canary}/refresh">
<link rel="stylesheet" href="{canary}/link.css"><link rel="preload" as="image" href="{canary}/preload.png">
<style>@import "{canary}/import.css"; body {{ background: url({canary}/background.png) }}</style>
<script>fetch("{canary}/script"); top.document.title = "taken"</script><script src="{canary}/script.js"></script>
<img src="{canary}/image.png"><img src="relative.png"><img src="x:" onerror="new Image().src='{canary}/onerror'">
<svg onload="fetch('{canary}/onload')"></svg><iframe src="{canary}/iframe"></iframe>
<object data="{canary}/object"></object><video src="{canary}/video" autoplay></video>
<form action="{canary}/form" id="form"><input autofocus onfocus="fetch('{canary}/focus')"></form>
<a id="script" href="javascript:fetch('{canary}/link')">a</a><p id="end">The end of the mail</p>
"""


@pytest.fixture
def canary() -> Iterator[tuple[str, list[str]]]:
    """A server's address, and the paths that were asked for."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(200)
            self.send_header("content-type", "text/html")
            self.send_header("access-control-allow-origin", "*")
            self.end_headers()
            if self.path == "/mail":
                self.wfile.write(hostile(address).encode())

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield address, asked
    server.shutdown()
    thread.join()
    server.server_close()


def hostile(canary: str) -> str:
    return HOSTILE.format(canary=canary)


def as_it_is(html: str, *_: object) -> SafeHtml:
    return SafeHtml(html, 0, frozenset())


async def profile_with_mail(folder: Path, html: str) -> Path:
    await make_cache(folder, PutItems((html_mail("1", html, title='<script>document.title="taken"</script>'),)))
    return folder


def test_mail_does_harm_without_protection(browser: Browser, canary: tuple[str, list[str]]) -> None:
    address, asked = canary
    browser.open(f"{address}/mail")
    browser.until(lambda: {"/script", "/image.png", "/background.png", "/onerror"} <= set(asked) or None)


@pytest.mark.parametrize("layer", ["all", "policy", "sandbox"])
async def test_mail_runs_and_loads_nothing(
    browser: Browser,
    canary: tuple[str, list[str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    layer: str,
) -> None:
    address, asked = canary
    if layer != "all":
        monkeypatch.setattr(safe_html, "clean", as_it_is)
    if layer == "sandbox":  # the frame's attribute keeps scripts out; the document's policy only remote content
        monkeypatch.setattr(pages, "FRAME_POLICY", pages.FRAME_POLICY.split("; sandbox")[0])
    profile = await profile_with_mail(tmp_path / "profile", hostile(address))
    with running(profile) as url:
        browser.open(url)
        item = browser.find(".home").get_attribute("href").rstrip("/") + "/-/item/1"  # type: ignore[union-attr]
        browser.driver.get(item)
        browser.driver.switch_to.frame(browser.find("iframe"))
        assert browser.text("#end" if layer != "all" else "body").endswith("The end of the mail")
        browser.driver.switch_to.default_content()
        browser.find("body").click()
        assert browser.run("return document.title").startswith("<script>")
        assert browser.driver.current_url == item
        if layer != "sandbox":  # also in a window of its own
            browser.driver.get(f"{item}/html")
            assert "The end of the mail" in browser.text("body")
            assert browser.driver.current_url == f"{item}/html"
    assert asked == []
