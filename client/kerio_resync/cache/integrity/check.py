"""Checks a cache file: SQLite's own check, and every checksum computed again."""

from __future__ import annotations

import hashlib
import sqlite3
from dataclasses import dataclass
from typing import Final

from kerio_resync.cache import compression, outbox_rows
from kerio_resync.cache.checksums import item_checksum, plain_crc32
from kerio_resync.cache.mutations import LocalChange
from kerio_resync.cache.write.items import read_item_row
from kerio_resync.cache.write.session import UNTRACKED_TABLES, WriteSession
from kerio_resync.errors import CacheDamaged
from kerio_resync.model import Item

MAX_DEFECTS: Final = 1000  # a longer list would not help the user
ITEMS_PER_SLICE: Final = 500
ATTACHMENTS_PER_SLICE: Final = 500
ATTACHMENT_SLICE_BYTES: Final = 64 * 1024 * 1024  # a slice ends here, or after a single larger attachment
_VERIFIED_ITEMS_PER_SLICE: Final = 200
_HEADING: Final = "*** in database main ***\n"

Slice = tuple[list[int], int | None]  # corrupt row numbers; the number after which to continue, None at the end


@dataclass(frozen=True, slots=True)
class Defect:
    """What is wrong, in one line.

    `item`: as it is stored, if the line concerns an item that can be read.
    """

    line: str
    item: Item | None = None


def check_structure(db: sqlite3.Connection) -> list[Defect]:
    """Run SQLite's own check of tables, indexes and references."""
    return _pragma_check(db, f"PRAGMA integrity_check({MAX_DEFECTS})", "PRAGMA foreign_key_check")


def check_since_last(tables: WriteSession) -> list[Defect]:
    """Check the structure of what was written since it was last found sound."""
    if not tables.is_unchanged_since_check():
        return check_structure(tables.db)
    return [
        defect
        for name in UNTRACKED_TABLES
        for defect in _pragma_check(tables.db, f"PRAGMA integrity_check({name})", f"PRAGMA foreign_key_check({name})")
    ]


def _pragma_check(db: sqlite3.Connection, integrity: str, references: str) -> list[Defect]:
    try:
        lines = [str(row[0]).removeprefix(_HEADING) for row in db.execute(integrity)]
        orphans = [
            f"{table} {number} has no {parent}" if number else f"a row of {table} has no {parent}"
            for table, number, parent, _ in db.execute(references)
        ]
    except (sqlite3.Error, UnicodeDecodeError) as error:
        return [Defect(f"the file cannot be checked: {error}")]
    return [Defect(line) for line in (lines if lines != ["ok"] else []) + orphans]


def check_items(db: sqlite3.Connection, after: int) -> tuple[list[Defect], int | None]:
    """Check the items that follow number `after`, with their attachments.

    Return the defects, and the number after which to continue or None at the end.
    """
    try:
        sql = "SELECT number FROM item WHERE number > ? ORDER BY number LIMIT ?"
        numbers = [row[0] for row in db.execute(sql, (after, _VERIFIED_ITEMS_PER_SLICE))]
    except sqlite3.Error as error:
        return [Defect(f"items after number {after} cannot be read: {error}")], None
    defects: list[Defect] = []
    for number in numbers:
        try:
            ((_, item, checksum),) = read_item_row(db, "item.number = ?", (number,))
            if item_checksum(item) != checksum:
                defects.append(Defect(f"{item.kind} {item.id}: its checksum does not match", item))
            defects += [Defect(f"{item.kind} {item.id}: {line}", item) for line in _attachment_defects(db, number)]
        except (sqlite3.Error, ValueError, TypeError) as error:
            defects.append(Defect(f"item number {number} cannot be read: {error}"))
    return defects, numbers[-1] if len(numbers) == _VERIFIED_ITEMS_PER_SLICE else None


def check_changes(db: sqlite3.Connection) -> list[Defect]:
    """Check the local changes and their files."""
    try:
        changes = outbox_rows.changes(db, outbox_rows.ALL_STATES)
        corrupt = [change.uuid for change in changes if not change_matches_checksum(db, change)]
    except (sqlite3.Error, ValueError, TypeError) as error:
        return [Defect(f"the local changes cannot be read: {error}")]
    return [Defect(f"local change {uuid}: its checksum does not match") for uuid in corrupt]


def change_matches_checksum(db: sqlite3.Connection, change: LocalChange) -> bool:
    """Return whether a local change is as it was recorded, with complete files."""
    return outbox_rows.is_intact(db, change) and all(
        content_matches_checksum(db, "outbox_chunk", file.key, file.size, file.sha256) for file in change.files
    )


def content_matches_checksum(
    db: sqlite3.Connection, table: str, attachment: int, size: int, sha256: bytes | None
) -> bool:
    """Return whether the chunks of an attachment are complete and correct.

    They have no gap, match their CRCs, and, decompressed, add up to `size` and `sha256`.
    """
    digest, offset = hashlib.sha256(), 0
    plain_size = "size" if table == "chunk" else "length(data)"
    sql = f'SELECT {table}."offset", crc32, data, {plain_size} FROM {table} WHERE attachment = ? ORDER BY 1'
    for start, crc, data, chunk_size in db.execute(sql, (attachment,)):
        if start != offset or plain_crc32(data) != crc:
            return False
        try:
            digest.update(compression.decompress(data, chunk_size))
        except CacheDamaged:
            return False
        offset += chunk_size
    return offset == size and (sha256 is None or digest.digest() == sha256)


def _attachment_defects(db: sqlite3.Connection, item: int) -> list[str]:
    rows = db.execute(
        "SELECT number, ordinal, received, sha256, state FROM attachment WHERE item = ?", (item,)
    ).fetchall()
    return [
        f"attachment {ordinal} does not match its checksum"
        for number, ordinal, received, sha256, state in rows
        if (state == "done" and sha256 is None) or not content_matches_checksum(db, "chunk", number, received, sha256)
    ]


def corrupt_items(db: sqlite3.Connection, after: int) -> Slice:
    """Return which of the next ITEMS_PER_SLICE items do not match their checksums."""
    rows = read_item_row(db, "item.number > ? ORDER BY item.number LIMIT ?", (after, ITEMS_PER_SLICE))
    corrupt = [number for number, item, checksum in rows if item_checksum(item) != checksum]
    return corrupt, rows[-1][0] if rows else None


def corrupt_attachments(db: sqlite3.Connection, after: int) -> Slice:
    """Return which of the next complete attachments do not match.

    A slice ends after ATTACHMENTS_PER_SLICE attachments or ATTACHMENT_SLICE_BYTES.
    """
    rows = db.execute(
        "SELECT number, received, sha256 FROM attachment WHERE state = 'done' AND number > ? ORDER BY number LIMIT ?",
        (after, ATTACHMENTS_PER_SLICE),
    ).fetchall()
    size, last, corrupt = 0, None, []
    for number, received, sha256 in rows:
        if size >= ATTACHMENT_SLICE_BYTES:
            break
        if not content_matches_checksum(db, "chunk", number, received, sha256):
            corrupt.append(number)
        size, last = size + received, number
    return corrupt, last
