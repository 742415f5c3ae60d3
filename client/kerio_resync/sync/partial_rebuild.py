"""Rebuilds only some folders, inside the present cache.

Each item is fetched again and replaced in one transaction, so the cache is complete at every instant. What is still to
be fetched is queued in it, and the position of each listing is stored too, so an interrupted run resumes. Items that
the server no longer lists are requested by id, and deleted if they are gone.
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
from kerio_resync.model import Folder, ListedItem, Listing
from kerio_resync.sync.context import RebuildContext
from kerio_resync.sync.converge.catch_up import fetch_all_queued
from kerio_resync.sync.converge.compare_lists import new_comparison
from kerio_resync.sync.converge.reconcile import bring_up_to_date
from kerio_resync.sync.converge.resolve_doubts import resolve_doubts
from kerio_resync.sync.fetch.folders import announce_listed, refresh_folders, skipping_failed_list, syncable
from kerio_resync.sync.listing.concurrency import for_each_concurrently

MAX_SUGGESTIONS: Final = 10  # folders in an error message
PARTIAL_REBUILD_KEY = "part"  # meta: number of the comparison, and ids of the folders being rebuilt


def select_folders(names: Sequence[str], folders: Iterable[Folder], paths: Mapping[str, str]) -> list[Folder]:
    """Return the folders that `names` mean, with the folders inside them.

    A name is a path (`Inbox/Projects`), or the bare name of a single folder. BadSettings for an unknown or ambiguous
    name.
    """
    known = list(folders)
    selected: dict[str, Folder] = {}
    for name in names:
        matches = _find_by_name(name, known, paths)
        if not matches:
            existing = (paths.get(folder.id, folder.name) for folder in known)
            raise BadSettings(f"there is no folder {name!r}; {_suggest_folders(name, existing)}")
        if len(matches) > 1:
            several = sorted(paths.get(folder.id, folder.name) for folder in matches)
            choices = ", ".join(map(_unambiguous, several))
            raise BadSettings(f"several folders are called {name!r}; give the path of one: {choices}")
        inside = paths.get(matches[0].id, name) + "/"
        for folder in known:
            if folder is matches[0] or paths.get(folder.id, "").startswith(inside):
                selected[folder.id] = folder
    return list(selected.values())


def _find_by_name(name: str, known: Sequence[Folder], paths: Mapping[str, str]) -> list[Folder]:
    """Return the folders with that path, else those with that name.

    The comparison is exact, else normalised, else ignores case.
    """
    for normalise in (str, _composed, _folded):
        wanted = normalise(name)
        matches = [folder for folder in known if normalise(paths.get(folder.id, "")) == wanted]
        if matches := matches or [folder for folder in known if normalise(folder.name) == wanted]:
            return matches
    return []


def _composed(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def _unambiguous(path: str) -> str:
    """Return a path for a message; in ASCII if another path may look the same."""
    return path if path == _composed(path) else ascii(path)


def _suggest_folders(name: str, existing: Iterable[str]) -> str:
    """Return similar paths, or else existing ones, as part of a message."""
    names = {path: (path.casefold(), path.rpartition("/")[2].casefold()) for path in sorted(existing)}
    near = get_close_matches(name.casefold(), list({text: None for both in names.values() for text in both}))
    if meant := dict.fromkeys(path for text in near for path, both in names.items() if text in both):
        return f"did you mean {' or '.join(map(repr, list(meant)[:MAX_SUGGESTIONS]))}?"
    more = f" and {len(names) - MAX_SUGGESTIONS} more" if len(names) > MAX_SUGGESTIONS else ""
    return f"there are {', '.join(map(repr, list(names)[:MAX_SUGGESTIONS])) or 'none'}{more}"


async def rebuild_partially(run: RebuildContext) -> None:
    """Fetch the selected folders again, and catch up.

    `run.store` is the cache in use.
    """
    await refresh_folders(run)
    paths = {row.folder.id: row.path for row in await run.store.read(queries.folders)}
    folders = select_folders(run.settings.folders, syncable(run.folders.values()), paths)
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
