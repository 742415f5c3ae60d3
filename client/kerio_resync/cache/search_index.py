"""The full-text index of a cache, for `browse`.

It is an FTS5 table in a file of its own.

The file is `cache.db.search` beside the cache, readable by its owner only. It has the texts of all items, so that a
result can show where a word is. It is derived: a damaged or foreign one is deleted and built again. An update changes
only what has changed: each indexed item has a mark, a hash of its id and version, because row numbers get a new meaning
when a rebuild replaces the cache. Each batch is one transaction, so an interrupted update continues later.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, suppress
from functools import cache
from hashlib import blake2b
from pathlib import Path
from typing import Final, NamedTuple

from kerio_resync.cache.browse_connection import connect_readonly
from kerio_resync.cache.bulk_sql import json_array
from kerio_resync.cache.connection import BUSY_TIMEOUT_SECONDS
from kerio_resync.cache.db_errors import FOREIGN, map_db_error, mapped_db_errors
from kerio_resync.cache.files import remove_sidecars, with_suffix_appended
from kerio_resync.cache.schema_guard import Shape, restrict, shape_of
from kerio_resync.cache.shared_text import read_text
from kerio_resync.errors import BadSettings, CacheDamaged
from kerio_resync.filesystem import real_place, require_regular

SUFFIX: Final = ".search"
APPLICATION_ID: Final = 0x4B525349  # "KRSI"
USER_VERSION: Final = 1
MAX_TEXT_CHARS: Final = 256 * 1024  # of one item; a longer text is a log or data
BATCH_ITEMS: Final = 100
_TABLES: Final = (
    "CREATE VIRTUAL TABLE item_text USING fts5 (title, people, body, tokenize = 'unicode61 remove_diacritics 2')",
    "CREATE TABLE indexed (number INTEGER PRIMARY KEY, mark BLOB NOT NULL) STRICT",
)
Tell = Callable[[int, int], bool]
"""Called with the items done and all items after each batch; False ends the update."""


class _Changes(NamedTuple):
    """Row numbers of items to take out of the index, and the marks of those to add."""

    remove: list[int]
    add: dict[int, bytes]


def index_path(cache_path: Path) -> Path:
    """Return the path of the index of this cache."""
    return with_suffix_appended(real_place(cache_path), SUFFIX)


def update_index(cache_path: Path, html_to_text: Callable[[str], str], tell: Tell) -> Path:
    """Make the index agree with the cache, and return its path.

    CacheDamaged (of the cache), CacheInUse, NotEnoughSpace, DiskTrouble; BadSettings without FTS5 in SQLite.
    """
    path = index_path(cache_path)
    require_regular((path,))
    try:
        _shape()
    except sqlite3.OperationalError as error:
        raise BadSettings("the SQLite of this Python has no full-text search (FTS5); use --no-search") from error
    for last_try in (False, True):
        try:
            with closing(_open(path)) as index, closing(connect_readonly(cache_path)) as cache_db:
                cache_db.set_progress_handler(None, 0)  # the shape of the cache has been checked
                _update(index, cache_db, cache_path, html_to_text, tell)
            return path
        except FOREIGN as error:
            mapped = map_db_error(error, path)
            if last_try or not isinstance(mapped, CacheDamaged):
                raise mapped from error
            remove_index(path)
    raise AssertionError


def remove_index(path: Path) -> None:
    """Delete an index; the next update builds it again."""
    path.unlink(missing_ok=True)
    remove_sidecars(path)


def _open(path: Path) -> sqlite3.Connection:
    """Open the index.

    A missing, damaged or foreign file is replaced by an empty index.
    """
    if path.exists():
        db = _connect(path)
        with suppress(sqlite3.DatabaseError):
            if _is_sound(db):
                path.chmod(0o600)
                return db
        locked = _is_locked(db)
        db.close()
        if locked:
            raise sqlite3.OperationalError("database is locked")
        remove_index(path)
    remove_sidecars(path)
    os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    db = _connect(path)
    try:
        db.execute("BEGIN IMMEDIATE")
        _create(db)
        db.execute("COMMIT")
    except BaseException:
        db.close()
        raise
    return db


def _connect(path: Path) -> sqlite3.Connection:
    uri = f"{path.absolute().as_uri()}?mode=rw"
    db = sqlite3.connect(uri, uri=True, isolation_level=None, timeout=BUSY_TIMEOUT_SECONDS)
    restrict(db, path)
    db.set_progress_handler(None, 0)
    db.execute("PRAGMA synchronous = NORMAL")
    return db


def _is_locked(db: sqlite3.Connection) -> bool:
    try:
        db.execute("PRAGMA schema_version").fetchone()
    except sqlite3.OperationalError as error:
        return error.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
    except sqlite3.DatabaseError:
        pass
    return False


def _is_sound(db: sqlite3.Connection) -> bool:
    marks = [db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version")]
    if marks != [APPLICATION_ID, USER_VERSION] or shape_of(db, views=True) != _shape():
        return False
    sound: bool = db.execute("PRAGMA quick_check(1)").fetchone()[0] == "ok"
    return sound


@cache
def _shape() -> Shape:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as db:
        _create(db)
        return shape_of(db, views=True)


def _create(db: sqlite3.Connection) -> None:
    for statement in _TABLES:
        db.execute(statement)
    db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    db.execute(f"PRAGMA user_version = {USER_VERSION}")


def _update(
    index: sqlite3.Connection,
    cache_db: sqlite3.Connection,
    cache_path: Path,
    html_to_text: Callable[[str], str],
    tell: Tell,
) -> None:
    with mapped_db_errors(cache_path):
        wanted = _marks(cache_db)
    changes = _compare(index, wanted)
    numbers = sorted(changes.add, reverse=True)
    done, total = 0, len(numbers)
    index.execute("BEGIN IMMEDIATE")
    try:
        _remove(index, changes.remove)
        index.execute("COMMIT")
        for batch in _batches(numbers):
            with mapped_db_errors(cache_path):
                stored = _read(cache_db, batch)
            rows = [_indexed_row(row, html_to_text) for row in stored]
            index.execute("BEGIN IMMEDIATE")
            index.executemany("INSERT INTO item_text (rowid, title, people, body) VALUES (?, ?, ?, ?)", rows)
            index.executemany("INSERT INTO indexed VALUES (?, ?)", [(row[0], changes.add[row[0]]) for row in rows])
            index.execute("COMMIT")
            done += len(batch)
            if not tell(done, total):
                return
    except BaseException:
        if index.in_transaction:
            with suppress(sqlite3.Error):
                index.execute("ROLLBACK")
        raise


def _marks(cache_db: sqlite3.Connection) -> dict[int, bytes]:
    """Return the mark of each item.

    Both queries read indexes only, not the large rows.
    """
    ids = dict(cache_db.execute("SELECT number, id FROM item ORDER BY id"))
    versions = cache_db.execute("SELECT number, version FROM item INDEXED BY item_by_kind")
    return {number: _mark(ids[number], version) for number, version in versions if number in ids}


def _compare(index: sqlite3.Connection, wanted: dict[int, bytes]) -> _Changes:
    remove = []
    for number, mark in index.execute("SELECT number, mark FROM indexed"):
        if wanted.get(number) == mark:
            del wanted[number]
        else:
            remove.append(number)
    return _Changes(remove, wanted)


def _mark(item_id: str, version: str) -> bytes:
    return blake2b(f"{len(item_id)} {item_id} {version}".encode(), digest_size=16).digest()


def _batches(numbers: Sequence[int]) -> Iterator[Sequence[int]]:
    for start in range(0, len(numbers), BATCH_ITEMS):
        yield numbers[start : start + BATCH_ITEMS]


def _remove(index: sqlite3.Connection, numbers: Sequence[int]) -> None:
    for table, key in (("item_text", "rowid"), ("indexed", "number")):
        index.executemany(f"DELETE FROM {table} WHERE {key} = ?", [(number,) for number in numbers])


def _read(cache_db: sqlite3.Connection, numbers: Sequence[int]) -> list[tuple[object, ...]]:
    columns = ", ".join(f"CAST({name} AS BLOB)" for name in ("title", "who", "recipients", "payload", "text", "html"))
    return cache_db.execute(
        f"SELECT number, {columns}, text_at, text_bytes, html_at, html_bytes FROM item"
        " WHERE number IN (SELECT value FROM json_each(?))",
        (json_array(numbers),),
    ).fetchall()


def _indexed_row(row: Sequence[object], html_to_text: Callable[[str], str]) -> tuple[int, str, str, str]:
    number, title, who, recipients, payload, text, html, text_at, text_bytes, html_at, html_bytes = row
    body = read_text(payload, text, text_at, text_bytes)  # type: ignore[arg-type]
    if not body:
        page = read_text(payload, html, html_at, html_bytes)  # type: ignore[arg-type]
        body = html_to_text(page[: 4 * MAX_TEXT_CHARS]) if page else ""
    title, who, recipients = (str(value, errors="replace") for value in (title, who, recipients))  # type: ignore[call-overload]
    return number, title, f"{who} {recipients}", body[:MAX_TEXT_CHARS].replace("\0", " ")  # type: ignore[return-value]
