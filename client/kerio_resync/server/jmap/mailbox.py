"""`JmapMailbox`: the mails of a JMAP user (RFC 8620, RFC 8621).

It implements `server.mailbox.Mailbox`; this module only says which part answers which question. Contacts and calendars
are left out, with a notice.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Final

from kerio_resync.errors import FolderDenied, ItemGone
from kerio_resync.events import Listener, Notice, Skipped, ignore_events
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
from kerio_resync.server.http.transport import Transport
from kerio_resync.server.jmap import contents, downloads, feed, folders, writing
from kerio_resync.server.jmap.client import JmapClient
from kerio_resync.server.jmap.dialect import JmapDialect
from kerio_resync.server.jmap.listing import MAX_ROWS, EmailList, Position
from kerio_resync.server.memory_budget import HeldReservations
from kerio_resync.server.pacing.adaptive_limit import AdaptiveLimit
from kerio_resync.server.pacing.channel import make_channel
from kerio_resync.server.pacing.requests import READ_TIMEOUT_SECONDS, join_batches
from kerio_resync.settings import Settings

MAX_BATCH_ITEMS: Final = 500
MAX_REMEMBERED_SIZES: Final = 10_000


class JmapMailbox:
    """A `Mailbox` on a JMAP server.

    `timeout`: seconds without a byte. `transport`, `clock`, `sleep`, `chance` and `limit` replace the real ones in
    tests and measurements.
    """

    def __init__(
        self,
        settings: Settings,
        listen: Listener = ignore_events,
        *,
        transport: Transport | None = None,
        clock: Callable[[], float] | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        chance: Callable[[], float] = random.random,
        timeout: float = READ_TIMEOUT_SECONDS,
        limit: AdaptiveLimit | None = None,
    ) -> None:
        self._settings = settings
        self._listen = listen
        channel = make_channel(
            settings, listen, transport=transport, clock=clock, sleep=sleep, chance=chance, limit=limit
        )
        self._client = JmapClient(channel.transport, settings, channel.limiter, channel.retrier, timeout=timeout)
        self._keeps_sources = settings.keeps_sources
        self._dialect = JmapDialect()
        self._folders: tuple[Folder, ...] = ()
        self._sizes: dict[str, int] = {}  # of mails that were created since the sync key
        self._noticed = False

    def __repr__(self) -> str:
        return f"JmapMailbox({self._settings.server!r}, {self._settings.user!r})"

    @property
    def traits(self) -> Traits:
        """See `Mailbox`, as for all methods."""
        resource = self._client.resource
        return Traits(
            several_folders=True,
            immutable_contents=True,
            sources=self._keeps_sources,
            inline_bytes=contents.INLINE_BYTES if self._keeps_sources and resource.blob else 0,
            max_batch_items=min(MAX_BATCH_ITEMS, resource.limits.objects_in_get),
        )

    @property
    def dialect(self) -> JmapDialect:
        return self._dialect

    @property
    def in_flight(self) -> int:
        return self._client.limiter.in_flight

    @property
    def wire_bytes(self) -> int:
        return self._client.wire_bytes + self._client.arriving

    @property
    def arriving(self) -> int:
        return self._client.arriving

    @property
    def min_latency(self) -> float:
        """Seconds of the fastest reply so far; infinite before the first."""
        return self._client.limiter.min_latency

    @property
    def retries(self) -> int:
        return self._client.retrier.retries

    async def open(self) -> Identity:
        await self._client.open()
        resource, user = self._client.resource, self._settings.user
        return Identity(
            self._settings.server,
            resource.own.id,
            user,
            resource.username if "@" in resource.username else user,
            resource.username,
            "jmap",
        )

    async def close(self) -> None:
        await self._client.close()

    async def quota(self) -> Quota:
        return await folders.fetch_quota(self._client)

    async def folders(self, *, shared: bool = False, public: bool = False) -> tuple[Folder, ...]:
        resource = self._client.resource
        if resource.has_more and not self._noticed:
            self._noticed = True
            self._listen(Notice("Only mail is synchronised over JMAP; contacts and calendars are left out."))
        found = await folders.fetch_folders(self._client, resource.own, self._listen)
        for account in resource.others if shared else ():
            try:
                found += await folders.fetch_folders(self._client, account, self._listen)
            except (FolderDenied, ItemGone) as error:  # a permission that was withdrawn must not end the run
                self._listen(Skipped("folder", account.id, error.detail))
        self._folders = tuple(found)
        return self._folders

    def listings(self, folders: Sequence[Folder]) -> tuple[Listing, ...]:
        """Return a list per account if all its folders are in `folders`, else per folder."""
        groups: dict[str, list[Folder]] = {}
        for folder in folders:
            groups.setdefault(self._account_of(folder), []).append(folder)
        return tuple(
            listing
            for account, some in groups.items()
            for listing in (
                (Listing(tuple(some)),) if self._is_whole(account, some) else tuple(Listing((one,)) for one in some)
            )
        )

    def list_items(
        self,
        listing: Listing,
        position: bytes | None = None,
        *,
        whole: bool = False,
        held: HeldReservations | None = None,
    ) -> AsyncGenerator[ListingPage, None]:
        account, mailbox_id = self._client.resource.split(listing.id)
        if self._is_whole(account, listing.folders):
            mailbox_id = ""
        # Each page costs the server a query of the whole list, so that it has as many rows as the server allows.
        rows = self._settings.page_size if "page_size" in self._settings.model_fields_set else MAX_ROWS
        limit = min(rows, self._client.resource.limits.objects_in_get)
        at = Position.from_bytes(position)
        return EmailList(self._client, account, listing, mailbox_id, limit, self._settings.overlap, at).pages(held)

    def _account_of(self, folder: Folder) -> str:
        return self._client.resource.split(folder.id)[0]

    def _is_whole(self, account: str, folders: Sequence[Folder]) -> bool:
        """Return whether these are all folders of an account that can be read."""
        readable = {folder.id for folder in self._folders if folder.readable and self._account_of(folder) == account}
        return bool(readable) and readable <= {folder.id for folder in folders}

    async def items_by_id(
        self,
        kind: Kind,
        ids: Sequence[str],
        *,
        sizes: Mapping[str, int] = {},
        held: HeldReservations | None = None,
    ) -> ItemBatch:
        groups: dict[str, dict[str, int]] = {}
        for item_id in ids:
            account, email_id = self._client.resource.split(item_id)
            groups.setdefault(account, {})[email_id] = sizes.get(item_id, 0) or self._sizes.pop(item_id, 0)
        found = []
        for account, its_sizes in groups.items():
            found += await contents.fetch_emails(
                self._client, account, its_sizes, sources=self._keeps_sources, held=held
            )
        return join_batches(found)

    async def patches(self, ids: Sequence[str]) -> tuple[ItemPatch, ...]:
        groups: dict[str, list[str]] = {}
        for item_id in ids:
            account, email_id = self._client.resource.split(item_id)
            groups.setdefault(account, []).append(email_id)
        return tuple(
            [
                patch
                for account, some in groups.items()
                for patch in await feed.fetch_patches(self._client, account, some)
            ]
        )

    async def sync_key(self) -> str:
        return feed.key_of(await feed.current_states(self._client, self._accounts()))

    async def changes(self, key: str) -> ChangeSet:
        if len(self._sizes) > MAX_REMEMBERED_SIZES:
            self._sizes.clear()
        return await feed.changes_since(self._client, key, self._accounts(), self._sizes)

    def _accounts(self) -> list[str]:
        resource = self._client.resource
        return [resource.own.id, *(account.id for account in resource.others if self._settings.shared)]

    def download(self, attachment: Attachment, *, offset: int = 0, etag: str = "") -> AsyncIterator[ContentChunk]:
        return downloads.download(self._client, attachment, offset, etag)

    async def create(self, kind: Kind, folder_id: str, structs: Sequence[bytes]) -> tuple[WriteResult, ...]:
        return await writing.create(self._client, folder_id, structs)

    async def update(self, kind: Kind, structs: Sequence[bytes]) -> tuple[WriteResult, ...]:
        return await writing.update(self._client, structs)

    async def move(
        self, kind: Kind, ids: Sequence[str], folder_id: str, *, from_folder_id: str = ""
    ) -> tuple[WriteResult, ...]:
        return await writing.move(self._client, ids, folder_id, from_folder_id)

    async def remove(self, kind: Kind, ids: Sequence[str]) -> tuple[WriteResult, ...]:
        return await writing.remove(self._client, ids)

    async def upload(self, name: str, content_type: str, chunks: AsyncIterator[bytes], size: int) -> str:
        return await writing.upload(self._client, content_type, chunks, size)

    async def find(self, item: Item, *, renamed: bool = False) -> tuple[str, ...]:
        return await writing.find(self._client, item)
