"""A cache file that is open: facts go in, questions are answered, by the file's one owner (`owner.py`).

After `flush` a power cut loses nothing that was told before; a kill or a power cut at any instant leaves a file that
opens, and holds every fact whole or not at all. Files are made readable by their owner only. Errors are NotEnoughSpace,
CacheDamaged, CacheInUse and BadSettings; after one, every later call raises it too, and what was committed is whole.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Final, Self, TypeVar

from kerio_resync.cache import outbox, queries
from kerio_resync.cache.connection import Connection
from kerio_resync.cache.db_errors import available_bytes, mapped_db_errors, not_enough_space
from kerio_resync.cache.files import lexists, remove_sidecars, sync_folder
from kerio_resync.cache.integrity import check as checking
from kerio_resync.cache.mutations import ChangeState, Mutation, SetMeta
from kerio_resync.cache.queries import (
    FolderRow,
    QueueCursor,
    QueuedAttachment,
    QueuedItem,
    SkippedRow,
    StoredItem,
    Totals,
)
from kerio_resync.cache.schema import PAGE_SIZE, check_header, create_schema, shape
from kerio_resync.cache.schema_guard import lift_limits, require_shape, require_whole
from kerio_resync.cache.write import attachments as contents
from kerio_resync.cache.write import fetch_queue
from kerio_resync.cache.writer import Writer
from kerio_resync.errors import BadSettings
from kerio_resync.model import Identity, ListedItem

T = TypeVar("T")
WRITER_BUSY_TIMEOUT_SECONDS: Final = (
    30.0  # seconds; a person's long query of the half-built file must not end a rebuild
)
EMPTY_CACHE_BYTES: Final = 1024 * 1024  # what an empty cache and its journal take


class Store:
    """`await Store.create(path, identity)` or `await Store.open(path)`, and `await store.close()` at the end."""

    path: Path
    identity: Identity

    def __init__(self, path: Path, identity: Identity, line: Connection) -> None:
        self.path = path
        self.identity = identity
        self._owner = Writer(line)

    @classmethod
    async def create(cls, path: Path, identity: Identity) -> Self:
        """A new cache at `path`. BadSettings if something is there or nothing can be put there; NotEnoughSpace.

        It is laid out beside and then renamed, so that at `path` is a whole cache or nothing."""
        if lexists(path):
            raise BadSettings(f"{path} exists already")
        if lexists(path.parent) and available_bytes(path) < EMPTY_CACHE_BYTES:
            raise not_enough_space(path, EMPTY_CACHE_BYTES)
        new = path.with_name(path.name + ".new")
        with mapped_db_errors(path, EMPTY_CACHE_BYTES):
            new.unlink(missing_ok=True)
            remove_sidecars(new)
            remove_sidecars(path)
            os.close(os.open(new, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
            new.chmod(0o600)
        await _lay_out(new, identity)
        with mapped_db_errors(path, EMPTY_CACHE_BYTES):
            new.rename(path)
            sync_folder(path.parent)
        return await cls.open(path)

    @classmethod
    async def open(cls, path: Path, *, readonly: bool = False, sound: bool = False) -> Self:
        """The cache at `path`. CacheDamaged (also: none of ours, another format), CacheInUse, BadSettings.

        `sound`: this process has found its structure to be that, and but for notes it is as it was then."""
        line = await Connection.open(path, readonly=readonly)
        try:
            with mapped_db_errors(path):
                identity = await line.run(check_header)
                await line.run(partial(require_whole, path=path))
                await line.run(_require_shape)
                if not readonly:
                    await line.run(_prepare)
            store = cls(path, identity, line)
            await store._owner.start(sound=sound)
        except BaseException:
            await line.close()
            raise
        return store

    async def close(self) -> None:
        """Commits what was told, and closes the file. Again: nothing. Raises nothing that a call has raised before."""
        await self._owner.close()

    async def apply(self, fact: Mutation) -> None:
        """Tells a fact; returns once it is queued (at most 4 MiB wait). It is stored whole or not at all."""
        await self._owner.enqueue(fact)

    async def wait_for_capacity(self) -> None:
        """Waits while so much is queued that what a large reply brings would have to wait too."""
        await self._owner.wait_for_capacity()

    async def flush(self) -> None:
        """What was told before is on the disk when it returns."""
        await self._owner.execute(lambda tables: None, commits=True)

    async def finish(self, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        """Notes, durably, that the cache is whole now (`finished_at`)."""
        await self.apply(SetMeta("finished_at", now().strftime("%Y-%m-%dT%H:%M:%SZ")))
        await self.flush()

    async def meta(self, key: str) -> str | None:
        return await self._read(lambda db: queries.meta(db, key))

    async def folders(self) -> tuple[FolderRow, ...]:
        return await self._read(queries.folders)

    async def queued_items(self, limit: int, after: QueueCursor | None = None) -> tuple[QueuedItem, ...]:
        """The next items to fetch after `after` (a row's `cursor`), by rank, newest first, id."""
        return await self._read(lambda db: queries.queued_items(db, limit, after))

    async def queued_attachments(self, limit: int, after: int | None = None) -> tuple[QueuedAttachment, ...]:
        """The next contents to fetch after the one with the key `after`, in the order their items came."""
        return await self._read(lambda db: queries.queued_attachments(db, limit, after or 0))

    async def totals(self) -> Totals:
        return await self._read(queries.totals)

    async def watermarks(self, ids: Sequence[str]) -> dict[str, int]:
        return await self._read(lambda db: queries.watermarks(db, ids))

    async def places(self, ids: Sequence[str]) -> dict[str, tuple[str, int]]:
        """Of those stored: id → (the folder's id, version)."""
        return await self._read(lambda db: queries.places(db, ids))

    async def mails_with_message_id(self, message_id: str) -> tuple[str, ...]:
        """Ids of the mails with this Message-ID. No index serves this."""
        return await self._read(lambda db: queries.mails_with_message_id(db, message_id))

    async def mark_listed(self, folder_id: str, rows: Sequence[ListedItem], round: int) -> tuple[ListedItem, ...]:  # noqa: A002
        """Marks the rows as met in `round`; returns those that are neither stored in that version nor wanted."""
        return await self._owner.execute(
            lambda tables: fetch_queue.mark_listed(tables, folder_id, rows, round), writes=True
        )

    async def items_not_listed(
        self,
        folder_id: str,
        round: int,  # noqa: A002
        limit: int = 10_000,
    ) -> AsyncIterator[tuple[str, ...]]:
        """Ids of the folder's stored items that `round` did not meet, all of them, at most `limit` at once."""
        after = 0
        while rows := await self._read(
            partial(queries.items_not_listed, folder_id=folder_id, round_=round, after=after, limit=limit)
        ):
            after = rows[-1][0]
            yield tuple(row[1] for row in rows)

    async def items(self, after: tuple[str, str] = ("", ""), limit: int = 500) -> tuple[StoredItem, ...]:
        """The server's items after (kind, id), in that order; at most `limit`, fewer of large ones, () at the end."""
        return await self._read(lambda db: queries.items(db, after, limit))

    async def retry_failed(self) -> None:
        """Contents that could not be had are wanted again."""
        await self._owner.execute(fetch_queue.retry_failed, writes=True)

    async def omit_contents(self, folder_ids: Sequence[str]) -> None:
        """Attachments of items in these folders are not fetched, and what is here of them goes."""
        await self._owner.execute(lambda tables: contents.omit_all_attachments(tables, folder_ids), writes=True)

    async def skipped(self) -> tuple[SkippedRow, ...]:
        return await self._read(queries.skipped)

    async def content(self, attachment: int) -> AsyncIterator[bytes]:
        """What is stored of a content, from its start, in chunks."""
        offset = 0
        while data := await self._read(partial(queries.chunk, table="chunk", attachment=attachment, offset=offset)):
            yield data
            offset += len(data)

    async def check(self, *, contents: bool = True) -> tuple[checking.Defect, ...]:
        """What is wrong with the file (at most 1,000 of it); () if it is sound.

        Without `contents` it is the structure alone: tables, indexes, references. Every page is read for that, but
        where it is known that it was found sound and that nothing but notes has been written since (`tables`)."""
        await self.flush()
        found = await (
            self._read(checking.check_structure) if contents else self._owner.execute(checking.check_since_last)
        )
        after: int | None = 0 if contents else None
        while after is not None and len(found) < checking.MAX_DEFECTS:
            some, after = await self._read(partial(checking.check_items, after=after))
            found += some
        found += await self._read(checking.check_changes)
        return tuple(found[: checking.MAX_DEFECTS])

    async def outbox(self, states: Sequence[ChangeState] = outbox.OPEN) -> tuple[outbox.Change, ...]:
        """The local changes in those states (as given: all that are not done with), oldest first."""
        return await self._read(lambda db: outbox.changes(db, states))

    async def change_state(self, uuid: str) -> ChangeState | None:
        """How a local change stands; None if there is none of that name."""
        return await self._read(lambda db: outbox.state(db, uuid))

    async def change_file(self, file: int) -> AsyncIterator[bytes]:
        """The content of a change's file (`ChangeFile.key`), in chunks."""
        offset = 0
        while data := await self._read(partial(queries.chunk, table="outbox_chunk", attachment=file, offset=offset)):
            yield data
            offset += len(data)

    async def _read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        return await self._owner.execute(lambda tables: work(tables.db))


async def _lay_out(path: Path, identity: Identity) -> None:
    line = await Connection.open(path)
    try:
        with mapped_db_errors(path, EMPTY_CACHE_BYTES):
            await line.run(lambda db: db.execute(f"PRAGMA page_size = {PAGE_SIZE}"))
            await line.run(lambda db: create_schema(db, identity))
    finally:
        await line.close()


def _require_shape(db: sqlite3.Connection) -> None:
    """From here on the file is what this program made, and may take as long as it is large."""
    require_shape(db, shape())
    lift_limits(db)


def _prepare(db: sqlite3.Connection) -> None:
    """The way it is written to (see `line.py`); and a reader's short lock is waited out."""
    db.execute("PRAGMA journal_mode = TRUNCATE").fetchone()
    db.execute(f"PRAGMA busy_timeout = {int(WRITER_BUSY_TIMEOUT_SECONDS * 1000)}")
