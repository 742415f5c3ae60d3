"""A read-only connection to a cache for `browse`, with the search index attached.

Users may send any SQL to it, and the file is untrusted. So the file is opened with `mode=ro`, nothing else can be
attached, and its views have to be those of this program, since users query them.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Final

from kerio_resync.cache.connection import BUSY_TIMEOUT_SECONDS
from kerio_resync.cache.schema import shapes
from kerio_resync.cache.schema_guard import quoted, restrict, shape_of
from kerio_resync.errors import CacheDamaged

SEARCH: Final = "search"  # the name of the attached index in SQL


def connect_readonly(path: Path, index: Path | None = None) -> sqlite3.Connection:
    """Open the cache at `path` for any thread, with the search index at `index`.

    sqlite3.Error. The sizes of statements and values are limited; the caller limits the time of each statement.
    """
    db = sqlite3.connect(_readonly_uri(path), uri=True, check_same_thread=False, timeout=BUSY_TIMEOUT_SECONDS)
    try:
        if index is not None:
            db.execute(f"ATTACH ? AS {quoted(SEARCH)}", (_readonly_uri(index),))
        restrict(db, path)
        db.execute("PRAGMA trusted_schema = 1")  # the views use JSON functions; `require_views` has checked them
        db.setlimit(sqlite3.SQLITE_LIMIT_ATTACHED, 0 if index is None else 1)
        db.execute("PRAGMA query_only = 1")
    except BaseException:
        db.close()
        raise
    return db


def require_views(path: Path) -> None:
    """Raise CacheDamaged unless the file has the views of its format.

    Views that a user has added may be there too. The check queries no view.
    """
    with closing(connect_readonly(path)) as db:
        missing = shapes(views=True)[0] - shape_of(db, views=True)
    if missing:
        names = sorted(name for _, name, *_ in missing)
        raise CacheDamaged(f"its views are not those of this program (first: {names[0]!r})")


def _readonly_uri(path: Path) -> str:
    return f"{path.absolute().as_uri()}?mode=ro"
