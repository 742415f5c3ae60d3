"""A database of an older format, open for a migration.

No other program can open the file meanwhile. Opening changes it only where SQLite does: it rolls back what a killed
writer left in a journal. Whatever does not fit its table raises CacheDamaged, and no message quotes a text of the file.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from kerio_resync.cache.db_errors import FOREIGN, map_db_error
from kerio_resync.cache.files import sync_folder
from kerio_resync.cache.schema_guard import restrict
from kerio_resync.errors import CacheDamaged

CACHE_KIB: Final = 8 * 1024
LOCK_TIMEOUT_SECONDS: Final = 2.0
_DECODING_ERRORS: Final = (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError)


def open_old_file(
    path: Path, check: Callable[[sqlite3.Connection], Any], *, locked_elsewhere: bool = False
) -> sqlite3.Connection:
    """Open and lock a file. CacheDamaged, CacheInUse.

    `check` raises CacheDamaged unless the file has the tables of its format. `locked_elsewhere`: another process has it
    open so, and lets this one read it. The same process would lose its lock by that.
    """
    mode = "ro&immutable=1" if locked_elsewhere else "rw"
    with mapped_errors(path):
        db = sqlite3.connect(
            f"{path.absolute().as_uri()}?mode={mode}", uri=True, isolation_level=None,
            timeout=LOCK_TIMEOUT_SECONDS, check_same_thread=False,
        )  # fmt: skip
        try:
            restrict(db, path)
            db.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
            if not locked_elsewhere:
                # a log or journal that stayed would be played into the file that replaces this one
                db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
                db.execute("PRAGMA journal_mode = DELETE").fetchone()
                db.execute("BEGIN EXCLUSIVE")
            db.execute("PRAGMA query_only = 1")
            check(db)
        except BaseException:
            db.close()
            raise
    return db


def replace_old_file(path: Path, new: Path) -> None:
    """Give the sealed file `new` the name of the open file `path`, durably."""
    with mapped_errors(path):
        os.replace(new, path)
        sync_folder(path.parent)


def used_bytes(db: sqlite3.Connection) -> int:
    """Return how many bytes of an open file are in use."""
    pages, free, size = (
        db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "freelist_count", "page_size")
    )
    return int(size * (pages - free))


@contextmanager
def mapped_errors(path: Path) -> Iterator[None]:
    """Turn errors of SQLite, of the disk and of decoding into ours."""
    try:
        yield
    except FOREIGN as error:
        raise map_db_error(error, path) from error
    except _DECODING_ERRORS as error:
        raise CacheDamaged(f"{path}: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    """Return a reason in our own words: libraries may quote mail in theirs."""
    if type(error) is ValueError:
        return str(error)
    if isinstance(error, KeyError):
        return "a row refers to one that is missing"
    return "a content cannot be decoded" if isinstance(error, ValueError) else "a row does not fit its table"
