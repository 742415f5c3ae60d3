"""Holds the cache against the server: ids and watermarks by a second listing, contents by checksums or by fetching.

`relist` is the repairing kind, used by a rebuild: what disagrees becomes wanted, and asking for it by id settles it.
`verify` is the reporting kind: it names what disagrees and is not explained by a change since the last sync key.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from kerio_resync.cache import queries
from kerio_resync.cache.mutations import DeleteItems, EnqueueItems, SetMeta
from kerio_resync.cache.store import Store
from kerio_resync.errors import KeyExpired, ProtocolError, ResyncError, words_of
from kerio_resync.model import Folder, Kind, ListedItem, RemoteChange
from kerio_resync.server.kerio.items import struct_digest as digest_struct
from kerio_resync.server.mailbox import Mailbox
from kerio_resync.sync.context import RebuildContext
from kerio_resync.sync.converge.catch_up import MAX_ROUNDS, SYNC_KEY
from kerio_resync.sync.converge.contradictions import find_contradictions
from kerio_resync.sync.fetch.folders import syncable
from kerio_resync.sync.listing.concurrency import for_each_concurrently
from kerio_resync.sync.listing.early import longest_first
from kerio_resync.sync.listing.paging import concerns_this_list_only, list_folder

COMPARISON_KEY = "round"  # meta: the number of the last comparison
MAX_NAMED_DIFFERENCES = 1000  # differences named one by one; beyond that they are only counted


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """`checked`: items compared. `differences`: one line each, at most NAMED; `count`: how many there are in all."""

    checked: int
    differences: tuple[str, ...] = ()
    count: int = 0
    repaired: int = 0

    @property
    def ok(self) -> bool:
        return self.count == self.repaired

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "ok": self.ok}


@dataclass(frozen=True, slots=True)
class Difference:
    """`what`: missing (only on the server), stale (another version here), extra (only here)."""

    what: str
    folder: Folder
    row: ListedItem


async def new_comparison(store: Store) -> int:
    """A number that no comparison has had before, in this run or another: what an earlier one met may be gone."""
    number = int(await store.read(queries.meta, COMPARISON_KEY) or 0) + 1
    await store.apply(SetMeta(COMPARISON_KEY, str(number)))
    return number


async def compare_folders(
    run: RebuildContext, folders: Iterable[Folder], take: Callable[[Folder, int, list[Difference]], Awaitable[None]]
) -> dict[str, ResyncError]:
    """Lists folders, several at once, and gives to `take`, page by page, how many rows were compared and which of them
    disagree. Returns, by id, those that could not be listed: they went or were closed to us meanwhile, or never end."""
    round_ = await new_comparison(run.store)
    unlisted: dict[str, ResyncError] = {}

    async def compare(folder: Folder) -> None:
        try:
            async for rows, found in _compare_folder(run, folder, round_):
                await take(folder, rows, found)
        except ResyncError as error:
            if not concerns_this_list_only(error):
                raise
            unlisted[folder.id] = error

    await for_each_concurrently(longest_first(folders), compare)
    return unlisted


async def _compare_folder(
    run: RebuildContext, folder: Folder, round_: int
) -> AsyncIterator[tuple[int, list[Difference]]]:
    async for fresh in _pages(run, folder):
        odd = await run.store.mark_listed(folder.id, fresh, round_)
        held = await run.store.read(queries.watermarks, [row.id for row in odd]) if odd else {}
        yield len(fresh), [Difference("stale" if row.id in held else "missing", folder, row) for row in odd]
    async for extra in run.store.items_not_listed(folder.id, round_):
        run.comparison.unlisted.update(extra)
        yield 0, [Difference("extra", folder, ListedItem(each, 0)) for each in extra]


async def _pages(run: RebuildContext, folder: Folder) -> AsyncIterator[tuple[ListedItem, ...]]:
    """The folder's list, page by page, as far as it is known already, and the rest of it from the server."""
    limit, overlap = run.settings.page_size, run.settings.overlap
    begun = run.comparison.early.take_pages(folder.id)
    for rows in begun.pages:
        yield rows
    async for _, fresh, _ in list_folder(run.mailbox, folder, begun.position, limit=limit, overlap=overlap):
        yield fresh


