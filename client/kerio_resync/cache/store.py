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

from kerio_resync.cache import checking, contents, outbox, reading, wants
from kerio_resync.cache.facts import ChangeState, Fact, SetMeta
from kerio_resync.cache.files import clear, exists, sync_folder
from kerio_resync.cache.guard import require_shape, require_whole, trust
from kerio_resync.cache.line import Line
from kerio_resync.cache.owner import Owner
from kerio_resync.cache.reading import Cursor, FolderRow, SkippedRow, StoredItem, Totals, Wanted, WantedAttachment
from kerio_resync.cache.schema import PAGE_SIZE, check_header, lay_out, shape
from kerio_resync.cache.trouble import available, no_room, translated
from kerio_resync.errors import BadSettings
from kerio_resync.model import Identity, Listed

T = TypeVar("T")
WRITER_PATIENCE: Final = 30.0  # seconds; a person's long query of the half-built file must not end a rebuild
FIRST_BYTES: Final = 1024 * 1024  # what an empty cache and its journal take


class Store:
    """`await Store.create(path, identity)` or `await Store.open(path)`, and `await store.close()` at the end."""

    path: Path
    identity: Identity

    def __init__(self, path: Path, identity: Identity, line: Line) -> None:
        self.path = path
        self.identity = identity
        self._owner = Owner(line)

    @classmethod
    async def create(cls, path: Path, identity: Identity) -> Self:
        """A new cache at `path`. BadSettings if something is there or nothing can be put there; NotEnoughSpace.

        It is laid out beside and then renamed, so that at `path` is a whole cache or nothing."""
        if exists(path):
            raise BadSettings(f"{path} exists already")
        if exists(path.parent) and available(path) < FIRST_BYTES:
            raise no_room(path, FIRST_BYTES)
        new = path.with_name(path.name + ".new")
        with translated(path, FIRST_BYTES):
            new.unlink(missing_ok=True)
            clear(new)
            clear(path)
            os.close(os.open(new, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
            new.chmod(0o600)
        await _lay_out(new, identity)
        with translated(path, FIRST_BYTES):
            new.rename(path)
            sync_folder(path.parent)
        return await cls.open(path)

    @classmethod
    async def open(cls, path: Path, *, readonly: bool = False, sound: bool = False) -> Self:
        """The cache at `path`. CacheDamaged (also: none of ours, another format), CacheInUse, BadSettings.

        `sound`: this process has found its structure to be that, and but for notes it is as it was then."""
        line = await Line.open(path, readonly=readonly)
        try:
            with translated(path):
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

    async def put(self, fact: Fact) -> None:
        """Tells a fact; returns once it is queued (at most 4 MiB wait). It is stored whole or not at all."""
        await self._owner.tell(fact)

    async def eased(self) -> None:
        """Waits while so much is queued that what a large reply brings would have to wait too."""
        await self._owner.eased()

    async def flush(self) -> None:
        """What was told before is on the disk when it returns."""
        await self._owner.ask(lambda tables: None, commits=True)

    async def release(self) -> None:
        """Closes the old caches from which `PutSalvaged` copied; they are opened again if need be."""
        await self._owner.ask(lambda tables: tables.close(), commits=True)

    async def finish(self, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        """Notes, durably, that the cache is whole now (`finished_at`)."""
        await self.put(SetMeta("finished_at", now().strftime("%Y-%m-%dT%H:%M:%SZ")))
        await self.flush()

    async def meta(self, key: str) -> str | None:
        return await self._read(lambda db: reading.meta(db, key))

    async def folders(self) -> tuple[FolderRow, ...]:
        return await self._read(reading.folders)

    async def wanted(self, limit: int, after: Cursor | None = None) -> tuple[Wanted, ...]:
        """The next items to fetch after `after` (a row's `cursor`), by rank, newest first, id."""
        return await self._read(lambda db: reading.wanted(db, limit, after))

    async def wanted_attachments(self, limit: int, after: int | None = None) -> tuple[WantedAttachment, ...]:
        """The next contents to fetch after the one with the key `after`, in the order their items came."""
        return await self._read(lambda db: reading.wanted_attachments(db, limit, after or 0))

    async def totals(self) -> Totals:
        return await self._read(reading.totals)

    async def watermarks(self, ids: Sequence[str]) -> dict[str, int]:
        return await self._read(lambda db: reading.watermarks(db, ids))

    async def places(self, ids: Sequence[str]) -> dict[str, tuple[str, int]]:
        """Of those stored: id → (the folder's id, version)."""
        return await self._read(lambda db: reading.places(db, ids))

    async def mails_called(self, message_id: str) -> tuple[str, ...]:
        """Ids of the mails with this Message-ID. No index serves this."""
        return await self._read(lambda db: reading.mails_called(db, message_id))

    async def compare(self, folder_id: str, rows: Sequence[Listed], round: int) -> tuple[Listed, ...]:  # noqa: A002
        """Marks the rows as met in `round`; returns those that are neither stored in that version nor wanted."""
        return await self._owner.ask(lambda tables: wants.compare(tables, folder_id, rows, round), writes=True)

    async def unseen(
        self,
        folder_id: str,
        round: int,  # noqa: A002
        limit: int = 10_000,
    ) -> AsyncIterator[tuple[str, ...]]:
        """Ids of the folder's stored items that `round` did not meet, all of them, at most `limit` at once."""
        after = 0
        while rows := await self._read(
            partial(reading.unseen, folder_id=folder_id, round_=round, after=after, limit=limit)
        ):
            after = rows[-1][0]
            yield tuple(row[1] for row in rows)

    async def items(self, after: tuple[str, str] = ("", ""), limit: int = 500) -> tuple[StoredItem, ...]:
        """The server's items after (kind, id), in that order; at most `limit`, fewer of large ones, () at the end."""
        return await self._read(lambda db: reading.items(db, after, limit))

    async def retry_failed(self) -> None:
        """Contents that could not be had are wanted again."""
        await self._owner.ask(wants.retry_failed, writes=True)

    async def omit_contents(self, folder_ids: Sequence[str]) -> None:
        """Attachments of items in these folders are not fetched, and what is here of them goes."""
        await self._owner.ask(lambda tables: contents.omit_all(tables, folder_ids), writes=True)

    async def skipped(self) -> tuple[SkippedRow, ...]:
        return await self._read(reading.skipped)

    async def content(self, attachment: int) -> AsyncIterator[bytes]:
        """What is stored of a content, from its start, in chunks."""
        offset = 0
        while data := await self._read(partial(reading.chunk, table="chunk", attachment=attachment, offset=offset)):
            yield data
            offset += len(data)

    async def check(self, *, contents: bool = True) -> tuple[checking.Damage, ...]:
        """What is wrong with the file (at most 1,000 of it); () if it is sound.

        Without `contents` it is the structure alone: tables, indexes, references. Every page is read for that, but
        where it is known that it was found sound and that nothing but notes has been written since (`tables`)."""
        await self.flush()
        found = await (self._read(checking.structure) if contents else self._owner.ask(checking.written))
        after: int | None = 0 if contents else None
        while after is not None and len(found) < checking.MOST:
            some, after = await self._read(partial(checking.items, after=after))
            found += some
        found += await self._read(checking.changes)
        return tuple(found[: checking.MOST])

    async def outbox(self, states: Sequence[ChangeState] = outbox.OPEN) -> tuple[outbox.Change, ...]:
        """The local changes in those states (as given: all that are not done with), oldest first."""
        return await self._read(lambda db: outbox.changes(db, states))

    async def change_state(self, uuid: str) -> ChangeState | None:
        """How a local change stands; None if there is none of that name."""
        return await self._read(lambda db: outbox.state(db, uuid))

    async def change_file(self, file: int) -> AsyncIterator[bytes]:
        """The content of a change's file (`ChangeFile.key`), in chunks."""
        offset = 0
        while data := await self._read(partial(reading.chunk, table="outbox_chunk", attachment=file, offset=offset)):
            yield data
            offset += len(data)

    async def _read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        return await self._owner.ask(lambda tables: work(tables.db))


async def _lay_out(path: Path, identity: Identity) -> None:
    line = await Line.open(path)
    try:
        with translated(path, FIRST_BYTES):
            await line.run(lambda db: db.execute(f"PRAGMA page_size = {PAGE_SIZE}"))
            await line.run(lambda db: lay_out(db, identity))
    finally:
        await line.close()


def _require_shape(db: sqlite3.Connection) -> None:
    """From here on the file is what this program made, and may take as long as it is large."""
    require_shape(db, shape())
    trust(db)


def _prepare(db: sqlite3.Connection) -> None:
    """The way it is written to (see `line.py`); and a reader's short lock is waited out."""
    db.execute("PRAGMA journal_mode = TRUNCATE").fetchone()
    db.execute(f"PRAGMA busy_timeout = {int(WRITER_PATIENCE * 1000)}")
