"""Finds list rows that contradict the items they list.

Such an item is in two folders' lists, or is listed in another version.

No cache can agree with a server that contradicts itself. So the item is requested by its id, and what it says of itself
counts. Each contradiction is reported; none of them ends a run.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from kerio_resync.cache import queries
from kerio_resync.errors import FolderDenied, ItemGone, ProtocolError, TooLarge
from kerio_resync.model import Item, Kind, ListedItem
from kerio_resync.sync.context import RebuildContext

MAX_REQUESTED: Final = 1000  # items per run; further ones count as differences
BATCH_ITEMS: Final = 100


async def find_contradictions(
    run: RebuildContext, folder_id: str, kind: Kind, rows: Sequence[ListedItem], *, only_elsewhere: bool
) -> set[str]:
    """Return the ids of differing rows whose items equal those of the server.

    `only_elsewhere`: checks only items that the cache has in another folder. Where an item may be in several folders,
    no two lists contradict each other.
    """
    if run.mailbox.traits.several_folders:
        return set()
    stored = await run.store.read(queries.places, [row.id for row in rows])
    ids = [row.id for row in rows if row.id in stored and not (only_elsewhere and folder_id in stored[row.id][0])]
    ids = ids[: max(0, MAX_REQUESTED - len(run.comparison.contradictions))]
    contradicted = set[str]()
    for start in range(0, len(ids), BATCH_ITEMS):
        for item in await _request(run, kind, ids[start : start + BATCH_ITEMS]):
            if stored.get(item.id) == (item.folder_ids, item.version):
                contradicted.add(item.id)
                _report(run, item, folder_id)
    return contradicted


async def _request(run: RebuildContext, kind: Kind, ids: Sequence[str]) -> Iterable[Item]:
    try:
        return (await run.mailbox.items_by_id(kind, ids)).items
    except (TooLarge, ProtocolError, FolderDenied, ItemGone):
        return ()


def _report(run: RebuildContext, item: Item, listed_in: str) -> None:
    if (item.id, listed_in) in run.comparison.contradictions:
        return
    run.comparison.contradictions.add((item.id, listed_in))
    names = [run.folders[id_].name if id_ in run.folders else id_ for id_ in (listed_in, item.folder_id)]
    if item.folder_id == listed_in:
        run.notice(f"The server lists {item.kind} {item.id} in another version than it has. The item itself was kept.")
    else:
        run.notice(f"The server lists {item.kind} {item.id} in {names[0]!r} too; it says that it is in {names[1]!r}.")
