"""Rebuilds only some folders, in the cache that is there.

Each item is fetched again and replaced in one transaction, so that the cache is whole at every instant; what is still
to be fetched is recorded in it as wanted, and the position of each listing too, so that a run that was ended goes on
where it was. What the server no longer lists is asked for by id, and goes if it is gone.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from typing import Final

from kerio_resync.cache import queries
from kerio_resync.cache.mutations import EnqueueItems, PutPage, ResetListing, SetMeta, UnskipEntry
from kerio_resync.errors import BadSettings
from kerio_resync.events import FolderListed
from kerio_resync.model import Folder, ListedItem
from kerio_resync.sync.context import RebuildContext
from kerio_resync.sync.converge.catch_up import fetch_all_queued
from kerio_resync.sync.converge.compare_lists import new_comparison
from kerio_resync.sync.converge.reconcile import bring_up_to_date
from kerio_resync.sync.fetch.folders import refresh_folders, skipping_failed_folder, syncable
from kerio_resync.sync.fetch.resolve_doubts import resolve_doubts
from kerio_resync.sync.listing.concurrency import for_each_concurrently
from kerio_resync.sync.listing.paging import Position, list_folder

MAX_SUGGESTIONS: Final = 10  # folders told to somebody who names none of them
PARTIAL_REBUILD_KEY = "part"  # meta: the number of the comparison and the ids of the folders that are being rebuilt


def select_folders(names: Sequence[str], folders: Iterable[Folder], paths: Mapping[str, str]) -> list[Folder]:
    """The folders that `names` mean: by path (`Inbox/Projects`), or by bare name if only one bears it; folders inside
    come along. BadSettings names what is not found."""
    known = list(folders)
    picked: dict[str, Folder] = {}
    for name in names:
        exact = _called(name, known, paths)
        if not exact:
            there = (paths.get(each.id, each.name) for each in known)
            raise BadSettings(f"there is no folder {name!r}; {_suggest_folders(name, there)}")
        if len(exact) > 1:
            several = ", ".join(_spelled(each) for each in sorted(paths.get(each.id, each.name) for each in exact))
            raise BadSettings(f"several folders are called {name!r}; give the path of one: {several}")
        inside = paths.get(exact[0].id, name) + "/"
        for each in known:
            if each is exact[0] or paths.get(each.id, "").startswith(inside):
                picked[each.id] = each
    return list(picked.values())


def _called(name: str, known: Sequence[Folder], paths: Mapping[str, str]) -> list[Folder]:
    """The folders of that path, else of that name: spelled just so, else normalised, else whatever the case."""
    for spelled in (str, _composed, _folded):
        wanted = spelled(name)
        found = [each for each in known if spelled(paths.get(each.id, "")) == wanted]
        if found := found or [each for each in known if spelled(each.name) == wanted]:
            return found
    return []


def _composed(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def _spelled(path: str) -> str:
    """A path for people, with what tells it from another that looks the same."""
    return path if path == _composed(path) else ascii(path)


def _suggest_folders(name: str, there: Iterable[str]) -> str:
    """What may have been meant, or else what there is, by path."""
    called = {path: (path.casefold(), path.rpartition("/")[2].casefold()) for path in sorted(there)}
    near = get_close_matches(name.casefold(), list({text: None for both in called.values() for text in both}))
    if meant := dict.fromkeys(path for text in near for path, both in called.items() if text in both):
        return f"perhaps {' or '.join(map(repr, list(meant)[:MAX_SUGGESTIONS]))} is meant"
    more = f" and {len(called) - MAX_SUGGESTIONS} more" if len(called) > MAX_SUGGESTIONS else ""
    return f"there are {', '.join(map(repr, list(called)[:MAX_SUGGESTIONS])) or 'none'}{more}"


async def rebuild_partially(run: RebuildContext) -> None:
    """Fetches the chosen folders of `run.store`, the live cache, again, and catches up."""
    await refresh_folders(run)
    paths = {row.folder.id: row.path for row in await run.store.read(queries.folders)}
    folders = select_folders(run.settings.folders, syncable(run.folders.values()), paths)
    round_ = await _begin(run, folders)
    todo = {row.folder.id: row for row in await run.store.read(queries.folders) if not row.listed}
    run.progress.work.folders_total = len(folders)

    async def list_again(folder: Folder) -> None:
        if folder.id in todo:
            async with skipping_failed_folder(run, folder):
                await _want_all(run, folder, Position.from_bytes(todo[folder.id].position), round_)
        run.progress.work.folders_done += 1

    with run.progress.listing_only():
        await for_each_concurrently(folders, list_again)
    await fetch_all_queued(run)
    await bring_up_to_date(run)
    await resolve_doubts(run)
    await run.store.apply(SetMeta(PARTIAL_REBUILD_KEY, ""))
    await run.store.flush()


async def _begin(run: RebuildContext, folders: Sequence[Folder]) -> int:
    """Records that these are rebuilt, unless an earlier run did; the number of the comparison that goes with it."""
    ids = json.dumps(sorted(each.id for each in folders))
    number, _, under_way = (await run.store.read(queries.meta, PARTIAL_REBUILD_KEY) or "").partition(" ")
    if under_way == ids:
        return int(number)
    round_ = await new_comparison(run.store)
    for each in folders:
        await run.store.apply(ResetListing(each.id))
        await run.store.apply(UnskipEntry("folder", each.id))
    await run.store.apply(SetMeta(PARTIAL_REBUILD_KEY, f"{round_} {ids}"))
    await run.store.flush()
    return round_


async def _want_all(run: RebuildContext, folder: Folder, position: Position, round_: int) -> None:
    assert folder.kind is not None
    held = position.seen
    async for page, fresh, after in list_folder(
        run.mailbox, folder, position, limit=run.settings.page_size, overlap=run.settings.overlap
    ):
        await run.store.mark_listed(folder.id, page.rows, round_)
        run.progress.listed(folder.id, fresh, done=after.done)
        held = max(held, after.seen)
        await run.store.apply(EnqueueItems(folder.id, folder.kind, page.rows))
        if not after.done:
            await run.store.apply(PutPage(folder.id, (), position=after.to_bytes()))
    async for unseen in run.store.items_not_listed(folder.id, round_):
        rows = tuple(ListedItem(each, 0) for each in unseen)
        run.progress.queued(rows)
        await run.store.apply(EnqueueItems(folder.id, folder.kind, rows))
    await run.store.apply(PutPage(folder.id, (), position=Position(done=True).to_bytes(), done=True))
    run.listen(FolderListed(folder.id, held))
