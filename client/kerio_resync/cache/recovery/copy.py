"""Starts a new cache from the verified rows of an old one of the same format.

There are two ways. A sound file is copied as a whole, which takes seconds for a gigabyte. Of a damaged file the rows
that SQLite can read are copied one by one (`copy_rows`). Either copy is then checked, and each item and attachment that
does not match its checksum is removed. The old file is only read.

The copy says nothing about the server: before it replaces the old cache it must be compared with the server's lists.
`COPIED_ITEMS_KEY` records that this is still to be done. Local changes and local items are not in it; `rescue_outbox`
brings them.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

from kerio_resync.cache.bulk_sql import json_array
from kerio_resync.cache.connection import Connection
from kerio_resync.cache.files import remove_sidecars, sync_file, sync_folder, with_suffix_appended
from kerio_resync.cache.header import read_header
from kerio_resync.cache.integrity.parallel_check import CorruptRows, check_file
from kerio_resync.cache.recovery.copy_rows import copy_rows
from kerio_resync.cache.recovery.readable_rows import UNREADABLE_ERRORS
from kerio_resync.cache.schema import FORMAT, check_header, identity_rows, replace_views, shapes
from kerio_resync.cache.schema_guard import shape_of
from kerio_resync.cache.store import EMPTY_CACHE_BYTES
from kerio_resync.cache.write.attachments import QUEUED_AGAIN_SQL
from kerio_resync.errors import CacheDamaged, ResyncError
from kerio_resync.filesystem import available_bytes
from kerio_resync.identity import same_mailbox
from kerio_resync.model import Identity

T = TypeVar("T")
COPIED_ITEMS_KEY: Final = "copied"  # meta: number of copied items, until the lists have been compared
RESERVE_BYTES: Final = 64 * 1024 * 1024  # to leave free on the disk


@dataclass(frozen=True, slots=True)
class CopyResult:
    """Result of a copy.

    `items`: items in the new file. `damaged`: the old file could not be copied as a whole. `as_checked`: nothing was
    removed from the new file after its structure was found sound.
    """

    items: int
    damaged: bool = False
    as_checked: bool = True


async def copy_verified(old: Path, path: Path, identity: Identity, owner: Identity | None = None) -> CopyResult | None:
    """Make `path`, which must not exist, from the cache at `old`.

    Return None, and leave no file, if nothing can be copied. `owner`: the identity that `old` must have, by default
    any that is the mailbox of `identity`. The result is durable. Errors of the disk give None, too: the caller
    continues without a copy, and reports them if they persist.
    """
    new = with_suffix_appended(path, ".new")
    result: CopyResult | None = None
    try:
        if old.is_file() and available_bytes(path) >= old.stat().st_size + RESERVE_BYTES + EMPTY_CACHE_BYTES:
            result = await _copy_and_check(old, new, identity, owner)
        if result is not None:
            sync_file(new)
            remove_sidecars(path)
            new.rename(path)
            sync_folder(path.parent)
    except* (OSError, ResyncError, *UNREADABLE_ERRORS):
        result = None
        path.unlink(missing_ok=True)  # if only the sync of the folder failed
    finally:
        new.unlink(missing_ok=True)
        remove_sidecars(new)
    return result


async def _copy_and_check(old: Path, new: Path, identity: Identity, owner: Identity | None) -> CopyResult | None:
    """Make `new`; None if it would have no items.

    CacheDamaged if `old` is not a cache of the mailbox.
    """

    async def read_old(copy: Callable[[sqlite3.Connection], T]) -> T:
        connection = await Connection.open(old, readonly=True)
        try:
            await connection.run(partial(_begin_reading, identity=identity, owner=owner))
            new.unlink(missing_ok=True)
            remove_sidecars(new)
            os.close(os.open(new, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
            return await connection.run(copy)
        finally:
            await connection.close()

    corrupt = await _check(new) if await read_old(partial(_copy_file, old=old, new=new)) else None
    damaged = corrupt is None
    if corrupt is None:
        await read_old(partial(copy_rows, new=new, identity=identity))
        corrupt = await _check(new)
    if corrupt is None:
        return None
    items = await _edit(new, partial(_finalize, corrupt=corrupt, identity=identity))
    return CopyResult(items, damaged, not (corrupt.items or corrupt.attachments)) if items else None


def _begin_reading(db: sqlite3.Connection, identity: Identity, owner: Identity | None) -> None:
    """Begin a transaction in which no other program writes to the file.

    CacheDamaged if it is another mailbox's.
    """
    db.execute("BEGIN")
    stored = check_header(db)
    if not (stored == owner if owner else same_mailbox(stored, identity)):
        raise CacheDamaged("it is another account's")


def _copy_file(db: sqlite3.Connection, old: Path, new: Path) -> bool:
    """Copy the whole file, which `db` reads.

    Return False if it has other tables or cannot be read to its end. Views are replaced later.
    """
    if shape_of(db) not in shapes():
        return False
    try:
        if db.execute("PRAGMA journal_mode").fetchone() == ("wal",):  # some pages are in the log
            with closing(sqlite3.connect(new, isolation_level=None)) as target:
                _disable_journal(target)
                db.backup(target)
        else:
            shutil.copyfile(old, new)  # closes a handle on the old file, which ends the lock; `db` reads nothing more
    except (OSError, sqlite3.Error):
        return False
    return True


async def _check(new: Path) -> CorruptRows | None:
    """Remove what the new cache does not need, and return the corrupt rows.

    None if the structure is damaged.
    """
    if not read_header(new).free_pages:
        return None
    try:
        await _edit(new, _drop_unneeded_rows)
    except sqlite3.DatabaseError:
        return None
    return await check_file(new)


async def _edit(new: Path, work: Callable[[sqlite3.Connection], T]) -> T:
    connection = await Connection.open(new)
    try:
        await connection.run(_disable_journal)
        await connection.run(lambda db: db.execute("BEGIN"))
        result = await connection.run(work)
        await connection.run(lambda db: db.execute("COMMIT"))
    finally:
        await connection.close()
    return result


def _disable_journal(db: sqlite3.Connection) -> None:
    """Speed writing up; the file is deleted if anything fails, and synced at the end."""
    db.execute("PRAGMA journal_mode = OFF").fetchone()
    db.execute("PRAGMA synchronous = OFF")


def _drop_unneeded_rows(db: sqlite3.Connection) -> None:
    """Remove what belongs to the old cache alone, and incomplete attachments."""
    for table in ("outbox", "wanted", "seen", "skipped"):
        db.execute(f"DELETE FROM {table}")
    db.execute("DELETE FROM sqlite_sequence WHERE name = 'outbox'")
    local = "SELECT number FROM folder WHERE standing = 'local'"
    db.execute(f"DELETE FROM item WHERE number IN (SELECT item FROM placement WHERE folder IN ({local}))")
    db.execute(f"DELETE FROM folder WHERE number IN ({local})")
    if shape_of(db, views=True) not in shapes(views=True):
        replace_views(db)
    _queue_attachments_again(db, "state <> 'source' AND (state <> 'done' OR sha256 IS NULL)")


def _queue_attachments_again(db: sqlite3.Connection, condition: str, values: Sequence[str] = ()) -> None:
    db.execute(f"DELETE FROM chunk WHERE attachment IN (SELECT number FROM attachment WHERE {condition})", values)
    db.execute(QUEUED_AGAIN_SQL + condition, values)


def _finalize(db: sqlite3.Connection, corrupt: CorruptRows, identity: Identity) -> int:
    """Remove corrupt rows and write the identity; return the number of items."""
    condition = "number IN (SELECT value FROM json_each(?))"
    db.execute(f"DELETE FROM item WHERE {condition}", (json_array(corrupt.items),))
    _queue_attachments_again(db, condition, (json_array(corrupt.attachments),))
    (items,) = db.execute("SELECT count(*) FROM item").fetchone()
    db.execute("DELETE FROM meta")
    meta = {"format": FORMAT, **identity_rows(identity), COPIED_ITEMS_KEY: str(items)}
    db.executemany("INSERT INTO meta VALUES (?, ?)", meta.items())
    return int(items)
