"""Reads a database of format 7.2, row by row, in bounded memory.

Each item and local change is compared with its checksum. The numbers of rows are compared with those of an index, so
that a lost row shows, too.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Final, Self

from kerio_resync.cache.format72.rows import Format72Item, changes, items
from kerio_resync.cache.format72.schema import FORMAT, is_format72, shapes
from kerio_resync.cache.mutations import LocalChange
from kerio_resync.cache.old_file import mapped_errors, open_old_file, replace_old_file, used_bytes
from kerio_resync.cache.schema import identity_from
from kerio_resync.cache.schema_guard import require_shape
from kerio_resync.errors import CacheDamaged
from kerio_resync.model import Identity

MAX_BATCH_BYTES: Final = 4 * 1024 * 1024  # of payloads, after which a batch of items ends
_INDEXES: Final = {  # an index of each table that has as many rows
    "folder": "sqlite_autoindex_folder_1",
    "item": "item_by_kind",
    "attachment": "sqlite_autoindex_attachment_1",
    "chunk": "sqlite_autoindex_chunk_1",
    "wanted": "wanted_in_order",
    "outbox": "outbox_by_state",
    "outbox_attachment": "sqlite_autoindex_outbox_attachment_1",
    "outbox_chunk": "sqlite_autoindex_outbox_chunk_1",
}


class Format72Reader:
    """An open file of format 7.2, used by one thread at a time."""

    def __init__(self, db: sqlite3.Connection, path: Path) -> None:
        self.path, self._db = path, db

    @classmethod
    def open(cls, path: Path, *, locked_elsewhere: bool = False) -> Self:
        """Open and lock a file; see `open_old_file`. CacheDamaged, CacheInUse."""
        return cls(open_old_file(path, _require_format72, locked_elsewhere=locked_elsewhere), path)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection and release the lock."""
        self._db.close()

    def replace_by(self, new: Path) -> None:
        """Give the sealed file `new` this file's name, under the lock, durably.

        Only `close` may follow.
        """
        replace_old_file(self.path, new)

    @property
    def identity(self) -> Identity:
        """Return whose cache the file is."""
        with mapped_errors(self.path):
            marks = ", ".join("?" * len(Identity._fields))
            sql = f"SELECT key, value FROM meta WHERE key IN ({marks})"
            return identity_from(dict(self._db.execute(sql, Identity._fields)))

    def used_bytes(self) -> int:
        """Return how many bytes of the file are in use."""
        with mapped_errors(self.path):
            return used_bytes(self._db)

    def item_count(self) -> int:
        """Return the number of items."""
        with mapped_errors(self.path):
            return int(self._db.execute("SELECT count(*) FROM item").fetchone()[0])

    def require_counts(self) -> None:
        """Raise CacheDamaged unless each table has as many rows as its index."""
        with mapped_errors(self.path):
            for table, index in _INDEXES.items():
                # `count(*)` would count the entries of whichever index is smallest
                found, indexed = (
                    self._db.execute(f"SELECT coalesce(sum(1), 0) FROM {table} {which}").fetchone()[0]
                    for which in ("NOT INDEXED", f"INDEXED BY {index}")
                )
                if found != indexed:
                    raise CacheDamaged(f"{self.path}: {table} has {found:,} rows, not {indexed:,}")

    def items(self, after: int, limit: int) -> list[Format72Item]:
        """Return at most `limit` items with a row number above `after`, in order."""
        with mapped_errors(self.path):
            condition = "item.number > ? ORDER BY item.number LIMIT ?"
            return items(self._db, condition, (after, limit), MAX_BATCH_BYTES)

    def changes(self) -> list[LocalChange]:
        """Return the local changes, also those that were sent, oldest first."""
        with mapped_errors(self.path):
            found = changes(self._db)
            if corrupt := [each.change.uuid for each in found if not each.intact]:
                raise ValueError(f"local change {corrupt[0]} does not match its checksum")
            return [each.change for each in found]


def _require_format72(db: sqlite3.Connection) -> None:
    if not is_format72(db):
        raise CacheDamaged(f"it is not of format {FORMAT}")
    require_shape(db, *shapes())
