"""Reads the local changes and local items of a file of format 7.2."""

from __future__ import annotations

import hashlib
import sqlite3

from kerio_resync.cache.checksums import plain_crc32
from kerio_resync.cache.format72.rows import changes, items
from kerio_resync.cache.mutations import LocalChange, LocalFile
from kerio_resync.model import Item


def read_change(db: sqlite3.Connection, number: int) -> LocalChange:
    """Return a local change. ValueError if it does not match its checksum."""
    found = changes(db, "number = ?", (number,))
    if not found or not found[0].intact:
        raise ValueError("wrong checksum")
    return found[0].change


def local_item_numbers(db: sqlite3.Connection) -> list[int]:
    """Return the row numbers of the items in local folders."""
    sql = "SELECT number FROM item WHERE folder IN (SELECT number FROM folder WHERE standing = 'local')"
    return [row[0] for row in db.execute(sql)]


def read_local_item(db: sqlite3.Connection, number: int) -> tuple[Item, tuple[LocalFile, ...]]:
    """Return an item with its files. ValueError if a checksum does not match."""
    ((_, _, item, contents),) = items(db, "item.number = ?", (number,))
    files = [
        LocalFile(file.name, file.content_type, _content(db, content.number, content.received), file.content_id)
        for file, content in zip(item.attachments, contents, strict=True)
    ]
    return item, tuple(files)


def _content(db: sqlite3.Connection, attachment: int, received: int) -> bytes:
    content = bytearray()
    sql = 'SELECT chunk."offset", crc32, data FROM chunk WHERE attachment = ? ORDER BY 1'
    for offset, crc, data in db.execute(sql, (attachment,)):
        if offset != len(content) or plain_crc32(data) != crc:
            raise ValueError("wrong checksum")
        content += data
    (sha256,) = db.execute("SELECT sha256 FROM attachment WHERE number = ?", (attachment,)).fetchone()
    if len(content) != received or sha256 not in (None, hashlib.sha256(content).digest()):
        raise ValueError("wrong checksum")
    return bytes(content)
