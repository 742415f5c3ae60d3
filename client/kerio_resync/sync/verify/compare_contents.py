"""Compares contents: what is stored is fetched again, several batches at once, and digests are held side by side.

Promises: nothing that comes is kept beyond its batch; what can't be had, or is not answered for, is a difference and no
end; what bears another version than the stored one is none, for it changed since the lists were compared.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncGenerator, Collection, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Final

from kerio_resync.cache import queries
from kerio_resync.cache.queries import StoredItem
from kerio_resync.errors import (
    BadCredentials,
    FolderDenied,
    ItemGone,
    ProtocolError,
    ServerRefused,
    SessionExpired,
    TooLarge,
)
from kerio_resync.model import Attachment, Item, ItemBatch, ListedItem
from kerio_resync.server.kerio.items import struct_digest as digest_struct
from kerio_resync.sync.context import RebuildContext
from kerio_resync.sync.converge.compare_lists import Difference

CONCURRENT_BATCHES: Final = (
    4  # batches at once, each with all its attachments; the limiter decides how much is in flight
)
BATCH_ITEMS: Final = 100  # items, fewer of large ones


@dataclass(slots=True)
class ContentComparison:
    """One comparison under way, of all items in folders that the server names, or of those named in `only`. The run's
    meter is told of each."""

    run: RebuildContext
    only: Collection[str] | None = None
    found: list[Difference] = field(default_factory=list)

    async def compare(self) -> list[Difference]:
        """The differences. ExceptionGroup of what ends a run: TransientServerError, BadCredentials, SessionExpired."""
        batches, reading = self._batches(), asyncio.Lock()

        async def work() -> None:
            while True:
                async with reading:
                    batch = await anext(batches, None)
                if batch is None:
                    return
                await self._compare_batch(batch)

        async with aclosing(batches), asyncio.TaskGroup() as group:
            for _ in range(CONCURRENT_BATCHES):
                group.create_task(work())
        self.run.progress.finish_pending()
        return self.found

    async def expect(self) -> None:
        """Tells the meter how much there is."""
        if self.only is not None:
            self.run.progress.work.items_total = len(self.only)
            return
        totals, work = await self.run.store.read(queries.totals), self.run.progress.work
        work.items_total = sum(totals.items.values())
        work.attachments_total = totals.attachments - totals.queued_attachments
        work.queued_plain, work.attachment_bytes_left = totals.item_bytes, totals.attachment_bytes

    async def _batches(self) -> AsyncGenerator[list[StoredItem], None]:
        """Stored items, those of one batch of one kind."""
        store, after = self.run.store, ("", "")
        while rows := await store.read(queries.items, after, limit=BATCH_ITEMS):
            after = (rows[-1].kind, rows[-1].id)
            asked = [row for row in rows if self._is_asked(row)]
            for kind in dict.fromkeys(row.kind for row in asked):
                yield [row for row in asked if row.kind == kind]

    def _is_asked(self, row: StoredItem) -> bool:
        asked = self.only is None or row.id in self.only
        if asked and row.folder_id not in self.run.folders:
            self._skip(row)
            return False
        return asked

    async def _compare_batch(self, rows: Sequence[StoredItem]) -> None:
        """`rows`: all of one kind."""
        run = self.run
        try:
            details = await run.mailbox.items_by_id(rows[0].kind, [row.id for row in rows])
        except (TooLarge, ProtocolError, FolderDenied, ItemGone):
            if len(rows) > 1:
                for row in rows:
                    await self._compare_batch([row])
                return
            details = ItemBatch(())
        run.progress.reply(details.plain_bytes, details.wire_bytes)
        items = {item.id: item for item in details.items}
        async with asyncio.TaskGroup() as group:
            for row in rows:
                group.create_task(self._compare(row, items.get(row.id)))

    async def _compare(self, row: StoredItem, item: Item | None) -> None:
        if item is None:
            self._skip(row)
            self._differs("unreadable", row)
            return
        self.run.progress.stored(item, row.size, has_attachment=False, fetch_attachments=False)
        if item.watermark == row.watermark and not await self._contents_equal(row, item):
            self._differs("altered", row)

    def _skip(self, row: StoredItem) -> None:
        """It is not compared after all."""
        work = self.run.progress.work
        self.run.progress.dropped(row.size, has_attachment=False)
        work.attachments_total = max(0, work.attachments_total - sum(bool(each.sha256) for each in row.attachments))

    def _differs(self, what: str, row: StoredItem) -> None:
        folder = self.run.folders[row.folder_id]
        self.found.append(Difference(what, folder, ListedItem(row.id, row.watermark)))

    async def _contents_equal(self, row: StoredItem, item: Item) -> bool:
        held = {each.id: each.sha256.hex() for each in row.attachments if each.sha256 is not None}
        try:
            theirs = {each.id: await self._content_hash(each) for each in item.attachments if each.id in held}
        except (ServerRefused, ProtocolError) as error:
            if isinstance(error, BadCredentials | SessionExpired):
                raise
            return False
        return digest_struct(row.kind, row.payload, held) == digest_struct(row.kind, item.payload, theirs)

    async def _content_hash(self, attachment: Attachment) -> str:
        sha = hashlib.sha256()
        async for piece in self.run.mailbox.download(attachment):
            if piece.offset == 0:
                sha = hashlib.sha256()
            sha.update(piece.data)
            self.run.progress.chunk(len(piece.data))
        self.run.progress.attachment_done()
        return sha.hexdigest()
