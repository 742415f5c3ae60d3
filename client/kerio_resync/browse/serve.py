"""Serves the application on the loopback address until the task is cancelled."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
import threading
import webbrowser
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from html import escape
from pathlib import Path
from typing import Any, Final

import uvicorn

from kerio_resync.errors import BadSettings
from kerio_resync.filesystem import write_private

HOST: Final = "127.0.0.1"
SHUTDOWN_SECONDS: Final = 1  # for answers that are under way


class _Server(uvicorn.Server):
    """Says when it answers, and leaves signals to the command, which cancels its task."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._ready()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def listen_on(port: int) -> socket.socket:
    """Return a listening socket on the loopback address; 0: a free port. BadSettings."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        if sys.platform != "win32":
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((HOST, port))
        listener.listen(64)
    except OSError as error:
        listener.close()
        raise BadSettings(f"port {port} cannot be used: {error.strerror}; choose another with --port") from error
    return listener


async def serve(app: Any, listener: socket.socket, ready: Callable[[], None]) -> None:
    """Serve until the task is cancelled, then return."""
    config = uvicorn.Config(
        app, log_config=None, access_log=False, server_header=False, lifespan="on", proxy_headers=False,
        timeout_graceful_shutdown=SHUTDOWN_SECONDS,
    )  # fmt: skip
    server = _Server(config, ready)
    serving = asyncio.ensure_future(server.serve(sockets=[listener]))
    try:
        await asyncio.shield(serving)
    except asyncio.CancelledError:
        server.should_exit = True
        await serving


@contextmanager
def opened_browser(url: str, folder: Path) -> Iterator[bool]:
    """Open the address in the user's browser; yield whether there is one.

    The address has the token, and other users can see the arguments of a process. So the browser opens a private file
    that leads to it.
    """
    page = folder / "browse.html"
    found = _can_show()
    try:
        if found:
            link = escape(url, quote=True)
            text = f'<!doctype html><meta charset="utf-8"><meta http-equiv="refresh" content="0;url={link}">'
            write_private(page, f'{text}<title>kerio-resync</title><a href="{link}">Open</a>\n'.encode(), sync=False)
            # some browsers keep the caller waiting until their window is closed
            threading.Thread(target=webbrowser.open, args=(page.absolute().as_uri(),), daemon=True).start()
        yield found
    finally:
        with suppress(OSError):
            page.unlink(missing_ok=True)


def _can_show() -> bool:
    """Return whether a browser can open a window.

    One in the terminal would cover our lines.
    """
    if sys.platform in ("win32", "darwin") or os.environ.get("BROWSER"):
        return True
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
