"""The proof that a database made from a 7.1 file holds what was put into it: everything is read back through SQLite.

Rows of items and attachments are compared with the checksums that were made of them when they were put, by this very
process (`Written`); those that an earlier run put are proven by the checksums that the database itself has. Each chunk
holds the CRC that was made of it before it was written, and a content has the length that the old file says.
"""

from __future__ import annotations

import sqlite3
from array import array
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Final

from kerio_resync.cache.checksums import item_checksum, plain_crc32
from kerio_resync.cache.db_errors import mapped_db_errors
from kerio_resync.cache.format71.target import ATTACHMENT_COLUMNS, Written, connect
from kerio_resync.cache.write import items

_PAGE: Final = 100
_LAST: Final = 2**63 - 1
_AS_PUT: Final = items.COLUMNS.replace(" extra, payload", " CAST(extra AS BLOB), CAST(payload AS BLOB)")
Told = Callable[[int], None]


def sound(path: Path, told: Told, written: Written | None = None) -> list[str]:
    """All of it, in one thread: what does not hold. `told` hears of bytes read."""
    return [*wrong_items(path, told, written), *wrong_contents(path, told)]


def wrong_items(path: Path, told: Told, written: Written | None = None) -> list[str]:
    """Which items and attachments do not hold."""
    with mapped_db_errors(path), closing(_reading(path)) as db:
        wrong = _by_checksum(db, written.item if written else _LAST, told)
        if written is not None:
            wrong += _differing(db, f"{_AS_PUT} FROM item", written.item, written.items, told, "item")
            columns = f"{ATTACHMENT_COLUMNS} FROM attachment"
            wrong += _differing(db, columns, written.attachment, written.attachments, told, "attachment")
        return wrong


def wrong_contents(path: Path, told: Told, part: int = 0, parts: int = 1) -> list[str]:
    """Which contents do not hold; of one of several parts that may be proven side by side."""
    with mapped_db_errors(path), closing(_reading(path)) as db:
        first, last = (_boundary(db, each, parts) for each in (part, part + 1))
        return list(_unsound(db, first, last, told))


def intact(path: Path) -> list[str]:
    """SQLite's own check of the whole file."""
    with mapped_db_errors(path), closing(connect(path)) as db:
        found = [str(row[0]) for row in db.execute("PRAGMA integrity_check(10)")]
        found += [f"{row[0]} {row[1]} has no {row[2]}" for row in db.execute("PRAGMA foreign_key_check")]
    return [line for line in found if line != "ok"]


def _reading(path: Path) -> sqlite3.Connection:
    db = connect(path)
    db.execute("PRAGMA query_only = 1")
    return db


def _by_checksum(db: sqlite3.Connection, before: int, told: Told) -> list[str]:
    """Of the items with numbers below `before`."""
    wrong: list[str] = []
    after = 0
    while rows := items.read_item_row(
        db,
        f"item.number > ? AND item.number <= ? + {_PAGE} AND item.number < ? ORDER BY item.number",
        (after, after, before),
    ):
        after = rows[-1][0]
        wrong += [f"{item.kind} {item.id}" for _, item, stored in rows if item_checksum(item) != stored]
        told(sum(len(item.payload) for _, item, _ in rows))
    return wrong


def _differing(db: sqlite3.Connection, what: str, first: int, expected: array[int], told: Told, name: str) -> list[str]:
    wrong, place = [], 0
    for row in db.execute(f"SELECT {what} WHERE number >= ? ORDER BY number", (first,)):
        if row[0] != first + place or place >= len(expected) or hash(row) != expected[place]:
            wrong.append(f"{name} {row[0]}")
        place += 1
        if name == "item":
            told(len(row[-1]))
    if place != len(expected):
        wrong.append(f"{place:,} rows of {name} are here, not {len(expected):,}")
    return wrong


def _boundary(db: sqlite3.Connection, part: int, parts: int) -> int:
    """The attachment that a part begins with."""
    if part in (0, parts):
        return _LAST if part else 0
    row = db.execute(
        "SELECT attachment FROM chunk WHERE rowid >= (SELECT max(rowid) FROM chunk) * ? / ? ORDER BY rowid LIMIT 1",
        (part, parts),
    ).fetchone()
    return int(row[0]) if row else _LAST


def _unsound(db: sqlite3.Connection, first: int, last: int, told: Told) -> Iterator[str]:
    """Chunks and lengths of the attachments from `first` up to before `last`."""
    lengths = db.execute(
        "SELECT number, received FROM attachment WHERE state = 'done' AND number >= ? AND number < ? ORDER BY number",
        (first, last),
    )
    here, size = next(lengths, None), 0
    begin = db.execute(
        'SELECT rowid FROM chunk WHERE attachment >= ? ORDER BY attachment, "offset" LIMIT 1', (first,)
    ).fetchone()
    for number, offset, crc, data in db.execute(
        'SELECT attachment, "offset", crc32, data FROM chunk WHERE rowid >= ? ORDER BY rowid', begin or (_LAST,)
    ):
        if number >= last:
            break
        while here is not None and here[0] < number:
            if size != here[1]:
                yield f"attachment {here[0]} is {size} bytes long"
            here, size = next(lengths, None), 0
        if here is None or here[0] != number or offset != size or plain_crc32(data) != crc:
            yield f"attachment {number} at {offset}"
        size = offset + len(data)
        told(len(data))
    while here is not None:
        if size != here[1]:
            yield f"attachment {here[0]} is {size} bytes long"
        here, size = next(lengths, None), 0
