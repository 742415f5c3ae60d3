"""Queries of a cache, and their rows as values.

Each query takes the connection of the file and is run by its writer: `await store.read(queries.meta, "sync_key")`. No
query returns more than a page of rows or about 8 MiB.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple

from kerio_resync.cache import compression
from kerio_resync.cache.bulk_sql import json_array, select_in
from kerio_resync.cache.mutations import AttachmentState
from kerio_resync.model import KINDS, Attachment, Folder, Kind, ListedItem

READ_PAGE_BYTES: Final = 8 * 1024 * 1024
KINDS_SQL: Final = ", ".join(f"'{kind}'" for kind in KINDS)


class QueueCursor(NamedTuple):
    """The last row of a page of the fetch queue. `date` is '' if it has none."""

    rank: int
    date: str
    id: str


class FolderRow(NamedTuple):
    """A folder of the server.

    `position`: where its listing resumes, after `listed_rows` rows; `listed`: the listing is complete; `rank`: lower is
    fetched earlier.
    """

    folder: Folder
    path: str
    rank: int
    position: bytes | None
    listed: bool
    listed_rows: int = 0


class QueuedItem(NamedTuple):
    """An item to fetch. `keep_contents`: it was moved, and its attachments are stored.

    `folder_id`: of its folders, the one with the lowest rank.
    """

    id: str
    folder_id: str
    kind: Kind
    version: str
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
    folder_ids: tuple[str, ...]
    attachment: Attachment
    received: int
    etag: str


@dataclass(frozen=True, slots=True)
class Totals:
    """Counts and bytes of a cache.

    `item_bytes` and `queued_item_bytes` are the server's figures, `attachment_bytes` is stored. `folders` counts those
    that hold items and may be read. Sources count as bytes, and not as attachments; `attachments` counts none that are
    omitted.
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
    omitted_attachments: int = 0

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
    folder_ids: tuple[str, ...]
    version: str
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
        "SELECT path, rank, position, listed, listed_rows, id, parent_id, name, kind, role, place, owner, readable,"
        " count, unread, size, CAST(payload AS BLOB), CAST(extra AS BLOB)"
        " FROM folder WHERE standing = 'server' ORDER BY rank, path, id"
    )
    return tuple(
        FolderRow(replace(Folder(*fields), readable=bool(fields[7])), path, rank, position, bool(listed), listed_rows)
        for path, rank, position, listed, listed_rows, *fields in rows
    )


def queued_items(db: sqlite3.Connection, limit: int, after: QueueCursor | None = None) -> tuple[QueuedItem, ...]:
    """Return the next items to fetch after `after`, by rank, newest first, id.

    It takes up to three statements, because no index serves `<` and `>` in one condition.
    """
    rows: list[tuple[Any, ...]] = []
    for condition, values in _conditions(after):
        if len(rows) < limit:
            sql = (
                "SELECT wanted.id, folder.id, wanted.kind, version, wanted.size, date, has_attachment, wanted.rank,"
                " keep"
                f" FROM wanted JOIN folder ON folder.number = wanted.folder WHERE {condition}"
                " ORDER BY wanted.rank, date DESC, wanted.id LIMIT ?"
            )
            rows += db.execute(sql, (*values, limit - len(rows)))
    return tuple(
        QueuedItem(item_id, folder_id, kind, version, size, date or None, bool(has_attachment), rank, bool(keep))
        for item_id, folder_id, kind, version, size, date, has_attachment, rank, keep in rows
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
        "SELECT attachment.number, item.number, item.id, received, etag, attachment.id, url, name, content_type,"
        " content_id, attachment.size, role FROM attachment JOIN item ON item.number = attachment.item"
        " WHERE attachment.state = 'wanted' AND attachment.number > ? ORDER BY attachment.number LIMIT ?",
        (after or 0, limit),
    ).fetchall()
    folders = folder_ids(db, [row[1] for row in rows])
    return tuple(
        QueuedAttachment(key, item_id, folders.get(item, ()), Attachment(*fields), received, etag)
        for key, item, item_id, received, etag, *fields in rows
    )


class MailWithoutSource(NamedTuple):
    """A mail to fetch again for its source. `number`: the cursor of the next page."""

    number: int
    folder_id: str
    row: ListedItem


def mails_without_source(db: sqlite3.Connection, after: int, limit: int) -> tuple[MailWithoutSource, ...]:
    """Return the next mails of the server without a row for their source.

    They follow the item number `after`. They have no version: any that the server sends is stored.
    """
    rows = db.execute(
        "SELECT indexed.number, folder.id, item.id, item.size, item.date,"
        " EXISTS (SELECT 1 FROM attachment WHERE attachment.item = item.number)"
        " FROM item AS indexed INDEXED BY item_by_kind CROSS JOIN item ON item.number = indexed.number"
        " CROSS JOIN folder ON folder.number = (SELECT min(folder) FROM placement WHERE item = indexed.number)"
        " WHERE indexed.kind = 'mail' AND indexed.number > ? AND folder.standing = 'server'"
        " AND NOT EXISTS (SELECT 1 FROM attachment WHERE attachment.item = indexed.number AND role = 'source')"
        " ORDER BY indexed.number LIMIT ?",
        (after, limit),
    )
    return tuple(
        MailWithoutSource(number, folder_id, ListedItem(item_id, "", size, date, bool(has_attachment)))
        for number, folder_id, item_id, size, date, has_attachment in rows
    )


