"""Which folders are mirrored, in what order, and how they are listed into the database.

Inbox and calendars first, then drafts, contacts, tasks and notes, then other mail, deleted and junk mail last: what a
person opens first is there first.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager

from kerio_resync.cache import queries
from kerio_resync.cache.mutations import PutPage, SetFolders
from kerio_resync.errors import ProtocolError, ResyncError, words_of
from kerio_resync.events import FolderListed
from kerio_resync.model import Folder
from kerio_resync.server.memory_budget import HeldReservations
from kerio_resync.sync.context import RebuildContext
from kerio_resync.sync.fetch.items import put_items
from kerio_resync.sync.listing.concurrency import for_each_concurrently
from kerio_resync.sync.listing.paging import Position, concerns_this_list_only, list_folder

WHOLE_ITEM_PAGE_DIVISOR = 5  # a page of whole items asks for this much fewer than a page of ids


def rank(folder: Folder) -> int:
    """0 is fetched first."""
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
    """Those that can hold items and may be read, in the order of their rank, and the fullest first within it: then
    there is enough to fetch early, and no long list is left alone at the end."""
    return sorted((each for each in folders if each.kind and each.readable), key=lambda each: (rank(each), -each.count))


def told_once(folders: Iterable[Folder]) -> tuple[list[Folder], list[Folder]]:
    """(each folder once, those that share an id with one before)."""
    by_id: dict[str, Folder] = {}
    twins = [each for each in folders if by_id.setdefault(each.id, each) is not each]
    return list(by_id.values()), twins


def looping(folders: Iterable[Folder]) -> list[Folder]:
    """Folders that are among their own ancestors. They are mirrored all the same: only their paths make no sense."""
    by_id = {each.id: each for each in folders}
    ends: dict[str, bool] = {}  # id → whether its ancestors end somewhere
    for each in by_id.values():
        way: dict[str, None] = {}
        here = each.id
        while here in by_id and here not in ends and here not in way:
            way[here] = None
            here = by_id[here].parent_id
        ends.update(dict.fromkeys(way, here not in by_id or ends.get(here, False)))
    return [each for each in by_id.values() if not ends[each.id]]


def name_odd_folders(run: RebuildContext, told: Sequence[Folder], twins: Sequence[Folder]) -> None:
    """Tells of folders that make no sense, once in a run. What is in them is mirrored."""
    lines = [
        f"The server lists folder {each.name!r} as its own ancestor; it is shown at the top." for each in looping(told)
    ]
    lines += [f"The server lists two folders with one id ({each.id}); {each.name!r} was left out." for each in twins]
    for line in lines:
        if line not in run.announced.notices:
            run.notice(line)


async def refresh_folders(run: RebuildContext) -> list[Folder]:
    """Asks for the folders, stores them, drops those that went; returns those that are new and must be listed."""
    settings = run.settings
    told = await run.mailbox.folders(shared=settings.shared, public=settings.public)
    if not told:
        raise ProtocolError("the server names no folder at all")
    if {row.folder.id for row in await run.store.read(queries.folders)} - {each.id for each in told}:
        # A folder goes with everything in it, so the server has to leave it out twice.
        again = await run.mailbox.folders(shared=settings.shared, public=settings.public)
        told = tuple({each.id: each for each in (*told, *again)}.values())
    sound, twins = told_once(told)
    name_odd_folders(run, sound, twins)
    for each in sound:
        if each.kind and not each.readable:
            await run.skip("folder", each.id, f"the server does not let you read {each.name!r}")
        if not each.kind and each.count:
            await run.skip("folder", each.id, f"{each.name!r} is of an unknown kind, and holds {each.count:,} items")
    run.set_folders(sound)
    await run.store.apply(SetFolders(tuple(sound), {each.id: rank(each) for each in sound}))
    listed = {row.folder.id for row in await run.store.read(queries.folders) if row.listed}
    return [each for each in syncable(sound) if each.id not in listed]


async def list_new_folders(run: RebuildContext) -> None:
    """Asks for the folders once more, and lists those that are new."""
    new = await refresh_folders(run)
    run.progress.folders_found(len(new))
    await for_each_concurrently(new, lambda folder: list_folder_into_cache(run, folder, Position()))


async def list_folder_into_cache(run: RebuildContext, folder: Folder, position: Position) -> None:
    """Lists a folder to its end, each page stored with the position after it. Mails become wanted, others come whole.
    It is left out by name if it can't be listed."""
    whole = folder.kind != "mail"
    size = run.settings.page_size
    limit = max(2, size // WHOLE_ITEM_PAGE_DIVISOR) if whole else size
    if not folder.count and not position.pages:
        await run.store.apply(PutPage(folder.id, (), position=Position(done=True).to_bytes(), done=True))
        run.listen(FolderListed(folder.id, 0))
    else:
        async with skipping_failed_folder(run, folder):
            with HeldReservations() as held:
                await _list(run, folder, position, limit=limit, whole=whole, held=held)
    run.progress.listed(folder.id, (), done=True)
    run.progress.work.folders_done += 1


@asynccontextmanager
async def skipping_failed_folder(run: RebuildContext, folder: Folder) -> AsyncIterator[None]:
    """A folder that goes or is closed to us while it is listed, or whose list makes no sense, is left out by name; the
    catch-up removes it if it is gone."""
    try:
        yield
    except ResyncError as error:
        if not concerns_this_list_only(error):
            raise
        await run.skip("folder", folder.id, f"{folder.name!r}: {words_of(error)}")


async def _list(
    run: RebuildContext, folder: Folder, position: Position, *, limit: int, whole: bool, held: HeldReservations
) -> None:
    overlap = run.settings.overlap
    count = position.seen
    async for page, fresh, after in list_folder(
        run.mailbox, folder, position, limit=limit, overlap=overlap, whole=whole, held=held
    ):
        count = max(count, after.seen)
        for broken in page.malformed:
            run.fetch.unlistable.add(broken.id)
            await run.skip("item", broken.id, broken.reason)
        run.progress.listed(folder.id, fresh, done=False)
        if whole:
            items = {item.id: item for item in page.items}
            await put_items(run, list(page.items))
            for row in fresh:
                if row.id in items:
                    run.progress.stored(items[row.id], row.size, row.has_attachment, fetch_attachments=True)
            rows = tuple(row for row in page.rows if row.id not in items)
        else:
            rows = page.rows
        await run.store.apply(PutPage(folder.id, rows, position=after.to_bytes(), done=after.done))
        run.item_queue.notify()
        run.attachment_queue.notify()
    run.listen(FolderListed(folder.id, count))
