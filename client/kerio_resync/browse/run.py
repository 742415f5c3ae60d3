"""Serves the cache of a profile until it is ended.

The search index is brought up to date before.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from kerio_resync.browse.application import Shown, application
from kerio_resync.browse.safe_html import to_text
from kerio_resync.browse.serve import HOST, listen_on, opened_browser, serve
from kerio_resync.cache.browse_connection import require_views
from kerio_resync.cache.search_index import update_index
from kerio_resync.events import Listener, PhaseChanged, Progress
from kerio_resync.model import Identity
from kerio_resync.settings import Settings
from kerio_resync.sync.open_cache import open_cache


@dataclass(frozen=True, slots=True)
class BrowseOptions:
    """What the user chose. `port`: 0 for a free one."""

    port: int = 0
    opens_browser: bool = True
    has_search: bool = True


Announce = Callable[[str, bool], None]
"""Called once the server answers, with the one-time address and whether a browser was opened."""


async def browse(settings: Settings, options: BrowseOptions, listen: Listener, announce: Announce) -> None:
    """Serve the cache until the task is cancelled.

    NoCache, CacheDamaged, OtherFormat; BadSettings for a port in use; CacheInUse, NotEnoughSpace, DiskTrouble from the
    search index.
    """
    store = await open_cache(settings)  # checks the tables, and rolls back what a killed writer left
    await store.close()
    identity = store.identity
    await asyncio.to_thread(require_views, settings.cache)
    with ExitStack() as stack:
        listener = stack.enter_context(listen_on(options.port))
        port = listener.getsockname()[1]
        index = await _indexed(settings.cache, listen) if options.has_search else None
        shown = Shown(settings.cache, index, _title(identity))
        app = stack.enter_context(application(shown, port))
        url = f"http://{HOST}:{port}{app.login_path}"

        def ready() -> None:
            opened = options.opens_browser and stack.enter_context(opened_browser(url, settings.profile))
            announce(url, opened)

        await serve(app.app, listener, ready)


def _title(identity: Identity) -> str:
    return f"{identity.user or identity.account} at {urlsplit(identity.server).netloc or identity.server}"


async def _indexed(cache: Path, listen: Listener) -> Path:
    """Bring the search index up to date in a thread, and return its path."""
    loop = asyncio.get_running_loop()
    stop = threading.Event()
    begun = time.monotonic()
    told = False

    def report(done: int, total: int) -> None:
        nonlocal told
        if not told:
            told = True
            listen(PhaseChanged("index"))
        elapsed = time.monotonic() - begun
        left = elapsed / done * (total - done) if 0 < done < total else None
        listen(Progress(items_done=done, items_total=total, seconds_left=left, elapsed=elapsed))

    def tell(done: int, total: int) -> bool:
        loop.call_soon_threadsafe(report, done, total)
        return not stop.is_set()

    try:
        return await asyncio.to_thread(update_index, cache, to_text, tell)
    except asyncio.CancelledError:
        stop.set()
        raise
