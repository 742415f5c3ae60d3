"""What a cache tells: rows as values, and the queries behind them. Nothing here holds more than one page of rows.

Each function takes the open connection and is run by the file's one owner (`store.py`).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from kerio_resync.cache.bulk_sql import json_array, record, select_in
from kerio_resync.cache.mutations import AttachmentState
from kerio_resync.model import KINDS, Attachment, Folder, Kind

READ_PAGE_BYTES: Final = 8 * 1024 * 1024


class QueueCursor(NamedTuple):
    """Where a walk over the wanted items stands: its last row. `date` is '' if it had none."""

    rank: int
    date: str
    id: str


class FolderRow(NamedTuple):
    """`rank`: lower is fetched earlier. `position`: where its listing goes on. `listed`: its listing is complete."""

    folder: Folder
    path: str
    rank: int
    position: bytes | None
    listed: bool


class QueuedItem(NamedTuple):
    """An item to fetch. `keep_contents`: it was moved, and its contents are here."""

    id: str
    folder_id: str
    kind: Kind
    watermark: int
    size: int = 0
    date: str | None = None
    has_attachment: bool = False
    rank: int = 0
    keep_contents: bool = False

    @property
    def cursor(self) -> QueueCursor:
        return QueueCursor(self.rank, self.date or "", self.id)


class QueuedAttachment(NamedTuple):
    """A content to fetch. `key` is the attachment's number, `received` how many bytes from its start are here."""

    key: int
    item_id: str
    folder_id: str
    attachment: Attachment
    received: int
    etag: str


@dataclass(frozen=True, slots=True)
class Totals:
    """Counts, and bytes: `item_bytes` and `wanted_bytes` as the server told the sizes, `attachment_bytes` as stored.

    `folders` are those that can hold items and may be read: each of them is listed once.
    """

    folders: int
    folders_listed: int
    items: dict[Kind, int]
    item_bytes: int
    queued_items: int
    queued_item_bytes: int
    attachments: int
    attachment_bytes: int
    queued_attachments: int
    queued_attachment_bytes: int
    skipped: int

    @property
    def bytes_here(self) -> int:
        """Of what the server told, how much is here. A mail's size is that of its attachments too."""
        return max(self.attachment_bytes, self.item_bytes - self.queued_attachment_bytes)


class StoredAttachment(NamedTuple):
    """`sha256` of the whole content if it is here; `key` is its number, for `Store.content`."""

    key: int
    id: str
    role: str
    url: str
    sha256: bytes | None
    state: AttachmentState


class StoredItem(NamedTuple):
    id: str
    kind: Kind
    folder_id: str
    watermark: int
    size: int
    payload: bytes
    extra: bytes | None
    attachments: tuple[StoredAttachment, ...]


class SkippedRow(NamedTuple):
    scope: str
    id: str
    reason: str


def meta(db: sqlite3.Connection, key: str) -> str | None:
    row = db.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
    return str(row[0]) if row else None


def folders(db: sqlite3.Connection) -> tuple[FolderRow, ...]:
    """The server's folders by rank and path."""
    rows = db.execute(
        "SELECT id, parent_id, name, kind, role, place, owner, readable, count, unread, size, CAST(payload AS BLOB),"
        " CAST(extra AS BLOB), path, rank, position, listed"
        " FROM folder WHERE standing = 'server' ORDER BY rank, path, id"
    )
    return tuple(
        FolderRow(record(Folder, *row[:7], bool(row[7]), *row[8:13]), row[13], row[14], row[15], bool(row[16]))
        for row in rows
    )


def queued_items(db: sqlite3.Connection, limit: int, after: QueueCursor | None = None) -> tuple[QueuedItem, ...]:
    """The next rows by rank, newest first, id. Three seeks, because no index serves `<` and `>` in one condition."""
    rows: list[tuple[Any, ...]] = []
    for condition, values in _beyond(after):
        if len(rows) < limit:
            sql = (
                "SELECT wanted.id, folder.id, wanted.kind, watermark, wanted.size, date, has_attachment, wanted.rank,"
                " keep"
                f" FROM wanted JOIN folder ON folder.number = wanted.folder WHERE {condition}"
                " ORDER BY wanted.rank, date DESC, wanted.id LIMIT ?"
            )
            rows += db.execute(sql, (*values, limit - len(rows)))
    return tuple(record(QueuedItem, *row[:5], row[5] or None, bool(row[6]), row[7], bool(row[8])) for row in rows)


def _beyond(after: QueueCursor | None) -> tuple[tuple[str, tuple[Any, ...]], ...]:
    if after is None:
        return (("TRUE", ()),)
    return (
        ("wanted.rank = ? AND date = ? AND wanted.id > ?", (after.rank, after.date, after.id)),
        ("wanted.rank = ? AND date < ?", (after.rank, after.date)),
        ("wanted.rank > ?", (after.rank,)),
    )


def queued_attachments(db: sqlite3.Connection, limit: int, after: int | None = None) -> tuple[QueuedAttachment, ...]:
    rows = db.execute(
        "SELECT attachment.number, item.id, folder.id, attachment.id, url, attachment.name, content_type, content_id,"
        " attachment.size, attachment.role, received, etag FROM attachment"
        " JOIN item ON item.number = attachment.item JOIN folder ON folder.number = item.folder"
        " WHERE attachment.state = 'wanted' AND attachment.number > ? ORDER BY attachment.number LIMIT ?",
        (after or 0, limit),
    )
    return tuple(record(QueuedAttachment, *row[:3], record(Attachment, *row[3:10]), *row[10:]) for row in rows)


