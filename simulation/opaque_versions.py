"""A mailbox whose versions say only whether an item has changed.

Many servers have such versions (an ETag, a hash of the flags): they are equal or not, and none is newer. The engine
must converge without their order.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from hashlib import sha256

from kerio_resync.model import (
    Attachment,
    ChangeSet,
    ContentChunk,
    Folder,
    Identity,
    Item,
    ItemBatch,
    ItemPatch,
    Kind,
    ListedItem,
    Listing,
    ListingPage,
    Quota,
    Traits,
    WriteResult,
)
from kerio_resync.server.mailbox import Dialect, Mailbox
from kerio_resync.server.memory_budget import HeldReservations


def opaque(version: str) -> str:
    """Return a version without its order; "" remains unknown."""
    return sha256(version.encode()).hexdigest()[:12] if version else ""


class OpaqueVersions:
    """A `Mailbox` that replaces every version of another one by a hash.

    No call of a mailbox takes a version, so none has to be translated back.
    """

    def __init__(self, mailbox: Mailbox) -> None:
        self._mailbox = mailbox

    @property
    def traits(self) -> Traits:
        return self._mailbox.traits._replace(ordered_versions=False)

    @property
    def dialect(self) -> Dialect:
        return self._mailbox.dialect

    @property
    def in_flight(self) -> int:
        return self._mailbox.in_flight

    @property
    def wire_bytes(self) -> int:
        return self._mailbox.wire_bytes

    @property
    def arriving(self) -> int:
        return self._mailbox.arriving

    @property
    def min_latency(self) -> float:
        return self._mailbox.min_latency

    @property
    def retries(self) -> int:
        return self._mailbox.retries

    async def open(self) -> Identity:
        return await self._mailbox.open()

    async def close(self) -> None:
        await self._mailbox.close()

    async def quota(self) -> Quota:
        return await self._mailbox.quota()

    async def folders(self, *, shared: bool = False, public: bool = False) -> tuple[Folder, ...]:
        return await self._mailbox.folders(shared=shared, public=public)

    def listings(self, folders: Sequence[Folder]) -> tuple[Listing, ...]:
        return self._mailbox.listings(folders)

    async def list_items(
        self,
        listing: Listing,
        position: bytes | None = None,
        *,
        whole: bool = False,
        held: HeldReservations | None = None,
    ) -> AsyncGenerator[ListingPage, None]:
        async with aclosing(self._mailbox.list_items(listing, position, whole=whole, held=held)) as pages:
            async for page in pages:
                yield page._replace(rows=_rows(page.rows), fresh=_rows(page.fresh), items=_items(page.items))

    async def items_by_id(
        self,
        kind: Kind,
        ids: Sequence[str],
        *,
        sizes: Mapping[str, int] = {},
        held: HeldReservations | None = None,
    ) -> ItemBatch:
        batch = await self._mailbox.items_by_id(kind, ids, sizes=sizes, held=held)
        return batch._replace(items=_items(batch.items))

    async def patches(self, ids: Sequence[str]) -> tuple[ItemPatch, ...]:
        patches = await self._mailbox.patches(ids)
        return tuple(patch._replace(version=opaque(patch.version)) for patch in patches)

    async def sync_key(self) -> str:
        return await self._mailbox.sync_key()

    async def changes(self, key: str) -> ChangeSet:
        feed = await self._mailbox.changes(key)
        return feed._replace(
            changes=tuple(change._replace(version=opaque(change.version)) for change in feed.changes),
            patches=tuple(patch._replace(version=opaque(patch.version)) for patch in feed.patches),
        )

    def download(self, attachment: Attachment, *, offset: int = 0, etag: str = "") -> AsyncIterator[ContentChunk]:
        return self._mailbox.download(attachment, offset=offset, etag=etag)

    async def create(self, kind: Kind, folder_id: str, structs: Sequence[bytes]) -> tuple[WriteResult, ...]:
        return _results(await self._mailbox.create(kind, folder_id, structs))

    async def update(self, kind: Kind, structs: Sequence[bytes]) -> tuple[WriteResult, ...]:
        return _results(await self._mailbox.update(kind, structs))

    async def move(
        self, kind: Kind, ids: Sequence[str], folder_id: str, *, from_folder_id: str = ""
    ) -> tuple[WriteResult, ...]:
        return _results(await self._mailbox.move(kind, ids, folder_id, from_folder_id=from_folder_id))

    async def remove(self, kind: Kind, ids: Sequence[str]) -> tuple[WriteResult, ...]:
        return _results(await self._mailbox.remove(kind, ids))

    async def upload(self, name: str, content_type: str, chunks: AsyncIterator[bytes], size: int) -> str:
        return await self._mailbox.upload(name, content_type, chunks, size)

    async def find(self, item: Item, *, renamed: bool = False) -> tuple[str, ...]:
        return await self._mailbox.find(item, renamed=renamed)


def _rows(rows: tuple[ListedItem, ...]) -> tuple[ListedItem, ...]:
    return tuple(row._replace(version=opaque(row.version)) for row in rows)


def _items(items: tuple[Item, ...]) -> tuple[Item, ...]:
    return tuple(item._replace(version=opaque(item.version)) for item in items)


def _results(results: tuple[WriteResult, ...]) -> tuple[WriteResult, ...]:
    return tuple(WriteResult(result.index, result.id, opaque(result.version), result.error) for result in results)
