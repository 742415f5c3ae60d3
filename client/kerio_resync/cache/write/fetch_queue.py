"""Writes the fetch queue: listings, changes, deleted and skipped items."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from kerio_resync.cache import queries
from kerio_resync.cache.bulk_sql import insert_many, json_array, select_in
from kerio_resync.cache.mutations import (
    ApplyChanges,
    DeleteItems,
    EnqueueItems,
    PatchItems,
    PutItems,
    PutPage,
    SetMeta,
    SkipEntry,
    UnskipEntry,
)
from kerio_resync.cache.write import items
from kerio_resync.cache.write.session import WriteSession
from kerio_resync.model import ItemPatch, Kind, ListedItem

_ROW: Final = "(?, ?, ?, ?, ?, ?, ?, ?)"
_WITH: Final = "WITH given (id, folder, kind, version, size, date, has_attachment, keep) AS ("
_INSERT: Final = (
    # OR FAIL: after an error the writer rolls all back, so SQLite need not copy pages to undo this statement alone
    "INSERT OR FAIL INTO wanted (id, folder, kind, version, size, date, has_attachment, keep, rank)"
    " SELECT given.*, (SELECT rank FROM folder WHERE number = given.folder) FROM given"
)
_UNLESS_STORED: Final = (
    # by indexes: see `queries.stored_versions`
    f") {_INSERT} WHERE NOT EXISTS (SELECT 1 FROM item CROSS JOIN item AS indexed INDEXED BY item_by_kind"
    f" WHERE item.id = given.id AND indexed.kind IN ({queries.KINDS_SQL}) AND indexed.number = item.number"
    " AND indexed.version = given.version) ON CONFLICT (id) DO NOTHING"
)
_ALWAYS: Final = (
    f") {_INSERT} WHERE TRUE ON CONFLICT (id) DO UPDATE SET folder = excluded.folder, kind = excluded.kind,"
    " version = CASE excluded.version WHEN '' THEN version ELSE excluded.version END,"
    " size = CASE excluded.size WHEN 0 THEN size ELSE excluded.size END,"
    " date = CASE excluded.date WHEN '' THEN date ELSE excluded.date END,"
    " has_attachment = max(has_attachment, excluded.has_attachment), keep = max(keep, excluded.keep),"
    " rank = excluded.rank, late = 0"
)
Row = tuple[str, int, str, str, int, str, int, int]


def put_page(mutation: PutPage, session: WriteSession) -> None:
    """Store the items of a page, queue its rows, and record the position."""
    if mutation.items:
        items.put_items(PutItems(mutation.items, mutation.omit_attachments), session)
    first = mutation.folder_ids[0]
    numbers = [session.folder_number(folder_id) for folder_id in mutation.folder_ids]
    if mutation.rows:
        kind = session.folder_kind(first) or "mail"
        _enqueue(session, [_row(session, first, kind, listed) for listed in mutation.rows], _UNLESS_STORED)
    session.db.execute(
        "UPDATE folder SET position = coalesce(?, position), listed_rows = max(listed_rows, ?), listed = max(listed, ?)"
        " WHERE number IN (SELECT value FROM json_each(?))",
        (mutation.position, mutation.listed, int(mutation.done), json_array(numbers)),
    )


def enqueue(mutation: EnqueueItems, session: WriteSession) -> None:
    """Queue items, whatever is stored of them."""
    rows = [_row(session, mutation.folder_id, mutation.kind, listed) for listed in mutation.rows]
    _enqueue(session, rows, _ALWAYS)


def delete(mutation: DeleteItems, session: WriteSession) -> None:
    """Delete items and take them off the queue."""
    _delete(session, mutation.ids)


def apply_changes(mutation: ApplyChanges, session: WriteSession) -> None:
    """Apply the changes since the last sync key, and store the new key."""
    _delete(session, mutation.deleted)
    for old, new, folder_id in mutation.moved:
        _move(session, old, new, folder_id)
    _patch(session, mutation.patched)
    rows = [_row(session, folder_id, kind, listed) for folder_id, kind, listed in mutation.queued]
    _enqueue(session, rows, _ALWAYS)
    set_meta(SetMeta("sync_key", mutation.key), session)


def patch(mutation: PatchItems, session: WriteSession) -> None:
    """Give stored items new flags and folders."""
    _patch(session, mutation.patches)


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
    session: WriteSession, folder_ids: Sequence[str], rows: Sequence[ListedItem], round_: int
) -> tuple[ListedItem, ...]:
    """Mark the stored items among `rows` as met in `round_`.

    Return the rows whose items are neither stored in that version nor queued.
    """
    db = session.db
    ids = [listed.id for listed in rows]
    folders = json_array(filter(None, map(session.folder_number_or_none, folder_ids)))
    stored = queries.stored_versions(db, ids)
    placed = {
        item
        for (item,) in db.execute(
            "SELECT item FROM placement WHERE item IN (SELECT value FROM json_each(?))"
            " AND +folder IN (SELECT value FROM json_each(?))",
            (json_array(number for number, _, _ in stored), folders),
        )
    }
    stored = [row for row in stored if row[0] in placed]
    with session.untracked_writes():
        insert_many(db, "INSERT OR REPLACE INTO seen", "(?, ?)", [(number, round_) for number, _, _ in stored])
    versions = {item_id: version for _, item_id, version in stored}
    queued = {item_id for (item_id,) in select_in(db, "SELECT id FROM wanted WHERE id IN (...)", ids)}
    return tuple(row for row in rows if versions.get(row.id) != row.version and row.id not in queued)


def retry_failed(session: WriteSession) -> None:
    """Queue the attachments again that could not be downloaded."""
    session.db.execute("UPDATE attachment SET state = 'wanted', reason = '' WHERE state = 'failed'")


def _row(session: WriteSession, folder_id: str, kind: Kind, listed: ListedItem, keep: bool = False) -> Row:
    """Return the row of an item. It is in `folder_id`, unless it names its folders."""
    folder = session.folder_number(session.first_folder(listed.folder_ids) if listed.folder_ids else folder_id)
    date = listed.date or ""
    return (
        listed.id, folder, kind, listed.version, listed.size, date, int(listed.has_attachment), int(keep)
    )  # fmt: skip


def _enqueue(session: WriteSession, rows: Sequence[Row], statement_end: str) -> None:
    """Queue rows. If an id comes twice, the last row counts."""
    insert_many(session.db, _WITH, _ROW, list({row[0]: row for row in rows}.values()), statement_end)


def _patch(session: WriteSession, patches: Sequence[ItemPatch]) -> None:
    """Apply patches; queue the items that are not stored or queued already."""
    missing = items.patch_items(session, patches)
    ids = [patch.id for patch in patches]
    queued = dict(select_in(session.db, "SELECT id, kind FROM wanted WHERE id IN (...)", ids))
    rows = []
    for patch in {patch.id: patch for patch in patches}.values():
        if patch.folder_ids and (patch in missing or patch.id in queued):
            folder_id = session.first_folder(patch.folder_ids)
            kind = queued.get(patch.id) or session.folder_kind(folder_id) or "mail"
            rows.append(_row(session, folder_id, kind, ListedItem(patch.id, patch.version)))
    _enqueue(session, rows, _ALWAYS)


def _delete(session: WriteSession, ids: Iterable[str]) -> None:
    ids = list(ids)
    select_in(session.db, "DELETE FROM item WHERE id IN (...)", ids)
    select_in(session.db, "DELETE FROM wanted WHERE id IN (...)", ids)


def _move(session: WriteSession, old: str, new: str, folder_id: str) -> None:
    """Queue under the new id what has the old one.

    A stored item keeps its attachments.
    """
    db = session.db
    folder = session.folder_number(folder_id)  # a placeholder if it is unknown
    new_is_stored = db.execute("SELECT 1 FROM item WHERE id = ?", (new,)).fetchone()
    moved = items.move_item(session, old, new, folder_id)
    row = db.execute("SELECT kind, '', size, date, has_attachment FROM wanted WHERE id = ?", (old,)).fetchone()
    db.execute("DELETE FROM wanted WHERE id = ?", (old,))
    if moved is not None:
        kind, listed = moved
        _enqueue(session, [_row(session, folder_id, kind, listed, keep=True)], _ALWAYS)
    elif row:
        _enqueue(session, [(new, folder, *row, 0)], _ALWAYS)
    elif not new_is_stored and (folder_kind := session.folder_kind(folder_id)):
        _enqueue(session, [_row(session, folder_id, folder_kind, ListedItem(new, ""))], _ALWAYS)
