"""The search for items: the ids that match a query, in order.

No more of an item is built than the query needs. A folder in one of its native orders is sliced, not sorted. Other
results are selected and sorted once per state of the mailbox, and further pages are slices of the same list until
something changes. A search pauses regularly, so that other calls are served however large mailbox and query are.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from typing import Any
from weakref import WeakKeyDictionary

from kerio_mockserver.api.errors import ACCESS_DENIED, FAILED, ApiError
from kerio_mockserver.api.query import WHOLE_ITEM, Query, Struct, arranged, matcher
from kerio_mockserver.mailbox.store import FolderItems, MailboxStore, NoSuchItem

NATIVE = frozenset({"id", "receiveDate", "watermark"})
_KEPT = 8
_ITEM_COST, _PAUSE_COST = 1_000, 500_000  # in characters searched, so that equal calls pause at equal places

_recent: WeakKeyDictionary[MailboxStore, OrderedDict[Any, Sequence[str]]] = WeakKeyDictionary()


async def select(store: MailboxStore, kind: str, folder_ids: Sequence[str], query: Query) -> Sequence[str]:
    """Return the ids of all items that match, in order; their number is `totalItems`.

    Raise NoSuchFolder, ApiError 1000 for a folder of another kind, 1004 for one that this user may not read.
    """
    candidates = (_searchable_folder(store, kind, folder_id) for folder_id in dict.fromkeys(folder_ids))
    folders = [folder for folder in candidates if folder]
    native = _native(query)
    if native is not None and len(folders) <= 1:
        column, descending = native
        return folders[0].ordered(column, descending) if folders else ()
    key = (
        kind,
        tuple(folder.id for folder in folders),
        sum(map(len, folders)),
        query.conditions,
        query.any_of,
        query.order,
    )
    watermark = store.journal.watermark
    stamp = (watermark, key)
    kept = _recent.setdefault(store, OrderedDict())
    found = kept.get(stamp)
    if found is None:
        found = tuple(arranged([pair async for pair in _matching(store, folders, query)], query))
        if store.journal.watermark == watermark:
            kept[stamp] = found
        while len(kept) > _KEPT:
            kept.popitem(last=False)
    return found


def _searchable_folder(store: MailboxStore, kind: str, folder_id: str) -> FolderItems | None:
    folder = store.folder(folder_id)
    if folder.kind is None:
        return None
    if not folder.readable:
        raise ApiError(ACCESS_DENIED, "Access to folder %1 is denied.", folder_id)
    if folder.kind != kind:
        raise ApiError(FAILED, "Folder %1 does not hold items of this kind.", folder_id)
    return folder


def _native(query: Query) -> tuple[str, bool] | None:
    """Return the query's order if a folder has it without sorting; otherwise None."""
    if query.conditions:
        return None
    if not query.order:
        return "id", False
    first, *others = query.order
    steady = all(order.column == "id" and order.descending == first.descending for order in others)
    return (first.column, first.descending) if first.column in NATIVE and steady else None


async def _matching(
    store: MailboxStore, folders: Sequence[FolderItems], query: Query
) -> AsyncIterator[tuple[str, Struct]]:
    """Yield each item that matches, with the members to sort by."""
    test, names, columns = matcher(query), query.needs, query.columns
    whole = not WHOLE_ITEM.isdisjoint(names)
    cost = 0
    for folder in folders:
        for item_id in folder.ordered("id"):
            with suppress(NoSuchItem):
                item = store.item(item_id) if whole else store.some(item_id, names)
                texts: dict[str, str] = {}
                if test(item, texts):
                    yield item_id, {name: item[name] for name in columns}
                cost += _ITEM_COST + sum(map(len, texts.values())) * len(query.conditions)
            if cost >= _PAUSE_COST:
                cost = 0
                await asyncio.sleep(0)
