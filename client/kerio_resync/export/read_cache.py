"""Reads a cache for an export: the only module that knows how it is stored.

The cache is opened read-only; the mail program may have it open too. Items come in pages of about 8 MiB, and the next
page is read while the present one is written.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from kerio_resync.cache import export_queries, outbox_rows, queries
from kerio_resync.cache.export_queries import ContentRow, FolderRow, ItemKeys, ItemPage, ItemRow
from kerio_resync.cache.store import Store
from kerio_resync.errors import ResyncError
from kerio_resync.model import Identity, Kind
from kerio_resync.settings import Settings
from kerio_resync.sync.open_cache import open_cache

__all__ = ["CacheReader", "ContentRow", "FolderRow", "ItemPage", "ItemRow", "Selection"]

PAGE_ITEMS: Final = 500


class Selection(NamedTuple):
    """The items of one kind in a folder that are to be exported."""

    folder: FolderRow
    kind: Kind
    keys: ItemKeys


@dataclass(frozen=True, slots=True)
class CacheReader:
    """An open cache; `close` at the end."""

    store: Store

    @classmethod
    async def open(cls, settings: Settings) -> CacheReader:
        """Open the cache of the profile.

        NoCache (also with an unfinished one only), CacheDamaged, OtherFormat, BadSettings.
        """
        return cls(await open_cache(settings))

    @property
    def identity(self) -> Identity:
        """The mailbox that the cache belongs to."""
        return self.store.identity

    async def close(self) -> None:
        """Close the file."""
        await self.store.close()

    async def folders(self) -> tuple[FolderRow, ...]:
        """Return all folders by path."""
        return await self.store.read(export_queries.folders)

    async def select(self, folder: FolderRow, kind: Kind, since: str | None) -> Selection:
        """Return the items of a kind in a folder, oldest first."""
        return Selection(folder, kind, await self.store.read(export_queries.item_keys, folder.number, kind, since))

    async def finished_at(self) -> str:
        """Return when the cache was completed, ISO 8601."""
        return await self.store.read(queries.meta, "finished_at") or ""

    async def unsent_changes(self) -> int:
        """Return the number of local changes that the server does not have."""
        return sum(row.state in ("pending", "sending") for row in await self.store.read(outbox_rows.changes))

    async def pages(self, selection: Selection, start: int = 0) -> AsyncIterator[ItemPage]:
        """Yield the selected items from the `start`-th on.

        The next page is read meanwhile.
        """
        reading = asyncio.ensure_future(self._page(selection, start))
        try:
            while start < len(selection.keys.numbers):
                page = await reading
                start += page.considered
                reading = asyncio.ensure_future(self._page(selection, start))
                yield page
        finally:
            await _ended(reading)

    async def content(self, content: ContentRow) -> AsyncIterator[bytes]:
        """Yield the bytes of a content in chunks; the next one is read meanwhile."""
        if content.data is not None:
            yield content.data
            return
        offset = 0
        reading = asyncio.ensure_future(self._chunk(content, 0))
        try:
            while data := await reading:
                offset += len(data)
                reading = asyncio.ensure_future(self._chunk(content, offset))
                yield data
        finally:
            await _ended(reading)

    async def _page(self, selection: Selection, start: int) -> ItemPage:
        numbers = selection.keys.numbers[start : start + PAGE_ITEMS]
        return await self.store.read(export_queries.item_page, numbers) if numbers else ItemPage((), 0)

    async def _chunk(self, content: ContentRow, offset: int) -> bytes:
        return await self.store.read(export_queries.content_chunk, content.key, offset)


async def _ended(reading: asyncio.Future[Any]) -> None:
    """Wait for a read that is not needed.

    Its error, if any, is raised by the next one.
    """
    with suppress(ResyncError):
        await reading
