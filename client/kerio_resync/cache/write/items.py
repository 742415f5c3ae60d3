"""Writing items: the rows, their attachments' rows, and what of the contents stays when an item comes anew."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any, Final

from kerio_resync.cache.bulk_sql import insert_many, json_array, record, select_in
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
_ATTACHMENT: Final = f"({', '.join(['?'] * 12)})"
_READ: Final = (
    'SELECT item.number, item.id, folder.id, item.kind, watermark, title, who, recipients, date, "end", item.size,'
    " seen, flagged, answered, draft, message_id, CAST(item.payload AS BLOB), CAST(item.extra AS BLOB), checksum"
    " FROM item JOIN folder ON folder.number = item.folder WHERE "
)


def put_items(tables: WriteSession, fact: PutItems) -> None:
    newest = _newest(fact.items)
    stored = {
        row[0]: (row[1], row[2])
        for row in select_in(tables.db, "SELECT id, number, watermark FROM item WHERE id IN (...)", newest)
    }
    moved = {row[0] for row in select_in(tables.db, "SELECT id FROM wanted WHERE keep = 1 AND id IN (...)", newest)}
    rows, attached = [], []
    for each in newest.values():
        number, watermark = stored.get(each.id, (0, 0))
        if number and watermark > each.watermark:
            continue
        if number:
            kept = _keep_attachments(
                tables, number, each, by_id=each.id in fact.keep_contents, by_place=each.id in moved
            )
        else:
            number, kept = tables.next_item_number(), set()
        rows.append(item_row(number, tables.folder_number(each.folder_id), each))
        attached += _attachment_rows(tables, number, each, fact.omit_attachments, kept)
    insert_many(tables.db, f"INSERT INTO item ({COLUMNS})", ROW, rows, _UPSERT)
    insert_many(tables.db, f"INSERT INTO attachment ({_ATTACHMENT_COLUMNS})", _ATTACHMENT, attached)
    _dequeue_fetched(tables, newest.values())


def insert_local_item(tables: WriteSession, item: Item, folder: int) -> int:
    """Stores an item that exists here alone; its number. One that is stored already stays as it is, and gives 0."""
    if tables.db.execute("SELECT 1 FROM item WHERE id = ?", (item.id,)).fetchone():
        return 0
    number = tables.next_item_number()
    insert_many(tables.db, f"INSERT INTO item ({COLUMNS})", ROW, [item_row(number, folder, item)])
    rows = _attachment_rows(tables, number, item, False, set())
    insert_many(tables.db, f"INSERT INTO attachment ({_ATTACHMENT_COLUMNS})", _ATTACHMENT, rows)
    return number


def move_item(tables: WriteSession, old: str, new: str, folder: int) -> tuple[Kind, ListedItem] | None:
    """Gives the stored item `old` the id `new` and another folder; what it is now, or None if it is not stored.

    If `new` is stored already, it is the fresher one: `old` goes."""
    if tables.db.execute("SELECT 1 FROM item WHERE id = ?", (new,)).fetchone():
        tables.db.execute("DELETE FROM item WHERE id = ?", (old,))
        return None
    found = read_item_row(tables.db, "item.id = ?", (old,))
    if not found:
        return None
    number, item, _ = found[0]
    folder_id = tables.db.execute("SELECT id FROM folder WHERE number = ?", (folder,)).fetchone()[0]
    moved = item._replace(id=new, folder_id=folder_id)
    tables.db.execute(
        "UPDATE item SET id = ?, folder = ?, checksum = ? WHERE number = ?", (new, folder, item_checksum(moved), number)
    )
    return item.kind, ListedItem(new, item.watermark, item.size, item.date, bool(item.attachments))


def read_item_row(db: Any, condition: str, values: Sequence[Any]) -> list[tuple[int, Item, bytes]]:
    """(number, item, stored checksum) of the items that satisfy `condition`, as they stand in the file."""
    rows = db.execute(_READ + condition, values).fetchall()
    attached: dict[int, list[Attachment]] = {}
    for owner, *rest in db.execute(
        "SELECT item, id, url, name, content_type, content_id, size, role FROM attachment"
        " WHERE item IN (SELECT value FROM json_each(?)) ORDER BY item, ordinal",
        (json_array(row[0] for row in rows),),
    ):
        attached.setdefault(owner, []).append(Attachment(*rest))
    return [
        (
            row[0],
            record(Item, *row[1:11], *map(bool, row[11:15]), *row[15:18], tuple(attached.get(row[0], ()))),
            row[18],
        )
        for row in rows
    ]


def _newest(items: Iterable[Item]) -> dict[str, Item]:
    found: dict[str, Item] = {}
    for each in items:
        if each.id not in found or found[each.id].watermark <= each.watermark:
            found[each.id] = each
    return found


def item_row(number: int, folder: int, item: Item) -> tuple[Any, ...]:
    """The item's row, in the order of `COLUMNS`; `ROW` is where its values go in a statement."""
    return (
        number, item.id, folder, item.kind, item.watermark, item.date, item.end, int(item.seen), int(item.flagged),
        int(item.answered), int(item.draft), item.size, item.title, item.who, item.recipients, item.message_id,
        item_checksum(item), item.extra, item.payload,
    )  # fmt: skip


