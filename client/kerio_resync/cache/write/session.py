"""What the functions that write share: the connection, the next free numbers, and the folders' numbers.

Numbers are counted here instead of being asked for, so that an item and its attachments go in without a question in
between. They are read again when a transaction begins after another program has written. Rows that are written are
counted too, by SQLite: so a file whose structure was found sound need not be read again to know that it still is. Left
out are notes: the rows of a few small tables (`NOTES`), which can be checked by themselves.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

from kerio_resync.model import Kind

UNTRACKED_TABLES: Final = ("meta", "folder", "seen")


class WriteSession:
    """One open file, from the writer's side. Used in the connection's thread only."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self.db = db
        self._version: int | None = None
        self._items = 0
        self._attachments = 0
        self._folders: dict[str, int] = {}
        self._noted = 0
        self._sound: tuple[int, int] | None = None

    def begin(self) -> None:
        self.db.execute("BEGIN IMMEDIATE")
        version = self.db.execute("PRAGMA data_version").fetchone()[0]
        if version != self._version:
            self._version = version
            self._items = self.db.execute("SELECT coalesce(max(number), 0) FROM item").fetchone()[0]
            self._attachments = self.db.execute("SELECT coalesce(max(number), 0) FROM attachment").fetchone()[0]
            self.clear_folder_numbers()

    def commit(self) -> None:
        self.db.execute("COMMIT")

    def rollback(self) -> None:
        """What failed is undone; if even that fails, the next one to open the file does it from the journal."""
        if self.db.in_transaction:
            with suppress(sqlite3.Error):
                self.db.execute("ROLLBACK")

    @contextmanager
    def untracked_writes(self) -> Iterator[None]:
        """What is written within is in `NOTES` alone."""
        before = self.db.total_changes
        yield
        self._noted += self.db.total_changes - before

    def mark_checked(self) -> None:
        """The structure of the file, as it is now, is known to be sound."""
        self._sound = self._written()

    def is_unchanged_since_check(self) -> bool:
        """Whether nothing has been written since it was found sound, by anybody, but what was noted here."""
        return self._sound == self._written()

    def _written(self) -> tuple[int, int]:
        return self.db.total_changes - self._noted, self.db.execute("PRAGMA data_version").fetchone()[0]

    def next_item_number(self) -> int:
        self._items += 1
        return self._items

    def next_attachment_number(self) -> int:
        self._attachments += 1
        return self._attachments

    def clear_folder_numbers(self) -> None:
        self._folders.clear()

    def folder_number(self, folder_id: str) -> int:
        """The folder's number. One that nobody has named yet gets a row that waits for `SetFolders`."""
        number = self._folders.get(folder_id)
        if number is None:
            row = self.db.execute("SELECT number FROM folder WHERE id = ?", (folder_id,)).fetchone()
            number = self._folders[folder_id] = row[0] if row else insert_placeholder_folder(self.db, folder_id)
        return number

    def folder_number_or_none(self, folder_id: str) -> int | None:
        """The folder's number, if anybody has named it yet."""
        row = self.db.execute("SELECT number FROM folder WHERE id = ?", (folder_id,)).fetchone()
        return row[0] if row else None

    def folder_kind(self, folder_id: str) -> Kind | None:
        row = self.db.execute("SELECT kind FROM folder WHERE id = ?", (folder_id,)).fetchone()
        kind: Kind | None = row and row[0]
        return kind


def insert_placeholder_folder(db: sqlite3.Connection, folder_id: str, number: int | None = None) -> int:
    """A row for a folder of which nothing is known but its id; its number."""
    sql = (
        "INSERT INTO folder (number, id, parent_id, name, path, role, place, owner, readable, count, unread, size,"
        " payload, rank, standing)"
        " VALUES (?, ?, '', '', '? ' || ?, 'none', 'own', '', 1, 0, 0, 0, '{}', 100, 'unknown')"
    )
    return db.execute(sql, (number, folder_id, folder_id)).lastrowid or 0
