"""Writes the fetch queue: listings, changes, deleted and skipped items."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from kerio_resync.cache.bulk_sql import insert_many, select_in
from kerio_resync.cache.mutations import (
    ApplyChanges,
    DeleteItems,
    EnqueueItems,
    PutItems,
    PutPage,
    SetMeta,
    SkipEntry,
    UnskipEntry,
)
from kerio_resync.cache.write import items
from kerio_resync.cache.write.session import WriteSession
from kerio_resync.model import Kind, ListedItem

_ROW: Final = "(?, ?, ?, ?, ?, ?, ?, ?)"
_WITH: Final = "WITH given (id, folder, kind, watermark, size, date, has_attachment, keep) AS ("
_INSERT: Final = (
    "INSERT INTO wanted (id, folder, kind, watermark, size, date, has_attachment, keep, rank)"
    " SELECT given.*, (SELECT rank FROM folder WHERE number = given.folder) FROM given"
)
_UNLESS_STORED: Final = (
    f") {_INSERT} WHERE NOT EXISTS (SELECT 1 FROM item WHERE item.id = given.id AND item.watermark >= given.watermark)"
    " ON CONFLICT (id) DO NOTHING"
)
_ALWAYS: Final = (
    f") {_INSERT} WHERE TRUE ON CONFLICT (id) DO UPDATE SET folder = excluded.folder, kind = excluded.kind,"
    " watermark = max(watermark, excluded.watermark), size = max(size, excluded.size),"
    " date = CASE excluded.date WHEN '' THEN date ELSE excluded.date END,"
    " has_attachment = max(has_attachment, excluded.has_attachment), keep = max(keep, excluded.keep),"
    " rank = excluded.rank, late = 0"
)
Row = tuple[str, int, str, int, int, str, int, int]


def put_page(mutation: PutPage, session: WriteSession) -> None:
    """Store the items of a page, queue its rows, and record the position."""
    if mutation.items:
        items.put_items(PutItems(mutation.items, mutation.omit_attachments), session)
    folder = session.folder_number(mutation.folder_id)
    if mutation.rows:
        kind = session.folder_kind(mutation.folder_id) or "mail"
        _enqueue(session, [_row(folder, kind, listed) for listed in mutation.rows], _UNLESS_STORED)
    session.db.execute(
        "UPDATE folder SET position = coalesce(?, position), listed = max(listed, ?) WHERE number = ?",
        (mutation.position, int(mutation.done), folder),
    )


def enqueue(mutation: EnqueueItems, session: WriteSession) -> None:
    """Queue items, whatever is stored of them."""
    folder = session.folder_number(mutation.folder_id)
    _enqueue(session, [_row(folder, mutation.kind, listed) for listed in mutation.rows], _ALWAYS)


def delete(mutation: DeleteItems, session: WriteSession) -> None:
    """Delete items and take them off the queue."""
    _delete(session, mutation.ids)


def apply_changes(mutation: ApplyChanges, session: WriteSession) -> None:
    """Apply the changes since the last sync key, and store the new key."""
    _delete(session, mutation.deleted)
    for old, new, folder_id in mutation.moved:
        _move(session, old, new, folder_id)
    rows = [_row(session.folder_number(folder_id), kind, listed) for folder_id, kind, listed in mutation.queued]
    _enqueue(session, rows, _ALWAYS)
    set_meta(SetMeta("sync_key", mutation.key), session)


def set_meta(mutation: SetMeta, session: WriteSession) -> None:
    """Store a value in `meta`."""
    with session.untracked_writes():
        session.db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", mutation)


def skip(mutation: SkipEntry, session: WriteSession) -> None:
    """Record that something is left out. An item is taken off the queue."""
    session.db.execute("INSERT OR REPLACE INTO skipped VALUES (?, ?, ?)", mutation)
    if mutation.scope == "item":
        session.db.execute("DELETE FROM wanted WHERE id = ?", (mutation.id,))


def unskip(mutation: UnskipEntry, session: WriteSession) -> None:
    """Delete the record that something is left out."""
    session.db.execute("DELETE FROM skipped WHERE scope = ? AND id = ?", mutation)


def mark_listed(
    session: WriteSession, folder_id: str, rows: Sequence[ListedItem], round_: int
) -> tuple[ListedItem, ...]:
    """Mark the stored items among `rows` as met in `round_`.

    Return the rows whose items are neither stored in that version nor queued.
    """
    db = session.db
    ids = [listed.id for listed in rows]
    # the index `item_by_kind` has all of these columns; the items themselves are large and are not read
    sql = "SELECT number, id, watermark FROM item WHERE kind = ? AND id IN (...) AND folder = ?"
    stored = select_in(
        db, sql, ids, before=(session.folder_kind(folder_id),), after=(session.folder_number_or_none(folder_id),)
    )
    with session.untracked_writes():
        insert_many(db, "INSERT OR REPLACE INTO seen", "(?, ?)", [(number, round_) for number, _, _ in stored])
    watermarks = {item_id: watermark for _, item_id, watermark in stored}
    queued = {item_id for (item_id,) in select_in(db, "SELECT id FROM wanted WHERE id IN (...)", ids)}
    return tuple(row for row in rows if watermarks.get(row.id) != row.watermark and row.id not in queued)


def retry_failed(session: WriteSession) -> None:
    """Queue the attachments again that could not be downloaded."""
    session.db.execute("UPDATE attachment SET state = 'wanted', reason = '' WHERE state = 'failed'")


def _row(folder: int, kind: Kind, listed: ListedItem, keep: bool = False) -> Row:
    date = listed.date or ""
    return (
        listed.id, folder, kind, listed.watermark, listed.size, date, int(listed.has_attachment), int(keep)
    )  # fmt: skip


def _enqueue(session: WriteSession, rows: Sequence[Row], statement_end: str) -> None:
    """Queue rows. If an id comes twice, the newest version counts."""
    newest: dict[str, Row] = {}
    for row in rows:
        if row[0] not in newest or newest[row[0]][3] <= row[3]:
            newest[row[0]] = row
    insert_many(session.db, _WITH, _ROW, list(newest.values()), statement_end)


def _delete(session: WriteSession, ids: Iterable[str]) -> None:
    ids = list(ids)
    select_in(session.db, "DELETE FROM item WHERE id IN (...)", ids)
    select_in(session.db, "DELETE FROM wanted WHERE id IN (...)", ids)


def _move(session: WriteSession, old: str, new: str, folder_id: str) -> None:
    """Queue under the new id what has the old one.

    A stored item keeps its attachments.
    """
    db = session.db
    folder = session.folder_number(folder_id)
    new_is_stored = db.execute("SELECT 1 FROM item WHERE id = ?", (new,)).fetchone()
    moved = items.move_item(session, old, new, folder)
    row = db.execute("SELECT kind, watermark, size, date, has_attachment FROM wanted WHERE id = ?", (old,)).fetchone()
    db.execute("DELETE FROM wanted WHERE id = ?", (old,))
    if moved is not None:
        kind, listed = moved
        _enqueue(session, [_row(folder, kind, listed, keep=True)], _ALWAYS)
    elif row:
        _enqueue(session, [(new, folder, *row, 0)], _ALWAYS)
    elif not new_is_stored and (folder_kind := session.folder_kind(folder_id)):
        _enqueue(session, [_row(folder, folder_kind, ListedItem(new, 0))], _ALWAYS)
