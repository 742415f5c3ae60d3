"""Runs a `JmapMailbox` on the double, in virtual time."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

from pydantic import SecretStr

from kerio_resync.events import Event
from kerio_resync.model import ListedItem
from kerio_resync.server.http.transport import Request
from kerio_resync.server.jmap.mailbox import JmapMailbox
from kerio_resync.settings import Settings
from simulation.direct_transport import do_nothing
from simulation.virtual_time import run
from tests.support.jmap_double.direct import DirectTransport
from tests.support.jmap_double.server import PASSWORD, USER, JmapDouble

T = TypeVar("T")


def settings_of(double: JmapDouble, profile: Path = Path("nowhere"), **more: Any) -> Settings:
    """Return settings of a client of the double."""
    token = SecretStr(double.choices.token) if double.choices.token else None
    values = {"profile": profile, "server": double.origin, "user": USER, "password": PASSWORD, "protocol": "jmap"}
    return Settings.model_validate({**values, "token": token, **more})


def opened(
    double: JmapDouble,
    work: Callable[[JmapMailbox], Coroutine[Any, Any, T]],
    *,
    before: Callable[[Request], Awaitable[None]] = do_nothing,
    events: list[Event] | None = None,
    **settings: Any,
) -> T:
    """Return what `work` makes of an open mailbox. `before` is called for each request."""
    heard = [] if events is None else events

    async def main() -> T:
        transport = DirectTransport(double, before)
        mailbox = JmapMailbox(settings_of(double, **settings), heard.append, transport=transport, chance=lambda: 0.5)
        try:
            await mailbox.open()
            return await work(mailbox)
        finally:
            await mailbox.close()

    return run(main())


async def list_all(mailbox: JmapMailbox, *folder_ids: str) -> dict[str, ListedItem]:
    """Return the rows of all folders, or of some, by id."""
    folders = [one for one in await mailbox.folders(shared=True) if not folder_ids or one.id in folder_ids]
    rows: dict[str, ListedItem] = {}
    for listing in mailbox.listings(folders):
        async for page in mailbox.list_items(listing):
            rows |= {row.id: row for row in page.fresh}
    return rows
