"""Runs a query on a cache file that is opened read-only."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from kerio_resync.errors import CacheDamaged


def query_readonly(path: Path, query: str) -> list[tuple[object, ...]]:
    """Return the rows of `query`; CacheDamaged if the file cannot be read."""
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as db:
            return db.execute(query).fetchall()
    except sqlite3.Error as error:
        raise CacheDamaged(f"{path}: {error}") from error
