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
from kerio_resync.cache.mutations import EnqueueItems, PatchItems, SetMeta
from kerio_resync.cache.queries import StoredItem
from kerio_resync.cache.store import Store
from kerio_resync.errors import KeyExpired, ProtocolError, ResyncError, words_of
from kerio_resync.model import ChangeSet, Folder, Kind, ListedItem, Listing
from kerio_resync.server.mailbox import Mailbox
from kerio_resync.sync.context import RebuildContext
from kerio_resync.sync.converge.catch_up import MAX_ROUNDS, SYNC_KEY, plan_patches
from kerio_resync.sync.converge.contradictions import find_contradictions
from kerio_resync.sync.fetch.folders import syncable
from kerio_resync.sync.item_digest import item_digest
from kerio_resync.sync.listing.concurrency import for_each_concurrently
from kerio_resync.sync.listing.early import longest_first
from kerio_resync.sync.listing.failures import concerns_this_list_only

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
    run: RebuildContext, folders: Sequence[Folder], take: Callable[[int, list[Difference]], Awaitable[None]]
) -> dict[str, ResyncError]:
    """List folders concurrently, and pass the differences of each page to `take`.

    `take` receives the number of rows compared, and the differing ones, which are all of one folder or are all missing
    on the server. Return, by id, the folders that could not be listed: removed, closed to this user, or endless.
    """
    round_ = await new_comparison(run.store)
    unlisted: dict[str, ResyncError] = {}

    async def compare(listing: Listing) -> None:
        try:
            async for rows, differences in _compare_list(run, listing, round_):
                await take(rows, differences)
        except ResyncError as error:
            if not concerns_this_list_only(error):
                raise
            unlisted.update(dict.fromkeys(listing.folder_ids, error))

    await for_each_concurrently(longest_first(run.mailbox.listings(folders)), compare)
    return unlisted


async def _compare_list(
    run: RebuildContext, listing: Listing, round_: int
) -> AsyncIterator[tuple[int, list[Difference]]]:
    folders = {folder.id: folder for folder in listing.folders}

    def folder_of(row: ListedItem) -> Folder:
        return next((folders[folder_id] for folder_id in row.folder_ids if folder_id in folders), listing.folders[0])

    async for fresh in _pages(run, listing):
        differing = await run.store.mark_listed(listing.folder_ids, fresh, round_)
        stored = await run.store.read(queries.versions, [row.id for row in differing]) if differing else {}
        by_folder: dict[str, list[Difference]] = {}
        for row in differing:
            difference = Difference("stale" if row.id in stored else "missing", folder_of(row), row)
            by_folder.setdefault(difference.folder.id, []).append(difference)
        yield len(fresh), []
        for differences in by_folder.values():
            yield 0, differences
    async for extra in run.store.items_not_listed(listing.folder_ids, round_):
        run.comparison.unlisted.update(extra)
        yield 0, [Difference("extra", listing.folders[0], ListedItem(item_id, "")) for item_id in extra]


async def _pages(run: RebuildContext, listing: Listing) -> AsyncIterator[tuple[ListedItem, ...]]:
    """Yield the pages of an early listing, then the rest from the server."""
    early = run.comparison.early.take_pages(listing)
    for rows in early.pages:
        yield rows
    if not early.done:
        async for page in run.mailbox.list_items(listing, early.position):
            yield page.fresh


async def reconcile_lists(run: RebuildContext, *, last: bool = False) -> int:
    """List every folder again and queue what differs.

    Return the number of differences.

    Contradictions of the server are reported and not counted; `last`: also where only versions differ. A folder that
    the server names but does not list, requested twice, is skipped.
    """
    skipped = {row.id for row in await run.store.read(queries.skipped)}
    count, extra, settled = 0, set[str](), set[str]()

    async def take(compared: int, differences: list[Difference]) -> None:
        nonlocal count
        run.reuse.reused_items += (
            compared - sum(item.what != "extra" for item in differences) if run.reuse.is_copy else 0
        )
        rows = [item.row for item in differences if item.row.id not in skipped]
        if not rows:
            return
        folder = differences[0].folder
        if folder.kind is not None and differences[0].what != "extra":
            contradicted = await find_contradictions(run, folder.id, folder.kind, rows, only_elsewhere=not last)
            settled.update(contradicted)
            rows = [row for row in rows if row.id not in contradicted]
        else:
            extra.update(row.id for row in rows)
        count += len(rows)
        if rows:
            await enqueue_differing(run, folder, rows)

    folders = [folder for folder in syncable(run.folders.values()) if folder.id not in skipped]
    if refused := await compare_folders(run, folders, take):
        _raise_protocol_errors(refused.values())
        listing = await run.list_folders()
        existing = {folder.id: folder for folder in listing if folder.id in refused}  # catch-up deletes the others
        refused = await compare_folders(run, list(existing.values()), take)
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

    Stored items with immutable contents get their new flags and folders instead.
    """
    if folder.kind is None:
        return
    if run.mailbox.traits.immutable_contents:
        patched = await _patch_stored(run, rows)
        rows = [row for row in rows if row.id not in patched]
    run.progress.queued(rows)
    await run.store.apply(EnqueueItems(folder.id, folder.kind, tuple(rows)))


async def _patch_stored(run: RebuildContext, rows: Sequence[ListedItem]) -> set[str]:
    """Patch stored items that are listed in another version; return their ids."""
    stored = await run.store.read(queries.versions, [row.id for row in rows])
    stale = [row.id for row in rows if row.version and stored.get(row.id, row.version) != row.version]
    if not stale:
        return set()
    patches, _ = plan_patches(await run.mailbox.patches(stale), run.folders)
    await run.store.apply(PatchItems(patches))
    return {patch.id for patch in patches}


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
        ids.update(_ids(feed))
        if not (feed.changes or feed.patches) or feed.key == key:
            return ids, True
        key = feed.key
    return ids, False


def _ids(feed: ChangeSet) -> set[str]:
    named = ((change.id, change.old_id, change.parent_id if change.is_folder else "") for change in feed.changes)
    return {id_ for ids in named for id_ in ids if id_}.union(patch.id for patch in feed.patches)


def stored_digest(row: StoredItem) -> str:
    """Return the digest of a stored item."""
    complete = [
        (ordinal, content.sha256, content.role)
        for ordinal, content in enumerate(row.attachments)
        if content.sha256 is not None
    ]
    source = next((sha256 for _, sha256, role in complete if role == "source"), None)
    return item_digest(row.payload, [(ordinal, sha256) for ordinal, sha256, _ in complete], source)


async def item_digests(store: Store) -> AsyncIterator[tuple[Kind, str, str, str]]:
    """Yield (kind, id, version, sha256) of every item of the own mailbox.

    The order is that of the digest.
    """
    after = ("", "")
    while rows := await store.read(queries.items, after):
        for row in rows:
            yield row.kind, row.id, row.version, stored_digest(row)
        after = (rows[-1].kind, rows[-1].id)
