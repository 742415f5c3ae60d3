"""Queries of a cache for exports: folders, items by folder, and contents.

Each takes the connection of the file and is run by its writer, as those of `queries`. A page has at most about 8 MiB
with the small contents that it includes. Contents are checked against their checksums.
"""

from __future__ import annotations

import hashlib
import sqlite3
from array import array
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from kerio_resync.cache import compression
from kerio_resync.cache.bulk_sql import json_array
from kerio_resync.cache.checksums import crc32
from kerio_resync.errors import CacheDamaged
from kerio_resync.model import Attachment, Folder, Kind

PAGE_BYTES: Final = 8 * 1024 * 1024
INLINE_BYTES: Final = 1024 * 1024  # larger contents are read in chunks while they are written


class FolderRow(NamedTuple):
    """A folder, also one that exists only here; `number` is its row's."""

    number: int
    folder: Folder
    path: str


class ItemKeys(NamedTuple):
    """The items of a folder, oldest first: their row numbers.

    `fingerprint`: of their ids and versions. `size`: bytes as the server states them.
    """

    numbers: array[int]
    fingerprint: bytes
    size: int


class ContentRow(NamedTuple):
    """An attachment, photo or source of an item.

    `size`: the stored bytes. `data`: the content if it is small. `problem`: why the content is not stored, or "".
    """

    key: int
    attachment: Attachment
    role: str
    size: int
    problem: str
    data: bytes | None = None


class ItemRow(NamedTuple):
    """An item with its contents.

    `date`: ISO 8601, as in `model.Item`; `contents`: attachments, a photo, a source.
    """

    number: int
    id: str
    kind: Kind
    version: str
    title: str
    date: str | None
    size: int
    seen: bool
    flagged: bool
    answered: bool
    draft: bool
    payload: bytes
    contents: tuple[ContentRow, ...] = ()


_SIZE: Final = ItemRow._fields.index("size")


def folders(db: sqlite3.Connection) -> tuple[FolderRow, ...]:
    """Return all folders by path."""
    rows = db.execute(
        "SELECT number, path, id, parent_id, name, kind, role, place, owner, readable, count, unread, size"
        " FROM folder ORDER BY path, id"
    )
    return tuple(FolderRow(number, Folder(*fields), path) for number, path, *fields in rows)


def item_keys(db: sqlite3.Connection, folder: int, kind: Kind, since: str | None) -> ItemKeys:
    """Return the items of a kind in the folder with this row number.

    `since`: an ISO 8601 date; older mails and notes are left out, and events and tasks that ended before. Items without
    a date stay, and so do series, whose last event is not known here.
    """
    rows = db.execute(
        "SELECT number, id, version, size FROM placement JOIN item ON item.number = placement.item"
        " WHERE placement.folder = :folder AND kind = :kind AND"
        ' (:since IS NULL OR date IS NULL OR date >= :since OR "end" >= :since'
        " OR (kind IN ('event', 'task') AND coalesce(json_extract(details, '$.recurring'), 0)))"
        " ORDER BY date, number",
        {"folder": folder, "kind": kind, "since": since},
    )
    numbers, size, digest = array("q"), 0, hashlib.sha256()
    for number, item_id, version, item_size in rows:
        numbers.append(number)
        size += item_size
        digest.update(f"{len(item_id)} {item_id} {version}\n".encode())
    return ItemKeys(numbers, digest.digest(), size)


class ItemPage(NamedTuple):
    """Items in the order of the request.

    `considered`: how many of the requested ones the page accounts for.
    """

    items: tuple[ItemRow, ...]
    considered: int


def item_page(db: sqlite3.Connection, numbers: Sequence[int]) -> ItemPage:
    """Return the first of the items with these row numbers, at most about 8 MiB.

    Items that are no longer stored are left out.
    """
    rows = db.execute(
        "SELECT wanted.key, number, item.id, kind, version, title, date, size, seen, flagged, answered, draft,"
        " CAST(payload AS BLOB) FROM json_each(?) AS wanted JOIN item ON item.number = wanted.value"
        " ORDER BY wanted.key",
        (json_array(numbers),),
    )
    page: list[tuple[Any, ...]] = []
    size, considered = 0, len(numbers)
    for place, *columns in rows:
        page.append(tuple(columns))
        size += len(columns[-1]) + min(columns[_SIZE], INLINE_BYTES)
        if size >= PAGE_BYTES:
            considered = place + 1
            break
    contents = _contents(db, [columns[0] for columns in page])
    items = tuple(
        ItemRow._make((*head, *map(bool, flags), payload, contents.get(head[0], ())))
        for head, flags, payload in ((columns[:7], columns[7:11], columns[11]) for columns in page)
    )
    return ItemPage(items, considered)


def _contents(db: sqlite3.Connection, numbers: Sequence[int]) -> dict[int, tuple[ContentRow, ...]]:
    rows = db.execute(
        "SELECT item, number, received, state, reason, id, url, name, content_type, content_id, size, role"
        " FROM attachment WHERE item IN (SELECT value FROM json_each(?)) AND state <> 'source' ORDER BY item, ordinal",
        (json_array(numbers),),
    ).fetchall()
    small: list[int] = []
    room = PAGE_BYTES
    for _, key, received, state, *_ in rows:
        if state == "done" and received <= min(INLINE_BYTES, room):
            small.append(key)
            room -= received
    data = _small_contents(db, small)
    contents: dict[int, tuple[ContentRow, ...]] = {}
    for item, key, received, state, reason, *fields in rows:
        problem = "" if state == "done" else reason or "it is not downloaded"
        row = ContentRow(key, Attachment(*fields), fields[-1], received, problem, data.get(key))
        contents[item] = (*contents.get(item, ()), row)
    return contents


def _small_contents(db: sqlite3.Connection, keys: Sequence[int]) -> dict[int, bytes]:
    data = dict.fromkeys(keys, b"")
    rows: Any = db.execute(
        "SELECT attachment, data, crc32, size FROM chunk WHERE attachment IN (SELECT value FROM json_each(?))"
        ' ORDER BY attachment, "offset"',
        (json_array(keys),),
    )
    for key, *chunk in rows:
        data[key] += _checked(*chunk)
    return data


def content_chunk(db: sqlite3.Connection, key: int, offset: int) -> bytes:
    """Return the chunk of a content at `offset`, b"" if there is none."""
    sql = 'SELECT data, crc32, size FROM chunk WHERE attachment = ? AND "offset" = ?'
    row = db.execute(sql, (key, offset)).fetchone()
    return _checked(*row) if row else b""


def _checked(data: bytes, checksum: int, size: int) -> bytes:
    """Return the content of a stored chunk: `size` bytes."""
    if crc32(data) != checksum:
        raise CacheDamaged("an attachment does not have its checksum; `kerio-resync verify --repair` fetches it again")
    return compression.decompress(data, size)
