"""The seam to a server: what a rebuild needs of any mailbox, in neutral terms.

`Mailbox` is the protocol; `server.kerio.mailbox.KerioMailbox` implements it for the Kerio Connect API, and
`server.jmap.mailbox.JmapMailbox` for JMAP. Every method paces itself, retries what may be retried, and raises only
errors of `kerio_resync.errors`. `Dialect` has what is specific about an item's payload and needs no request.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from typing import NamedTuple, Protocol

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
    Listing,
    ListingPage,
    Quota,
    Traits,
    WriteResult,
)
from kerio_resync.server.memory_budget import HeldReservations


class Upload(NamedTuple):
    """A file that was uploaded for the next `create` or `update`.

    `id`: the server's name for it.
    """

    id: str
    name: str
    content_type: str
    content_id: str


class Dialect(Protocol):
    """Structs of local changes, and how to recognise what they became.

    A struct is a JSON object in the server's dialect with the members to create or set. ValueError if it is not one.
    Items are compared only by what a person wrote, because a server fills in defaults and tidies up the rest.
    """

    def flags_struct(self, kind: Kind, flags: bytes) -> bytes:
        """Return the struct that sets flags.

        `flags`: a JSON object with some of the members `seen`, `flagged`, `answered` and `draft`.
        """
        ...

    def from_source(self, struct: bytes, source: bytes, message_id: str) -> tuple[bytes, bytes]:
        """Return (struct, source) of the creation of a mail from its raw RFC 5322 text.

        The struct describes the mail, besides the members that it has. A source without a Message-ID gets `message_id`.
        ValueError if this server creates mails from structs only.
        """
        ...

    def with_message_id(self, kind: Kind, struct: bytes, message_id: str) -> bytes:
        """Return a mail's struct with this Message-ID, unless it has one."""
        ...

    def with_id(self, struct: bytes, item_id: str) -> bytes:
        """Return the struct with the id of the item that it changes."""
        ...

    def with_files(self, kind: Kind, struct: bytes, uploads: Sequence[Upload], current: Item | None = None) -> bytes:
        """Return the struct with uploaded files.

        If it names no attachments, those of `current`, the server's item, are kept.
        """
        ...

    def with_changes(self, current: Item, struct: bytes) -> Item:
        """Return the server's item with the members of the struct."""
        ...

    def item_from_struct(self, kind: Kind, item_id: str, folder_id: str, struct: bytes) -> Item:
        """Return the item that a struct describes. Missing members are empty."""
        ...

    def fingerprint(self, item: Item) -> bytes:
        """Return a struct with what is needed to recognise the item elsewhere."""
        ...

    def is_same_content(self, item: Item, current: Item) -> bool:
        """Return whether `current`, the server's, looks created from `item`."""
        ...

    def resembles(self, item: Item, current: Item) -> bool:
        """Return whether `current` has something that a person wrote in `item`."""
        ...

    def has_members(self, current: Item, struct: bytes) -> bool:
        """Return whether the item has what the struct would set, except files."""
        ...

    def file_candidates(self, current: Item, name: str, size: int) -> tuple[Attachment, ...]:
        """Return the attachments that a file of this name and size may be."""
        ...


class Mailbox(Protocol):
    """One mailbox on a server."""

    @property
    def traits(self) -> Traits:
        """How it differs from others. Complete once `open` has returned."""
        ...

    @property
    def dialect(self) -> Dialect:
        """The dialect of its payloads."""
        ...

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

    def listings(self, folders: Sequence[Folder]) -> tuple[Listing, ...]:
        """Group folders into the lists that the server offers, in their order.

        Each folder is in one of them. `folders` are those that `folders()` returned last, or some of them.
        """
        ...

    def list_items(
        self,
        listing: Listing,
        position: bytes | None = None,
        *,
        whole: bool = False,
        held: HeldReservations | None = None,
    ) -> AsyncGenerator[ListingPage, None]:
        """Yield the pages of a list, from `position` on; None: from its start.

        Nothing that is in the list all the time is missing from the pages, whatever changes meanwhile. Mails come
        newest first. An invalid `position` means the start. `whole`: with the items, if the traits allow it.

        An error that concerns this list only has the scope "folder", or is ItemGone or FolderDenied.

        `held` takes over the memory reservation of each reply.
        """
        ...

    async def items_by_id(
        self,
        kind: Kind,
        ids: Sequence[str],
        *,
        sizes: Mapping[str, int] = {},
        held: HeldReservations | None = None,
    ) -> ItemBatch:
        """Return items. Those that are gone are named, not raised.

        `sizes`: bytes of items, where they are known. If the server can send contents with the items, those of small
        items come with them.

        TooLarge: request fewer.

        `held` takes over the memory reservation of the reply.
        """
        ...

    async def patches(self, ids: Sequence[str]) -> tuple[ItemPatch, ...]:
        """Return the flags and folders of items, if their contents are immutable.

        Items that are gone, or in no folder, are left out.
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
        """Create items from structs of the dialect.

        Not idempotent: OutcomeUnknown is raised.
        """
        ...

    async def update(self, kind: Kind, structs: Sequence[bytes]) -> tuple[WriteResult, ...]:
        """Set the given members of items; each struct has its `id`."""
        ...

    async def move(
        self, kind: Kind, ids: Sequence[str], folder_id: str, *, from_folder_id: str = ""
    ) -> tuple[WriteResult, ...]:
        """Move items into a folder. If their ids change, OutcomeUnknown is raised.

        An item that is in several folders leaves `from_folder_id` only.
        """
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
