"""The database that a migration builds, in the current format.

It is filled in bulk, resumable, and verified at the end.

`upgrade_from` in its table `meta` names the file that it is made from, and `upgrade_at` is the checkpoint: up to which
row of that file everything is here. Rows and checkpoint commit together, so a kill at any instant leaves a file that
the next run continues. Commits do not wait for the disk: a power cut may damage the file, which the verification
finds; then it is built anew. Both entries go in the transaction that makes the file a finished cache.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, Final, NamedTuple, Self

from kerio_resync.cache.checksums import plain_crc32
from kerio_resync.cache.db_errors import mapped_db_errors
from kerio_resync.cache.files import SIDECARS, sync_folder, with_suffix_appended
from kerio_resync.cache.mutations import AddChange, SetFolders
from kerio_resync.cache.schema import PAGE_SIZE, check_header, create_schema, shapes
from kerio_resync.cache.schema_guard import lift_limits, require_shape, require_tables, restrict
from kerio_resync.cache.write import folders, outbox
from kerio_resync.cache.write.items import COLUMNS, ROW
from kerio_resync.cache.write.session import WriteSession
from kerio_resync.errors import CacheDamaged
from kerio_resync.model import Folder, Identity

COMMIT_BYTES: Final = 16 * 1024 * 1024
CACHE_KIB: Final = 8 * 1024
_SOURCE_KEY: Final = "upgrade_from"
_CHECKPOINT_KEY: Final = "upgrade_at"
_INSERT_ITEM: Final = f"INSERT INTO item ({COLUMNS}) VALUES {ROW}"
_INSERT_ATTACHMENT: Final = (
    "INSERT INTO attachment (number, item, ordinal, role, id, url, name, content_type, content_id, size, state, reason,"
    f" received, sha256) VALUES ({', '.join('?' * 14)})"
)
_COUNTS: Final = {
    "contents": "SELECT count(*) FROM attachment WHERE state = 'done'",
    "bytes": "SELECT coalesce(sum(received), 0) FROM attachment WHERE state = 'done'",
    "folders": "SELECT count(*) FROM folder WHERE standing = 'server'",
    "changes": "SELECT count(*) FROM outbox",
}
Row = tuple[Any, ...]


class Checkpoint(NamedTuple):
    """How far a migration has got.

    Items of `kind` up to row number `after` of the old file are here, and all items of the kinds before.

    `bytes` of the old file were read for that, and `items` items stored.
    """

    kind: str = ""
    after: int = 0
    bytes: int = 0
    items: int = 0


class Chunk(NamedTuple):
    """A chunk of an attachment's content."""

    attachment: int
    offset: int
    data: memoryview


