"""A mailbox in memory with scripted answers, and a run against it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kerio_resync.cache.mutations import Mutation
from kerio_resync.events import Event
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
    MalformedItem,
    Quota,
    Traits,
    WriteResult,
)
from kerio_resync.server.kerio import outgoing_structs
from kerio_resync.server.kerio.mailbox import TRAITS
from kerio_resync.server.mailbox import Dialect
from kerio_resync.settings import Settings
from kerio_resync.sync.context import RebuildContext
from tests.support.cache import FOLDERS, IDENTITY, filled


class Scripted:
    """Scripted answers by verb; exceptions are raised. `asked`: the verbs called."""

    answers: dict[str, list[Any]]
    asked: list[str]

    def _answer(self, verb: str, otherwise: Any) -> Any:
        self.asked.append(verb)
        told = self.answers.get(verb)
        found = told.pop(0) if told else otherwise
        if isinstance(found, Exception):
            raise found
        return found


def page_of(
    *rows: ListedItem, listed: int = 0, done: bool = True, items: Sequence[Item] = (), malformed: Sequence[str] = ()
) -> ListingPage:
    """A page of new rows. `malformed`: ids of items that cannot be read."""
    spoilt = tuple(MalformedItem(item_id, "no name") for item_id in malformed)
    listed = listed or len(rows) + len(spoilt)
    return ListingPage(rows, rows, str(listed).encode(), listed, done, tuple(items), spoilt)


@dataclass
class OutboxServer(Scripted):
    """A server for the replay of local changes, with scripted answers only."""

    answers: dict[str, list[Any]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    traits: Traits = TRAITS
    dialect: Dialect = outgoing_structs

    async def sync_key(self) -> str:
        return self._unlisted("sync_key", "now")  # type: ignore[no-any-return]

    async def changes(self, key: str) -> ChangeSet:
        return self._unlisted("changes", ChangeSet((), key))  # type: ignore[no-any-return]

    async def find(self, item: Item, *, renamed: bool = False) -> tuple[str, ...]:
        return self._answer("find", ())  # type: ignore[no-any-return]

    async def items_by_id(
        self, kind: Kind, ids: Sequence[str], *, sizes: Mapping[str, int] = {}, held: object = None
    ) -> ItemBatch:
        return self._answer("by_ids", ItemBatch(()))  # type: ignore[no-any-return]

    async def upload(self, name: str, content_type: str, chunks: AsyncIterator[bytes], size: int) -> str:
        assert size == sum([len(chunk) async for chunk in chunks])
        return self._answer("upload", "up-1")  # type: ignore[no-any-return]

    async def download(self, attachment: Attachment) -> AsyncIterator[ContentChunk]:
        for chunk in self._answer("download", ()):
            yield chunk

    async def create(self, kind: Kind, folder_id: str, structs: Sequence[bytes]) -> tuple[WriteResult, ...]:
        return (self._answer("create", WriteResult(0, "N", "9")),)

    async def update(self, kind: Kind, structs: Sequence[bytes]) -> tuple[WriteResult, ...]:
        return (self._answer("change", WriteResult(0)),)

    async def move(
        self, kind: Kind, ids: Sequence[str], folder_id: str, *, from_folder_id: str = ""
    ) -> tuple[WriteResult, ...]:
        return (self._answer("move", WriteResult(0, "M", "9")),)

    async def remove(self, kind: Kind, ids: Sequence[str]) -> tuple[WriteResult, ...]:
        return (self._answer("remove", WriteResult(0)),)

    def _unlisted(self, verb: str, otherwise: Any) -> Any:
        try:
            return self._answer(verb, otherwise)
        finally:
            self.asked.pop()


@dataclass
class Mailbox(Scripted):
    """A server that holds `items`, in the folders `there`.

    Each folder is a list, unless the items may be in several folders: then there is one list. Its pages have at most
    `page_size` rows; `position` is the number of rows before it.
    """

    items: dict[str, Item] = field(default_factory=dict)
    there: tuple[Folder, ...] = FOLDERS.folders
    answers: dict[str, list[Any]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    in_flight: int = 0
    arriving: int = 0
    wire_bytes: int = 0
    min_latency: float = float("inf")
    retries: int = 0
    traits: Traits = TRAITS
    dialect: Dialect = outgoing_structs
    page_size: int = 4

    async def open(self) -> Identity:
        return self._answer("open", IDENTITY)  # type: ignore[no-any-return]

    async def close(self) -> None:
        self.asked.append("close")

    async def quota(self) -> Quota:
        return self._answer("quota", Quota(0, 0))  # type: ignore[no-any-return]

    async def folders(self, *, shared: bool = False, public: bool = False) -> tuple[Folder, ...]:
        return self._answer("folders", self.there)  # type: ignore[no-any-return]

    def listings(self, folders: Sequence[Folder]) -> tuple[Listing, ...]:
        if self.traits.several_folders:
            return (Listing(tuple(folders)),) if folders else ()
        return tuple(Listing((folder,)) for folder in folders)

    async def list_items(
        self, listing: Listing, position: bytes | None = None, *, whole: bool = False, held: object = None
    ) -> AsyncGenerator[ListingPage, None]:
        done = False
        start = int(position) if position and position.isdigit() else 0
        while not done:
            page = self._answer("page", self._page(listing, start, whole=whole))
            yield page
            start, done = page.listed, page.done

    def _page(self, listing: Listing, start: int, *, whole: bool) -> ListingPage:
        folder_ids = set(listing.folder_ids)
        found = [each for each in self.items.values() if not folder_ids.isdisjoint(each.folder_ids)]
        found.sort(key=lambda each: each.id)
        some = found[start : start + self.page_size]
        named = self.traits.several_folders
        rows = [
            ListedItem(each.id, each.version, each.size, each.date, folder_ids=each.folder_ids if named else ())
            for each in some
        ]
        listed = start + len(rows)
        return page_of(*rows, listed=listed, done=listed >= len(found), items=some if whole else ())

    async def items_by_id(
        self, kind: Kind, ids: Sequence[str], *, sizes: Mapping[str, int] = {}, held: object = None
    ) -> ItemBatch:
        found = tuple(self.items[each] for each in ids if each in self.items)
        gone = tuple(each for each in ids if each not in self.items)
        return self._answer("by_ids", ItemBatch(found, gone, plain_bytes=100, wire_bytes=50))  # type: ignore[no-any-return]

    async def patches(self, ids: Sequence[str]) -> tuple[ItemPatch, ...]:
        self.asked.append("patches")
        return tuple(
            ItemPatch(each, item.folder_ids, item.version, item.seen, item.flagged, item.answered, item.draft, b"{}")
            for each in ids
            if (item := self.items.get(each))
        )

    async def sync_key(self) -> str:
        return self._answer("key", "now")  # type: ignore[no-any-return]

    async def changes(self, key: str) -> ChangeSet:
        return self._answer("changes", ChangeSet((), key))  # type: ignore[no-any-return]

    async def download(self, attachment: Attachment, *, offset: int = 0, etag: str = "") -> AsyncIterator[ContentChunk]:
        for each in self._answer("download", [ContentChunk(0, b"12345")]):
            if isinstance(each, Exception):
                raise each
            yield each


@asynccontextmanager
async def running(
    folder: Path, mailbox: Mailbox, *facts: Mutation, heard: list[Event] | None = None, **settings: Any
) -> AsyncIterator[RebuildContext]:
    """A run on a cache with these facts, `folder` its profile."""
    store = await filled(folder / "cache.db", *facts)
    values = {"profile": folder, "server": "https://mail.example.com", "user": "jan", "page_size": 4, "overlap": 1}
    clock = asyncio.get_running_loop().time
    listen = heard.append if heard is not None else lambda _: None
    run = RebuildContext.begin(
        Settings.model_validate(values | settings),
        listen,
        mailbox,  # type: ignore[arg-type]  # what a test does not need is not there
        store,
        clock,
    )
    run.set_folders(mailbox.there)
    try:
        yield run
    finally:
        await store.close()
