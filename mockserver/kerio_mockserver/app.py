"""A running server: the mock on one port, its control server on another.

`serve` listens, on 127.0.0.1 by default, and returns a `Running` that knows the addresses and closes both ports. The
control server has an address of its own, so that opening the mock to other machines does not open it.
"""

from __future__ import annotations

import asyncio
import socket
import ssl as tls
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from kerio_mockserver.conditions.link import Link
from kerio_mockserver.conditions.model import Conditions
from kerio_mockserver.conditions.relay import Relay
from kerio_mockserver.control import application
from kerio_mockserver.control_guard import is_loopback
from kerio_mockserver.http_adapter import HttpAdapter
from kerio_mockserver.server import MockServer

__all__ = ["MockServer", "PublicPort", "Running", "serve"]

_PATIENCE = 0.2  # seconds that replies under way get when the server closes
_LONGEST_REPLY = 3600.0


@dataclass(slots=True)
class Running:
    """A listening server.

    `url` is the origin for clients, `control_url` that of the control server.
    """

    core: MockServer
    url: str
    control_url: str
    _front: PublicPort
    _control: web.AppRunner | None = None

    async def begin(self, control_listener: socket.socket) -> None:
        """Start to answer."""
        await self._front.start(self.core.conditions.link)
        remote = not is_loopback(control_listener.getsockname()[0])
        self._control = web.AppRunner(application(self, remote=remote), access_log=None, shutdown_timeout=_PATIENCE)
        await self._control.setup()
        await web.SockSite(self._control, control_listener).start()
        self.core.start()

    async def change(self, conditions: Conditions) -> None:
        """Replace the conditions, the link's included."""
        self.core.change(conditions)
        await self._front.change(conditions.link)

    def link_stats(self) -> dict[str, Any] | None:
        """Return the relay's counts; None if there never was a link."""
        return self._front.relay.stats() if self._front.relay else None

    def reset(self, *, mailbox: bool = False) -> None:
        """Reset the statistics and the link's counts; with `mailbox` the mailbox too."""
        self.core.reset(mailbox=mailbox)
        if self._front.relay:
            self._front.relay.reset()

    async def aclose(self) -> None:
        """Stop listening and close every connection."""
        await self._front.aclose()
        if self._control is not None:
            await self._control.cleanup()
        self.core.stop()


class PublicPort:
    """The public port: the server, or a relay in front of it once there is a link.

    Without a link there is no relay. If a link is removed later, the relay stays with a link without limits, so that no
    transfer under way is cut. The first link closes the connections made without it, each after its current reply.
    """

    def __init__(self, core: MockServer, listener: socket.socket, ssl: tls.SSLContext | None) -> None:
        self._listener = listener
        self._ssl = ssl
        self._seed = core.seed
        self._runner = HttpAdapter(core).runner(_PATIENCE)
        self._direct: web.SockSite | None = None
        self._leaving: set[asyncio.Future[None]] = set()
        self.relay: Relay | None = None

    async def start(self, link: Link | None) -> None:
        """Start the server, behind a relay if there is a link."""
        await self._runner.setup()
        if link is None:
            self._direct = await self._site(self._listener.dup())
        else:
            await self._insert_relay(link)

    async def change(self, link: Link | None) -> None:
        """Change or add the link."""
        if self.relay is not None:
            self.relay.link = link or Link()
        elif link is not None:
            await self._insert_relay(link)

    async def aclose(self) -> None:
        """Close relay and server."""
        self._listener.close()
        for leaving in tuple(self._leaving):
            leaving.cancel()
        if self.relay is not None:
            await self.relay.aclose()
        await self._runner.cleanup()

    async def _insert_relay(self, link: Link) -> None:
        """Put the relay in front of the server; the public port listens throughout."""
        if self._direct is not None:
            await self._direct.stop()
            self._direct = None
            self._drain_connections()
        inner = bind_socket("127.0.0.1", 0)
        address = inner.getsockname()[:2]
        await self._site(inner)
        self.relay = await Relay.start(link, address, seed=self._seed, listener=self._listener.dup())

    def _drain_connections(self) -> None:
        """Close the existing connections, each after its current reply."""
        server = self._runner.server
        if server is not None:
            server.pre_shutdown()
            for connection in server.connections:
                leaving = asyncio.ensure_future(connection.shutdown(_LONGEST_REPLY))
                self._leaving.add(leaving)
                leaving.add_done_callback(self._leaving.discard)

    async def _site(self, listener: socket.socket) -> web.SockSite:
        site = web.SockSite(self._runner, listener, ssl_context=self._ssl)
        await site.start()
        return site


async def serve(
    core: MockServer,
    host: str = "127.0.0.1",
    port: int = 0,
    *,
    control_host: str = "127.0.0.1",
    control_port: int = 0,
    ssl: tls.SSLContext | None = None,
) -> Running:
    """Listen on both ports (0: any free one).

    Other machines may use the control server only if `control_host` is not a loopback address. Raises OSError if a port
    is not available.
    """
    core.secure = ssl is not None
    listener = bind_socket(host, port)
    try:
        control_listener = bind_socket(control_host, control_port)
    except OSError:
        listener.close()
        raise
    front = PublicPort(core, listener, ssl)
    urls = origin(listener, secure=core.secure), origin(control_listener, secure=False)
    running = Running(core, *urls, front)
    await running.begin(control_listener)
    return running


def bind_socket(host: str, port: int) -> socket.socket:
    """Return a listening socket; raise OSError if the address is not available."""
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(1024)
    except OSError:
        listener.close()
        raise
    listener.setblocking(False)
    return listener


def origin(listener: socket.socket, *, secure: bool) -> str:
    """Return the origin of a listening socket, such as `https://127.0.0.1:8443`."""
    host, port = listener.getsockname()[:2]
    return f"{'https' if secure else 'http'}://{f'[{host}]' if ':' in host else host}:{port}"
