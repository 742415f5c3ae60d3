"""The seam to a server: what a rebuild needs of any mailbox, in neutral terms.

`Mailbox` is the protocol; `server.kerio.mailbox.KerioMailbox` implements it for the Kerio Connect API. Every method
paces itself, retries what may be retried, and raises only errors of `kerio_resync.errors`.
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
    """One mailbox on a server."""

    @property
    def in_flight(self) -> int:
        """Requests in flight."""
        ...

    @property
    def wire_bytes(self) -> int:
        """Body bytes of all replies so far, as they travelled."""
        ...

    @property
    def arriving(self) -> int:
        """The part of `wire_bytes` in replies that are not complete yet.

        Replies to calls count, downloads do not.
        """
        ...

    @property
    def min_latency(self) -> float:
        """Seconds of the fastest reply so far; infinite before the first."""
        ...

    @property
    def retries(self) -> int:
        """Retries so far."""
        ...

    async def open(self) -> Identity:
        """Log in. BadCredentials, Unreachable, ProtocolError."""
        ...

    async def close(self) -> None:
        """Log out if possible, and close the connections."""
        ...

    async def quota(self) -> Quota:
        """Return the size of the mailbox."""
        ...

    async def folders(self, *, shared: bool = False, public: bool = False) -> tuple[Folder, ...]:
        """Return the folders of the own mailbox.

        With `shared` and `public` also those of others.
        """
        ...

    async def page(
        self, folder: Folder, start: int, limit: int, *, whole: bool = False, held: HeldReservations | None = None
    ) -> Page:
        """Return one page: mails newest first, other kinds in a fixed order.

        `whole`: with the items.

        `held` takes over the memory reservation of the reply.
        """
        ...

    async def items_by_id(self, kind: Kind, ids: Sequence[str], *, held: HeldReservations | None = None) -> ItemBatch:
        """Return items. Those that are gone are named, not raised.

        TooLarge: request fewer.

        `held` takes over the memory reservation of the reply.
        """
        ...

    async def sync_key(self) -> str:
        """Return the current sync key, opaque."""
        ...

    async def changes(self, key: str) -> ChangeSet:
        """Return the changes since `key`. KeyExpired: compare everything."""
        ...

    def download(self, attachment: Attachment, *, offset: int = 0, etag: str = "") -> AsyncIterator[ContentChunk]:
        """Yield an attachment's bytes, from `offset` if the server allows it.

        Resume after an interruption.

        ItemGone, DownloadRefused, ForeignAddress.
        """
        ...

    async def create(self, kind: Kind, folder_id: str, structs: Sequence[bytes]) -> tuple[WriteResult, ...]:
        """Create items from documented structs (JSON).

        Not idempotent: OutcomeUnknown is raised.
        """
        ...

    async def update(self, kind: Kind, structs: Sequence[bytes]) -> tuple[WriteResult, ...]:
        """Set the given members of items; each struct has its `id`."""
        ...

    async def move(self, kind: Kind, ids: Sequence[str], folder_id: str) -> tuple[WriteResult, ...]:
        """Move items into a folder. Not idempotent: OutcomeUnknown is raised."""
        ...

    async def remove(self, kind: Kind, ids: Sequence[str]) -> tuple[WriteResult, ...]:
        """Delete items; those that are gone already count as deleted."""
        ...

    async def upload(self, name: str, content_type: str, chunks: AsyncIterator[bytes], size: int) -> str:
        """Upload a file for the next `create`.

        Return its id for the struct's `attachments`.
        """
        ...

    async def find(self, item: Item, *, renamed: bool = False) -> tuple[str, ...]:
        """Return the ids of items in `item.folder_id` that look created from it.

        Items are compared by Message-ID or content.

        `renamed`: under any subject, which takes a search of the whole folder.
        """
        ...