def totals(db: sqlite3.Connection) -> Totals:
    """Count what is stored, queued and left out.

    It reads whole indexes: about a second for a million items.
    """

    def pair(sql: str) -> tuple[int, int]:
        first, second = db.execute(sql).fetchone()
        return first, second

    local = "(SELECT item FROM placement WHERE folder IN (SELECT number FROM folder WHERE standing = 'local'))"
    items: dict[Kind, int] = dict.fromkeys(KINDS, 0)
    item_bytes = 0
    for kind, count, size in db.execute("SELECT kind, count(*), sum(size) FROM item GROUP BY kind"):
        items[kind] = count
        item_bytes += size
    for kind, count, size in db.execute(
        f"SELECT kind, count(*), sum(size) FROM item WHERE number IN {local} GROUP BY kind"
    ):
        items[kind] -= count
        item_bytes -= size
    folders, folders_listed = pair(
        "SELECT count(*), coalesce(sum(listed), 0) FROM folder"
        " WHERE standing = 'server' AND kind IS NOT NULL AND readable"
    )
    queued_items, queued_item_bytes = pair("SELECT count(*), coalesce(sum(size), 0) FROM wanted")
    attachments, attachment_bytes = pair(
        "SELECT count(*) FILTER (WHERE role <> 'source' AND state <> 'omitted'), coalesce(sum(received), 0)"
        " FROM attachment"
    )
    local_attachments, local_attachment_bytes = pair(
        f"SELECT count(*) FILTER (WHERE role <> 'source' AND state <> 'omitted'), coalesce(sum(received), 0)"
        " FROM attachment"
        f" WHERE item IN {local}"
    )
    queued_attachments, queued_attachment_bytes = pair(
        "SELECT count(*) FILTER (WHERE role <> 'source'), coalesce(sum(size), 0) FROM attachment WHERE state = 'wanted'"
    )
    omitted, local_omitted = pair(
        f"SELECT count(*), count(*) FILTER (WHERE item IN {local}) FROM attachment"
        " WHERE role <> 'source' AND state = 'omitted'"
    )
    skipped, failed = pair(
        "SELECT (SELECT count(*) FROM skipped), (SELECT count(*) FROM attachment WHERE state = 'failed')"
    )
    return Totals(
        folders, folders_listed, items, item_bytes, queued_items, queued_item_bytes,
        attachments - local_attachments, attachment_bytes - local_attachment_bytes,
        queued_attachments, queued_attachment_bytes, skipped + failed, omitted - local_omitted,
    )  # fmt: skip


def versions(db: sqlite3.Connection, ids: Sequence[str]) -> dict[str, str]:
    """Return the version of each stored item by id."""
    return {item_id: version for _, item_id, version in stored_versions(db, ids)}


def stored_versions(db: sqlite3.Connection, ids: Iterable[str]) -> list[tuple[int, str, str]]:
    """Return (number, id, version) of each stored item.

    From indexes: rows of items are large, and reading one of them means reading its page.
    """
    return select_in(
        db,
        "SELECT item.number, item.id, indexed.version FROM item CROSS JOIN item AS indexed INDEXED BY item_by_kind"
        f" WHERE item.id IN (...) AND indexed.kind IN ({KINDS_SQL}) AND indexed.number = item.number",
        ids,
    )


def places(db: sqlite3.Connection, ids: Sequence[str]) -> dict[str, tuple[tuple[str, ...], str]]:
    """Return (folder ids, version) of each stored item by id."""
    rows = stored_versions(db, ids)
    folders = folder_ids(db, [number for number, _, _ in rows])
    return {item_id: (folders.get(number, ()), version) for number, item_id, version in rows}


def items_in_folder(db: sqlite3.Connection, folder_id: str) -> list[str]:
    """Return the ids of the stored items of a folder."""
    sql = (
        "SELECT item.id FROM placement JOIN item ON item.number = placement.item"
        " WHERE placement.folder = (SELECT number FROM folder WHERE id = ?)"
    )
    return [row[0] for row in db.execute(sql, (folder_id,))]


def queued_in_folder(db: sqlite3.Connection, folder_id: str) -> list[str]:
    """Return the ids of the items that are queued for a folder."""
    sql = "SELECT id FROM wanted WHERE folder = (SELECT number FROM folder WHERE id = ?)"
    return [row[0] for row in db.execute(sql, (folder_id,))]


