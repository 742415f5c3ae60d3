"""Makes of an old cache of this format the beginning of a new one: a copy, in which only what is proven stays.

Promises: what bears the new name is a whole cache, durable, in which every item and every content holds its checksum
and the file's structure is sound; it says of nothing that the server has it: the lists have to be compared before it
may take the old one's place. Local changes and local items are not in it, they are rescued from the old file. The old
file is only read. Refuses (with None) what is not worth the trouble or not safe: another account's file, another
schema, no room for two; `salvage` then takes item by item what it can.

Copying is what makes a gigabyte a matter of seconds: row by row the new file would be written as slowly as when it was
fetched. Only where the structure is damaged is it made anew, of the rows that still stand (`recover`).
"""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO, Final, TypeVar

from kerio_resync.cache.bulk_sql import json_array
from kerio_resync.cache.connection import Connection
from kerio_resync.cache.db_errors import available_bytes
from kerio_resync.cache.files import remove_sidecars, sync_file, sync_folder
from kerio_resync.cache.header import read_header
from kerio_resync.cache.integrity.parallel_check import CorruptRows, check_file
from kerio_resync.cache.recovery.recover import recover
from kerio_resync.cache.schema import FORMAT, PAGE_SIZE, check_header, create_schema, identity_rows, shape
from kerio_resync.cache.schema_guard import shape_of
from kerio_resync.cache.store import EMPTY_CACHE_BYTES
from kerio_resync.cache.write.attachments import QUEUED_AGAIN_SQL
from kerio_resync.errors import CacheDamaged, ResyncError
from kerio_resync.identity import same_mailbox
from kerio_resync.model import Identity

T = TypeVar("T")
COPIED_ITEMS_KEY: Final = "copied"  # meta: how many items were taken along, until the lists have been compared
RESERVE_BYTES: Final = 64 * 1024 * 1024  # bytes to leave free
_KERNEL_COPY_BYTES: Final = 256 * 1024 * 1024  # bytes that the kernel copies at once
_COPY_BYTES: Final = 1024 * 1024  # bytes that are copied at once where it does not
_UNREADABLE_ERRORS: Final = (sqlite3.Error, ValueError, TypeError, OverflowError, OSError, ResyncError)


@dataclass(frozen=True, slots=True)
class CopyResult:
    """How many items are in the new file; whether the old one's structure is damaged; whether the new one is as it was
    when its structure was found sound."""

    items: int
    damaged: bool = False
    as_checked: bool = True


async def copy_verified(old: Path, path: Path, identity: Identity, owner: Identity | None = None) -> CopyResult | None:
    """Makes `path`, which must not exist, of `old`. None: it can't be, and nothing is there.

    `owner`: whose `old` has to be, exactly as it says (by default the mailbox of `identity`).

    Errors of the disk are None as well: who goes on without the copy meets them again, and says so."""
    new = path.with_name(path.name + ".new")
    found: CopyResult | None = None
    try:
        if old.is_file() and available_bytes(path) >= old.stat().st_size + RESERVE_BYTES + EMPTY_CACHE_BYTES:
            found = await _make(old, new, identity, owner)
        if found is not None:
            sync_file(new)
            remove_sidecars(path)
            new.rename(path)
            sync_folder(path.parent)
    except* _UNREADABLE_ERRORS:
        found = None
    finally:
        new.unlink(missing_ok=True)
        remove_sidecars(new)
    return found


async def _make(old: Path, new: Path, identity: Identity, owner: Identity | None) -> CopyResult | None:
    """None if no item is left in it. CacheDamaged if the old file is none of ours."""
    with old.open("rb") as source:  # until the line is closed: closing it drops the locks that the line has
        line = await Connection.open(old, readonly=True)
        try:
            await line.run(partial(_copy, source=source, new=new, identity=identity, owner=owner))
            findings = await _examine(new)
            damaged = findings is None
            if damaged:
                await line.run(partial(_recover, new=new, identity=identity))
                findings = await _examine(new)
        finally:
            await line.close()
    if findings is None:
        return None
    kept = await _edit_without_journal(new, partial(_finalize_copy, findings=findings, identity=identity))
    return CopyResult(kept, damaged, not (findings.items or findings.attachments)) if kept else None