class NewDatabase:
    """The file under construction, used by one thread at a time."""

    def __init__(self, path: Path, db: sqlite3.Connection, *, resumed: bool) -> None:
        self.path, self.resumed = path, resumed
        self._db, self._session = db, WriteSession(db)
        self._uncommitted_bytes = 0
        self._file = os.open(path, os.O_RDWR)  # closed after the connection, whose locks a close would release
        self._syncer = ThreadPoolExecutor(1)
        self._synced: Future[None] | None = None

    @classmethod
    def open(cls, path: Path, identity: Identity, source: str) -> Self:
        """Open the file at `path`; replace it unless it was begun from `source`."""
        with mapped_db_errors(path):
            resumed = source_of(path) == source
            if not resumed:
                _create(path, identity, source)
            db = connect(path)
            try:
                check_header(db)
                require_shape(db, *shapes())
                lift_limits(db)
                return cls(path, db, resumed=resumed)
            except BaseException:
                db.close()
                raise

    def close(self) -> None:
        """Close the file; what is not committed is undone."""
        self._syncer.shutdown()
        with suppress(sqlite3.Error):
            self._db.close()
        os.close(self._file)

    def checkpoint(self) -> Checkpoint:
        """Return the checkpoint of the last commit. CacheDamaged."""
        stored = _read_meta(self._db, _CHECKPOINT_KEY)
        try:
            return Checkpoint(*json.loads(stored)) if stored else Checkpoint()
        except (ValueError, TypeError) as error:
            raise CacheDamaged(f"{self.path}: its checkpoint is invalid") from error

    def next_numbers(self) -> tuple[int, int]:
        """Return the numbers for the next item and for the next attachment."""
        with mapped_db_errors(self.path):
            item, attachment = (
                self._db.execute(f"SELECT coalesce(max(number), 0) + 1 FROM {table}").fetchone()[0]
                for table in ("item", "attachment")
            )
        return item, attachment

    def put_folders(self, all_folders: Sequence[Folder], ranks: dict[str, int]) -> None:
        """Store the folders. Their listings are complete."""
        with self._transaction():
            folders.set_folders(SetFolders(tuple(all_folders), ranks), self._session)
            self._db.execute("UPDATE folder SET listed = 1")

    def folder_numbers(self) -> dict[str, int]:
        """Return the row numbers of the folders by id."""
        with mapped_db_errors(self.path):
            return dict(self._db.execute("SELECT id, number FROM folder"))

    def put(self, items: Iterable[Row], placements: Iterable[Row], attachments: Iterable[Row], size: int) -> None:
        """Store rows of items, of their placements and of their attachments.

        The rows of items have `size` bytes. CacheDamaged: an id is not new.
        """
        self._insert(_INSERT_ITEM, items, size)
        self._insert("INSERT INTO placement (item, folder) VALUES (?, ?)", placements, 0)
        self._insert(_INSERT_ATTACHMENT, attachments, 0)

    def put_chunk(self, attachment: int, offset: int, data: memoryview) -> None:
        """Store a chunk of an attachment's content."""
        row = attachment, offset, len(data), plain_crc32(data), data
        self._insert("INSERT INTO chunk VALUES (?, ?, ?, ?, ?)", [row], len(data))

    def put_change(self, change: AddChange) -> None:
        """Store a pending change; one that is there already stays."""
        with self._transaction():
            outbox.add_change(change, self._session)

    def attach(self, old: Path) -> None:
        """Let `copy` read from the file `old` under the name `old`.

        This process keeps it locked, and has checked its tables.
        """
        with mapped_db_errors(old):
            self._db.setlimit(sqlite3.SQLITE_LIMIT_ATTACHED, 1)
            # without locks of its own, which would conflict with the other connection's
            self._db.execute("ATTACH ? AS old", (f"{old.absolute().as_uri()}?mode=ro&immutable=1",))
            restrict(self._db, old)

    def copy(self, sql: str, values: Sequence[Any] = (), size: int = 0) -> int:
        """Run a statement that copies rows of the attached file; return their number.

        `size`: their bytes.
        """
        with self._transaction():
            rows = self._db.execute(sql, values).rowcount
        self._uncommitted_bytes += size
        return rows

    def put_rows(self, sql: str, rows: Iterable[Row | Mapping[str, Any]]) -> None:
        """Insert rows."""
        with self._transaction():
            self._db.executemany(sql, rows)

    def number(self, sql: str, values: Sequence[Any] = ()) -> int:
        """Return the number that a query finds."""
        with mapped_db_errors(self.path):
            return int(self._db.execute(sql, values).fetchone()[0])

    def commit(self, checkpoint: Checkpoint, *, now: bool = False) -> None:
        """Commit everything up to `checkpoint`, if it is enough bytes or if `now`."""
        if self._uncommitted_bytes < COMMIT_BYTES and not now:
            return
        with self._transaction():
            self._db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (_CHECKPOINT_KEY, json.dumps(checkpoint)))
            self._db.execute("COMMIT")
        self._uncommitted_bytes = 0
        if self._synced is None or self._synced.done():  # lets the disk write while the next rows are read
            self._synced = self._syncer.submit(os.fsync, self._file)

    def finish(self, meta: Mapping[str, str]) -> None:
        """Make it a finished cache with these entries of `meta`, and seal it."""
        with self._transaction():
            self._db.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", meta.items())
            self._db.execute("DELETE FROM meta WHERE key IN (?, ?)", (_SOURCE_KEY, _CHECKPOINT_KEY))
            self._db.execute("COMMIT")
            self._db.execute("PRAGMA journal_mode = DELETE").fetchone()
            os.fsync(self._file)

    def counts(self) -> dict[str, int]:
        """Return the counts of what is stored.

        These are items of each kind, contents, bytes of contents, folders and local changes.
        """
        with mapped_db_errors(self.path):
            counts = dict(self._db.execute("SELECT kind, count(*) FROM item GROUP BY kind"))
            return counts | {name: self._db.execute(sql).fetchone()[0] for name, sql in _COUNTS.items()}

    def change_checksums(self) -> dict[str, bytes]:
        """Return the checksums of the local changes by uuid."""
        with mapped_db_errors(self.path):
            return dict(self._db.execute("SELECT uuid, checksum FROM outbox"))

    def _insert(self, sql: str, rows: Iterable[Row], size: int) -> None:
        with self._transaction():
            self._db.executemany(sql, rows)
        self._uncommitted_bytes += size

    def _transaction(self) -> Any:
        """Begin a transaction unless one is open, and map errors."""
        if not self._db.in_transaction:
            with mapped_db_errors(self.path, COMMIT_BYTES):
                self._session.begin()
        return mapped_db_errors(self.path, COMMIT_BYTES)


def source_of(path: Path) -> str | None:
    """Return which file the unfinished database at `path` is made from.

    None if it is anything else.
    """
    if not path.exists():
        return None
    try:
        with closing(connect(path)) as db:
            require_tables(db, ("meta",))
            return _read_meta(db, _SOURCE_KEY)
    except (sqlite3.Error, CacheDamaged):
        return None


def connect(path: Path) -> sqlite3.Connection:
    """Return a connection that writes fast, and does not wait for the disk."""
    db = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=rw", uri=True, isolation_level=None, timeout=2.0, check_same_thread=False
    )
    try:
        restrict(db, path)
        # foreign keys are checked at the end, all at once
        for pragma in (f"cache_size = -{CACHE_KIB}", "synchronous = OFF", "foreign_keys = 0"):
            db.execute(f"PRAGMA {pragma}")
        db.execute("PRAGMA journal_mode = TRUNCATE").fetchone()
    except BaseException:
        db.close()
        raise
    return db


def _create(path: Path, identity: Identity, source: str) -> None:
    new = path.with_name(path.name + ".new")
    for stale in (path, new, *(with_suffix_appended(each, suffix) for each in (path, new) for suffix in SIDECARS)):
        stale.unlink(missing_ok=True)
    os.close(os.open(new, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    with closing(sqlite3.connect(new, isolation_level=None)) as db:
        db.execute(f"PRAGMA page_size = {PAGE_SIZE}")
        create_schema(db, identity)
        db.execute("INSERT INTO meta VALUES (?, ?)", (_SOURCE_KEY, source))
    new.rename(path)
    sync_folder(path.parent)


def _read_meta(db: sqlite3.Connection, key: str) -> str | None:
    row = db.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
    return None if row is None else str(row[0])
