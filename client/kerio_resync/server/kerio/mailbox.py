"""`KerioMailbox`: the mailbox of a Kerio Connect user, over JSON-RPC.

It implements `server.mailbox.Mailbox`; this module only says which call answers which question. Rows without an id and
folders that are listed twice are left out, and announced.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Final

from kerio_resync.errors import FolderDenied, ItemGone, KeyExpired, ResyncError
from kerio_resync.events import Listener, Skipped, ignore_events
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
    Place,
    Quota,
    Traits,
    WriteResult,
)
from kerio_resync.server.http.transport import Transport
from kerio_resync.server.kerio import downloads, items, mutations, outgoing_structs, wire
from kerio_resync.server.kerio.item_batches import fetch_batch
from kerio_resync.server.kerio.login import first_login, log_in
from kerio_resync.server.kerio.paging import Page, Position, list_folder
from kerio_resync.server.kerio.rpc import LARGE_REPLY_BYTES, WHO, RpcClient, RpcResponse
from kerio_resync.server.kerio.session import Session
from kerio_resync.server.mailbox import Dialect
from kerio_resync.server.memory_budget import HeldReservations
from kerio_resync.server.pacing.adaptive_limit import AdaptiveLimit
from kerio_resync.server.pacing.channel import make_channel
from kerio_resync.server.pacing.requests import READ_TIMEOUT_SECONDS
from kerio_resync.settings import Settings

LOGOUT_SECONDS = 5.0
WHOLE_ITEM_PAGE_DIVISOR = 5  # a page of whole items has so many times fewer rows than one of ids
TRAITS: Final = Traits(ordered_versions=True, lists_whole_items=True)


class KerioMailbox:
    """A `Mailbox` on a Kerio Connect server.

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
        settings.redactor.keep(settings.password.get_secret_value())
        channel = make_channel(
            settings, listen, transport=transport, clock=clock, sleep=sleep, chance=chance, limit=limit
        )
        self._client = RpcClient(
            channel.transport,
            Session(settings.server, settings.redactor),
            channel.limiter,
            channel.retrier,
            lambda: log_in(self._client, settings),
            timeout=timeout,
        )

    def __repr__(self) -> str:
        return f"KerioMailbox({self._settings.server!r}, {self._settings.user!r})"

    @property
    def traits(self) -> Traits:
        """See `Mailbox`, as for all methods."""
        return TRAITS

    @property
    def dialect(self) -> Dialect:
        return outgoing_structs

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
        settings = self._settings
        await first_login(self._client, settings)
        answer = await self._client.call(WHO, check=partial(_require_member, "userDetails"))
        account, address, login = wire.parse_account(wire.require_member(WHO, answer.result, "userDetails"))
        return Identity(settings.server, account or settings.user, settings.user, address or settings.user, login)

    async def close(self) -> None:
        client = self._client
        try:
            if client.session.generation and not client.limiter.paused:
                async with asyncio.timeout(LOGOUT_SECONDS):
                    await client.call("Session.logout", retry_timeout=0, renews=False)
        except (ResyncError, TimeoutError):
            pass  # the server's session expires by itself
        finally:
            await client.close()
            await client.session.close()
            client.limiter.close()
            await client.transport.aclose()

    async def quota(self) -> Quota:
        method = "Session.getQuotaInformation"
        answer = await self._client.call(method, check=partial(_require_member, "quotaInfo"))
        return wire.parse_quota(wire.require_member(method, answer.result, "quotaInfo"))

    async def folders(self, *, shared: bool = False, public: bool = False) -> tuple[Folder, ...]:
        by_id = {folder.id: folder for folder in await self._folders("Folders.get", "own")}
        if public:
            for folder in await self._folders_of_others("Folders.getPublic", "public"):
                by_id.setdefault(folder.id, folder)
        if shared:
            method = "Folders.getSharedMailboxList"
            answer = await self._client.call(method, check=partial(_require_list, "mailboxes"))
            for mailbox_id, owner in wire.shared_mailboxes(method, answer.result):
                for folder in await self._folders_of_others("Folders.getShared", "shared", mailbox_id):
                    by_id.setdefault(folder.id, folder if folder.owner else replace(folder, owner=owner))
        return tuple(by_id.values())

    async def _folders(self, method: str, place: Place, mailbox_id: str = "") -> list[Folder]:
        params = {"mailboxId": mailbox_id} if mailbox_id else {}
        answer = await self._client.call(method, params, limit=LARGE_REPLY_BYTES, check=partial(_require_list, "list"))
        folders = []
        for value in wire.require_list(method, answer.result):
            try:
                folder = wire.parse_folder(value, place, answer.canonical)
            except ValueError:
                folder = None
            if folder is None:
                self._listen(Skipped("folder", "", "the server sent an invalid folder"))
            else:
                folders.append(folder)
        return folders

    async def _folders_of_others(self, method: str, place: Place, mailbox_id: str = "") -> list[Folder]:
        """Return folders of other users.

        A permission that was withdrawn must not end the run.
        """
        try:
            return await self._folders(method, place, mailbox_id)
        except (FolderDenied, ItemGone) as error:
            self._listen(Skipped("folder", mailbox_id, error.detail))
            return []

    def listings(self, folders: Sequence[Folder]) -> tuple[Listing, ...]:
        return tuple(Listing((folder,)) for folder in folders)

    def list_items(
        self,
        listing: Listing,
        position: bytes | None = None,
        *,
        whole: bool = False,
        held: HeldReservations | None = None,
    ) -> AsyncGenerator[ListingPage, None]:
        (folder,) = listing.folders
        size, overlap = self._settings.page_size, self._settings.overlap
        limit = max(2, size // WHOLE_ITEM_PAGE_DIVISOR) if whole else size
        request = partial(self._page, folder, whole=whole, held=held)
        return list_folder(request, folder, Position.from_bytes(position), limit=limit, overlap=overlap)

    async def _page(
        self, folder: Folder, start: int, limit: int, *, whole: bool, held: HeldReservations | None
    ) -> Page:
        """Return one page: mails newest first, other kinds in a fixed order."""
        kind = folder.kind
        if kind is None:
            return Page((), 0)
        method = f"{wire.SERVICES[kind]}.get"
        # Only the id is stable while a mailbox is in use.
        order, descending = ("receiveDate", True) if kind == "mail" else ("id", False)
        query = wire.query(() if whole else items.LIGHT[kind], start, limit, order, descending=descending)
        params = {wire.FOLDERS_PARAMETER[kind]: [folder.id], "query": query}
        answer = await self._client.call(
            method, params, limit=LARGE_REPLY_BYTES, check=partial(_require_list, "list"), held=held
        )
        values = wire.require_list(method, answer.result)[:limit]  # further rows come with the next page
        total = wire.require_int(answer.result.get("totalItems"))
        if not whole:
            rows, malformed = items.parse_rows(values)
            return Page(rows, total, malformed=malformed)
        parsed, malformed = items.parse_items(kind, values, answer.canonical)
        parsed = tuple(item if item.folder_ids else item._replace(folder_ids=(folder.id,)) for item in parsed)
        return Page(tuple(items.parse_row(item) for item in parsed), total, parsed, malformed)

    async def items_by_id(
        self,
        kind: Kind,
        ids: Sequence[str],
        *,
        sizes: Mapping[str, int] = {},
        held: HeldReservations | None = None,
    ) -> ItemBatch:
        return await fetch_batch(self._client, kind, ids, held)

    async def patches(self, ids: Sequence[str]) -> tuple[ItemPatch, ...]:
        return ()  # the contents of an item can change

    async def sync_key(self) -> str:
        method = "Changes.getSyncKey"
        answer = await self._client.call(method, check=_require_sync_key)
        return wire.parse_sync_key(method, answer.result, answer.canonical)

    async def changes(self, key: str) -> ChangeSet:
        method = "Changes.get"
        try:
            struct = wire.key_struct(key)
        except ValueError as error:
            raise KeyExpired("not a key of this server", method=method) from error
        answer = await self._client.call(
            method, {"lastSyncKey": struct, "timeout": 0}, limit=LARGE_REPLY_BYTES, check=_require_changes
        )
        return wire.parse_changes(method, answer.result, answer.canonical)

    def download(self, attachment: Attachment, *, offset: int = 0, etag: str = "") -> AsyncIterator[ContentChunk]:
        return downloads.download(self._client, attachment, offset, etag)

    async def create(self, kind: Kind, folder_id: str, structs: Sequence[bytes]) -> tuple[WriteResult, ...]:
        return await mutations.create(self._client, kind, folder_id, structs)

    async def update(self, kind: Kind, structs: Sequence[bytes]) -> tuple[WriteResult, ...]:
        return await mutations.update(self._client, kind, structs)

    async def move(
        self, kind: Kind, ids: Sequence[str], folder_id: str, *, from_folder_id: str = ""
    ) -> tuple[WriteResult, ...]:
        return await mutations.move(self._client, kind, ids, folder_id)

    async def remove(self, kind: Kind, ids: Sequence[str]) -> tuple[WriteResult, ...]:
        return await mutations.remove(self._client, kind, ids)

    async def upload(self, name: str, content_type: str, chunks: AsyncIterator[bytes], size: int) -> str:
        return await mutations.upload(self._client, name, content_type, chunks, size)

    async def find(self, item: Item, *, renamed: bool = False) -> tuple[str, ...]:
        return await mutations.find_candidates(self._client, item, renamed=renamed)


# For the `check` of a call: an answer of another shape is requested again.


def _require_member(name: str, method: str, answer: RpcResponse) -> None:
    wire.require_member(method, answer.result, name)


def _require_list(name: str, method: str, answer: RpcResponse) -> None:
    wire.require_list(method, answer.result, name)


def _require_sync_key(method: str, answer: RpcResponse) -> None:
    wire.parse_sync_key(method, answer.result, answer.canonical)


def _require_changes(method: str, answer: RpcResponse) -> None:
    wire.parse_changes(method, answer.result, answer.canonical)
