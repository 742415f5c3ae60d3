"""The database that a 7.1 file is carried over to: today's format, filled in bulk, and resumable.

What was carried over and how far that is (`upgrade_at` in `meta`) commit together, some 16 MiB at a time, so a kill
at any instant leaves a file that is gone on with. Commits don't wait for the disk, another thread urges it on
meanwhile: after a power cut the file may be damaged, but then the proof at the end finds it, and it is made anew.
`upgrade_from` names the very file it is made from. Both go in the transaction that makes it a finished cache. Used by
one thread at a time.

Of every row of items and attachments that is put, a checksum of all its values is remembered (`Written`), with which
the proof compares what it reads back.
"""

from __future__ import annotations

import json
import os
import sqlite3
from array import array
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

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

FROM: Final = "upgrade_from"
AT: Final = "upgrade_at"
ATTACHMENT_COLUMNS: Final = (
    "number, item, ordinal, role, id, url, name, content_type, content_id, size, state, reason, received, sha256"
)
_ITEM_SQL: Final = f"INSERT INTO item ({COLUMNS}) VALUES {ROW}"
_ATTACHMENT_SQL: Final = f"INSERT INTO attachment ({ATTACHMENT_COLUMNS}) VALUES ({', '.join(['?'] * 14)})"
_COMMIT: Final = 16 * 1024 * 1024
_CACHE_KIB: Final = 8 * 1024
_READING_KIB: Final = 4 * 1024
Row = tuple[Any, ...]
Chunk = tuple[int, int, int, Any]  # attachment, offset, CRC-32, bytes


@dataclass(frozen=True, slots=True)
class Mark:
    """How far it is: items of `kind` up to number `after` are here, and all of the kinds before; `bytes` were read."""

    kind: str = ""
    after: int = 0
    bytes: int = 0
    items: int = 0


@dataclass(slots=True)
class Written:
    """Checksums (Python's hash: 64 bits, good within one process) of rows in the order of their numbers, from
    `item` and `attachment` on: those before were put by an earlier run."""

    item: int
    attachment: int
    items: array[int] = field(default_factory=lambda: array("q"))
    attachments: array[int] = field(default_factory=lambda: array("q"))


