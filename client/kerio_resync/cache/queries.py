"""Queries of a cache, and their rows as values.

Each query takes the connection of the file and is run by its writer: `await store.read(queries.meta, "sync_key")`. No
query returns more than a page of rows or about 8 MiB.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple

from kerio_resync.cache.bulk_sql import json_array, select_in
from kerio_resync.cache.mutations import AttachmentState
from kerio_resync.model import KINDS, Attachment, Folder, Kind

READ_PAGE_BYTES: Final = 8 * 1024 * 1024


class QueueCursor(NamedTuple):
    """The last row of a page of the fetch queue. `date` is '' if it has none."""

    rank: int
    date: str
    id: str


class FolderRow(NamedTuple):
    """A folder of the server.

    `position`: where its listing resumes; `listed`: the listing is complete; `rank`: lower is fetched earlier.
    """

    folder: Folder
    path: str
    rank: int
    position: bytes | None
    listed: bool


class QueuedItem(NamedTuple):
    """An item to fetch. `keep_contents`: it was moved, and its attachments are stored."""

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
        """Return the cursor from which the next page continues."""
        return QueueCursor(self.rank, self.date or "", self.id)


class QueuedAttachment(NamedTuple):
    """An attachment to download.

    `key`: its row number; `received`: the bytes that are stored, from its start.
    """

    key: int
    item_id: str
    folder_id: str
    attachment: Attachment
    received: int
    etag: str


@dataclass(frozen=True, slots=True)
class Totals:
    """Counts and bytes of a cache.

    `item_bytes` and `queued_item_bytes` are the server's figures, `attachment_bytes` is stored. `folders` counts those
    that hold items and may be read.
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
        """Return how much of what the server has is stored.

        The size of a mail includes its attachments.
        """
        return max(self.attachment_bytes, self.item_bytes - self.queued_attachment_bytes)


class StoredAttachment(NamedTuple):
    """An attachment of a stored item.

    `key`: its row number, for `Store.content`; `sha256`: None until complete.
    """

    key: int
    id: str
    role: str
    url: str
    sha256: bytes | None
    state: AttachmentState


class StoredItem(NamedTuple):
    """An item of the server.

    `payload`: its struct, canonical JSON; `extra`: members unknown to the reference.
    """

    id: str
    kind: Kind
    folder_id: str
    watermark: int
    size: int
    payload: bytes
    extra: bytes | None
    attachments: tuple[StoredAttachment, ...]


class SkippedRow(NamedTuple):
    """Something that is left out: an item, a folder or an attachment."""

    scope: str
    id: str
    reason: str


def meta(db: sqlite3.Connection, key: str) -> str | None:
    """Return a value of `meta`, None if there is none."""
    row = db.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
    return str(row[0]) if row else None


def folders(db: sqlite3.Connection) -> tuple[FolderRow, ...]:
    """Return the server's folders by rank and path."""
    rows = db.execute(
        "SELECT path, rank, position, listed, id, parent_id, name, kind, role, place, owner, readable, count, unread,"
        " size, CAST(payload AS BLOB), CAST(extra AS BLOB)"
        " FROM folder WHERE standing = 'server' ORDER BY rank, path, id"
    )
    return tuple(
        FolderRow(replace(Folder(*fields), readable=bool(fields[7])), path, rank, position, bool(listed))
        for path, rank, position, listed, *fields in rows
    )


def queued_items(db: sqlite3.Connection, limit: int, after: QueueCursor | None = None) -> tuple[QueuedItem, ...]:
    """Return the next items to fetch after `after`, by rank, newest first, id.

    It takes up to three statements, because no index serves `<` and `>` in one condition.
    """
    rows: list[tuple[Any, ...]] = []
    for condition, values in _conditions(after):
        if len(rows) < limit:
            sql = (
                "SELECT wanted.id, folder.id, wanted.kind, watermark, wanted.size, date, has_attachment, wanted.rank,"
                " keep"
                f" FROM wanted JOIN folder ON folder.number = wanted.folder WHERE {condition}"
                " ORDER BY wanted.rank, date DESC, wanted.id LIMIT ?"
            )
            rows += db.execute(sql, (*values, limit - len(rows)))
    return tuple(
        QueuedItem(item_id, folder_id, kind, watermark, size, date or None, bool(has_attachment), rank, bool(keep))
        for item_id, folder_id, kind, watermark, size, date, has_attachment, rank, keep in rows
    )


def _conditions(after: QueueCursor | None) -> tuple[tuple[str, tuple[Any, ...]], ...]:
    if after is None:
        return (("TRUE", ()),)
    return (
        ("wanted.rank = ? AND date = ? AND wanted.id > ?", (after.rank, after.date, after.id)),
        ("wanted.rank = ? AND date < ?", (after.rank, after.date)),
        ("wanted.rank > ?", (after.rank,)),
    )


def queued_attachments(db: sqlite3.Connection, limit: int, after: int | None = None) -> tuple[QueuedAttachment, ...]:
    """Return the next attachments to download.

    They follow the key `after`, in the order in which their items came.
    """
    rows = db.execute(
        "SELECT attachment.number, item.id, folder.id, received, etag, attachment.id, url, attachment.name,"
        " content_type, content_id, attachment.size, attachment.role FROM attachment"
        " JOIN item ON item.number = attachment.item JOIN folder ON folder.number = item.folder"
        " WHERE attachment.state = 'wanted' AND attachment.number > ? ORDER BY attachment.number LIMIT ?",
        (after or 0, limit),
    )
    return tuple(
        QueuedAttachment(key, item_id, folder_id, Attachment._make(fields), received, etag)
        for key, item_id, folder_id, received, etag, *fields in rows
    )


