"""The database that a 7.1 file is carried over to: today's format, filled in bulk, resumable, and proven.

What was carried over and how far that is (`upgrade_at` in `meta`) commit together, some 16 MiB at a time, so a kill
at any instant leaves a file that is gone on with. Commits don't wait for the disk, another thread urges it on
meanwhile: after a power cut the file may be damaged, but then the proof at the end finds it, and it is made anew.
`upgrade_from` names the very file it is made from. Both go in the transaction that makes it a finished cache. Used by
one thread at a time.
"""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import zlib
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from kerio_resync.cache import changes, folders, items
from kerio_resync.cache.bulk import array
from kerio_resync.cache.facts import AddChange, LocalChange, PutItems, SetFolders
from kerio_resync.cache.files import SIDECARS, beside, sync_folder
from kerio_resync.cache.schema import PAGE_SIZE, check_header, lay_out
from kerio_resync.cache.sums import item_sum
from kerio_resync.cache.tables import Tables
from kerio_resync.cache.trouble import translated
from kerio_resync.errors import CacheDamaged
from kerio_resync.model import Folder, Identity, Item

FROM: Final = "upgrade_from"
AT: Final = "upgrade_at"
NOT_HERE: Final = "not in the database that this one was made from"
_COMMIT: Final = 16 * 1024 * 1024
_CACHE_KIB: Final = 20 * 1024
_READING_KIB: Final = 4 * 1024
_PAGE: Final = 100


@dataclass(frozen=True, slots=True)
class Content:
    """A chunk of a content of item `item`: 256 KiB; the `last` one, maybe empty, has what is left."""

    item: str
    ordinal: int
    offset: int
    data: bytes
    last: bool


@dataclass(frozen=True, slots=True)
class Mark:
    """How far it is: items of `kind` up to number `after` are here, and all of the kinds before; `bytes` were read."""

    kind: str = ""
    after: int = 0
    bytes: int = 0
    items: int = 0


class Target:
    """`Target.open(path, identity, source)`; puts; `finish`; `sound`; `close`."""

    def __init__(self, path: Path, db: sqlite3.Connection, resumed: bool) -> None:
        self.path, self.db, self.resumed = path, db, resumed
        self._tables = Tables(db)
        self._weight = 0
        self._numbers: dict[tuple[str, int], int] = {}
        self._digest = hashlib.sha256()
        self._file = os.open(path, os.O_RDWR)  # closed after the connection: a close drops the process's locks
        self._urging = ThreadPoolExecutor(1, "urges the disk on")
        self._urged: Future[None] | None = None

    @classmethod
    def open(cls, path: Path, identity: Identity, source: str) -> Target:
        """Goes on with the file at `path` if it was begun from `source`, else begins anew: what else is there goes."""
        with translated(path):
            begun = source_of(path) == source
            if not begun:
                _begin(path, identity, source)
            db = _connect(path)
            try:
                check_header(db)
            except BaseException:
                db.close()
                raise
            return cls(path, db, begun)

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

    def put_folders(self, told: Sequence[Folder], ranks: dict[str, int]) -> None:
        with self._writing():
            folders.set_folders(self._tables, SetFolders(tuple(told), ranks))
            self.db.execute("UPDATE folder SET listed = 1")

    def put_items(self, found: Sequence[Item], with_content: Sequence[tuple[str, int]], weight: int) -> None:
        """Stores items; those of their attachments that `with_content` (item id, place) does not name are omitted."""
        with self._writing():
            items.put_items(self._tables, PutItems(tuple(found)))
            self._numbers.clear()
            if any(each.attachments for each in found):
                rows = self.db.execute(
                    "SELECT item.id, ordinal, attachment.number FROM item"
                    " JOIN attachment ON attachment.item = item.number"
                    " WHERE item.id IN (SELECT value FROM json_each(?))",
                    (array(each.id for each in found),),
                ).fetchall()
                self._numbers = {(row[0], row[1]): row[2] for row in rows}
                omitted = self._numbers.keys() - set(with_content)
                self.db.executemany(
                    "UPDATE attachment SET state = 'omitted', reason = ? WHERE number = ?",
                    [(NOT_HERE, self._numbers[each]) for each in omitted],
                )
            self._weight += weight

    def put_content(self, content: Content) -> None:
        """Stores a chunk, after those before it, of an item put last. CacheDamaged if it has no such attachment."""
        number = self._numbers.get((content.item, content.ordinal))
        if number is None:
            raise CacheDamaged(f"a content belongs to no attachment of {content.item}")
        if content.offset == 0:
            self._digest = hashlib.sha256()
        self._digest.update(content.data)
        size = content.offset + len(content.data)
        with self._writing():
            if content.data:
                self.db.execute(
                    "INSERT INTO chunk VALUES (?, ?, ?, ?)",
                    (number, content.offset, zlib.crc32(content.data), content.data),
                )
            if content.last:
                self.db.execute(
                    "UPDATE attachment SET state = 'done', reason = '', received = ?, sha256 = ? WHERE number = ?",
                    (size, self._digest.digest(), number),
                )
            self._weight += len(content.data)

    def put_change(self, change: LocalChange) -> None:
        with self._writing():
            changes.add_change(self._tables, AddChange(change))
            self._weight += len(change.struct) + sum(len(each.data) for each in change.files)

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
            with translated(self.path, _COMMIT):
                self._tables.begin()
        return translated(self.path, _COMMIT)