def _copy(db: sqlite3.Connection, source: BinaryIO, new: Path, identity: Identity, owner: Identity | None) -> None:
    """A copy as the old file is at one instant, which lasts until `db` is closed."""
    db.execute("BEGIN")  # from the first question on, nobody else writes to the file
    held = check_header(db)
    if not (held == owner if owner else same_mailbox(held, identity)) or shape_of(db, views=True) != shape(views=True):
        raise CacheDamaged("it is another account's, or of another shape")
    with _draft(new) as target:
        if db.execute("PRAGMA journal_mode").fetchone() != ("wal",):
            _copy_bytes(source, target)
            return
    with closing(sqlite3.connect(new, isolation_level=None)) as copy:  # part of it stands in the log
        _without_journal(copy)
        db.backup(copy)


def _copy_bytes(source: BinaryIO, target: BinaryIO) -> None:
    """By the kernel, which need not move them where the file system can share them; what it does not do is done
    here."""
    with suppress(AttributeError, OSError):
        while os.copy_file_range(source.fileno(), target.fileno(), _KERNEL_COPY_BYTES):
            pass
    source.seek(target.seek(0, os.SEEK_END))
    shutil.copyfileobj(source, target, _COPY_BYTES)


def _recover(db: sqlite3.Connection, new: Path, identity: Identity) -> None:
    new.unlink()
    remove_sidecars(new)
    _draft(new).close()
    with closing(sqlite3.connect(new, isolation_level=None)) as target:
        _without_journal(target)
        target.execute(f"PRAGMA page_size = {PAGE_SIZE}")
        create_schema(target, identity)
        target.execute("BEGIN")
        recover(db, target)
        target.execute("COMMIT")


def _draft(new: Path) -> BinaryIO:
    """Until it is whole the copy has another name, so that nothing need be undone in it."""
    new.unlink(missing_ok=True)
    remove_sidecars(new)
    return os.fdopen(os.open(new, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600), "r+b")


async def _examine(new: Path) -> CorruptRows | None:
    """What is not proven, in what need not stay behind; None: its structure is damaged."""
    if not read_header(new).free_pages:
        return None
    try:
        await _edit_without_journal(new, _drop_unneeded_rows)
    except sqlite3.DatabaseError:
        return None
    return await check_file(new)


async def _edit_without_journal(new: Path, work: Callable[[sqlite3.Connection], T]) -> T:
    line = await Connection.open(new)
    try:
        await line.run(_without_journal)
        await line.run(lambda db: db.execute("BEGIN"))
        found = await line.run(work)
        await line.run(lambda db: db.execute("COMMIT"))
    finally:
        await line.close()
    return found


def _without_journal(db: sqlite3.Connection) -> None:
    db.execute("PRAGMA journal_mode = OFF").fetchone()
    db.execute("PRAGMA synchronous = OFF")


def _drop_unneeded_rows(db: sqlite3.Connection) -> None:
    """What belongs to the old cache alone, and contents that are not whole."""
    for table in ("outbox", "wanted", "seen", "skipped"):
        db.execute(f"DELETE FROM {table}")
    db.execute("DELETE FROM sqlite_sequence WHERE name = 'outbox'")
    db.execute("DELETE FROM folder WHERE standing = 'local'")
    _enqueue_again(db, "state <> 'done' OR sha256 IS NULL")


def _enqueue_again(db: sqlite3.Connection, which: str, values: Sequence[str] = ()) -> None:
    db.execute(f"DELETE FROM chunk WHERE attachment IN (SELECT number FROM attachment WHERE {which})", values)
    db.execute(QUEUED_AGAIN_SQL + which, values)


def _finalize_copy(db: sqlite3.Connection, findings: CorruptRows, identity: Identity) -> int:
    """Takes out what is not proven, and puts in what a new cache says of itself; how many items are in it."""
    among = "number IN (SELECT value FROM json_each(?))"
    db.execute(f"DELETE FROM item WHERE {among}", (json_array(findings.items),))
    _enqueue_again(db, among, (json_array(findings.attachments),))
    (kept,) = db.execute("SELECT count(*) FROM item").fetchone()
    db.execute("DELETE FROM meta")
    facts = {"format": FORMAT, **identity_rows(identity), COPIED_ITEMS_KEY: str(kept)}
    db.executemany("INSERT INTO meta VALUES (?, ?)", facts.items())
    return int(kept)
