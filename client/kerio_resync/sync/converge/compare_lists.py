"""Compares ids and versions in the cache with the server's lists.

Every folder is listed again.

`reconcile_lists` repairs, for a rebuild: what differs is queued, and fetching it by id settles it. `compare_folders`
only reports, for `verify`. What changed on the server since the last synchronisation is no difference.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from kerio_resync.cache import queries
from kerio_resync.cache.mutations import DeleteItems, EnqueueItems, SetMeta
from kerio_resync.cache.store import Store
from kerio_resync.errors import KeyExpired, ProtocolError, ResyncError, words_of
from kerio_resync.model import Folder, Kind, ListedItem, RemoteChange
from kerio_resync.server.kerio.struct_digest import struct_digest
from kerio_resync.server.mailbox import Mailbox
from kerio_resync.sync.context import RebuildContext
from kerio_resync.sync.converge.catch_up import MAX_ROUNDS, SYNC_KEY
from kerio_resync.sync.converge.contradictions import find_contradictions
from kerio_resync.sync.fetch.folders import syncable
from kerio_resync.sync.listing.concurrency import for_each_concurrently
from kerio_resync.sync.listing.early import longest_first
from kerio_resync.sync.listing.paging import concerns_this_list_only, list_folder

COMPARISON_KEY = "round"  # meta: number of the latest comparison
MAX_NAMED_DIFFERENCES = 1000  # further ones are only counted

DifferenceKind = Literal["missing", "stale", "extra", "unreadable", "altered", "damaged"]


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """The result of a verification.

    `checked`: items compared. `differences`: a line for each, at most MAX_NAMED_DIFFERENCES; `count`: their number.
    `repaired`: those that are gone after the repair.
    """

    checked: int
    differences: tuple[str, ...] = ()
    count: int = 0
    repaired: int = 0

    @property
    def ok(self) -> bool:
        """Return whether no difference is left."""
        return self.count == self.repaired

    def as_json(self) -> dict[str, Any]:
        """Return plain values only, for one line of JSON."""
        return {**asdict(self), "ok": self.ok}


@dataclass(frozen=True, slots=True)
class Difference:
    """One item that differs.

    `what`: missing (only on the server), stale (another version in the cache), extra (only in the cache), unreadable
    (the server does not send it), altered (another content in the same version), damaged (wrong checksum in the cache).
    """

    what: DifferenceKind
    folder: Folder
    row: ListedItem


async def new_comparison(store: Store) -> int:
    """Return a number that no comparison has had before.

    What an earlier comparison listed may be gone.
    """
    number = int(await store.read(queries.meta, COMPARISON_KEY) or 0) + 1
    await store.apply(SetMeta(COMPARISON_KEY, str(number)))
    return number


async def compare_folders(
    run: RebuildContext, folders: Iterable[Folder], take: Callable[[Folder, int, list[Difference]], Awaitable[None]]
) -> dict[str, ResyncError]:
    """List folders concurrently, and pass the differences of each page to `take`.

    `take` receives the folder, the number of rows compared, and the differing ones. Return, by id, the folders that
    could not be listed: removed, closed to this user, or endless.
    """
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
        differing = await run.store.mark_listed(folder.id, fresh, round_)
        stored = await run.store.read(queries.watermarks, [row.id for row in differing]) if differing else {}
        yield len(fresh), [Difference("stale" if row.id in stored else "missing", folder, row) for row in differing]
    async for extra in run.store.items_not_listed(folder.id, round_):
        run.comparison.unlisted.update(extra)
        yield 0, [Difference("extra", folder, ListedItem(item_id, 0)) for item_id in extra]


async def _pages(run: RebuildContext, folder: Folder) -> AsyncIterator[tuple[ListedItem, ...]]:
    """Yield the pages of an early listing, then the rest from the server."""
    limit, overlap = run.settings.page_size, run.settings.overlap
    early = run.comparison.early.take_pages(folder.id)
    for rows in early.pages:
        yield rows
    async for _, fresh, _ in list_folder(run.mailbox, folder, early.position, limit=limit, overlap=overlap):
        yield fresh


async def reconcile_lists(run: RebuildContext, *, last: bool = False) -> int:
    """List every folder again and queue what differs.

    Return the number of differences.

    Contradictions of the server are reported and not counted; `last`: also where only versions differ. A folder that
    the server names but does not list, requested twice, is skipped.
    """
    skipped = {row.id for row in await run.store.read(queries.skipped)}
    count, extra, settled = 0, set[str](), set[str]()

    async def take(folder: Folder, compared: int, differences: list[Difference]) -> None:
        nonlocal count
        run.reuse.reused_items += (
            compared - sum(item.what != "extra" for item in differences) if run.reuse.is_copy else 0
        )
        rows = [item.row for item in differences if item.row.id not in skipped]
        if rows and folder.kind is not None and differences[0].what != "extra":
            contradicted = await find_contradictions(run, folder.id, folder.kind, rows, only_elsewhere=not last)
            settled.update(contradicted)
            rows = [row for row in rows if row.id not in contradicted]
        elif rows:
            extra.update(row.id for row in rows)
        count += len(rows)
        if rows:
            await enqueue_differing(run, folder, rows)

    folders = [folder for folder in syncable(run.folders.values()) if folder.id not in skipped]
    if refused := await compare_folders(run, folders, take):
        _raise_protocol_errors(refused.values())
        listing = await run.mailbox.folders(shared=run.settings.shared, public=run.settings.public)
        existing = {folder.id: folder for folder in listing if folder.id in refused}  # catch-up deletes the others
        refused = await compare_folders(run, existing.values(), take)
        _raise_protocol_errors(refused.values())
        for folder_id, error in refused.items():
            await run.skip("folder", folder_id, f"{existing[folder_id].name!r}: {words_of(error)}")
    return count - len(extra & settled)


def _raise_protocol_errors(errors: Iterable[ResyncError]) -> None:
    for error in errors:
        if isinstance(error, ProtocolError):
            raise error


async def enqueue_differing(run: RebuildContext, folder: Folder, rows: Sequence[ListedItem]) -> None:
    """Queue rows that differ.

    Items stored in a newer version than the server's are deleted first: it was restored.
    """
    if folder.kind is None:
        return
    stored = await run.store.read(queries.watermarks, [row.id for row in rows])
    newer = tuple(row.id for row in rows if stored.get(row.id, -1) > row.watermark > 0)
    if newer:
        await run.store.apply(DeleteItems(newer))
    run.progress.queued(rows)
    await run.store.apply(EnqueueItems(folder.id, folder.kind, tuple(rows)))


async def changed_since_sync(mailbox: Mailbox, store: Store) -> tuple[set[str], bool]:
    """Return the ids that changed on the server since the cache's sync key.

    The second value is false if the server could not tell.
    """
    key = await store.read(queries.meta, SYNC_KEY)
    ids: set[str] = set()
    if key is None:
        return ids, False
    for _ in range(MAX_ROUNDS):
        try:
            feed = await mailbox.changes(key)
        except KeyExpired:
            return ids, False
        ids.update(_ids(feed.changes))
        if not feed.changes or feed.key == key:
            return ids, True
        key = feed.key
    return ids, False


def _ids(changes: Sequence[RemoteChange]) -> set[str]:
    named = ((change.id, change.old_id, change.parent_id if change.is_folder else "") for change in changes)
    return {id_ for ids in named for id_ in ids if id_}


async def item_digests(store: Store) -> AsyncIterator[tuple[Kind, str, int, str]]:
    """Yield (kind, id, watermark, sha256) of every item of the own mailbox.

    The order is that of the digest.
    """
    after = ("", "")
    while rows := await store.read(queries.items, after):
        for row in rows:
            contents = {content.id: content.sha256.hex() for content in row.attachments if content.sha256 is not None}
            yield row.kind, row.id, row.watermark, struct_digest(row.kind, row.payload, contents)
        after = (rows[-1].kind, rows[-1].id)
