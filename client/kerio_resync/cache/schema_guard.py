"""Limits what a connection does to an old file, which is untrusted.

A file may come from a damaged disk or from an attacker. It may have an endless view under the name of a table, a
trigger, a computed column, a value of a gigabyte. So each name that is read must be a plain table without computed
columns, which is checked in `sqlite_schema` before the first query. A file that is written to must have exactly the
tables, indexes and triggers of its format. Each statement has limits on its work and on the size of a value.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Final

from kerio_resync.errors import CacheDamaged

MAX_VALUE_BYTES: Final = 256 * 1024 * 1024  # of a value or a row; an item has a few MB at most
MAX_SQL_BYTES: Final = 1024 * 1024  # of a statement, also in the schema
MAX_COLUMNS: Final = 200
MAX_SCHEMA_ROWS: Final = 1000
_STEPS: Final = 50_000_000  # virtual machine steps of one statement, about a second
_STEPS_PER_BYTE: Final = 20  # added for the size of the file; a check of all of it takes fewer
_MAX_STEPS: Final = 2**31 - 1
_COMMENT: Final = re.compile(r"--[^\n]*|/\*.*?\*/", re.DOTALL)
_BEFORE_DELIMITER: Final = re.compile(r" ([,)])")
_INTERNAL: Final = ("sqlite_sequence", "sqlite_stat1", "sqlite_stat4")
Shape = frozenset[tuple[str, str, str, str]]


def restrict(db: sqlite3.Connection, path: Path) -> None:
    """Limit every statement of the connection. `path`: the file, for its size."""
    db.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, MAX_VALUE_BYTES)
    db.setlimit(sqlite3.SQLITE_LIMIT_SQL_LENGTH, MAX_SQL_BYTES)
    db.setlimit(sqlite3.SQLITE_LIMIT_COLUMN, MAX_COLUMNS)
    db.setlimit(sqlite3.SQLITE_LIMIT_ATTACHED, 0)
    db.setlimit(sqlite3.SQLITE_LIMIT_LIKE_PATTERN_LENGTH, 100)
    db.setlimit(sqlite3.SQLITE_LIMIT_TRIGGER_DEPTH, 10)
    try:
        size = path.stat().st_size
    except OSError:
        size = 0
    # Counted for each statement, so a long run of short ones is not limited.
    db.set_progress_handler(_abort, min(_MAX_STEPS, _STEPS + _STEPS_PER_BYTE * size))
    for pragma in ("trusted_schema = 0", "cell_size_check = 1"):
        db.execute(f"PRAGMA {pragma}")


def require_whole(db: sqlite3.Connection, path: Path) -> None:
    """Raise CacheDamaged if the file is shorter than its pages.

    SQLite does not notice a truncated last page. With a write-ahead log, pages need not be in the file yet. The
    transaction keeps other programs from writing.
    """
    db.execute("BEGIN")
    try:
        pages = db.execute("PRAGMA page_count").fetchone()[0]
        expected = pages * db.execute("PRAGMA page_size").fetchone()[0]
        size = path.stat().st_size
        in_log = db.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
    finally:
        db.execute("ROLLBACK")
    if size < expected and not in_log:
        raise CacheDamaged(f"{path} has been cut short: it has {size:,} of {expected:,} bytes")


def lift_limits(db: sqlite3.Connection) -> None:
    """Lift the limit on work.

    For a file that has the tables of its format and that this process alone writes to.
    """
    db.set_progress_handler(None, 0)


def _abort() -> int:
    return 1


def require_tables(db: sqlite3.Connection, names: Iterable[str]) -> None:
    """Raise CacheDamaged if one of these exists and is not a plain table.

    A missing table shows when it is read.
    """
    required = {name.casefold(): name for name in names}
    for kind, name, table, root, sql in _schema(db):
        if kind not in ("table", "view") or str(name).casefold() not in required:
            continue
        if (kind, name, bool(root)) != ("table", table, True) or not _is_plain(str(sql)):
            raise CacheDamaged(f"{required[str(name).casefold()]} is not a plain table in it")
        if any(hidden for *_, hidden in db.execute(f"PRAGMA table_xinfo({quoted(name)})")):
            raise CacheDamaged(f"{name} has computed columns in it")


def require_shape(db: sqlite3.Connection, *shapes: Shape) -> None:
    """Raise CacheDamaged unless tables, indexes and triggers are those of a shape.

    Views are never read.
    """
    shape = shape_of(db)
    if shape not in shapes:
        names = sorted({name for _, name, *_ in shape ^ shapes[0]})
        raise CacheDamaged(f"its tables are not those of this program (first: {names[0]!r})")


def shape_of(db: sqlite3.Connection, *, views: bool = False) -> Shape:
    """Return (type, name, table, definition) of each entry of the schema.

    Definitions have no comments, and SQLite's own tables are left out.
    """
    return frozenset(
        (str(kind), str(name), str(table), strip_comments(str(sql or "")))
        for kind, name, table, _, sql in _schema(db)
        if (views or kind != "view") and not (kind == "table" and name in _INTERNAL)
    )


@lru_cache(maxsize=64)
def strip_comments(sql: str) -> str:
    """Return a definition without comments and superfluous blanks."""
    return _BEFORE_DELIMITER.sub(r"\1", " ".join(_COMMENT.sub(" ", sql).split()))


def _schema(db: sqlite3.Connection) -> list[tuple[object, ...]]:
    """Return (type, name, tbl_name, rootpage, sql) of each entry."""
    rows = db.execute("SELECT type, name, tbl_name, rootpage, sql FROM sqlite_master LIMIT ?", (MAX_SCHEMA_ROWS + 1,))
    entries = rows.fetchall()
    if len(entries) > MAX_SCHEMA_ROWS:
        raise CacheDamaged("it has far more tables than a cache has")
    return entries


def _is_plain(sql: str) -> bool:
    return strip_comments(sql[:200]).casefold().startswith("create table")


def quoted(name: object) -> str:
    """Return an identifier for SQL."""
    return '"' + str(name).replace('"', '""') + '"'