async def reconcile_lists(run: RebuildContext, *, last: bool = False) -> int:
    """Lists every mirrored folder again; what disagrees becomes wanted. Returns how many rows that were.

    What the server contradicts itself in is named and not counted; `last`: also where only versions differ. A folder
    that the server names and does not list, asked twice, is left out by name."""
    left_out = {row.id for row in await run.store.read(queries.skipped)}
    count, extra, settled = 0, set[str](), set[str]()

    async def take(folder: Folder, compared: int, found: list[Difference]) -> None:
        nonlocal count
        run.reuse.reused_items += compared - sum(each.what != "extra" for each in found) if run.reuse.is_copy else 0
        rows = [each.row for each in found if each.row.id not in left_out]
        if rows and folder.kind is not None and found[0].what != "extra":
            odd = await find_contradictions(run, folder.id, folder.kind, rows, only_elsewhere=not last)
            settled.update(odd)
            rows = [row for row in rows if row.id not in odd]
        elif rows:
            extra.update(row.id for row in rows)
        count += len(rows)
        if rows:
            await enqueue_differing(run, folder, rows)

    todo = [each for each in syncable(run.folders.values()) if each.id not in left_out]
    if refused := await compare_folders(run, todo, take):
        _raise_nonsense(refused.values())
        told = await run.mailbox.folders(shared=run.settings.shared, public=run.settings.public)
        there = {each.id: each for each in told if each.id in refused}  # one that went is the next catch-up's business
        refused = await compare_folders(run, there.values(), take)
        _raise_nonsense(refused.values())
        for folder_id, error in refused.items():
            await run.skip("folder", folder_id, f"{there[folder_id].name!r}: {words_of(error)}")
    return count - len(extra & settled)


def _raise_nonsense(errors: Iterable[ResyncError]) -> None:
    for error in errors:
        if isinstance(error, ProtocolError):
            raise error


async def enqueue_differing(run: RebuildContext, folder: Folder, rows: Sequence[ListedItem]) -> None:
    """These are to be fetched. What is stored in a newer version than the server has is forgotten at once: the server
    was restored from a backup."""
    assert folder.kind is not None
    held = await run.store.read(queries.watermarks, [row.id for row in rows])
    newer = tuple(row.id for row in rows if held.get(row.id, -1) > row.watermark > 0)
    if newer:
        await run.store.apply(DeleteItems(newer))
    run.progress.queued(rows)
    await run.store.apply(EnqueueItems(folder.id, folder.kind, tuple(rows)))


async def changed_since_sync(mailbox: Mailbox, store: Store) -> tuple[set[str], bool]:
    """(ids that changed on the server since the cache's sync key, whether the server could tell)."""
    key = await store.read(queries.meta, SYNC_KEY)
    ids: set[str] = set()
    if key is None:
        return ids, False
    for _ in range(MAX_ROUNDS):
        try:
            told = await mailbox.changes(key)
        except KeyExpired:
            return ids, False
        ids.update(_ids(told.changes))
        if not told.changes or told.key == key:
            return ids, True
        key = told.key
    return ids, False


def _ids(changes: Sequence[RemoteChange]) -> set[str]:
    return {
        each
        for change in changes
        for each in (change.id, change.old_id, change.parent_id if change.is_folder else "")
        if each
    }


async def item_digests(store: Store) -> AsyncIterator[tuple[Kind, str, int, str]]:
    """(kind, id, watermark, sha256) of every stored item of the own mailbox, in the order of the digest's lines."""
    after = ("", "")
    while rows := await store.read(queries.items, after):
        for row in rows:
            contents = {each.id: each.sha256.hex() for each in row.attachments if each.sha256 is not None}
            yield row.kind, row.id, row.watermark, digest_struct(row.kind, row.payload, contents)
        after = (rows[-1].kind, rows[-1].id)
