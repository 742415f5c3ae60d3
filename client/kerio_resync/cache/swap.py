"""Puts the new cache in the old one's place, in one instant, so that nothing of the old one can come back.

A SQLite file renamed beside a live `-wal` or `-journal` of another has that one's pages played into it, and
`integrity_check` finds nothing. So the old file is locked first (whoever has it open is the answer, CacheInUse, and no
thing to retry), what was changed in it since the rescue is carried over, both files are sealed - no sidecar left - and
only then renamed, the lock still held, and the folder synced. At every instant `current` is one of the two, whole.
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
    with_suffix_appended,
)
from kerio_resync.cache.recovery.rescue_outbox import copy_outbox
from kerio_resync.cache.store import Store
from kerio_resync.errors import CacheDamaged, CacheInUse
from kerio_resync.model import Identity


async def seal(path: Path) -> None:
    """Folds journal or log into the file, and syncs it. CacheInUse if somebody has it open; CacheDamaged."""
    line = await Connection.open(path, patience=0)
    try:
        await line.run(lambda db: _checkpoint(db, path))
    finally:
        await line.close()
    if left := sidecars(path):
        raise CacheInUse(f"{left[0].name} does not go: somebody has {path} open")
    with mapped_db_errors(path):
        sync_file(path)
        sync_folder(path.parent)


async def swap(new: Store | Path, current: Path) -> None:
    """Closes and seals `new`, and gives it the name `current`; what `current` was before is gone.

    Pending local changes made in `current` meanwhile are carried into `new`, if it is a Store, under the lock.
    A damaged `current` is kept aside. CacheInUse: nothing has happened, `new` is as whole as before.
    """
    async with replace_cache(new, current):
        pass


@asynccontextmanager
async def replace_cache(new: Store | Path, current: Path, owner: Identity | None = None) -> AsyncIterator[None]:
    """As `swap`, from a `current` that is `owner`'s if that is given; inside, the new file can be used already, while
    the kernel lets go of what the old one held: 0.3 s a gigabyte. That is over when the context is left."""
    store, path = (new, new.path) if isinstance(new, Store) else (None, new)
    old = await _lock(current) if lexists(current) else None
    try:
        if store is not None:
            if old is not None:
                await copy_outbox(old, store, owner)
            await store.close()
        await seal(path)
        with mapped_db_errors(current):
            if old is None:
                _set_aside(current)
            os.replace(path, current)
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
    """Removes a cache file with its sidecars; nothing if there is none. CacheInUse if somebody has it open."""
    _refuse_if_open(path)
    with mapped_db_errors(path):
        path.unlink(missing_ok=True)  # first: a file without its journal could not be trusted
        remove_sidecars(path)
        if path.parent.is_dir():
            sync_folder(path.parent)


async def _lock(path: Path) -> Connection | None:
    """The old file, locked against everybody and sealed; None if it is too damaged to be locked."""
    try:
        line = await Connection.open(path, patience=0)
        try:
            await line.run(lambda db: _checkpoint(db, path))
            with mapped_db_errors(path):
                await line.run(lambda db: db.execute("BEGIN EXCLUSIVE"))
            _refuse_if_open(path, own=1)
        except BaseException:
            await line.close()
            raise
    except CacheDamaged:
        _refuse_if_open(path)
        return None
    return line


def _refuse_if_open(path: Path, *, own: int = 0) -> None:
    if by := processes_holding(path, own=own):
        raise CacheInUse(f"{path} is open in {by[0]}")


def _checkpoint(db: sqlite3.Connection, path: Path) -> None:
    with mapped_db_errors(path):
        db.execute("SELECT count(*) FROM sqlite_master").fetchone()  # takes up a log or a journal that a kill left
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        mode = db.execute("PRAGMA journal_mode = DELETE").fetchone()[0]
    if mode != "delete":  # pragma: no cover - SQLite says "locked" instead, today; all depends on it
        raise CacheInUse(f"{path} is open in another program")


def _set_aside(current: Path) -> None:
    """Of a file too damaged to be locked: a name of its own, and no sidecar left to the new one."""
    if current.exists():
        back_up(current)
    for each in sidecars(current):
        each.unlink(missing_ok=True)
    assert not any(with_suffix_appended(current, suffix).exists() for suffix in ("-journal", "-wal"))
