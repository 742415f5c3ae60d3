"""The seam to a server: what a rebuild asks of any mailbox, in our own words.

`Mailbox` is the protocol of verbs; `KerioMailbox` (below, on `rpc.py` and `wire.py`) its implementation for the Kerio
Connect API. A second one (JMAP, RFC 8620 and 8621) needs nothing outside `server/`. Every verb paces itself, retries
what may be retried, and raises only errors of `kerio_resync.errors`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Protocol

from kerio_resync.model import (
    Attachment,
    ChangeSet,
    ContentChunk,
    Folder,
    Identity,
    Item,
    ItemBatch,
    Kind,
    Page,
    Quota,
    WriteResult,
)
from kerio_resync.server.memory_budget import HeldReservations


class Mailbox(Protocol):
    @property
    def in_flight(self) -> int:
        """Requests under way now."""
        ...

    @property
    def wire_bytes(self) -> int:
        """Body bytes of all replies so far, as they travelled."""
        ...

    @property
    def arriving(self) -> int:
        """Body bytes that have come of replies to calls (not of contents) that are not whole yet."""
        ...

    @property
    def retries(self) -> int:
        """Calls made again so far."""
        ...

    async def open(self) -> Identity:
        """Logs in. BadCredentials, Unreachable, ProtocolError."""
        ...

    async def close(self) -> None:
        """Logs out as far as that goes, and frees the connections."""
        ...

    async def quota(self) -> Quota: ...

    async def folders(self, *, shared: bool = False, public: bool = False) -> tuple[Folder, ...]:
        """The own mailbox's folders, and if asked those of others; a folder that can't be read has `readable` False."""
        ...

    async def page(
        self, folder: Folder, start: int, limit: int, *, whole: bool = False, held: HeldReservations | None = None
    ) -> Page:
        """One page, mails newest first, other kinds in a steady order. `whole`: with the items themselves."""
        ...

    async def items_by_id(self, kind: Kind, ids: Sequence[str], *, held: HeldReservations | None = None) -> ItemBatch:
        """The items themselves. Those that are gone are named, not raised. TooLarge: ask for fewer."""
        ...

    async def sync_key(self) -> str:
        """The sync key of now, opaque."""
        ...

    async def changes(self, key: str) -> ChangeSet:
        """What changed since `key`, at once. KeyExpired: start over."""
        ...

    def download(self, attachment: Attachment, *, offset: int = 0, etag: str = "") -> AsyncIterator[ContentChunk]:
        """Yields an attachment's bytes, from `offset` if the server honours it; resumes after a cut. ItemGone."""
        ...

    async def create(self, kind: Kind, folder_id: str, structs: Sequence[bytes]) -> tuple[WriteResult, ...]:
        """Creates items from documented structs (JSON). Not idempotent: Interrupted reaches the caller."""
        ...

    async def update(self, kind: Kind, structs: Sequence[bytes]) -> tuple[WriteResult, ...]:
        """Sets the members given; each struct has its `id`."""
        ...

    async def move(self, kind: Kind, ids: Sequence[str], folder_id: str) -> tuple[WriteResult, ...]: ...

    async def remove(self, kind: Kind, ids: Sequence[str]) -> tuple[WriteResult, ...]: ...

    async def upload(self, name: str, content_type: str, chunks: AsyncIterator[bytes], size: int) -> str:
        """Puts a file on the server for the next create; returns the id to name in the struct's `attachments`."""
        ...

    async def find(self, item: Item, *, renamed: bool = False) -> tuple[str, ...]:
        """Ids of items in `item.folder_id` that look created from it (Message-ID or content). `renamed`: under any
        subject, which means looking at all of the folder."""
        ...