def source_of(path: Path) -> str | None:
    """Which file the half-made database at `path` is made from; None if there is none, or it is something else."""
    if not path.exists():
        return None
    try:
        with closing(_connect(path, _READING_KIB)) as db:
            return _meta(db, FROM)
    except sqlite3.Error:
        return None


def sound(path: Path, tell: Callable[[int], None]) -> list[str]:
    """Reads everything back and computes every checksum again: what does not hold. `tell` hears of bytes read."""
    wrong: list[str] = []
    with translated(path), closing(_connect(path, _READING_KIB)) as db:
        db.execute("PRAGMA query_only = 1")
        after = 0
        while rows := items.read(
            db, f"item.number > ? AND item.number <= ? + {_PAGE} ORDER BY item.number", (after, after)
        ):
            after = rows[-1][0]
            wrong += [f"{item.kind} {item.id}" for _, item, told in rows if item_sum(item) != told]
            tell(sum(len(item.payload) for _, item, _ in rows))
        wrong += _unsound_chunks(db, tell)
    return wrong


def _unsound_chunks(db: sqlite3.Connection, tell: Callable[[int], None]) -> list[str]:
    wrong, sizes = [], dict[int, int]()
    for number, offset, crc, data in db.execute('SELECT attachment, "offset", crc32, data FROM chunk ORDER BY rowid'):
        if offset != sizes.get(number, 0) or zlib.crc32(data) != crc:
            wrong.append(f"attachment {number} at {offset}")
        sizes[number] = offset + len(data)
        tell(len(data))
    for number, received in db.execute("SELECT number, received FROM attachment WHERE state = 'done'"):
        if sizes.get(number, 0) != received:
            wrong.append(f"attachment {number} is {sizes.get(number, 0)} bytes long")
    return wrong


def intact(path: Path) -> list[str]:
    """SQLite's own check of the whole file."""
    with translated(path), closing(_connect(path, _READING_KIB)) as db:
        found = [str(row[0]) for row in db.execute("PRAGMA integrity_check(10)")]
        found += [f"{row[0]} {row[1]} has no {row[2]}" for row in db.execute("PRAGMA foreign_key_check")]
    return [line for line in found if line != "ok"]


def _begin(path: Path, identity: Identity, source: str) -> None:
    new = path.with_name(path.name + ".new")
    for stale in (path, new, *(beside(each, suffix) for each in (path, new) for suffix in SIDECARS)):
        stale.unlink(missing_ok=True)
    os.close(os.open(new, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    with closing(sqlite3.connect(new, isolation_level=None)) as db:
        db.execute(f"PRAGMA page_size = {PAGE_SIZE}")
        lay_out(db, identity)
        db.execute("INSERT INTO meta VALUES (?, ?)", (FROM, source))
    new.rename(path)
    sync_folder(path.parent)


def _connect(path: Path, cache: int = _CACHE_KIB) -> sqlite3.Connection:
    db = sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", uri=True, isolation_level=None, timeout=2.0)
    try:
        for pragma in (f"cache_size = -{cache}", "synchronous = OFF", "foreign_keys = 1", "trusted_schema = 0"):
            db.execute(f"PRAGMA {pragma}")
        db.execute("PRAGMA journal_mode = TRUNCATE").fetchone()
    except BaseException:
        db.close()
        raise
    return db


def _meta(db: sqlite3.Connection, key: str) -> str | None:
    row = db.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
    return None if row is None else str(row[0])
