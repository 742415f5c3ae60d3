"""Replaces the old cache by the new one, in one instant.

SQLite applies a `-wal` or `-journal` to whatever file has the matching name. A database renamed beside the sidecar of
another is corrupted by it, and `integrity_check` finds nothing. So the old file is locked first, changes made in it
since the rescue are copied, and both files are sealed, which leaves no sidecar. Only then is the new file renamed, with
the lock still held, and the folder synced. At every instant `current` is one of the two files, complete.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from kerio_resync.cache.connection import Connection
from kerio_resync.cache.db_errors import mapped_db_errors
from kerio_resync.cache.files import (
    back_up,
    lexists,
    processes_holding,
    remove_sidecars,
    sidecars,
    sync_file,
    sync_folder,
)
from kerio_resync.cache.recovery.rescue_outbox import Complete, copy_outbox, unchanged
from kerio_resync.cache.store import Store
from kerio_resync.errors import CacheDamaged, CacheInUse
from kerio_resync.model import Identity


async def seal(path: Path) -> None:
    """Fold journal or log into the file, and sync it.

    CacheInUse if another program has it open; CacheDamaged.
    """
    connection = await Connection.open(path, busy_timeout=0)
    try:
        await connection.run(lambda db: _checkpoint(db, path))
    finally:
        await connection.close()
    if remaining := sidecars(path):
        raise CacheInUse(f"{remaining[0].name} cannot be removed: another program has {path} open")
    with mapped_db_errors(path):
        sync_file(path)
        sync_folder(path.parent)


@asynccontextmanager
async def replace_cache(
    new: Store, current: Path, owner: Identity | None = None, complete: Complete = unchanged
) -> AsyncIterator[None]:
    """Close and seal `new`, and rename its file to `current`.

    Within the context the new cache can be used. Local changes made in `current` meanwhile are copied to `new` under
    the lock, if `current` belongs to `owner` or no owner is given (`complete`: see `rescue_outbox`). A damaged
    `current` is backed up. CacheInUse if another program has a file open; nothing has happened then. The old file is
    closed in the background, because freeing it takes 0.3 s per gigabyte; leaving the context waits for that.
    """
    old = await _lock(current)
    try:
        if old is not None:
            await copy_outbox(old, new, owner, complete)
        await new.close()
        await seal(new.path)
        with mapped_db_errors(current):
            if old is None:
                _back_up_unlocked(current)
            os.replace(new.path, current)
            sync_folder(current.parent)
    except BaseException:
        if old is not None:
            await old.close()
        raise
    closing = asyncio.create_task(old.close()) if old is not None else None
    try:
        yield
    finally:
        if closing is not None:
            await closing


def drop(path: Path) -> None:
    """Remove a cache file and its sidecars, if there is one.

    CacheInUse if another program has it open.
    """
    _refuse_if_open(path)
    with mapped_db_errors(path):
        path.unlink(missing_ok=True)  # first: a file without its journal could not be trusted
        remove_sidecars(path)
        if path.parent.is_dir():
            sync_folder(path.parent)


async def _lock(path: Path) -> Connection | None:
    """Seal the old file and lock it against other programs.

    None if there is no file, or it is too damaged for that.
    """
    if not lexists(path):
        return None
    try:
        connection = await Connection.open(path, busy_timeout=0)
        try:
            await connection.run(lambda db: _checkpoint(db, path))
            with mapped_db_errors(path):
                await connection.run(lambda db: db.execute("BEGIN EXCLUSIVE"))
            _refuse_if_open(path, own=1)
        except BaseException:
            await connection.close()
            raise
    except CacheDamaged:
        _refuse_if_open(path)
        return None
    return connection


def _refuse_if_open(path: Path, *, own: int = 0) -> None:
    if processes := processes_holding(path, own=own):
        raise CacheInUse(f"{path} is open in {processes[0]}")


def _checkpoint(db: sqlite3.Connection, path: Path) -> None:
    with mapped_db_errors(path):
        db.execute("SELECT count(*) FROM sqlite_master").fetchone()  # applies a log or journal that a kill left
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        mode = db.execute("PRAGMA journal_mode = DELETE").fetchone()[0]
    if mode != "delete":  # today SQLite raises "locked" instead, but everything depends on it
        raise CacheInUse(f"{path} is open in another program")


def _back_up_unlocked(current: Path) -> None:
    """Back up a file that is too damaged to be locked, and remove its sidecars."""
    if current.exists():
        back_up(current)
    remove_sidecars(current)
