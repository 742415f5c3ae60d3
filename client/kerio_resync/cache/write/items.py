"""Writes items and the rows of their attachments."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterable, Sequence
from typing import Any, Final

from kerio_resync.cache.bulk_sql import insert_many, json_array, select_in
from kerio_resync.cache.checksums import item_checksum
from kerio_resync.cache.mutations import OMITTED_BY_POLICY, PutItems
from kerio_resync.cache.write.session import WriteSession
from kerio_resync.model import Attachment, Item, Kind, ListedItem

COLUMNS: Final = (
    'number, id, folder, kind, watermark, date, "end", seen, flagged, answered, draft, size, title, who, recipients,'
    " message_id, checksum, extra, payload"
)
ROW: Final = f"({', '.join(['?'] * 17)}, CAST(? AS TEXT), CAST(? AS TEXT))"
_UPSERT: Final = "ON CONFLICT (id) DO UPDATE SET " + ", ".join(
    f"{name} = excluded.{name}" for name in COLUMNS.split(", ") if name not in ("number", "id")
)
_ATTACHMENT_COLUMNS: Final = "number, item, ordinal, role, id, url, name, content_type, content_id, size, state, reason"
_ATTACHMENT_ROW: Final = f"({', '.join(['?'] * 12)})"
_SELECT_ITEM: Final = (
    'SELECT item.number, item.id, folder.id, item.kind, watermark, title, who, recipients, date, item."end", item.size,'
    " seen, flagged, answered, draft, message_id, CAST(item.payload AS BLOB), CAST(item.extra AS BLOB), checksum"
    " FROM item JOIN folder ON folder.number = item.folder WHERE "
)


def put_items(mutation: PutItems, session: WriteSession) -> None:
    """Store items, unless they are older than what is stored; dequeue them."""
    newest = _newest(mutation.items)
    stored = {
        item_id: (number, watermark)
        for item_id, number, watermark in select_in(
            session.db, "SELECT id, number, watermark FROM item WHERE id IN (...)", newest
        )
    }
    moved = {row[0] for row in select_in(session.db, "SELECT id FROM wanted WHERE keep = 1 AND id IN (...)", newest)}
    rows, attachment_rows = [], []
    for item in newest.values():
        number, watermark = stored.get(item.id, (0, 0))
        if number and watermark > item.watermark:
            continue
        if number:
            kept = _keep_attachments(
                session, number, item, by_id=item.id in mutation.keep_contents, by_place=item.id in moved
            )
        else:
            number, kept = session.next_item_number(), set()
        rows.append(item_row(number, session.folder_number(item.folder_id), item))
        attachment_rows += _attachment_rows(session, number, item, mutation.omit_attachments, kept)
    insert_many(session.db, f"INSERT INTO item ({COLUMNS})", ROW, rows, _UPSERT)
    insert_many(session.db, f"INSERT INTO attachment ({_ATTACHMENT_COLUMNS})", _ATTACHMENT_ROW, attachment_rows)
    _dequeue_fetched(session, newest.values())


def insert_local_item(session: WriteSession, item: Item, folder: int) -> int:
    """Insert an item that exists only here.

    Return its number, or 0 if it is stored already.
    """
    if session.db.execute("SELECT 1 FROM item WHERE id = ?", (item.id,)).fetchone():
        return 0
    number = session.next_item_number()
    insert_many(session.db, f"INSERT INTO item ({COLUMNS})", ROW, [item_row(number, folder, item)])
    rows = _attachment_rows(session, number, item, False, set())
    insert_many(session.db, f"INSERT INTO attachment ({_ATTACHMENT_COLUMNS})", _ATTACHMENT_ROW, rows)
    return number


def move_item(session: WriteSession, old: str, new: str, folder: int) -> tuple[Kind, ListedItem] | None:
    """Give the stored item `old` the id `new` and another folder.

    Return what to queue, or None if `old` is not stored. If `new` is stored already it is newer, and `old` is deleted.
    """
    if session.db.execute("SELECT 1 FROM item WHERE id = ?", (new,)).fetchone():
        session.db.execute("DELETE FROM item WHERE id = ?", (old,))
        return None
    rows = read_item_row(session.db, "item.id = ?", (old,))
    if not rows:
        return None
    ((number, item, _),) = rows
    folder_id = session.db.execute("SELECT id FROM folder WHERE number = ?", (folder,)).fetchone()[0]
    moved = item._replace(id=new, folder_id=folder_id)
    session.db.execute(
        "UPDATE item SET id = ?, folder = ?, checksum = ? WHERE number = ?", (new, folder, item_checksum(moved), number)
    )
    return item.kind, ListedItem(new, item.watermark, item.size, item.date, bool(item.attachments))


def read_item_row(db: sqlite3.Connection, condition: str, values: Sequence[Any]) -> list[tuple[int, Item, bytes]]:
    """Return (number, item, stored checksum) of the items that satisfy `condition`."""
    rows = db.execute(_SELECT_ITEM + condition, values).fetchall()
    attachments: dict[int, list[Attachment]] = {}
    for number, *fields in db.execute(
        "SELECT item, id, url, name, content_type, content_id, size, role FROM attachment"
        " WHERE item IN (SELECT value FROM json_each(?)) ORDER BY item, ordinal",
        (json_array(row[0] for row in rows),),
    ):
        attachments.setdefault(number, []).append(Attachment._make(fields))
    return [
        (
            row[0],
            Item._make((*row[1:11], *map(bool, row[11:15]), *row[15:18], tuple(attachments.get(row[0], ())))),
            row[18],
        )
        for row in rows
    ]


def item_row(number: int, folder: int, item: Item) -> tuple[Any, ...]:
    """Return the values of an item in the order of `COLUMNS`, for `ROW`."""
    return (
        number, item.id, folder, item.kind, item.watermark, item.date, item.end, int(item.seen), int(item.flagged),
        int(item.answered), int(item.draft), item.size, item.title, item.who, item.recipients, item.message_id,
        item_checksum(item), item.extra, item.payload,
    )  # fmt: skip


def _newest(items: Iterable[Item]) -> dict[str, Item]:
    newest: dict[str, Item] = {}
    for item in items:
        if item.id not in newest or newest[item.id].watermark <= item.watermark:
            newest[item.id] = item
    return newest


def _attachment_rows(
    session: WriteSession, number: int, item: Item, omit: bool, kept: set[int]
) -> list[tuple[int, int, int, str, str, str, str, str, str, int | None, str, str]]:
    state, reason = ("omitted", OMITTED_BY_POLICY) if omit else ("wanted", "")
    return [
        (
            session.next_attachment_number(), number, ordinal, new.role, new.id, new.url, new.name,
            new.content_type, new.content_id, new.size, state, reason,
        )
        for ordinal, new in enumerate(item.attachments)
        if ordinal not in kept
    ]  # fmt: skip


def _keep_attachments(session: WriteSession, number: int, item: Item, *, by_id: bool, by_place: bool) -> set[int]:
    """Delete stored attachments, except complete ones that `item` still has.

    Return the ordinals of those in `item`.
    """
    db = session.db
    kept: dict[int, int] = {}
    if by_id or by_place:
        complete = db.execute(
            "SELECT number, ordinal, id, name, content_type, size, role FROM attachment"
            " WHERE item = ? AND state = 'done' ORDER BY ordinal",
            (number,),
        ).fetchall()
        for ordinal, new in enumerate(item.attachments):
            for row in complete:
                same_id = by_id and row[2] == new.id and row[5:] == (new.size, new.role)
                same_place = by_place and row[1] == ordinal and row[3:] == (
                    new.name, new.content_type, new.size, new.role
                )  # fmt: skip
                if row[0] not in kept.values() and (same_id or same_place):
                    kept[ordinal] = row[0]
                    break
    db.execute(
        "DELETE FROM attachment WHERE item = ? AND number NOT IN (SELECT value FROM json_each(?))",
        (number, json_array(kept.values())),
    )
    db.execute("UPDATE attachment SET ordinal = -1 - ordinal WHERE item = ?", (number,))  # ordinals are unique
    for ordinal, attachment in kept.items():
        new = item.attachments[ordinal]
        db.execute(
            "UPDATE attachment SET ordinal = ?, id = ?, url = ?, name = ?, content_type = ?, content_id = ?"
            " WHERE number = ?",
            (ordinal, new.id, new.url, new.name, new.content_type, new.content_id, attachment),
        )
    return set(kept)


def _dequeue_fetched(session: WriteSession, items: Collection[Item]) -> None:
    """Take items off the queue, unless a newer version is queued.

    They stay on it once only; see `PutItems`.
    """
    insert_many(
        session.db,
        "WITH came (id, watermark) AS (",
        "(?, ?)",
        [(item.id, item.watermark) for item in items],
        ") DELETE FROM wanted WHERE id IN (SELECT wanted.id FROM came JOIN wanted ON wanted.id = came.id"
        " WHERE wanted.watermark <= came.watermark OR wanted.late = 1)",
    )
    ids = [item.id for item in items]
    select_in(session.db, "UPDATE wanted SET late = 1 WHERE id IN (...)", ids)
    select_in(session.db, "DELETE FROM skipped WHERE scope = 'item' AND id IN (...)", ids)
