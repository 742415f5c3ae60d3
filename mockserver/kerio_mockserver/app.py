"""The server as a running thing: a `Core` on a port, its control server on another.

`serve` listens, on 127.0.0.1 unless told otherwise, and answers with a `Running` that knows the addresses and ends it.
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
from kerio_mockserver.http_adapter import HttpAdapter
from kerio_mockserver.server import MockServer

__all__ = ["MockServer", "PublicPort", "Running", "serve"]

_PATIENCE = 0.2  # seconds for which an ending server waits for replies under way
_LONGEST_REPLY = 3600.0


@dataclass(slots=True)
class Running:
    """A server that listens. `url` is the origin to give to a client, `control_url` that of the control server."""

    core: MockServer
    url: str
    control_url: str
    _front: PublicPort
    _control: web.AppRunner | None = None

    async def begin(self, control_listener: socket.socket) -> None:
        """Answers from now on."""
        await self._front.start(self.core.conditions.link)
        self._control = web.AppRunner(application(self), access_log=None, shutdown_timeout=_PATIENCE)
        await self._control.setup()
        await web.SockSite(self._control, control_listener).start()
        self.core.start()

    async def change(self, conditions: Conditions) -> None:
        """Replaces the conditions, the link's included."""
        self.core.change(conditions)
        await self._front.change(conditions.link)

    def link_stats(self) -> dict[str, Any] | None:
        """What the link carried; None if there was never one."""
        return self._front.relay.stats() if self._front.relay else None

    def reset(self, *, mailbox: bool = False) -> None:
        """What is counted begins anew, the link's bytes too; with `mailbox` that as well."""
        self.core.reset(mailbox=mailbox)
        if self._front.relay:
            self._front.relay.reset()

    async def aclose(self) -> None:
        """Stops listening and ends every connection."""
        await self._front.aclose()
        if self._control is not None:
            await self._control.cleanup()
        self.core.stop()


class PublicPort:
    """The public port: the server itself, or the line before it once there is a link.

    With no link there is no relay. Once there was one, taking the link away leaves the relay with a line that does
    nothing, so that no transfer under way is cut; a first link closes the connections that were made without it, each
    after the reply that it is at.
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
        await self._runner.setup()
        if link is None:
            self._direct = await self._site(self._listener.dup())
        else:
            await self._insert_relay(link)

    async def change(self, link: Link | None) -> None:
        if self.relay is not None:
            self.relay.link = link or Link()
        elif link is not None:
            await self._insert_relay(link)

    async def aclose(self) -> None:
        self._listener.close()
        for leaving in tuple(self._leaving):
            leaving.cancel()
        if self.relay is not None:
            await self.relay.aclose()
        await self._runner.cleanup()

    async def _insert_relay(self, link: Link) -> None:
        """Puts the line before the server. The public port goes on listening all the while."""
        if self._direct is not None:
            await self._direct.stop()
            self._direct = None
            self._drain_connections()
        inner = bind_socket("127.0.0.1", 0)
        address = inner.getsockname()[:2]
        await self._site(inner)
        self.relay = await Relay.start(link, address, seed=self._seed, listener=self._listener.dup())

    def _drain_connections(self) -> None:
        """Closes the connections that there are, each after the reply that it is at."""
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
    control_port: int = 0,
    ssl: tls.SSLContext | None = None,
) -> Running:
    """Listens on both ports (0: any free one). OSError if one of them can't be had; then nothing listens."""
    core.secure = ssl is not None
    listener = bind_socket(host, port)
    try:
        control_listener = bind_socket(host, control_port)
    except OSError:
        listener.close()
        raise
    front = PublicPort(core, listener, ssl)
    urls = origin(listener, secure=core.secure), origin(control_listener, secure=False)
    running = Running(core, *urls, front)
    await running.begin(control_listener)
    return running


def bind_socket(host: str, port: int) -> socket.socket:
    """A listening socket. OSError if the address can't be had."""
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
    """The origin of what listens there, such as `https://127.0.0.1:8443`."""
    host, port = listener.getsockname()[:2]
    return f"{'https' if secure else 'http'}://{f'[{host}]' if ':' in host else host}:{port}"
