"""Queries that describe a file without quoting its mails."""

from __future__ import annotations

import re
import sqlite3
from typing import Any

from kerio_resync.cache.views import VIEWS


def sqlite_version() -> str:
    """Return the version of the SQLite library."""
    return sqlite3.sqlite_version


def schema(db: sqlite3.Connection) -> str:
    """Return the statements of the file's schema."""
    rows = db.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY type DESC, name")
    version = db.execute("PRAGMA user_version").fetchone()[0]
    return "\n\n".join([f"-- user_version {version}", *(f"{row[0]};" for row in rows), ""])


def folder_counts(db: sqlite3.Connection) -> list[dict[str, Any]]:
    """Return path, kind, role, place, and the counts of each folder, by path.

    The statement is that of the view `folder_tree` in our own code, because a file's views can be changed.
    """
    found = re.search(r"CREATE VIEW folder_tree AS\n(.*?);", VIEWS, re.DOTALL)
    assert found is not None
    cursor = db.execute(found[1])
    names = [column[0] for column in cursor.description]
    return [dict(zip(names, row, strict=True)) for row in cursor]