class Target:
    """`Target.open(path, identity, source)`; puts; `commit`; `finish`; `close`."""

    def __init__(self, path: Path, db: sqlite3.Connection, resumed: bool) -> None:
        self.path, self.db, self.resumed = path, db, resumed
        self._tables = WriteSession(db)
        self._weight = 0
        self.written = Written(*(
            db.execute(f"SELECT coalesce(max(number), 0) + 1 FROM {table}").fetchone()[0]
            for table in ("item", "attachment")
        ))  # fmt: skip
        self._file = os.open(path, os.O_RDWR)  # closed after the connection: a close drops the process's locks
        self._urging = ThreadPoolExecutor(1, "urges the disk on")
        self._urged: Future[None] | None = None

    @classmethod
    def open(cls, path: Path, identity: Identity, source: str) -> Target:
        """Goes on with the file at `path` if it was begun from `source`, else begins anew: what else is there goes."""
        with mapped_db_errors(path):
            begun = source_of(path) == source
            if not begun:
                _begin(path, identity, source)
            db = connect(path, _CACHE_KIB)
            try:
                check_header(db)
                require_shape(db, *shapes())
                lift_limits(db)
                return cls(path, db, begun)
            except BaseException:
                db.close()
                raise

    def close(self) -> None:
        self._urging.shutdown()
        with suppress(sqlite3.Error):
            self.db.close()  # what is not committed goes
        os.close(self._file)

    def mark(self) -> Mark:
        """Where the last commit left it. CacheDamaged."""
        told = _meta(self.db, AT)
        try:
            return Mark(**json.loads(told)) if told else Mark()
        except (ValueError, TypeError) as error:
            raise CacheDamaged(f"{self.path}: it does not say how far it is") from error

    def next_numbers(self) -> tuple[int, int]:
        """The numbers that the next item and the next attachment are to have."""
        written = self.written
        return written.item + len(written.items), written.attachment + len(written.attachments)

    def put_folders(self, told: Sequence[Folder], ranks: dict[str, int]) -> None:
        with self._writing():
            folders.set_folders(self._tables, SetFolders(tuple(told), ranks))
            self.db.execute("UPDATE folder SET listed = 1")

    def folders(self) -> dict[str, int]:
        """Their numbers by id."""
        with mapped_db_errors(self.path):
            return dict(self.db.execute("SELECT id, number FROM folder"))

    def put_items(self, found: Sequence[Row], attachments: Sequence[Row], weight: int = 0) -> None:
        """Stores rows of items and of their attachments, whose numbers go on from the last. CacheDamaged if an item
        is there twice."""
        first, attached = self.next_numbers()
        assert not found or found[0][0] == first
        assert not attachments or attachments[0][0] == attached
        with self._writing():
            self.db.executemany(_ITEM_SQL, found)
            self.db.executemany(_ATTACHMENT_SQL, attachments)
        self.written.items.extend(map(hash, found))
        self.written.attachments.extend(map(hash, attachments))
        self._weight += weight

    def put_chunks(self, chunks: Iterable[Chunk], weight: int = 0) -> None:
        """Stores chunks of contents, in the order of attachments and offsets."""
        with self._writing():
            self.db.executemany("INSERT INTO chunk VALUES (?, ?, ?, ?)", chunks)
        self._weight += weight

    def put_change(self, change: AddChange) -> None:
        with self._writing():
            outbox.add_change(self._tables, change)
        self._weight += change.byte_size()

    def passed(self, mark: Mark) -> None:
        """All up to `mark` was put; commits if enough was."""
        if self._weight >= _COMMIT:
            self.commit(mark)

    def commit(self, mark: Mark) -> None:
        with self._writing():
            told = json.dumps({name: getattr(mark, name) for name in Mark.__slots__})
            self.db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (AT, told))
            self.db.execute("COMMIT")
        self._weight = 0
        if self._urged is None or self._urged.done():
            self._urged = self._urging.submit(os.fsync, self._file)

    def finish(self, sync_key: str | None, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        """Makes it a finished cache: nothing in it says any more that it is being made."""
        with self._writing():
            facts = {"finished_at": now().strftime("%Y-%m-%dT%H:%M:%SZ")}
            if sync_key is not None:
                facts["sync_key"] = sync_key
            self.db.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", facts.items())
            self.db.execute("DELETE FROM meta WHERE key IN (?, ?)", (FROM, AT))
            self.db.execute("COMMIT")
            self.db.execute("PRAGMA journal_mode = DELETE").fetchone()

    def counts(self) -> dict[str, int]:
        """Items by kind; `contents` that are here and their `bytes`; `folders`; `pending` changes."""
        found = dict(self.db.execute("SELECT kind, count(*) FROM item GROUP BY kind"))
        found["contents"], found["bytes"] = self.db.execute(
            "SELECT count(*), coalesce(sum(received), 0) FROM attachment WHERE state = 'done'"
        ).fetchone()
        found["wanted"] = self.db.execute("SELECT count(*) FROM attachment WHERE state = 'wanted'").fetchone()[0]
        found["folders"] = self.db.execute("SELECT count(*) FROM folder WHERE standing = 'server'").fetchone()[0]
        found["unknown"] = self.db.execute("SELECT count(*) FROM folder WHERE standing = 'unknown'").fetchone()[0]
        return found

    def changes(self) -> dict[str, bytes]:
        """The pending changes: uuid → checksum."""
        return dict(self.db.execute("SELECT uuid, checksum FROM outbox"))

    def _writing(self) -> Any:
        if not self.db.in_transaction:
            with mapped_db_errors(self.path, _COMMIT):
                self._tables.begin()
        return mapped_db_errors(self.path, _COMMIT)


def source_of(path: Path) -> str | None:
    """Which file the half-made database at `path` is made from; None if there is none, or it is something else."""
    if not path.exists():
        return None
    try:
        with closing(connect(path)) as db:
            require_tables(db, ("meta",))
            return _meta(db, FROM)
    except (sqlite3.Error, CacheDamaged):
        return None


def connect(path: Path, cache: int = _READING_KIB) -> sqlite3.Connection:
    """A connection as the database is made with; `cache` in KiB. sqlite3.Error."""
    db = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=rw", uri=True, isolation_level=None, timeout=2.0, check_same_thread=False
    )
    try:
        restrict(db, path)
        # references are checked at the end, all at once
        for pragma in (f"cache_size = -{cache}", "synchronous = OFF", "foreign_keys = 0"):
            db.execute(f"PRAGMA {pragma}")
        db.execute("PRAGMA journal_mode = TRUNCATE").fetchone()
    except BaseException:
        db.close()
        raise
    return db


def _begin(path: Path, identity: Identity, source: str) -> None:
    new = path.with_name(path.name + ".new")
    for stale in (path, new, *(with_suffix_appended(each, suffix) for each in (path, new) for suffix in SIDECARS)):
        stale.unlink(missing_ok=True)
    os.close(os.open(new, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    with closing(sqlite3.connect(new, isolation_level=None)) as db:
        db.execute(f"PRAGMA page_size = {PAGE_SIZE}")
        create_schema(db, identity)
        db.execute("INSERT INTO meta VALUES (?, ?)", (FROM, source))
    new.rename(path)
    sync_folder(path.parent)


def _meta(db: sqlite3.Connection, key: str) -> str | None:
    row = db.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
    return None if row is None else str(row[0])