def folder_ids(db: sqlite3.Connection, numbers: Iterable[int]) -> dict[int, tuple[str, ...]]:
    """Return the ids of each item's folders, sorted, by the item's number."""
    rows = db.execute(
        "SELECT item, folder.id FROM placement JOIN folder ON folder.number = placement.folder"
        " WHERE item IN (SELECT value FROM json_each(?)) ORDER BY item, folder.id",
        (json_array(numbers),),
    )
    found: dict[int, tuple[str, ...]] = {}
    for number, folder_id in rows:
        found[number] = (*found.get(number, ()), folder_id)
    return found


class UnlistedItem(NamedTuple):
    """An item that was not listed. `folder`, `number`: the cursor of the next page."""

    folder: int
    number: int
    id: str


def items_not_listed(
    db: sqlite3.Connection, folder_ids: Sequence[str], round_: int, after: tuple[int, int], limit: int
) -> tuple[UnlistedItem, ...]:
    """Return the next items of these folders that were not listed in `round_`.

    They follow `after`, folder by folder; one that is in several of them comes once. See `Store.mark_listed`.
    """
    numbers = sorted(row[0] for row in select_in(db, "SELECT number FROM folder WHERE id IN (...)", folder_ids))
    found: list[UnlistedItem] = []
    for folder in numbers:
        if folder < after[0] or len(found) >= limit:
            continue
        rows = db.execute(
            "SELECT here.folder, here.item, item.id FROM placement AS here CROSS JOIN item ON item.number = here.item"
            " WHERE here.folder = ? AND here.item > ?"
            " AND NOT EXISTS (SELECT 1 FROM seen WHERE seen.item = here.item AND round = ?)"
            " AND NOT EXISTS (SELECT 1 FROM placement AS other WHERE other.item = here.item"
            "  AND other.folder < here.folder AND +other.folder IN (SELECT value FROM json_each(?)))"
            " ORDER BY here.item LIMIT ?",
            (folder, after[1] if folder == after[0] else 0, round_, json_array(numbers), limit - len(found)),
        )
        found += map(UnlistedItem._make, rows)
    return tuple(found)


def items(db: sqlite3.Connection, after: tuple[str, str] = ("", ""), limit: int = 500) -> tuple[StoredItem, ...]:
    """Return the server's items after (kind, id), in that order.

    A page has at most about 8 MiB; () is the end.
    """
    page: list[tuple[Any, ...]] = []
    size = 0
    for row in _items_after(db, after, limit):
        page.append(row)
        size += len(row[5])
        if size >= READ_PAGE_BYTES:
            break
    numbers = [row[0] for row in page]
    attachments, folders = _attachments(db, numbers), folder_ids(db, numbers)
    return tuple(
        StoredItem(
            item_id, kind, folders.get(number, ()), version, item_size, payload, extra, attachments.get(number, ())
        )
        for number, item_id, kind, version, item_size, payload, extra in page
    )


def _items_after(db: sqlite3.Connection, after: tuple[str, str], limit: int) -> Iterator[tuple[Any, ...]]:
    for kind in sorted(KINDS):
        present = "SELECT 1 FROM item INDEXED BY item_by_kind WHERE kind = ? LIMIT 1"
        if limit <= 0 or kind < after[0] or not db.execute(present, (kind,)).fetchone():
            continue
        rows = db.execute(
            "SELECT item.number, item.id, item.kind, item.version, item.size,"
            " CAST(item.payload AS BLOB), CAST(item.extra AS BLOB)"
            " FROM item AS ordered INDEXED BY sqlite_autoindex_item_1"
            " CROSS JOIN item AS indexed INDEXED BY item_by_kind ON indexed.kind = ?"
            " AND indexed.number = ordered.number"
            " CROSS JOIN item ON item.number = ordered.number"
            " WHERE ordered.id > ? AND ordered.number NOT IN ("
            "  SELECT item FROM placement WHERE folder IN (SELECT number FROM folder WHERE standing = 'local'))"
            " ORDER BY ordered.id LIMIT ?",
            (kind, after[1] if kind == after[0] else "", limit),
        )
        for row in rows:
            limit -= 1
            yield row


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
    """Return the content of the chunk at `offset`, b"" if there is none.

    `table`: chunk or outbox_chunk. CacheDamaged if it cannot be decompressed.
    """
    size = "size" if table == "chunk" else "length(data)"
    sql = f'SELECT data, {size} FROM {table} WHERE attachment = ? AND {table}."offset" = ?'
    row = db.execute(sql, (attachment, offset)).fetchone()
    return compression.decompress(*row) if row else b""


def mails_with_message_id(db: sqlite3.Connection, message_id: str) -> tuple[str, ...]:
    """Return the ids of the mails with this Message-ID. No index serves this."""
    rows = db.execute("SELECT id FROM item WHERE kind = 'mail' AND message_id = ? ORDER BY id", (message_id,))
    return tuple(row[0] for row in rows)
