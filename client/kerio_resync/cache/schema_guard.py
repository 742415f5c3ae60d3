"""Old files are untrusted: what a connection must not do because a file says so.

A file may come from a damaged disk or from somebody else. It may have a view that never ends under a table's name, a
trigger, a column that is computed, a value of a gigabyte. So of the names that are read, each must be a real table
without computed columns, checked in `sqlite_schema` before the first query; a file that is written to must have exactly
the tables, indexes and triggers of its format; and each statement has limits on its work and on the size of a value.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Final

from kerio_resync.errors import CacheDamaged

MAX_VALUE_BYTES: Final = 256 * 1024 * 1024  # of a value or a row; an item is a few MB at most
MAX_SQL_BYTES: Final = 1024 * 1024  # of a statement, also in the schema
MAX_COLUMNS: Final = 200
MAX_SCHEMA_ROWS: Final = 1000
_STEPS: Final = 50_000_000  # of SQLite's machine that any statement may take: about a second
_STEPS_PER_BYTE: Final = 20  # more in a large file: to check all of it takes less
_MOST_STEPS: Final = 2**31 - 1
_COMMENT: Final = re.compile(r"--[^\n]*|/\*.*?\*/", re.DOTALL)
_INTERNAL: Final = ("sqlite_sequence", "sqlite_stat1", "sqlite_stat4")
Shape = frozenset[tuple[str, str, str, str]]


def restrict(db: sqlite3.Connection, path: Path) -> None:
    """Puts limits on whatever the connection does. `path`: the file, for its size."""
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
    # Counted for each statement by itself, so a long run of short ones is not limited.
    db.set_progress_handler(_end, min(_MOST_STEPS, _STEPS + _STEPS_PER_BYTE * size))
    for pragma in ("trusted_schema = 0", "cell_size_check = 1"):
        db.execute(f"PRAGMA {pragma}")


def require_whole(db: sqlite3.Connection, path: Path) -> None:
    """CacheDamaged if the file is shorter than its pages. SQLite overlooks a last page of which a part is missing.

    Read within one transaction: nobody writes to the file meanwhile. In a log, its pages need not be in it yet."""
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
    """Lifts the limit on work: the file has the tables of its format and is written to by this process alone."""
    db.set_progress_handler(None, 0)


def _end() -> int:
    return 1


def require_tables(db: sqlite3.Connection, names: Iterable[str]) -> None:
    """CacheDamaged if one of these is there and is not a plain table. What is not there shows when it is read."""
    wanted = {name.casefold(): name for name in names}
    for kind, name, table, root, sql in _schema(db):
        if kind not in ("table", "view") or str(name).casefold() not in wanted:
            continue
        if (kind, name, bool(root)) != ("table", table, True) or not _is_plain(str(sql)):
            raise CacheDamaged(f"{wanted[str(name).casefold()]} is not a plain table in it")
        if any(hidden for *_, hidden in db.execute(f"PRAGMA table_xinfo({_quoted(name)})")):
            raise CacheDamaged(f"{name} has computed columns in it")


def require_shape(db: sqlite3.Connection, shape: Shape) -> None:
    """CacheDamaged unless the tables, indexes and triggers are exactly these. Views are never read here."""
    found = shape_of(db)
    if found != shape:
        odd = sorted({name for _, name, *_ in found ^ shape})
        raise CacheDamaged(f"its tables are not those of this program (first: {odd[0]!r})")


def shape_of(db: sqlite3.Connection, *, views: bool = False) -> Shape:
    """(type, name, table, definition) of everything but what is SQLite's own; comments don't count, nor do views."""
    return frozenset(
        (str(kind), str(name), str(table), strip_comments(str(sql or "")))
        for kind, name, table, _, sql in _schema(db)
        if (views or kind != "view") and not (kind == "table" and name in _INTERNAL)
    )


@lru_cache(maxsize=64)
def strip_comments(sql: str) -> str:
    """A definition without comments, and with single blanks."""
    return " ".join(_COMMENT.sub(" ", sql).split())


def _schema(db: sqlite3.Connection) -> list[tuple[object, ...]]:
    """(type, name, tbl_name, rootpage, sql) of everything in the file."""
    rows = db.execute("SELECT type, name, tbl_name, rootpage, sql FROM sqlite_master LIMIT ?", (MAX_SCHEMA_ROWS + 1,))
    found = rows.fetchall()
    if len(found) > MAX_SCHEMA_ROWS:
        raise CacheDamaged("it has far more tables than a cache has")
    return found


def _is_plain(sql: str) -> bool:
    return strip_comments(sql[:200]).casefold().startswith("create table")


def _quoted(name: object) -> str:
    return '"' + str(name).replace('"', '""') + '"'
