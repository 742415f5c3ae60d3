"""Lets a person's query look into a cache file, and nothing more: the file is opened read-only."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from kerio_resync.errors import CacheDamaged


def query_readonly(path: Path, query: str) -> list[tuple[object, ...]]:
    """The rows that `query` gives; CacheDamaged if the file can't be read as a cache."""
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as db:
            return db.execute(query).fetchall()
    except sqlite3.Error as error:
        raise CacheDamaged(f"{path}: {error}") from error
