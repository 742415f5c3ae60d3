"""Rebuilds only some folders, inside the present cache.

Each item is fetched again and replaced in one transaction, so the cache is complete at every instant. What is still to
be fetched is queued in it, and the position of each listing is stored too, so an interrupted run resumes. Items that
the server no longer lists are requested by id, and deleted if they are gone.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Final

from kerio_resync.cache import queries
from kerio_resync.cache.mutations import EnqueueItems, PutPage, ResetListing, SetMeta, UnskipEntry
from kerio_resync.errors import BadSettings
from kerio_resync.model import Folder, ListedItem, Listing
from kerio_resync.sync.context import RebuildContext
from kerio_resync.sync.converge.catch_up import fetch_all_queued
from kerio_resync.sync.converge.compare_lists import new_comparison
from kerio_resync.sync.converge.reconcile import bring_up_to_date
from kerio_resync.sync.converge.resolve_doubts import resolve_doubts
from kerio_resync.sync.fetch.folders import announce_listed, refresh_folders, skipping_failed_list, syncable
from kerio_resync.sync.folder_names import select_folders
from kerio_resync.sync.left_out import LeftOut
from kerio_resync.sync.listing.concurrency import for_each_concurrently

PARTIAL_REBUILD_KEY: Final = "part"  # meta: number of the comparison, and ids of the folders being rebuilt


async def rebuild_partially(run: RebuildContext) -> None:
    """Fetch the selected folders again, and catch up.

    `run.store` is the cache in use.
    """
    await refresh_folders(run)
    paths = {row.folder.id: row.path for row in await run.store.read(queries.folders)}
    folders = _chosen(run, paths)
    round_ = await _begin(run, folders)
    unlisted = {row.folder.id: row for row in await run.store.read(queries.folders) if not row.listed}
    run.progress.work.folders_total = len(folders)

    async def list_again(listing: Listing) -> None:
        if listing.id in unlisted:
            async with skipping_failed_list(run, listing):
                await _enqueue_all(run, listing, unlisted[listing.id].position, round_)
        run.progress.work.folders_done += len(listing.folders)

    with run.progress.listing_only():
        await for_each_concurrently(run.mailbox.listings(folders), list_again)
    await fetch_all_queued(run)
    await bring_up_to_date(run)
    await resolve_doubts(run)
    await run.store.apply(SetMeta(PARTIAL_REBUILD_KEY, ""))
    await run.store.flush()


def _chosen(run: RebuildContext, paths: Mapping[str, str]) -> list[Folder]:
    """Return the folders to rebuild; BadSettings if all of them are left out."""
    without, excluded = run.left_out.found, LeftOut(run.settings.exclude_folders)
    excluded.mark(run.folders.values())
    known = [folder for folder in run.folders.values() if folder.kind and (folder.readable or folder.id in without)]
    named = select_folders(run.settings.folders, known, paths)
    chosen = syncable(folder for folder in named if folder.id not in excluded.found)
    if named and not chosen:
        path = paths[named[0].id]
        if any(folder.id in excluded.found for folder in named):
            raise BadSettings(
                f"{path!r} is left out by exclude_folders in {run.settings.profile / 'profile.toml'}, or by"
                " --exclude-folder: remove it there, then run `kerio-resync rebuild` without --folder"
            )
        if all(folder.id in without for folder in named):
            raise BadSettings(
                f"the cache was built without {path!r}; run `kerio-resync rebuild` without --folder to fetch it"
            )
    return chosen


async def _begin(run: RebuildContext, folders: Sequence[Folder]) -> int:
    """Record which folders are rebuilt, unless an earlier run did.

    Return the number of the comparison.
    """
    ids = json.dumps(sorted(folder.id for folder in folders))
    number, _, interrupted = (await run.store.read(queries.meta, PARTIAL_REBUILD_KEY) or "").partition(" ")
    if interrupted == ids:
        return int(number)
    round_ = await new_comparison(run.store)
    await run.store.apply(ResetListing(tuple(folder.id for folder in folders)))
    for folder in folders:
        await run.store.apply(UnskipEntry("folder", folder.id))
    await run.store.apply(SetMeta(PARTIAL_REBUILD_KEY, f"{round_} {ids}"))
    await run.store.flush()
    return round_


async def _enqueue_all(run: RebuildContext, listing: Listing, position: bytes | None, round_: int) -> None:
    """Queue every item of a list.

    These are the items that the server lists, and those that only the cache has.
    """
    folder, count = listing.folders[0], 0
    if folder.kind is None:
        return
    async for page in run.mailbox.list_items(listing, position):
        await run.store.mark_listed(listing.folder_ids, page.rows, round_)
        run.progress.listed(listing.id, page.fresh, done=page.done)
        count = max(count, page.listed)
        await run.store.apply(EnqueueItems(folder.id, folder.kind, page.rows))
        if not page.done:
            await run.store.apply(PutPage(listing.folder_ids, position=page.position, listed=page.listed))
    async for unseen in run.store.items_not_listed(listing.folder_ids, round_):
        rows = tuple(ListedItem(item_id, "") for item_id in unseen)
        run.progress.queued(rows)
        await run.store.apply(EnqueueItems(folder.id, folder.kind, rows))
    await run.store.apply(PutPage(listing.folder_ids, listed=count, done=True))
    announce_listed(run, listing, count)
