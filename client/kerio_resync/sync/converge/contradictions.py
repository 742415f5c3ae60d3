"""Listings that contradict the items they list: an item in two folders' lists, or in another version than it has.

A rebuild cannot make such a cache agree with the server, since the server does not agree with itself. So the item is
asked for by its id, and what it says of itself counts. Each contradiction is named; none of them ends a run.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from kerio_resync.cache import queries
from kerio_resync.errors import FolderDenied, ItemGone, ProtocolError, TooLarge
from kerio_resync.model import Item, Kind, ListedItem
from kerio_resync.sync.context import RebuildContext

MAX_ASKED: Final = 1000  # items that one comparison asks for; the others count as differences
BATCH_ITEMS: Final = 100


async def find_contradictions(
    run: RebuildContext, folder_id: str, kind: Kind, rows: Sequence[ListedItem], *, only_elsewhere: bool
) -> set[str]:
    """Of rows that disagree with the cache, the ids of items that the cache holds just as the server has them.

    `only_elsewhere`: ask for those alone that the cache holds in another folder."""
    stored = await run.store.read(queries.places, [row.id for row in rows])
    asked = [row.id for row in rows if row.id in stored and not (only_elsewhere and stored[row.id][0] == folder_id)]
    asked = asked[: max(0, MAX_ASKED - len(run.comparison.contradictions))]
    found = set[str]()
    for start in range(0, len(asked), BATCH_ITEMS):
        for item in await _ask(run, kind, asked[start : start + BATCH_ITEMS]):
            if stored.get(item.id) == (item.folder_id, item.watermark):
                found.add(item.id)
                _name(run, item, folder_id)
    return found


async def _ask(run: RebuildContext, kind: Kind, ids: Sequence[str]) -> Iterable[Item]:
    try:
        return (await run.mailbox.items_by_id(kind, ids)).items
    except (TooLarge, ProtocolError, FolderDenied, ItemGone):
        return ()


def _name(run: RebuildContext, item: Item, listed_in: str) -> None:
    if (item.id, listed_in) in run.comparison.contradictions:
        return
    run.comparison.contradictions.add((item.id, listed_in))
    names = [run.folders[each].name if each in run.folders else each for each in (listed_in, item.folder_id)]
    if item.folder_id == listed_in:
        run.notice(f"The server lists {item.kind} {item.id} in another version than it has. The item itself was kept.")
    else:
        run.notice(f"The server lists {item.kind} {item.id} in {names[0]!r} too; it says that it is in {names[1]!r}.")