def totals(db: sqlite3.Connection) -> Totals:
    """Count what is stored, queued and left out.

    It reads whole indexes: about a second for a million items.
    """

    def pair(sql: str) -> tuple[int, int]:
        first, second = db.execute(sql).fetchone()
        return first, second

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
    folders, folders_listed = pair(
        "SELECT count(*), coalesce(sum(listed), 0) FROM folder"
        " WHERE standing = 'server' AND kind IS NOT NULL AND readable"
    )
    queued_items, queued_item_bytes = pair("SELECT count(*), coalesce(sum(size), 0) FROM wanted")
    attachments, attachment_bytes = pair("SELECT count(*), coalesce(sum(received), 0) FROM attachment")
    local_attachments, local_attachment_bytes = pair(
        "SELECT count(*), coalesce(sum(received), 0) FROM attachment"
        f" JOIN item ON item.number = attachment.item WHERE item.folder IN {local}"
    )
    queued_attachments, queued_attachment_bytes = pair(
        "SELECT count(*), coalesce(sum(size), 0) FROM attachment WHERE state = 'wanted'"
    )
    skipped, failed = pair(
        "SELECT (SELECT count(*) FROM skipped), (SELECT count(*) FROM attachment WHERE state = 'failed')"
    )
    return Totals(
        folders, folders_listed, items, item_bytes, queued_items, queued_item_bytes,
        attachments - local_attachments, attachment_bytes - local_attachment_bytes,
        queued_attachments, queued_attachment_bytes, skipped + failed,
    )  # fmt: skip


def watermarks(db: sqlite3.Connection, ids: Sequence[str]) -> dict[str, int]:
    """Return the version of each stored item by id."""
    return dict(select_in(db, "SELECT id, watermark FROM item WHERE id IN (...)", ids))


def places(db: sqlite3.Connection, ids: Sequence[str]) -> dict[str, tuple[str, int]]:
    """Return (folder id, version) of each stored item by id."""
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
    """Return (number, id) of the next items that were not listed in `round_`.

    See `Store.mark_listed`.
    """
    rows = db.execute(
        "SELECT item.number, item.id FROM item WHERE folder = (SELECT number FROM folder WHERE id = ?)"
        " AND +item.number > ?"  # by the folder's index: the table itself is large
        " AND NOT EXISTS (SELECT 1 FROM seen WHERE seen.item = item.number AND round = ?) ORDER BY 1 LIMIT ?",
        (folder_id, after, round_, limit),
    )
    return tuple(rows.fetchall())


def items(db: sqlite3.Connection, after: tuple[str, str] = ("", ""), limit: int = 500) -> tuple[StoredItem, ...]:
    """Return the server's items after (kind, id), in that order.

    A page has at most about 8 MiB; () is the end.
    """
    rows = db.execute(
        "SELECT item.number, item.id, item.kind, folder.id, watermark, item.size,"
        " CAST(item.payload AS BLOB), CAST(item.extra AS BLOB)"
        " FROM item JOIN folder ON folder.number = item.folder"
        " WHERE (item.kind, item.id) > (?, ?) AND standing <> 'local' ORDER BY item.kind, item.id LIMIT ?",
        (*after, limit),
    )
    page: list[tuple[Any, ...]] = []
    size = 0
    for row in rows:
        page.append(row)
        size += len(row[6])
        if size >= READ_PAGE_BYTES:
            break
    attachments = _attachments(db, [row[0] for row in page])
    return tuple(StoredItem._make((*fields, attachments.get(number, ()))) for number, *fields in page)


def _attachments(db: sqlite3.Connection, numbers: Sequence[int]) -> dict[int, tuple[StoredAttachment, ...]]:
    rows = db.execute(
        "SELECT item, number, id, role, url, sha256, state FROM attachment"
        " WHERE item IN (SELECT value FROM json_each(?)) ORDER BY item, ordinal",
        (json_array(numbers),),
    )
    attachments: dict[int, tuple[StoredAttachment, ...]] = {}
    for item, *fields in rows:
        attachments[item] = (*attachments.get(item, ()), StoredAttachment._make(fields))
    return attachments


def skipped(db: sqlite3.Connection) -> tuple[SkippedRow, ...]:
    """Return what is left out.

    Attachments that could not be downloaded have the scope `attachment`.
    """
    rows = db.execute(
        "SELECT scope, id, reason FROM skipped UNION"
        " SELECT 'attachment', id, reason FROM attachment WHERE state = 'failed' ORDER BY 1, 2"
    )
    return tuple(SkippedRow._make(row) for row in rows)


def chunk(db: sqlite3.Connection, table: str, attachment: int, offset: int) -> bytes:
    """Return the chunk at `offset`, b"" if there is none. `table`: (outbox_)chunk."""
    sql = f'SELECT data FROM {table} WHERE attachment = ? AND {table}."offset" = ?'
    row = db.execute(sql, (attachment, offset)).fetchone()
    return row[0] if row else b""


def mails_with_message_id(db: sqlite3.Connection, message_id: str) -> tuple[str, ...]:
    """Return the ids of the mails with this Message-ID. No index serves this."""
    rows = db.execute("SELECT id FROM item WHERE kind = 'mail' AND message_id = ? ORDER BY id", (message_id,))
    return tuple(row[0] for row in rows)
