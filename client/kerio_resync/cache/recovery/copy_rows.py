"""Copies the rows that SQLite can read from a damaged cache into a new file.

The checksums of the rows are not checked here.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing, suppress
from pathlib import Path
from typing import Final

from kerio_resync.cache.recovery.readable_rows import UNREADABLE_ERRORS, readable_rows
from kerio_resync.cache.schema import PAGE_SIZE, create_schema
from kerio_resync.cache.schema_guard import require_tables
from kerio_resync.cache.write.session import insert_placeholder_folder
from kerio_resync.errors import CacheDamaged
from kerio_resync.model import Identity

TABLES: Final = ("folder", "item", "placement", "attachment", "chunk")
ROWS_PER_READ: Final = 64
MAX_PLAUSIBLE_ROWID: Final = 3_000_000  # a higher row number is itself a sign of damage
_ORPHANS: Final = (
    "DELETE FROM placement WHERE item NOT IN (SELECT number FROM item) OR folder NOT IN (SELECT number FROM folder)",
    "DELETE FROM item WHERE number NOT IN (SELECT item FROM placement)",
    "DELETE FROM attachment WHERE item NOT IN (SELECT number FROM item)",
    "DELETE FROM chunk WHERE attachment NOT IN (SELECT number FROM attachment)",
)


def copy_rows(old: sqlite3.Connection, new: Path, identity: Identity) -> None:
    """Fill the empty file `new` with the readable rows of `old`.

    A row whose folder, item or attachment was not copied is left out, but the id of a folder is enough. CacheDamaged
    if something in `old` only looks like one of the tables, or a table lacks a column: a value for it would be made up.
    sqlite3.Error if `new` cannot be written.
    """
    require_tables(old, TABLES)
    with closing(sqlite3.connect(new, isolation_level=None)) as target:
        target.execute("PRAGMA journal_mode = OFF").fetchone()
        target.execute("PRAGMA synchronous = OFF")
        target.execute(f"PRAGMA page_size = {PAGE_SIZE}")
        create_schema(target, identity)
        for table in TABLES:
            _require_columns(old, target, table)
        target.execute("BEGIN")
        for table in TABLES:
            _copy_table(old, target, table)
        _insert_missing_folders(old, target)
        _insert_missing_placements(old, target)
        for statement in _ORPHANS:
            target.execute(statement)
        target.execute("COMMIT")


def _column_names(db: sqlite3.Connection, table: str) -> list[str]:
    return [row[1] for row in db.execute(f"PRAGMA table_info({table})")]


def _require_columns(old: sqlite3.Connection, target: sqlite3.Connection, table: str) -> None:
    """Raise CacheDamaged if the table in `old` lacks a column.

    A missing table is like an empty one.
    """
    present = _column_names(old, table)
    missing = [name for name in _column_names(target, table) if name not in present]
    if present and missing:
        raise CacheDamaged(f"{table} has no column {missing[0]} in it")


def _copy_table(old: sqlite3.Connection, target: sqlite3.Connection, table: str) -> None:
    names = _column_names(target, table)
    # Qualified, because SQLite takes an unknown name in double quotes for a text.
    qualified = ", ".join(f'{table}."{name}"' for name in names)
    key = "item" if table == "placement" else "rowid"
    select = f"SELECT {qualified} FROM {table} WHERE {table}.{key}"
    columns = ", ".join(f'"{name}"' for name in names)
    insert = f"INSERT OR IGNORE INTO {table} ({columns}) VALUES ({', '.join('?' * len(names))})"
    last = _last_rowid(old, "item" if table == "placement" else table)
    for start in range(1, last + 1, ROWS_PER_READ):
        for row in readable_rows(old, select, start, min(last, start + ROWS_PER_READ - 1)):
            with suppress(sqlite3.IntegrityError):  # a damaged row has a value of another type
                target.execute(insert, row)


def _last_rowid(old: sqlite3.Connection, table: str) -> int:
    """Return the highest row number; 0 if it cannot be found.

    If the last page of the table is damaged, its index has the number. If the first page cannot be read either, the
    table's root is damaged, and no row can be read.
    """
    last = _value(old, f"SELECT coalesce(max(rowid), 0) FROM {table}")
    if last is None and _value(old, f"SELECT min(rowid) FROM {table}") is not None:
        last = _value(old, f"SELECT coalesce(max(rowid), 0) FROM {table} INDEXED BY sqlite_autoindex_{table}_1")
    return min(last or 0, MAX_PLAUSIBLE_ROWID)


def _value(old: sqlite3.Connection, query: str) -> int | None:
    try:
        return int(old.execute(query).fetchone()[0])
    except UNREADABLE_ERRORS:
        return None


def _insert_missing_folders(old: sqlite3.Connection, target: sqlite3.Connection) -> None:
    """Insert placeholders for folders whose ids can be read from their index only.

    The server sends the rest again.
    """
    with suppress(*UNREADABLE_ERRORS):
        present = {row[0] for row in target.execute("SELECT number FROM folder")}
        for number, folder_id in old.execute("SELECT number, id FROM folder INDEXED BY sqlite_autoindex_folder_1"):
            if number not in present and not folder_id.startswith("local:"):
                insert_placeholder_folder(target, folder_id, number)


def _insert_missing_placements(old: sqlite3.Connection, target: sqlite3.Connection) -> None:
    """Insert placements that can be read from the index by folder only."""
    sql = "SELECT item, folder FROM placement INDEXED BY placement_by_folder WHERE folder = ?"
    for (folder,) in target.execute("SELECT number FROM folder").fetchall():
        with suppress(*UNREADABLE_ERRORS):
            for row in old.execute(sql, (folder,)):
                with suppress(sqlite3.IntegrityError):
                    target.execute("INSERT OR IGNORE INTO placement VALUES (?, ?)", row)
