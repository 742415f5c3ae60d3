"""Writes items and the rows of their attachments."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Iterable, Sequence
from typing import Any, Final

from kerio_resync.cache.bulk_sql import insert_many, json_array, select_in
from kerio_resync.cache.checksums import checksum_of, item_checksum, sha256
from kerio_resync.cache.mutations import OMITTED_BY_POLICY, PutItems
from kerio_resync.cache.queries import folder_ids
from kerio_resync.cache.shared_text import place_text, read_text
from kerio_resync.cache.write.chunks import ChunkRow, chunk_rows, insert_chunks
from kerio_resync.cache.write.session import WriteSession
from kerio_resync.model import Attachment, Item, ItemPatch, Kind, ListedItem

COLUMNS: Final = (
    'number, id, kind, version, date, "end", seen, flagged, answered, draft, size, title, who, recipients, message_id,'
    " checksum, details, text, text_at, text_bytes, html, html_at, html_bytes, extra, payload"
)
ROW: Final = f"({', '.join(['?'] * 16)}, CAST(? AS TEXT), {', '.join(['?'] * 6)}, CAST(? AS TEXT), CAST(? AS TEXT))"
_UPSERT: Final = "ON CONFLICT (id) DO UPDATE SET " + ", ".join(
    f"{name} = excluded.{name}" for name in COLUMNS.split(", ") if name not in ("number", "id")
)
_ATTACHMENT_COLUMNS: Final = (
    "number, item, ordinal, role, id, url, name, content_type, content_id, size, state, reason, received, sha256"
)
_ATTACHMENT_ROW: Final = f"({', '.join(['?'] * 14)})"
# Large texts as BLOB: a damaged one is not UTF-8, and must not hide the other rows.
_SELECT_ITEM: Final = (
    'SELECT number, id, kind, version, title, who, recipients, date, "end", size, seen, flagged, answered, draft,'
    " message_id, CAST(details AS BLOB), CAST(payload AS BLOB), CAST(extra AS BLOB), checksum,"
    " CAST(text AS BLOB), text_at, text_bytes, CAST(html AS BLOB), html_at, html_bytes FROM item WHERE "
)
_ITEMS_PER_SLICE: Final = 200


def put_items(mutation: PutItems, session: WriteSession) -> None:
    """Store items with the contents that came with them; dequeue them."""
    last = {item.id: item if item.folder_ids else item._replace(folder_ids=("",)) for item in mutation.items}
    stored = dict(select_in(session.db, "SELECT id, number FROM item WHERE id IN (...)", last))
    moved = {row[0] for row in select_in(session.db, "SELECT id FROM wanted WHERE keep = 1 AND id IN (...)", last)}
    numbered, attachment_rows, chunks = [], [], []
    for item in last.values():
        number, kept = stored.get(item.id), set[int]()
        if number:
            kept = _keep_attachments(
                session, number, item, by_id=item.id in mutation.keep_contents, by_place=item.id in moved
            )
        else:
            number = session.next_item_number()
        numbered.append((number, item))
        for ordinal, new in enumerate(item.attachments):
            if ordinal not in kept:
                row, content = _attachment_row(session, number, ordinal, new, mutation.omit_attachments)
                attachment_rows.append(row)
                chunks += content
    _write_items(session, numbered, set(stored.values()))
    insert_many(session.db, f"INSERT INTO attachment ({_ATTACHMENT_COLUMNS})", _ATTACHMENT_ROW, attachment_rows)
    insert_chunks(session.db, chunks)
    _dequeue_fetched(session, last.values())


def insert_local_item(session: WriteSession, item: Item) -> int:
    """Insert an item that exists only here.

    Return its number, or 0 if it is stored already.
    """
    if session.db.execute("SELECT 1 FROM item WHERE id = ?", (item.id,)).fetchone():
        return 0
    number = session.next_item_number()
    _write_items(session, [(number, item)], set())
    rows = [_attachment_row(session, number, ordinal, new, False)[0] for ordinal, new in enumerate(item.attachments)]
    insert_many(session.db, f"INSERT INTO attachment ({_ATTACHMENT_COLUMNS})", _ATTACHMENT_ROW, rows)
    return number


def move_item(session: WriteSession, old: str, new: str, folder_id: str) -> tuple[Kind, ListedItem] | None:
    """Give the stored item `old` the id `new` and another folder.

    Return what to queue, or None if `old` is not stored: in an unknown version, because moving may have changed it. If
    `new` is stored already it is newer, and `old` is deleted.
    """
    if session.db.execute("SELECT 1 FROM item WHERE id = ?", (new,)).fetchone():
        session.db.execute("DELETE FROM item WHERE id = ?", (old,))
        return None
    rows = read_item_row(session.db, "item.id = ?", (old,))
    if not rows:
        return None
    ((number, item, _),) = rows
    moved = item._replace(id=new, folder_ids=(folder_id,))
    session.db.execute("UPDATE item SET id = ?, checksum = ? WHERE number = ?", (new, item_checksum(moved), number))
    _place(session, [(number, moved)], {number})
    return item.kind, ListedItem(new, "", item.size, item.date, any(map(_is_listed, item.attachments)))


def patch_items(session: WriteSession, patches: Iterable[ItemPatch]) -> tuple[ItemPatch, ...]:
    """Apply patches to the stored items; return those whose items are not stored.

    An item with the same id and another content counts as not stored.
    """
    last = {patch.id: patch for patch in patches}
    stored = set[str]()
    ids = list(last)
    for start in range(0, len(ids), _ITEMS_PER_SLICE):
        part = ids[start : start + _ITEMS_PER_SLICE]
        rows = read_item_row(session.db, f"item.id IN ({', '.join('?' * len(part))})", part)
        patched = [(number, _patched(item, last[item.id])) for number, item, _ in rows if _is_same(item, last[item.id])]
        _write_items(session, patched, {number for number, _ in patched})
        stored |= {item.id for _, item in patched}
    return tuple(patch for patch in last.values() if patch.id not in stored)


def update_checksums(session: WriteSession, numbers: Sequence[int]) -> None:
    """Compute the checksums of items whose placements have changed again."""
    for start in range(0, len(numbers), _ITEMS_PER_SLICE):
        part = json_array(numbers[start : start + _ITEMS_PER_SLICE])
        rows = read_item_row(session.db, "item.number IN (SELECT value FROM json_each(?))", (part,))
        session.db.executemany(
            "UPDATE item SET checksum = ? WHERE number = ?", [(item_checksum(item), number) for number, item, _ in rows]
        )


def read_item_row(db: sqlite3.Connection, condition: str, values: Sequence[Any]) -> list[tuple[int, Item, bytes]]:
    """Return (number, item, stored checksum) of the items that satisfy `condition`."""
    rows = db.execute(_SELECT_ITEM + condition, values).fetchall()
    numbers = [row[0] for row in rows]
    folders = folder_ids(db, numbers)
    attachments: dict[int, list[Attachment]] = {}
    for number, *fields in db.execute(
        "SELECT item, id, url, name, content_type, content_id, size, role, NULL, state = 'source' FROM attachment"
        " WHERE item IN (SELECT value FROM json_each(?)) ORDER BY item, ordinal",
        (json_array(numbers),),
    ):
        attachments.setdefault(number, []).append(Attachment._make((*fields[:8], bool(fields[8]))))
    return [
        (
            row[0],
            Item._make((
                row[1], folders.get(row[0], ()), *row[2:10], *map(bool, row[10:14]), row[14],
                read_text(row[16], *row[19:22]), read_text(row[16], *row[22:25]), *row[15:18],
                tuple(attachments.get(row[0], ())),
            )),
            row[18],
        )
        for row in rows
    ]  # fmt: skip


def item_row(number: int, item: Item) -> tuple[Any, ...]:
    """Return the values of an item in the order of `COLUMNS`, for `ROW`."""
    text, html = place_text(item.text, item.payload), place_text(item.html, item.payload)
    return (
        number, item.id, item.kind, item.version, item.date, item.end, int(item.seen), int(item.flagged),
        int(item.answered), int(item.draft), item.size, item.title, item.who, item.recipients, item.message_id,
        checksum_of(item, text, html), item.details, *text, *html, item.extra, item.payload,
    )  # fmt: skip


def _write_items(session: WriteSession, items: Sequence[tuple[int, Item]], stored: Collection[int]) -> None:
    """Insert or replace the rows of items and their placements.

    `items`: by their numbers; `stored`: the numbers of those that are to be replaced.
    """
    rows = [item_row(number, item) for number, item in items]
    insert_many(session.db, f"INSERT OR FAIL INTO item ({COLUMNS})", ROW, rows, _UPSERT)  # as in fetch_queue
    _place(session, items, stored)


def _place(session: WriteSession, items: Iterable[tuple[int, Item]], stored: Collection[int]) -> None:
    """Write the placements of items; `stored`: numbers of those that may have some."""
    wanted = {(number, session.folder_number(folder)) for number, item in items for folder in item.folder_ids}
    found = set[tuple[int, int]]()
    if stored:
        sql = "SELECT item, folder FROM placement WHERE item IN (SELECT value FROM json_each(?))"
        found = set(session.db.execute(sql, (json_array(stored),)))
    if superfluous := sorted(found - wanted):
        session.db.executemany("DELETE FROM placement WHERE item = ? AND folder = ?", superfluous)
    insert_many(session.db, "INSERT INTO placement", "(?, ?)", sorted(wanted - found))


def _is_same(item: Item, patch: ItemPatch) -> bool:
    same = json.loads(patch.same)
    return not same or same.items() <= json.loads(item.payload).items()


def _patched(item: Item, patch: ItemPatch) -> Item:
    payload = item.payload
    if members := json.loads(patch.members):
        value = json.loads(payload) | members
        text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        payload = text.encode("utf-8", "backslashreplace")  # of a lone surrogate, JSON's own escape
    return item._replace(
        folder_ids=patch.folder_ids or item.folder_ids, version=patch.version, seen=patch.seen, flagged=patch.flagged,
        answered=patch.answered, draft=patch.draft, payload=payload,
    )  # fmt: skip


def _is_listed(attachment: Attachment) -> bool:
    return attachment.role != "source"


def _attachment_row(
    session: WriteSession, item: int, ordinal: int, new: Attachment, omit: bool
) -> tuple[tuple[Any, ...], list[ChunkRow]]:
    """Return the row of an attachment, and the chunks if its content came with it.

    `omit`: it is not downloaded, unless it is a source.
    """
    number = session.next_attachment_number()
    state, reason, received, digest, chunks = "wanted", "", 0, None, list[ChunkRow]()
    if new.in_source:
        state = "source"
    elif new.data is not None:
        state, received, digest = "done", len(new.data), sha256(new.data)
        chunks = chunk_rows(number, new.data, is_compressed=new.role == "source")
    elif omit and new.role != "source":
        state, reason = "omitted", OMITTED_BY_POLICY
    row = (
        number, item, ordinal, new.role, new.id, new.url, new.name, new.content_type, new.content_id, new.size, state,
        reason, received, digest,
    )  # fmt: skip
    return row, chunks


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
            for row in complete if not new.in_source else ():
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
    """Take items off the queue, unless another known version is queued.

    They stay on it once only; see `PutItems`.
    """
    insert_many(
        session.db,
        "WITH came (id, version) AS (",
        "(?, ?)",
        [(item.id, item.version) for item in items],
        ") DELETE FROM wanted WHERE id IN (SELECT wanted.id FROM came JOIN wanted ON wanted.id = came.id"
        " WHERE wanted.version IN (came.version, '') OR wanted.late = 1)",
    )
    ids = [item.id for item in items]
    select_in(session.db, "UPDATE wanted SET late = 1 WHERE id IN (...)", ids)
    select_in(session.db, "DELETE FROM skipped WHERE scope = 'item' AND id IN (...)", ids)
