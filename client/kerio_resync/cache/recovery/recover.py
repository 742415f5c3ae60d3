"""Makes of a damaged cache a sound file with the rows that still stand in it; whether they are right is not asked here.

Rows are read from the leaf pages (`leaves`) and told apart by the number and types of their columns. Two tables alike
but for their names, the chunks of contents and those of local changes, are told apart by the pages that belong to the
latter. A row whose folder, item or attachment is gone is left out; of a folder it is enough that its id is known.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Final

from kerio_resync.cache.bulk_sql import insert_many
from kerio_resync.cache.recovery import leaves
from kerio_resync.cache.recovery.leaves import Value
from kerio_resync.cache.write.session import insert_placeholder_folder

TABLES: Final = ("chunk", "item", "attachment", "folder")
_BATCH: Final = 1024 * 1024  # bytes in one step, about
_TYPES: Final = {"INTEGER": int, "TEXT": str, "BLOB": bytes}
_ORPHANS: Final = (("item", "folder"), ("attachment", "item"), ("chunk", "attachment"))


class _Table:
    """One table of the new file, and rows for it that wait."""

    def __init__(self, db: sqlite3.Connection, name: str) -> None:
        columns = db.execute(f"PRAGMA table_info({name})").fetchall()
        self._db = db
        self._kinds = [(_TYPES[each[2]], bool(each[3])) for each in columns]
        self._key = next((place for place, each in enumerate(columns) if each[5]), None)
        names = ", ".join(f'"{each[1]}"' for each in columns)
        self._head = f"INSERT OR IGNORE INTO {name} ({names})"
        self._marks = f"({', '.join('?' * len(columns))})"
        self._rows: list[tuple[Value, ...]] = []
        self._size = 0

    def takes(self, number: int, values: tuple[Value, ...]) -> bool:
        """Whether it can be a row of this table; then it is put."""
        if len(values) != len(self._kinds):
            return False
        if self._key is not None:
            values = (*values[: self._key], number, *values[self._key + 1 :])
        for value, (kind, needed) in zip(values, self._kinds, strict=True):
            if needed if value is None else not isinstance(value, kind):
                return False
        self._rows.append(values)
        self._size += sum(len(each) for each in values if isinstance(each, (bytes, str)))
        if self._size > _BATCH:
            self.flush()
        return True

    def flush(self) -> None:
        insert_many(self._db, self._head, self._marks, self._rows)
        self._rows, self._size = [], 0


def recover(old: sqlite3.Connection, target: sqlite3.Connection) -> None:
    """Puts what stands in the cache that `old` is reading, so that nobody writes to it, into `target`, which is laid
    out and empty. Ends with `old`'s locks gone, so it must not be read afterwards.

    CacheDamaged if the head of the file, or its list of free pages, can't be read."""
    (path,) = (row[2] for row in old.execute("PRAGMA database_list") if row[1] == "main")
    (root,) = old.execute("SELECT rootpage FROM sqlite_master WHERE name = 'outbox_chunk'").fetchone()
    named = _folders(old)
    tables = [_Table(target, name) for name in TABLES]
    for number, values in leaves.rows(Path(path), without=root):
        for table in tables:
            if table.takes(number, values):
                break
    for table in tables:
        table.flush()
    there = {row[0] for row in target.execute("SELECT number FROM folder")}
    for number, folder in named.items():
        if number not in there and not folder.startswith("local:"):
            insert_placeholder_folder(target, folder, number)
    for name, owner in _ORPHANS:
        target.execute(f"DELETE FROM {name} WHERE {owner} NOT IN (SELECT number FROM {owner})")


def _folders(db: sqlite3.Connection) -> dict[int, str]:
    """The folders' ids by number, as their index has them, which is on other pages than the rows; {} if it can't be
    read. Their items are worth too much to be lost with a row that the server tells anew."""
    try:
        return dict(db.execute("SELECT number, id FROM folder INDEXED BY sqlite_autoindex_folder_1"))
    except sqlite3.Error:
        return {}
