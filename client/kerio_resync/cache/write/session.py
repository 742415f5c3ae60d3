"""What the functions that write share: connection, row numbers, folders.

Row numbers are counted here instead of being read back, so that an item and its attachments go in without a query in
between. They are read again when a transaction begins after another program has written.

The session also knows whether the structure of the file is still as it was checked: SQLite counts the rows that are
written. Rows of the small tables in `UNTRACKED_TABLES` are not counted, because these are quick to check again.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Final

from kerio_resync.model import Kind

UNTRACKED_TABLES: Final = ("meta", "folder", "seen")


class WriteSession:
    """One open file as the writer sees it. Used in the connection's thread only."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self.db = db
        self._data_version: int | None = None
        self._last_item = 0
        self._last_attachment = 0
        self._folder_numbers: dict[str, int] = {}
        self._folder_ranks: dict[str, int] = {}
        self._untracked_changes = 0
        self._checked_state: tuple[int, int] | None = None

    def begin(self) -> None:
        """Begin a transaction."""
        self.db.execute("BEGIN IMMEDIATE")
        version = self.db.execute("PRAGMA data_version").fetchone()[0]
        if version != self._data_version:
            self._data_version = version
            self._last_item = self.db.execute("SELECT coalesce(max(number), 0) FROM item").fetchone()[0]
            self._last_attachment = self.db.execute("SELECT coalesce(max(number), 0) FROM attachment").fetchone()[0]
            self.clear_folder_numbers()

    def commit(self) -> None:
        """Commit the transaction."""
        self.db.execute("COMMIT")

    def rollback(self) -> None:
        """Roll an open transaction back.

        If that fails, the next program to open the file does it from the journal.
        """
        if self.db.in_transaction:
            with suppress(sqlite3.Error):
                self.db.execute("ROLLBACK")

    @contextmanager
    def untracked_writes(self) -> Iterator[None]:
        """Mark a block that writes to `UNTRACKED_TABLES` only."""
        before = self.db.total_changes
        yield
        self._untracked_changes += self.db.total_changes - before

    def mark_checked(self) -> None:
        """Record that the structure of the file, as it is now, is sound."""
        self._checked_state = self._state()

    def is_unchanged_since_check(self) -> bool:
        """Return whether nothing was written since `mark_checked`.

        Untracked writes of this session do not count, writes of other programs do.
        """
        return self._checked_state == self._state()

    def _state(self) -> tuple[int, int]:
        version: int = self.db.execute("PRAGMA data_version").fetchone()[0]
        return self.db.total_changes - self._untracked_changes, version

    def next_item_number(self) -> int:
        """Return the number of a new row of `item`."""
        self._last_item += 1
        return self._last_item

    def next_attachment_number(self) -> int:
        """Return the number of a new row of `attachment`."""
        self._last_attachment += 1
        return self._last_attachment

    def clear_folder_numbers(self) -> None:
        """Forget the numbers and ranks of folders, after rows of `folder` changed."""
        self._folder_numbers.clear()
        self._folder_ranks.clear()

    def folder_number(self, folder_id: str) -> int:
        """Return the number of a folder.

        An unknown folder gets a placeholder row until `SetFolders` names it.
        """
        number = self._folder_numbers.get(folder_id)
        if number is None:
            number = self.folder_number_or_none(folder_id) or insert_placeholder_folder(self.db, folder_id)
            self._folder_numbers[folder_id] = number
        return number

    def first_folder(self, folder_ids: Sequence[str]) -> str:
        """Return the folder of the lowest rank, the first if ranks are equal."""
        return folder_ids[0] if len(folder_ids) == 1 else min(folder_ids, key=self._folder_rank)

    def _folder_rank(self, folder_id: str) -> int:
        rank = self._folder_ranks.get(folder_id)
        if rank is None:
            number = self.folder_number(folder_id)
            (rank,) = self.db.execute("SELECT rank FROM folder WHERE number = ?", (number,)).fetchone()
            self._folder_ranks[folder_id] = rank
        return rank

    def folder_number_or_none(self, folder_id: str) -> int | None:
        """Return the number of a folder, None if it is unknown."""
        row = self.db.execute("SELECT number FROM folder WHERE id = ?", (folder_id,)).fetchone()
        return row[0] if row else None

    def folder_kind(self, folder_id: str) -> Kind | None:
        """Return the kind of a folder's items; None if it holds none or is unknown."""
        row = self.db.execute("SELECT kind FROM folder WHERE id = ?", (folder_id,)).fetchone()
        kind: Kind | None = row and row[0]
        return kind


def insert_placeholder_folder(db: sqlite3.Connection, folder_id: str, number: int | None = None) -> int:
    """Insert a folder of which only the id is known; return its number."""
    sql = (
        "INSERT INTO folder (number, id, parent_id, name, path, role, place, owner, readable, count, unread, size,"
        " payload, rank, standing)"
        " VALUES (?, ?, '', '', '? ' || ?, 'none', 'own', '', 1, 0, 0, 0, '{}', 100, 'unknown')"
    )
    return db.execute(sql, (number, folder_id, folder_id)).lastrowid or 0
