"""Whose cache a file is, of any format, as the file itself says; nothing else of it is read or changed."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Final

from kerio_resync.cache.connection import Connection
from kerio_resync.cache.files import lexists
from kerio_resync.cache.schema import APPLICATION_ID, identity_from
from kerio_resync.errors import CacheDamaged
from kerio_resync.model import Identity

_TABLES: Final = {"meta": ("key", "value"), "INFO": ("NAME", "VALUE")}
_KEYS: Final = ("server", "account", "user", "address", "login", "protocol")
_UNREADABLE: Final = (sqlite3.DatabaseError, ValueError, TypeError)


async def owner_of(path: Path) -> Identity | None:
    """Whose cache is at `path`; None if there is none, or it does not say. CacheInUse, BadSettings."""
    if not lexists(path):
        return None
    try:
        line = await Connection.open(path, readonly=True)
    except CacheDamaged:
        return None
    try:
        return await line.run(read_owner)
    except _UNREADABLE:
        return None
    finally:
        await line.close()


def stored_owner(path: Path) -> Identity | None:
    """As `owner_of`, outside of an event loop. What can't be opened does not say."""
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=1.0)) as db:
            db.execute("PRAGMA trusted_schema = 0")
            return read_owner(db)
    except _UNREADABLE:
        return None


def read_owner(db: sqlite3.Connection) -> Identity | None:
    """The same from an open file; formats before 7.2 have a table INFO. DatabaseError, ValueError, TypeError."""
    ours = db.execute("PRAGMA application_id").fetchone()[0] == APPLICATION_ID
    table = "meta" if ours else "INFO"
    key, value = _TABLES[table]
    if not db.execute("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?", (table,)).fetchone():
        return None
    found: dict[str, str] = {}
    for name in _KEYS:
        row = db.execute(
            f"SELECT {value} FROM {table} WHERE {key} = ? LIMIT 1", (name if ours else name.upper(),)
        ).fetchone()
        if row is not None:
            found[name] = str(row[0])
    try:
        return identity_from(found)
    except CacheDamaged:
        return None
