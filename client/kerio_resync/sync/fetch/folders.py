"""Selects and orders the folders, and lists them into the database.

Inbox and calendars come first, then drafts, contacts, tasks and notes, then other mail, deleted and junk mail last:
what a user opens first is there first.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager

from kerio_resync.cache import queries
from kerio_resync.cache.mutations import DeleteItems, PutPage, ResetListing, SetFolders, SetMeta
from kerio_resync.errors import ProtocolError, ResyncError, end_sentence, words_of
from kerio_resync.events import FolderListed
from kerio_resync.model import Folder, Listing
from kerio_resync.server.memory_budget import HeldReservations
from kerio_resync.sync.context import RebuildContext
from kerio_resync.sync.fetch.items import put_items
from kerio_resync.sync.left_out import LEFT_OUT_KEY
from kerio_resync.sync.listing.concurrency import for_each_concurrently
from kerio_resync.sync.listing.failures import concerns_this_list_only


def rank(folder: Folder) -> int:
    """Return a folder's rank; 0 is fetched first."""
    if folder.role == "inbox":
        return 0
    if folder.place != "own":
        return 6
    match folder.kind:
        case "event":
            return 0
        case "contact" | "task" | "note":
            return 1
    return {"drafts": 1, "sent": 3, "trash": 4, "junk": 5}.get(folder.role, 2)


def syncable(folders: Iterable[Folder]) -> list[Folder]:
    """Return the folders that can hold items and may be read.

    They are ordered by rank, and within a rank the largest comes first.

    So there is enough to fetch early, and no long list is left for the end.
    """
    readable = (folder for folder in folders if folder.kind and folder.readable)
    return sorted(readable, key=lambda folder: (rank(folder), -folder.count))


def unique_folders(folders: Iterable[Folder]) -> tuple[list[Folder], list[Folder]]:
    """Return (folders with unique ids, folders that repeat the id of an earlier one)."""
    by_id: dict[str, Folder] = {}
    duplicates = [folder for folder in folders if by_id.setdefault(folder.id, folder) is not folder]
    return list(by_id.values()), duplicates


def looping(folders: Iterable[Folder]) -> list[Folder]:
    """Return the folders that are among their own ancestors.

    Only their paths are affected.
    """
    by_id = {folder.id: folder for folder in folders}
    has_root: dict[str, bool] = {}
    for folder in by_id.values():
        chain: dict[str, None] = {}
        folder_id = folder.id
        while folder_id in by_id and folder_id not in has_root and folder_id not in chain:
            chain[folder_id] = None
            folder_id = by_id[folder_id].parent_id
        has_root.update(dict.fromkeys(chain, folder_id not in by_id or has_root.get(folder_id, False)))
    return [folder for folder in by_id.values() if not has_root[folder.id]]


def report_invalid_folders(run: RebuildContext, folders: Sequence[Folder], duplicates: Sequence[Folder]) -> None:
    """Report folders with an impossible place or id, once per run."""
    lines = [
        f"The server lists folder {folder.name!r} as its own ancestor; it is shown at the top."
        for folder in looping(folders)
    ]
    lines += [
        f"The server lists two folders with one id ({folder.id}); {folder.name!r} was left out."
        for folder in duplicates
    ]
    for line in lines:
        if line not in run.announced.notices:
            run.notice(line)


async def refresh_folders(run: RebuildContext) -> list[Folder]:
    """Fetch the folders, store them and drop those that are gone.

    Return those to be listed.
    """
    listing = await run.list_folders()
    if not listing:
        raise ProtocolError("the server lists no folder at all")
    if {row.folder.id for row in await run.store.read(queries.folders)} - {folder.id for folder in listing}:
        # A folder is dropped with all its items, so the server has to leave it out twice.
        again = await run.list_folders()
        listing = tuple({folder.id: folder for folder in (*listing, *again)}.values())
    folders, duplicates = unique_folders(listing)
    report_invalid_folders(run, folders, duplicates)
    for folder in folders:
        if folder.kind and not folder.readable and folder.id not in run.left_out.found:
            await run.skip("folder", folder.id, f"the server does not let you read {folder.name!r}")
        if not folder.kind and folder.count and folder.id not in run.left_out.found:
            reason = f"{folder.name!r} is of an unknown kind, and holds {folder.count:,} items"
            await run.skip("folder", folder.id, reason)
    run.set_folders(folders)
    await run.store.apply(SetFolders(tuple(folders), {folder.id: rank(folder) for folder in folders}))
    listed = {row.folder.id for row in await run.store.read(queries.folders) if row.listed}
    return [folder for folder in syncable(folders) if folder.id not in listed]


