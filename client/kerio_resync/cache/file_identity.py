"""Reads owner and local changes from a cache file of any format.

Nothing is changed.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Final, TypeVar

from kerio_resync.cache.connection import Connection
from kerio_resync.cache.files import lexists
from kerio_resync.cache.schema import APPLICATION_ID, USER_VERSION, identity_from
from kerio_resync.errors import CacheDamaged, ResyncError
from kerio_resync.model import Identity

T = TypeVar("T")
_KEYS: Final = ("server", "account", "user", "address", "login", "protocol")
_UNREADABLE: Final = (sqlite3.Error, ValueError, TypeError)


async def owner_of(path: Path) -> Identity | None:
    """Return whose cache is at `path`.

    None if there is none, or the file does not say. CacheInUse, BadSettings.
    """
    if not lexists(path):
        return None
    try:
        return await _read(path, read_owner)
    except CacheDamaged:
        return None


def stored_owner(path: Path) -> Identity | None:
    """Do the same as `owner_of` outside of an event loop.

    None also for a file that cannot be opened.
    """
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=1.0)) as db:
            db.execute("PRAGMA trusted_schema = 0")
            return read_owner(db)
    except _UNREADABLE:
        return None


def read_owner(db: sqlite3.Connection) -> Identity | None:
    """Return whose cache an open file is; None if it does not say.

    sqlite3.Error, ValueError, TypeError.
    """
    table, key, value = ("meta", "key", "value") if _has_marks(db) else ("INFO", "NAME", "VALUE")
    if not db.execute("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?", (table,)).fetchone():
        return None
    stored: dict[str, str] = {}
    for name in _KEYS:
        stored_key = name if table == "meta" else name.upper()
        row = db.execute(f"SELECT {value} FROM {table} WHERE {key} = ? LIMIT 1", (stored_key,)).fetchone()
        if row is not None:
            stored[name] = str(row[0])
    try:
        return identity_from(stored)
    except CacheDamaged:
        return None


async def unsent_changes(path: Path) -> set[str] | None:
    """Return the uuids of unsent local changes; None if they cannot be read."""
    query, format71 = "SELECT uuid FROM outbox WHERE state NOT IN ('sent', 'withdrawn')", "SELECT GUID FROM PENDING"
    return await _read_or_none(path, lambda db: _column(db, query if _has_marks(db) else format71))


async def all_changes(path: Path) -> set[str]:
    """Return the uuids of all local changes, also of those that were sent.

    Empty for a file that cannot be read or is of an older format.
    """

    def read(db: sqlite3.Connection) -> set[str]:
        is_current = db.execute("PRAGMA user_version").fetchone()[0] == USER_VERSION
        return _column(db, "SELECT uuid FROM outbox") if is_current and _has_marks(db) else set()

    return await _read_or_none(path, read) or set()


async def _read_or_none(path: Path, query: Callable[[sqlite3.Connection], set[str]]) -> set[str] | None:
    try:
        return await _read(path, query)
    except ResyncError:
        return None


def _column(db: sqlite3.Connection, query: str) -> set[str]:
    return {str(row[0]) for row in db.execute(query)}


def _has_marks(db: sqlite3.Connection) -> bool:
    """Return whether the format is 7.2 or later, which marks its files."""
    return bool(db.execute("PRAGMA application_id").fetchone()[0] == APPLICATION_ID)


async def _read(path: Path, query: Callable[[sqlite3.Connection], T]) -> T | None:
    connection = await Connection.open(path, readonly=True)
    try:
        return await connection.run(query)
    except _UNREADABLE:
        return None
    finally:
        await connection.close()
