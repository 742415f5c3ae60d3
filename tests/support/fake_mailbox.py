"""A mailbox in memory with scripted answers, and a run against it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
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
    Kind,
    ListedItem,
    Page,
    Quota,
    WriteResult,
)
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


@dataclass
class OutboxServer(Scripted):
    """A server for the replay of local changes, with scripted answers only."""

    answers: dict[str, list[Any]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    async def sync_key(self) -> str:
        return self._unlisted("sync_key", "now")  # type: ignore[no-any-return]

    async def changes(self, key: str) -> ChangeSet:
        return self._unlisted("changes", ChangeSet((), key))  # type: ignore[no-any-return]

    async def find(self, item: Item, *, renamed: bool = False) -> tuple[str, ...]:
        return self._answer("find", ())  # type: ignore[no-any-return]

    async def items_by_id(self, kind: Kind, ids: Sequence[str], *, held: object = None) -> ItemBatch:
        return self._answer("by_ids", ItemBatch(()))  # type: ignore[no-any-return]

    async def upload(self, name: str, content_type: str, chunks: AsyncIterator[bytes], size: int) -> str:
        assert size == sum([len(chunk) async for chunk in chunks])
        return self._answer("upload", "up-1")  # type: ignore[no-any-return]

    async def download(self, attachment: Attachment) -> AsyncIterator[ContentChunk]:
        for chunk in self._answer("download", ()):
            yield chunk

    async def create(self, kind: Kind, folder_id: str, structs: Sequence[bytes]) -> tuple[WriteResult, ...]:
        return (self._answer("create", WriteResult(0, "N", 9)),)

    async def update(self, kind: Kind, structs: Sequence[bytes]) -> tuple[WriteResult, ...]:
        return (self._answer("change", WriteResult(0, "", 0)),)

    async def move(self, kind: Kind, ids: Sequence[str], folder_id: str) -> tuple[WriteResult, ...]:
        return (self._answer("move", WriteResult(0, "M", 9)),)

    async def remove(self, kind: Kind, ids: Sequence[str]) -> tuple[WriteResult, ...]:
        return (self._answer("remove", WriteResult(0)),)

    def _unlisted(self, verb: str, otherwise: Any) -> Any:
        try:
            return self._answer(verb, otherwise)
        finally:
            self.asked.pop()


@dataclass
class Mailbox(Scripted):
    """A server that holds `items`, in the folders `there`."""

    items: dict[str, Item] = field(default_factory=dict)
    there: tuple[Folder, ...] = FOLDERS.folders
    answers: dict[str, list[Any]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    in_flight: int = 0
    arriving: int = 0
    wire_bytes: int = 0
    min_latency: float = float("inf")
    retries: int = 0

    async def open(self) -> Identity:
        return self._answer("open", IDENTITY)  # type: ignore[no-any-return]

    async def close(self) -> None:
        self.asked.append("close")

    async def quota(self) -> Quota:
        return self._answer("quota", Quota(0, 0))  # type: ignore[no-any-return]

    async def folders(self, *, shared: bool = False, public: bool = False) -> tuple[Folder, ...]:
        return self._answer("folders", self.there)  # type: ignore[no-any-return]

    async def page(self, folder: Folder, start: int, limit: int, *, whole: bool = False, held: object = None) -> Page:
        held = sorted((each for each in self.items.values() if each.folder_id == folder.id), key=lambda each: each.id)
        some = held[start : start + limit]
        rows = tuple(ListedItem(each.id, each.watermark, each.size, each.date) for each in some)
        return self._answer("page", Page(rows, start, len(held), tuple(some) if whole else ()))  # type: ignore[no-any-return]

    async def items_by_id(self, kind: Kind, ids: Sequence[str], *, held: object = None) -> ItemBatch:
        found = tuple(self.items[each] for each in ids if each in self.items)
        gone = tuple(each for each in ids if each not in self.items)
        return self._answer("by_ids", ItemBatch(found, gone, plain_bytes=100, wire_bytes=50))  # type: ignore[no-any-return]

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