async def drop_left_out(run: RebuildContext) -> None:
    """Record which folders are left out, and drop what the file has of them.

    Items that are in another folder too are kept.
    """
    store, left_out = run.store, run.left_out
    for sentence in left_out.unknown:
        run.notice(end_sentence(f"Nothing is left out by this name: {sentence}"))
    await store.apply(SetMeta(LEFT_OUT_KEY, left_out.to_meta()))
    if not left_out.found:
        return
    for folder_id in left_out.found:
        numbers = await store.read(queries.items_in_folder, folder_id)
        placed = await store.read(queries.places, numbers)
        alone = tuple(id_ for id_, (folder_ids, _) in placed.items() if left_out.found.keys() >= set(folder_ids))
        queued = await store.read(queries.queued_in_folder, folder_id)
        await store.apply(DeleteItems((*alone, *queued)))
    await store.apply(ResetListing(tuple(left_out.found)))


async def list_new_folders(run: RebuildContext) -> None:
    """Fetch the folders again, and list those that are new."""
    new = await refresh_folders(run)
    run.progress.folders_found(len(new))
    await for_each_concurrently(run.mailbox.listings(new), lambda listing: list_into_cache(run, listing))


async def list_into_cache(run: RebuildContext, listing: Listing, position: bytes | None = None) -> None:
    """List folders to the end; each page is stored with the position after it.

    Mails are queued, other items may come with the page. A folder that cannot be listed is skipped.
    """
    if not listing.count and position is None:
        await run.store.apply(PutPage(listing.folder_ids, done=True))
        announce_listed(run, listing, 0)
    else:
        async with skipping_failed_list(run, listing):
            with HeldReservations() as held:
                await _list(run, listing, position, held=held)
    run.progress.listed(listing.id, (), done=True)
    run.progress.work.folders_done += len(listing.folders)


@asynccontextmanager
async def skipping_failed_list(run: RebuildContext, listing: Listing) -> AsyncIterator[None]:
    """Skip a folder that is gone or denied, or whose list is invalid.

    If it was deleted, catching up removes it. Nothing would be left of a whole account: its error is raised.
    """
    try:
        yield
    except ResyncError as error:
        if not concerns_this_list_only(error) or len(listing.folders) > 1:
            raise
        for folder in listing.folders:
            await run.skip("folder", folder.id, f"{folder.name!r}: {words_of(error)}")


def announce_listed(run: RebuildContext, listing: Listing, rows: int) -> None:
    """Emit `FolderListed` for each folder of a complete list of `rows` rows."""
    for folder in listing.folders:
        run.listen(FolderListed(folder.id, rows if len(listing.folders) == 1 else folder.count))


async def _list(run: RebuildContext, listing: Listing, position: bytes | None, *, held: HeldReservations) -> None:
    whole = listing.folders[0].kind != "mail" and run.mailbox.traits.lists_whole_items
    count = 0
    async for page in run.mailbox.list_items(listing, position, whole=whole, held=held):
        count = max(count, page.listed)
        for malformed in page.malformed:
            run.fetch.unlistable.add(malformed.id)
            await run.skip("item", malformed.id, malformed.reason)
        run.progress.listed(listing.id, page.fresh, done=False)
        rows = page.rows
        if page.items:
            items = {item.id: item for item in page.items}
            await put_items(run, list(page.items))
            for row in page.fresh:
                if row.id in items:
                    run.progress.stored(items[row.id], row.size, row.has_attachment, fetch_attachments=True)
            rows = tuple(row for row in page.rows if row.id not in items)
        await run.store.apply(
            PutPage(listing.folder_ids, rows, position=page.position, listed=page.listed, done=page.done)
        )
        run.item_queue.notify()
        run.attachment_queue.notify()
    announce_listed(run, listing, count)
