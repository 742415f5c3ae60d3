"""Whether a cache file is sound: SQLite's own check, and every checksum computed again."""

from __future__ import annotations

import hashlib
import sqlite3
from dataclasses import dataclass
from typing import Final, get_args

from kerio_resync.cache import outbox
from kerio_resync.cache.facts import ChangeState
from kerio_resync.cache.items import read
from kerio_resync.cache.sums import item_sum, plain_crc32
from kerio_resync.cache.tables import NOTES, Tables
from kerio_resync.model import Item

MOST: Final = 1000  # lines; beyond that nobody reads
_SLICE: Final = 200
STATES: Final[tuple[ChangeState, ...]] = get_args(ChangeState)


@dataclass(frozen=True, slots=True)
class Damage:
    """What is wrong, in a line. `item`: as it stands, if it is one of which that can be told."""

    line: str
    item: Item | None = None


_HEADING: Final = "*** in database main ***\n"


def structure(db: sqlite3.Connection) -> list[Damage]:
    return _ask(db, f"PRAGMA integrity_check({MOST})", "PRAGMA foreign_key_check")


def written(tables: Tables) -> list[Damage]:
    """The same for what was written since the structure was found sound, which is all of it if it never was."""
    if not tables.only_noted():
        return structure(tables.db)
    return [
        each
        for name in NOTES
        for each in _ask(tables.db, f"PRAGMA integrity_check({name})", f"PRAGMA foreign_key_check({name})")
    ]


def _ask(db: sqlite3.Connection, check: str, references: str) -> list[Damage]:
    try:
        found = [str(row[0]).removeprefix(_HEADING) for row in db.execute(check)]
        orphans = [f"{row[0]} {row[1]} has no {row[2]}" for row in db.execute(references)]
    except (sqlite3.Error, UnicodeDecodeError) as error:
        return [Damage(f"the file can't be checked: {error}")]
    return [Damage(line) for line in (found if found != ["ok"] else []) + orphans]


def items(db: sqlite3.Connection, after: int) -> tuple[list[Damage], int | None]:
    """Checks the next items by number, contents included: (what is wrong, where to go on or None at the end)."""
    found: list[Damage] = []
    try:
        numbers = [
            row[0]
            for row in db.execute("SELECT number FROM item WHERE number > ? ORDER BY number LIMIT ?", (after, _SLICE))
        ]
    except sqlite3.Error as error:
        return [Damage(f"items after number {after} can't be read: {error}")], None
    for number in numbers:
        try:
            ((_, item, told),) = read(db, "item.number = ?", (number,))
            if item_sum(item) != told:
                found.append(Damage(f"{item.kind} {item.id}: its checksum does not hold", item))
            found += [Damage(f"{item.kind} {item.id}: {each}", item) for each in _contents(db, number)]
        except (sqlite3.Error, ValueError, TypeError) as error:
            found.append(Damage(f"item number {number} can't be read: {error}"))
    return found, numbers[-1] if len(numbers) == _SLICE else None


def changes(db: sqlite3.Connection) -> list[Damage]:
    try:
        found = outbox.changes(db, STATES)
        broken = [each.uuid for each in found if not change_holds(db, each)]
    except (sqlite3.Error, ValueError, TypeError) as error:
        return [Damage(f"the local changes can't be read: {error}")]
    return [Damage(f"local change {each}: its checksum does not hold") for each in broken]


def change_holds(db: sqlite3.Connection, change: outbox.Change) -> bool:
    """Whether a local change is as it was recorded, with every file whole."""
    return outbox.holds(db, change) and all(
        holds(db, "outbox_chunk", each.key, each.size, each.sha256) for each in change.files
    )


def holds(db: sqlite3.Connection, table: str, attachment: int, size: int, told: bytes | None) -> bool:
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
        if (state == "done" and told is None) or not holds(db, "chunk", number, received, told)
    ]
