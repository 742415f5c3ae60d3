"""Whether a cache file is sound: SQLite's own check, and every checksum computed again."""

from __future__ import annotations

import hashlib
import sqlite3
from dataclasses import dataclass
from typing import Final, get_args

from kerio_resync.cache import outbox
from kerio_resync.cache.checksums import item_checksum, plain_crc32
from kerio_resync.cache.mutations import ChangeState
from kerio_resync.cache.write.items import read_item_row
from kerio_resync.cache.write.session import UNTRACKED_TABLES, WriteSession
from kerio_resync.model import Item

MAX_DEFECTS: Final = 1000  # lines; beyond that nobody reads
_SLICE: Final = 200
STATES: Final[tuple[ChangeState, ...]] = get_args(ChangeState)


@dataclass(frozen=True, slots=True)
class Defect:
    """What is wrong, in a line. `item`: as it stands, if it is one of which that can be told."""

    line: str
    item: Item | None = None


_HEADING: Final = "*** in database main ***\n"


def check_structure(db: sqlite3.Connection) -> list[Defect]:
    return _ask(db, f"PRAGMA integrity_check({MAX_DEFECTS})", "PRAGMA foreign_key_check")


def check_since_last(tables: WriteSession) -> list[Defect]:
    """The same for what was written since the structure was found sound, which is all of it if it never was."""
    if not tables.is_unchanged_since_check():
        return check_structure(tables.db)
    return [
        each
        for name in UNTRACKED_TABLES
        for each in _ask(tables.db, f"PRAGMA integrity_check({name})", f"PRAGMA foreign_key_check({name})")
    ]


def _ask(db: sqlite3.Connection, check: str, references: str) -> list[Defect]:
    try:
        found = [str(row[0]).removeprefix(_HEADING) for row in db.execute(check)]
        orphans = [f"{row[0]} {row[1]} has no {row[2]}" for row in db.execute(references)]
    except (sqlite3.Error, UnicodeDecodeError) as error:
        return [Defect(f"the file can't be checked: {error}")]
    return [Defect(line) for line in (found if found != ["ok"] else []) + orphans]


def check_items(db: sqlite3.Connection, after: int) -> tuple[list[Defect], int | None]:
    """Checks the next items by number, contents included: (what is wrong, where to go on or None at the end)."""
    found: list[Defect] = []
    try:
        numbers = [
            row[0]
            for row in db.execute("SELECT number FROM item WHERE number > ? ORDER BY number LIMIT ?", (after, _SLICE))
        ]
    except sqlite3.Error as error:
        return [Defect(f"items after number {after} can't be read: {error}")], None
    for number in numbers:
        try:
            ((_, item, told),) = read_item_row(db, "item.number = ?", (number,))
            if item_checksum(item) != told:
                found.append(Defect(f"{item.kind} {item.id}: its checksum does not hold", item))
            found += [Defect(f"{item.kind} {item.id}: {each}", item) for each in _contents(db, number)]
        except (sqlite3.Error, ValueError, TypeError) as error:
            found.append(Defect(f"item number {number} can't be read: {error}"))
    return found, numbers[-1] if len(numbers) == _SLICE else None


def check_changes(db: sqlite3.Connection) -> list[Defect]:
    try:
        found = outbox.changes(db, STATES)
        broken = [each.uuid for each in found if not change_matches_checksum(db, each)]
    except (sqlite3.Error, ValueError, TypeError) as error:
        return [Defect(f"the local changes can't be read: {error}")]
    return [Defect(f"local change {each}: its checksum does not hold") for each in broken]


def change_matches_checksum(db: sqlite3.Connection, change: outbox.Change) -> bool:
    """Whether a local change is as it was recorded, with every file whole."""
    return outbox.is_intact(db, change) and all(
        content_matches_checksum(db, "outbox_chunk", each.key, each.size, each.sha256) for each in change.files
    )


def content_matches_checksum(
    db: sqlite3.Connection, table: str, attachment: int, size: int, told: bytes | None
) -> bool:
    """Whether the stored chunks are whole, without a gap, and together what the checksum says."""
    digest, offset = hashlib.sha256(), 0
    for start, crc, data in _chunks(db, table, attachment):
        if start != offset or plain_crc32(data) != crc:
            return False
        digest.update(data)
        offset += len(data)
    return offset == size and (told is None or digest.digest() == told)


def _chunks(db: sqlite3.Connection, table: str, attachment: int) -> sqlite3.Cursor:
    return db.execute(
        f'SELECT "offset", crc32, data FROM {table} WHERE attachment = ? ORDER BY "offset"', (attachment,)
    )


def _contents(db: sqlite3.Connection, item: int) -> list[str]:
    rows = db.execute(
        "SELECT number, ordinal, received, sha256, state FROM attachment WHERE item = ?", (item,)
    ).fetchall()
    return [
        f"attachment {ordinal} does not hold its checksum"
        for number, ordinal, received, told, state in rows
        if (state == "done" and told is None) or not content_matches_checksum(db, "chunk", number, received, told)
    ]