def totals(db: sqlite3.Connection) -> Totals:
    """Reads indexes throughout: at a million items about a second, so not for every tick of a display."""

    def one(sql: str) -> tuple[int, ...]:
        found: tuple[int, ...] = db.execute(sql).fetchone()
        return found

    local = "(SELECT number FROM folder WHERE standing = 'local')"
    items: dict[Kind, int] = dict.fromkeys(KINDS, 0)
    item_bytes = 0
    for kind, count, size in db.execute("SELECT kind, count(*), sum(size) FROM item GROUP BY kind"):
        items[kind] = count
        item_bytes += size
    for kind, count, size in db.execute(
        f"SELECT kind, count(*), sum(size) FROM item WHERE folder IN {local} GROUP BY kind"
    ):
        items[kind] -= count
        item_bytes -= size
    here = f"FROM attachment JOIN item ON item.number = attachment.item WHERE item.folder IN {local}"
    done = one("SELECT count(*), coalesce(sum(received), 0) FROM attachment")
    less = one(f"SELECT count(*), coalesce(sum(received), 0) {here}")
    return record(
        Totals,
        *one(
            "SELECT count(*), coalesce(sum(listed), 0) FROM folder"
            " WHERE standing = 'server' AND kind IS NOT NULL AND readable"
        ),
        items,
        item_bytes,
        *one("SELECT count(*), coalesce(sum(size), 0) FROM wanted"),
        *(all_ - some for all_, some in zip(done, less, strict=True)),
        *one("SELECT count(*), coalesce(sum(size), 0) FROM attachment WHERE state = 'wanted'"),
        *one("SELECT (SELECT count(*) FROM skipped) + (SELECT count(*) FROM attachment WHERE state = 'failed')"),
    )


def watermarks(db: sqlite3.Connection, ids: Sequence[str]) -> dict[str, int]:
    """Of those stored: id → version."""
    return dict(select_in(db, "SELECT id, watermark FROM item WHERE id IN (...)", ids))


def places(db: sqlite3.Connection, ids: Sequence[str]) -> dict[str, tuple[str, int]]:
    """Of those stored: id → (the folder's id, version)."""
    rows = select_in(
        db,
        "SELECT item.id, folder.id, watermark FROM item JOIN folder ON folder.number = item.folder"
        " WHERE item.id IN (...)",
        ids,
    )
    return {row[0]: (row[1], row[2]) for row in rows}


def items_not_listed(
    db: sqlite3.Connection, folder_id: str, round_: int, after: int, limit: int
) -> tuple[tuple[int, str], ...]:
    """(number, id) of the folder's next stored items after `after` that `compare` did not meet in `round_`."""
    rows = db.execute(
        "SELECT item.number, item.id FROM item WHERE folder = (SELECT number FROM folder WHERE id = ?)"
        " AND +item.number > ?"  # by the folder's index: the table itself is large
        " AND NOT EXISTS (SELECT 1 FROM seen WHERE seen.item = item.number AND round = ?) ORDER BY 1 LIMIT ?",
        (folder_id, after, round_, limit),
    )
    return tuple(rows.fetchall())


def items(db: sqlite3.Connection, after: tuple[str, str] = ("", ""), limit: int = 500) -> tuple[StoredItem, ...]:
    """Server items by (kind, id), at most 8 MiB or so of them at once; () at the end."""
    rows = db.execute(
        "SELECT item.number, item.id, item.kind, folder.id, watermark, item.size,"
        " CAST(item.payload AS BLOB), CAST(item.extra AS BLOB)"
        " FROM item JOIN folder ON folder.number = item.folder"
        " WHERE (item.kind, item.id) > (?, ?) AND standing <> 'local' ORDER BY item.kind, item.id LIMIT ?",
        (*after, limit),
    )
    found: list[tuple[Any, ...]] = []
    weight = 0
    for row in rows:
        found.append(row)
        weight += len(row[6])
        if weight >= READ_PAGE_BYTES:
            break
    attached = _attachments(db, [row[0] for row in found])
    return tuple(record(StoredItem, *row[1:], attached.get(row[0], ())) for row in found)


def _attachments(db: sqlite3.Connection, numbers: Sequence[int]) -> dict[int, tuple[StoredAttachment, ...]]:
    rows = db.execute(
        "SELECT item, number, id, role, url, sha256, state FROM attachment"
        " WHERE item IN (SELECT value FROM json_each(?)) ORDER BY item, ordinal",
        (json_array(numbers),),
    )
    found: dict[int, tuple[StoredAttachment, ...]] = {}
    for item, *rest in rows:
        found[item] = (*found.get(item, ()), StoredAttachment(*rest))
    return found


def skipped(db: sqlite3.Connection) -> tuple[SkippedRow, ...]:
    """Everything that was left out; contents that could not be had among it, as scope `attachment`."""
    rows = db.execute(
        "SELECT scope, id, reason FROM skipped UNION"
        " SELECT 'attachment', id, reason FROM attachment WHERE state = 'failed' ORDER BY 1, 2"
    )
    return tuple(SkippedRow(*row) for row in rows)


def chunk(db: sqlite3.Connection, table: str, attachment: int, offset: int) -> bytes:
    """The piece of a content that begins at `offset`; b"" where there is none. `table`: chunk or outbox_chunk."""
    sql = f'SELECT data FROM {table} WHERE attachment = ? AND "offset" = ?'
    row = db.execute(sql, (attachment, offset)).fetchone()
    return row[0] if row else b""


def mails_with_message_id(db: sqlite3.Connection, message_id: str) -> tuple[str, ...]:
    rows = db.execute("SELECT id FROM item WHERE kind = 'mail' AND message_id = ? ORDER BY id", (message_id,))
    return tuple(row[0] for row in rows)
