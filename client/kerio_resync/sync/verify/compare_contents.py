"""Compares contents: fetches stored items again, and compares digests.

Several batches are in flight at once.

Nothing is kept beyond its batch. An item or attachment that cannot be fetched is a difference, and does not end the
comparison. An item in another version than the stored one is none: it changed since the lists were compared.
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
from kerio_resync.sync.context import RebuildContext
from kerio_resync.sync.converge.compare_lists import Difference, DifferenceKind, stored_digest
from kerio_resync.sync.item_digest import item_digest

CONCURRENT_BATCHES: Final = 4  # each with all its attachments; the limiter decides how much is in flight
BATCH_ITEMS: Final = 100


@dataclass(slots=True)
class ContentComparison:
    """Compares the items in the server's folders, or only those with given ids.

    `only` has these ids.
    """

    run: RebuildContext
    only: Collection[str] | None = None
    differences: list[Difference] = field(default_factory=list)

    async def compare(self) -> list[Difference]:
        """Return the differences.

        TransientServerError, BadCredentials, SessionExpired, in an ExceptionGroup.
        """
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
        return self.differences

    async def expect(self) -> None:
        """Announce the amount of work to the progress tracker."""
        if self.only is not None:
            self.run.progress.work.items_total = len(self.only)
            return
        totals, work = await self.run.store.read(queries.totals), self.run.progress.work
        work.items_total = sum(totals.items.values())
        work.attachments_total = totals.attachments - totals.queued_attachments
        work.queued_plain, work.attachment_bytes_left = totals.item_bytes, totals.attachment_bytes

    async def _batches(self) -> AsyncGenerator[list[StoredItem], None]:
        """Yield batches of stored items of one kind."""
        store, after = self.run.store, ("", "")
        while rows := await store.read(queries.items, after, limit=BATCH_ITEMS):
            after = (rows[-1].kind, rows[-1].id)
            selected = [row for row in rows if self._is_selected(row)]
            for kind in dict.fromkeys(row.kind for row in selected):
                yield [row for row in selected if row.kind == kind]

    def _is_selected(self, row: StoredItem) -> bool:
        selected = self.only is None or row.id in self.only
        if selected and not self.run.folders.keys() & set(row.folder_ids):
            self._skip(row)
            return False
        return selected

    async def _compare_batch(self, rows: Sequence[StoredItem]) -> None:
        """`rows`: all of one kind."""
        run = self.run
        try:
            sizes = {row.id: row.size for row in rows if row.size}
            reply = await run.mailbox.items_by_id(rows[0].kind, [row.id for row in rows], sizes=sizes)
        except (TooLarge, ProtocolError, FolderDenied, ItemGone):
            if len(rows) > 1:
                for row in rows:
                    await self._compare_batch([row])
                return
            reply = ItemBatch(())
        run.progress.reply(reply.plain_bytes, reply.wire_bytes)
        items = {item.id: item for item in reply.items}
        async with asyncio.TaskGroup() as group:
            for row in rows:
                group.create_task(self._compare(row, items.get(row.id)))

    async def _compare(self, row: StoredItem, item: Item | None) -> None:
        if item is None:
            self._skip(row)
            self._differs("unreadable", row)
            return
        self.run.progress.stored(item, row.size, has_attachment=False, fetch_attachments=False)
        if item.version == row.version and not await self._contents_equal(row, item):
            self._differs("altered", row)

    def _skip(self, row: StoredItem) -> None:
        """Take an item out of the announced work."""
        work = self.run.progress.work
        self.run.progress.dropped(row.size, has_attachment=False)
        work.attachments_total = max(
            0, work.attachments_total - sum(bool(content.sha256) for content in row.attachments)
        )

    def _differs(self, what: DifferenceKind, row: StoredItem) -> None:
        folders = (self.run.folders[folder_id] for folder_id in row.folder_ids if folder_id in self.run.folders)
        self.differences.append(Difference(what, next(folders), ListedItem(row.id, row.version)))

    async def _contents_equal(self, row: StoredItem, item: Item) -> bool:
        stored = {content.id for content in row.attachments if content.sha256 is not None}
        fetched: list[tuple[int, bytes]] = []
        source: bytes | None = None
        try:
            for ordinal, part in enumerate(item.attachments):
                if part.in_source:
                    self.run.progress.attachment_done()
                elif part.id in stored:
                    sha256 = await self._content_hash(part)
                    fetched.append((ordinal, sha256))
                    source = sha256 if part.role == "source" else source
        except (ServerRefused, ProtocolError) as error:
            if isinstance(error, BadCredentials | SessionExpired):
                raise
            return False
        return stored_digest(row) == item_digest(item.payload, fetched, source)

    async def _content_hash(self, attachment: Attachment) -> bytes:
        if attachment.data is not None:
            return hashlib.sha256(attachment.data).digest()
        sha = hashlib.sha256()
        async for chunk in self.run.mailbox.download(attachment):
            if chunk.offset == 0:
                sha = hashlib.sha256()
            sha.update(chunk.data)
            self.run.progress.chunk(len(chunk.data))
        if attachment.role != "source":
            self.run.progress.attachment_done()
        return sha.digest()
