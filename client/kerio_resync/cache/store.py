"""An open cache file: mutations in, query results out.

Its only writer (`writer.py`) executes both. After `flush`, a power cut loses nothing that was applied before. After a
kill or a power cut at any instant the file opens and holds each mutation entirely or not at all. Files are readable by
their owner only. Errors are NotEnoughSpace, CacheDamaged, CacheInUse and BadSettings; after one of them every later
call raises it too, and what was committed stays intact.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Concatenate, Final, ParamSpec, Self, TypeVar

from kerio_resync.cache import queries
from kerio_resync.cache.connection import Connection
from kerio_resync.cache.db_errors import mapped_db_errors
from kerio_resync.cache.files import lexists, remove_sidecars, sync_folder
from kerio_resync.cache.integrity import check
from kerio_resync.cache.mutations import Mutation, SetMeta
from kerio_resync.cache.schema import PAGE_SIZE, check_header, create_schema, shapes
from kerio_resync.cache.schema_guard import lift_limits, require_shape, require_whole
from kerio_resync.cache.write import attachments, fetch_queue
from kerio_resync.cache.write.session import WriteSession
from kerio_resync.cache.writer import Writer
from kerio_resync.errors import BadSettings
from kerio_resync.filesystem import available_bytes, not_enough_space
from kerio_resync.model import Identity, ListedItem

T = TypeVar("T")
P = ParamSpec("P")
WRITER_BUSY_TIMEOUT_SECONDS: Final = 30.0  # a user's long query of the build file must not end a rebuild
EMPTY_CACHE_BYTES: Final = 1024 * 1024  # of an empty cache and its journal


class Store:
    """An open cache file.

    `await Store.create(path, identity)` or `await Store.open(path)`; `await store.close()` at the end.
    """

    path: Path
    identity: Identity

    def __init__(self, path: Path, identity: Identity, writer: Writer) -> None:
        self.path = path
        self.identity = identity
        self._writer = writer

    @classmethod
    async def create(cls, path: Path, identity: Identity) -> Self:
        """Create a cache at `path` and open it.

        The file is made under another name and renamed, so that `path` is a complete cache or nothing. BadSettings if
        `path` exists or cannot be created; NotEnoughSpace.
        """
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
        await _create_schema(new, identity)
        with mapped_db_errors(path, EMPTY_CACHE_BYTES):
            new.rename(path)
            sync_folder(path.parent)
        return await cls.open(path)

    @classmethod
    async def open(cls, path: Path, *, readonly: bool = False, sound: bool = False) -> Self:
        """Open the cache at `path`.

        CacheDamaged (also for a file of another format or program), CacheInUse, BadSettings. `sound`: this process has
        checked the structure of the file, and since then only the tables of `UNTRACKED_TABLES` have changed.
        """
        connection = await Connection.open(path, readonly=readonly)
        try:
            with mapped_db_errors(path):
                identity = await connection.run(check_header)
                await connection.run(partial(require_whole, path=path))
                await connection.run(_require_shape)
                if not readonly:
                    await connection.run(_prepare_for_writing)
            return cls(path, identity, await Writer.start(connection, sound=sound))
        except BaseException:
            await connection.close()
            raise

    async def close(self) -> None:
        """Commit and close the file.

        Raise no error that a call has raised before; a second call does nothing.
        """
        await self._writer.close()

    async def apply(self, mutation: Mutation) -> None:
        """Queue a mutation.

        It is stored entirely or not at all. The call waits while 4 MiB are queued.
        """
        await self._writer.enqueue(mutation)

    async def wait_for_capacity(self) -> None:
        """Wait until the mutations of a large reply could be queued without waiting."""
        await self._writer.wait_for_capacity()

    async def flush(self) -> None:
        """Return when everything that was applied before is durable."""
        await self._writer.execute(lambda session: None, commits=True)

    async def finish(self, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        """Record durably that the cache is complete (`finished_at` in `meta`)."""
        await self.apply(SetMeta("finished_at", now().strftime("%Y-%m-%dT%H:%M:%SZ")))
        await self.flush()

    async def read(
        self, query: Callable[Concatenate[sqlite3.Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run a query of `queries` or `outbox_rows`.

        It sees every mutation applied before.
        """
        return await self._writer.execute(lambda session: query(session.db, *args, **kwargs))

    async def items_not_listed(
        self,
        folder_ids: Sequence[str],
        round: int,  # noqa: A002 - as the column
        limit: int = 10_000,
    ) -> AsyncIterator[tuple[str, ...]]:
        """Yield the ids of these folders' items that were not listed in `round`.

        That is the `round` of `mark_listed`. At most `limit` ids come at a time.
        """
        after = 0, 0
        while rows := await self.read(queries.items_not_listed, folder_ids, round, after, limit):
            after = rows[-1].folder, rows[-1].number
            yield tuple(row.id for row in rows)

    async def content(self, attachment: int) -> AsyncIterator[bytes]:
        """Yield the stored bytes of an attachment in chunks of at most 256 KiB."""
        offset = 0
        while data := await self.read(queries.chunk, "chunk", attachment, offset):
            yield data
            offset += len(data)

    async def mark_listed(
        self,
        folder_ids: Sequence[str],
        rows: Sequence[ListedItem],
        round: int,  # noqa: A002 - as the column
    ) -> tuple[ListedItem, ...]:
        """Mark rows of a listing of these folders as met in `round`.

        Return the rows whose items are neither stored in that version nor queued.
        """
        return await self._write(fetch_queue.mark_listed, folder_ids, rows, round)

    async def retry_failed(self) -> None:
        """Queue attachments again that could not be downloaded."""
        await self._write(fetch_queue.retry_failed)

    async def omit_contents(self, folder_ids: Sequence[str], before: str = "") -> None:
        """Drop the attachments of items that are only in these folders.

        So are those of mails with an earlier date than `before`. They are not downloaded. Sources stay.
        """
        await self._write(attachments.omit_all_attachments, folder_ids, before)

    async def check(self, *, contents: bool = True) -> tuple[check.Defect, ...]:
        """Return the defects of the file, at most 1,000; () if it is sound.

        Without `contents` only the structure is checked: tables, indexes, references. That reads every page, except
        when the structure has been checked before and nothing that is tracked has been written since.
        """
        await self.flush()
        structure = self.read(check.check_structure) if contents else self._writer.execute(check.check_since_last)
        defects = await structure
        after: int | None = 0 if contents else None
        while after is not None and len(defects) < check.MAX_DEFECTS:
            more, after = await self.read(check.check_items, after)
            defects += more
        defects += await self.read(check.check_changes)
        return tuple(defects[: check.MAX_DEFECTS])

    async def _write(self, work: Callable[Concatenate[WriteSession, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        return await self._writer.execute(lambda session: work(session, *args, **kwargs), writes=True)


async def _create_schema(path: Path, identity: Identity) -> None:
    connection = await Connection.open(path)
    try:
        with mapped_db_errors(path, EMPTY_CACHE_BYTES):
            await connection.run(lambda db: db.execute(f"PRAGMA page_size = {PAGE_SIZE}"))
            await connection.run(lambda db: create_schema(db, identity))
    finally:
        await connection.close()


def _require_shape(db: sqlite3.Connection) -> None:
    """Check the tables and lift the limits on work.

    With these tables, the work of a query depends on the size of the file only.
    """
    require_shape(db, *shapes())
    lift_limits(db)


def _prepare_for_writing(db: sqlite3.Connection) -> None:
    db.execute("PRAGMA journal_mode = TRUNCATE").fetchone()
    db.execute(f"PRAGMA busy_timeout = {int(WRITER_BUSY_TIMEOUT_SECONDS * 1000)}")
