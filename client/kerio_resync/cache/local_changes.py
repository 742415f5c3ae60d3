"""Which local changes a file of any format holds that were not sent yet: their uuids, and nothing else of them."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Final

from kerio_resync.cache.connection import Connection
from kerio_resync.cache.schema import APPLICATION_ID
from kerio_resync.errors import ResyncError

_OURS: Final = "SELECT uuid FROM outbox WHERE state NOT IN ('sent', 'withdrawn')"
_BEFORE: Final = "SELECT GUID FROM PENDING"


async def open_changes(path: Path) -> set[str] | None:
    """None if they can't be read."""
    return await _read(path, _OURS)


async def all_changes(path: Path) -> set[str]:
    """Also those that were sent; none of a file that can't be read, or of an older format."""
    return await _read(path, "SELECT uuid FROM outbox", "SELECT NULL WHERE FALSE") or set()


async def _read(path: Path, ours: str, before: str = _BEFORE) -> set[str] | None:
    try:
        line = await Connection.open(path, readonly=True)
    except ResyncError:
        return None
    try:
        return await line.run(lambda db: _uuids(db, ours, before))
    except (sqlite3.Error, UnicodeDecodeError):
        return None
    finally:
        await line.close()


def _uuids(db: sqlite3.Connection, ours: str, before: str) -> set[str]:
    query = ours if db.execute("PRAGMA application_id").fetchone()[0] == APPLICATION_ID else before
    return {str(row[0]) for row in db.execute(query)}