def _attachment_rows(
    tables: WriteSession, number: int, item: Item, omit: bool, kept: set[int]
) -> list[tuple[int, int, int, str, str, str, str, str, str, int | None, str, str]]:
    state, reason = ("omitted", OMITTED_BY_POLICY) if omit else ("wanted", "")
    return [
        (
            tables.next_attachment_number(), number, ordinal, each.role, each.id, each.url, each.name,
            each.content_type, each.content_id, each.size, state, reason,
        )
        for ordinal, each in enumerate(item.attachments)
        if ordinal not in kept
    ]  # fmt: skip


def _keep_attachments(tables: WriteSession, number: int, item: Item, *, by_id: bool, by_place: bool) -> set[int]:
    """Lets the stored attachments go, but for whole contents that stay; the places, in `item`, of those."""
    db = tables.db
    places: dict[int, int] = {}
    if by_id or by_place:
        done = db.execute(
            "SELECT number, ordinal, id, name, content_type, size, role FROM attachment"
            " WHERE item = ? AND state = 'done' ORDER BY ordinal",
            (number,),
        ).fetchall()
        for ordinal, each in enumerate(item.attachments):
            for row in done:
                same_id = by_id and row[2] == each.id and row[5:] == (each.size, each.role)
                same_place = by_place and row[1] == ordinal and row[3:] == (
                    each.name, each.content_type, each.size, each.role
                )  # fmt: skip
                if row[0] not in places.values() and (same_id or same_place):
                    places[ordinal] = row[0]
                    break
    db.execute(
        "DELETE FROM attachment WHERE item = ? AND number NOT IN (SELECT value FROM json_each(?))",
        (number, json_array(places.values())),
    )
    db.execute("UPDATE attachment SET ordinal = -1 - ordinal WHERE item = ?", (number,))
    for ordinal, kept in places.items():
        each = item.attachments[ordinal]
        db.execute(
            "UPDATE attachment SET ordinal = ?, id = ?, url = ?, name = ?, content_type = ?, content_id = ?"
            " WHERE number = ?",
            (ordinal, each.id, each.url, each.name, each.content_type, each.content_id, kept),
        )
    return set(places)


def _dequeue_fetched(tables: WriteSession, items: Collection[Item]) -> None:
    """They came: no longer wanted, unless a newer version is (once), and no longer skipped."""
    insert_many(
        tables.db,
        "WITH came (id, watermark) AS (",
        "(?, ?)",
        [(each.id, each.watermark) for each in items],
        ") DELETE FROM wanted WHERE id IN (SELECT wanted.id FROM came JOIN wanted ON wanted.id = came.id"
        " WHERE wanted.watermark <= came.watermark OR wanted.late = 1)",
    )
    ids = [each.id for each in items]
    select_in(tables.db, "UPDATE wanted SET late = 1 WHERE id IN (...)", ids)
    select_in(tables.db, "DELETE FROM skipped WHERE scope = 'item' AND id IN (...)", ids)
