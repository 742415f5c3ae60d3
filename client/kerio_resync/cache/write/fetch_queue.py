"""Writing what is to be fetched: pages of a listing, changes since a key, and what is no longer there."""

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
    SkipEntry,
    UnskipEntry,
)
from kerio_resync.cache.write import items
from kerio_resync.cache.write.session import WriteSession
from kerio_resync.model import Kind, ListedItem

_GIVEN: Final = "WITH given (id, folder, kind, watermark, size, date, has_attachment, keep) AS ("
_ROW: Final = "(?, ?, ?, ?, ?, ?, ?, ?)"
_COLUMNS: Final = (
    "INSERT INTO wanted (id, folder, kind, watermark, size, date, has_attachment, keep, rank)"
    " SELECT given.*, (SELECT rank FROM folder WHERE number = given.folder) FROM given"
)
_UNLESS_STORED: Final = (
    f") {_COLUMNS} WHERE NOT EXISTS (SELECT 1 FROM item WHERE item.id = given.id AND item.watermark >= given.watermark)"
    " ON CONFLICT (id) DO NOTHING"
)
_IN_ANY_CASE: Final = (
    f") {_COLUMNS} WHERE TRUE ON CONFLICT (id) DO UPDATE SET folder = excluded.folder, kind = excluded.kind,"
    " watermark = max(watermark, excluded.watermark), size = max(size, excluded.size),"
    " date = CASE excluded.date WHEN '' THEN date ELSE excluded.date END,"
    " has_attachment = max(has_attachment, excluded.has_attachment), keep = max(keep, excluded.keep),"
    " rank = excluded.rank, late = 0"
)
Row = tuple[str, int, str, int, int, str, int, int]


def put_page(tables: WriteSession, fact: PutPage) -> None:
    if fact.items:
        items.put_items(tables, PutItems(fact.items, fact.omit_attachments))
    folder = tables.folder_number(fact.folder_id)
    if fact.rows:
        kind = tables.folder_kind(fact.folder_id) or "mail"
        _want(tables, [_row(folder, kind, each) for each in fact.rows], _UNLESS_STORED)
    tables.db.execute(
        "UPDATE folder SET position = coalesce(?, position), listed = max(listed, ?) WHERE number = ?",
        (fact.position, int(fact.done), folder),
    )


def enqueue(tables: WriteSession, fact: EnqueueItems) -> None:
    folder = tables.folder_number(fact.folder_id)
    _want(tables, [_row(folder, fact.kind, each) for each in fact.rows], _IN_ANY_CASE)


def delete(tables: WriteSession, fact: DeleteItems) -> None:
    _forget(tables, fact.ids)


def apply(tables: WriteSession, fact: ApplyChanges) -> None:
    _forget(tables, fact.forget)
    for old, new, folder_id in fact.moved:
        _move(tables, old, new, folder_id)
    rows = [_row(tables.folder_number(folder_id), kind, listed) for folder_id, kind, listed in fact.want]
    _want(tables, rows, _IN_ANY_CASE)
    with tables.untracked_writes():
        tables.db.execute("INSERT OR REPLACE INTO meta VALUES ('sync_key', ?)", (fact.key,))


def skip(tables: WriteSession, fact: SkipEntry) -> None:
    tables.db.execute("INSERT OR REPLACE INTO skipped VALUES (?, ?, ?)", (fact.scope, fact.id, fact.reason))
    if fact.scope == "item":
        tables.db.execute("DELETE FROM wanted WHERE id = ?", (fact.id,))


def unskip(tables: WriteSession, fact: UnskipEntry) -> None:
    tables.db.execute("DELETE FROM skipped WHERE scope = ? AND id = ?", (fact.scope, fact.id))


def mark_listed(
    tables: WriteSession, folder_id: str, rows: Sequence[ListedItem], round_: int
) -> tuple[ListedItem, ...]:
    """Marks the stored ones among `rows` as met in `round_`; returns those not stored so and not wanted either."""
    db = tables.db
    ids = [each.id for each in rows]
    # all of it stands in the index `item_by_kind`: the items themselves are large, and not read
    sql = "SELECT number, id, watermark FROM item WHERE kind = ? AND id IN (...) AND folder = ?"
    here = select_in(
        db, sql, ids, before=(tables.folder_kind(folder_id),), after=(tables.folder_number_or_none(folder_id),)
    )
    with tables.untracked_writes():
        insert_many(db, "INSERT OR REPLACE INTO seen", "(?, ?)", [(row[0], round_) for row in here])
    held = {row[1]: row[2] for row in here}
    coming = {row[0] for row in select_in(db, "SELECT id FROM wanted WHERE id IN (...)", ids)}
    return tuple(each for each in rows if held.get(each.id) != each.watermark and each.id not in coming)


def _row(folder: int, kind: Kind, listed: ListedItem, keep: bool = False) -> Row:
    date = listed.date or ""
    return (
        listed.id, folder, kind, listed.watermark, listed.size, date, int(listed.has_attachment), int(keep)
    )  # fmt: skip


def _want(tables: WriteSession, rows: Sequence[Row], tail: str) -> None:
    """`rows` may name an id twice: the one with the newest version counts."""
    newest: dict[str, Row] = {}
    for row in rows:
        if row[0] not in newest or newest[row[0]][3] <= row[3]:
            newest[row[0]] = row
    insert_many(tables.db, _GIVEN, _ROW, list(newest.values()), tail)


def _forget(tables: WriteSession, ids: Iterable[str]) -> None:
    gone = list(ids)
    select_in(tables.db, "DELETE FROM item WHERE id IN (...)", gone)
    select_in(tables.db, "DELETE FROM wanted WHERE id IN (...)", gone)


def _move(tables: WriteSession, old: str, new: str, folder_id: str) -> None:
    """What is stored or wanted under the old id becomes wanted under the new one; what is stored keeps its contents."""
    db = tables.db
    folder = tables.folder_number(folder_id)
    fresh = db.execute("SELECT 1 FROM item WHERE id = ?", (new,)).fetchone()
    stored = items.move_item(tables, old, new, folder)
    row = db.execute("SELECT kind, watermark, size, date, has_attachment FROM wanted WHERE id = ?", (old,)).fetchone()
    db.execute("DELETE FROM wanted WHERE id = ?", (old,))
    if stored is not None:
        _want(tables, [_row(folder, stored[0], stored[1], keep=True)], _IN_ANY_CASE)
    elif row:
        _want(tables, [(new, folder, *row, 0)], _IN_ANY_CASE)
    elif not fresh and (kind := tables.folder_kind(folder_id)):
        _want(tables, [_row(folder, kind, ListedItem(new, 0))], _IN_ANY_CASE)


def retry_failed(tables: WriteSession) -> None:
    """Contents that could not be had are wanted again."""
    tables.db.execute("UPDATE attachment SET state = 'wanted', reason = '' WHERE state = 'failed'")
