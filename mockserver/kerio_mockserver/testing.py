"""A running mock server inside a program, for tests and measurements.

    async with running(seed=7, mails=1000) as server:
        ...  # server.url, .control_url, .user, .password, .store, .core

It listens on free ports of 127.0.0.1 and closes at the end of the block.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from kerio_mockserver.app import Running, serve
from kerio_mockserver.conditions.model import Conditions
from kerio_mockserver.mailbox.generate.seed import SeedOptions, generate_mailbox
from kerio_mockserver.mailbox.store import MailboxStore
from kerio_mockserver.server import MockServer


@dataclass(frozen=True, slots=True)
class Server:
    """A running server: its addresses, its user, and the objects behind it."""

    url: str
    control_url: str
    user: str
    password: str
    core: MockServer
    running: Running

    @property
    def store(self) -> MailboxStore:
        """The mailbox."""
        return self.core.store


@asynccontextmanager
async def running(
    store: MailboxStore | None = None,
    *,
    seed: int = 1,
    mails: int = 100,
    mailbox: Mapping[str, Any] | None = None,
    conditions: Conditions | Mapping[str, Any] | None = None,
    ssl_context: ssl.SSLContext | None = None,
    port: int = 0,
    **options: Any,
) -> AsyncIterator[Server]:
    """Run a server with `store`, or with `mails` mails generated from `seed`.

    `mailbox` has more arguments of `generate_mailbox`, `conditions` is a value or JSON for `Conditions.parse`, and
    `options` are those of `MockServer`.
    """
    if store is None:
        store = generate_mailbox(SeedOptions(seed, mails, **(mailbox or {})))
    if conditions is not None and not isinstance(conditions, Conditions):
        conditions = Conditions.parse(conditions)
    core = MockServer(store, conditions=conditions, seed=seed, **options)
    served = await serve(core, port=port, ssl=ssl_context)
    try:
        yield Server(served.url, served.control_url, core.user, core.password, core, served)
    finally:
        await served.aclose()


def new_loop() -> asyncio.AbstractEventLoop:
    """Return a new event loop, uvloop's if it is installed."""
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()
