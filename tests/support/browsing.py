"""Caches to browse, clients without a browser, and a running server."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from kerio_resync.browse.application import Shown, application
from kerio_resync.browse.run import BrowseOptions, browse
from kerio_resync.browse.safe_html import to_text
from kerio_resync.cache.mutations import Mutation, PutItems
from kerio_resync.cache.search_index import update_index
from kerio_resync.events import ignore_events
from kerio_resync.model import Attachment, Item
from kerio_resync.settings import Settings
from tests.support.cache import filled, mail, whole

PORT = 8765
ORIGIN = f"http://127.0.0.1:{PORT}"
FILE = bytes(range(256)) * 2000  # two chunks
TEXT_FILE = Attachment("file-1", "/file-1", 'plan "a"\r\n../ü.html', "text/html", size=len(FILE))
DOT = Attachment("dot", "/dot", "dot.png", "image/png", "dot@example.com", size=4)


def settings(profile: Path) -> Settings:
    return Settings.model_validate({"profile": profile})


def html_mail(name: str, html: str, *attached: Attachment, text: str = "", title: str = "Subject") -> Item:
    return mail(name, text=text, title=title, attached=attached)._replace(html=html)


async def make_cache(profile: Path, *facts: Mutation) -> Path:
    profile.mkdir(exist_ok=True)
    await (await filled(profile / "cache.db", *facts)).close()
    return profile / "cache.db"


def some_mails() -> list[Mutation]:
    """Mail 1 with text and two files, mail 2 in two folders, mail 3 with HTML."""
    return [
        PutItems(
            (
                mail("1", title="Budget & <plan>", text="The quarterly numbers", attached=(TEXT_FILE, DOT)),
                mail("2", title="Second", text="Grüße aus Brünn", folder=("inbox", "work"))._replace(seen=False),
                html_mail("3", "<p>Hello <b>world</b><script>alert(1)</script></p>", title="Third"),
                mail("4", kind="contact", title="Zoe", folder="people", text="a friend"),
            )
        ),
        *whole(1, FILE),
        *whole(2, b"\x89PNG"),
    ]


def indexed(cache: Path, told: list[tuple[int, int]] | None = None) -> Path:
    heard: list[tuple[int, int]] = [] if told is None else told

    def tell(done: int, total: int) -> bool:
        heard.append((done, total))
        return True

    return update_index(cache, to_text, tell)


@contextmanager
def client(cache: Path, index: Path | None = None, *, logged_in: bool = True) -> Iterator[httpx.AsyncClient]:
    """A client of the application, logged in as the owner's browser is."""
    with application(Shown(cache, index, "jan at mail.example.com"), PORT) as app:
        transport = httpx.ASGITransport(app=app.app)
        made = httpx.AsyncClient(transport=transport, base_url=ORIGIN)
        if logged_in:
            made.headers["x-login"] = app.login_path  # read by `log_in` only
        yield made


async def log_in(made: httpx.AsyncClient) -> httpx.Response:
    return await made.get(made.headers.pop("x-login"))


class _Thread(threading.Thread):
    """Runs the server until `stop`."""

    def __init__(self, profile: Path) -> None:
        super().__init__()
        self._profile = profile
        self.ready = threading.Event()
        self.url = ""
        self.failure: BaseException | None = None
        self._task: asyncio.Task[None] | None = None

    def run(self) -> None:
        try:
            asyncio.run(self._main())
        except BaseException as error:
            self.failure = error
        finally:
            self.ready.set()

    async def _main(self) -> None:
        options = BrowseOptions(opens_browser=False)
        self._task = asyncio.ensure_future(browse(settings(self._profile), options, ignore_events, self._announce))
        await self._task

    def _announce(self, url: str, opened: bool) -> None:
        assert not opened
        self.url = url
        self.ready.set()

    def stop(self) -> None:
        if self._task is not None and not self._task.done():
            self._task.get_loop().call_soon_threadsafe(self._task.cancel)
        self.join(20)
        assert not self.is_alive()


@contextmanager
def running(profile: Path) -> Iterator[str]:
    """Run the server in a thread; yield the one-time address."""
    thread = _Thread(profile)
    thread.start()
    try:
        assert thread.ready.wait(60)
        assert thread.failure is None
        yield thread.url
    finally:
        thread.stop()
    assert thread.failure is None
