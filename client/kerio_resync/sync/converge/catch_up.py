"""Applies the server's changes since the sync key, until there are none.

`plan_changes` is pure. Applying a plan and advancing the key is one transaction: items are deleted and moved in it, and
what has to be fetched is queued in it, so a kill between any two steps loses nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from kerio_resync.cache import queries
from kerio_resync.cache.mutations import ApplyChanges
from kerio_resync.errors import KeyExpired, ProtocolError
from kerio_resync.model import ChangeSet, Folder, ItemPatch, Kind, ListedItem, RemoteChange
from kerio_resync.sync.context import RebuildContext
from kerio_resync.sync.fetch.attachments import attachment_worker
from kerio_resync.sync.fetch.folders import list_new_folders
from kerio_resync.sync.fetch.items import item_worker

SYNC_KEY = "sync_key"
MAX_ROUNDS = 200  # after these, a mailbox that changes too fast is left to the mail program
WORKERS = 16  # for items, and as many for attachments; the limiter decides how many requests are in flight


@dataclass(frozen=True, slots=True)
class ChangePlan:
    """The effect of a list of changes.

    `delete`: ids. `moved`: (old id, new id, folder id). `enqueue`: (folder id, kind, row) of items to fetch, a
    moved one under its new id.
    """

    delete: tuple[str, ...] = ()
    moved: tuple[tuple[str, str, str], ...] = ()
    enqueue: tuple[tuple[str, Kind, ListedItem], ...] = ()


def names_unknown_folder(feed: ChangeSet, folders: Mapping[str, Folder]) -> bool:
    """Return whether the folders must be fetched before the changes are applied."""
    return any(
        change.is_folder or (change.type != "deleted" and not folders.keys() >= set(_folder_ids(change)))
        for change in feed.changes
    ) or any(not folders.keys() >= set(patch.folder_ids) for patch in feed.patches)


def _folder_ids(change: RemoteChange) -> tuple[str, ...]:
    return change.folder_ids or (change.parent_id,)


def flag_only_ids(changes: Sequence[RemoteChange]) -> frozenset[str]:
    """Return the ids of items of which only flags changed."""
    others = {change.id for change in changes if change.type != "flags"}
    return frozenset(change.id for change in changes if change.type == "flags" and change.id not in others)


def plan_changes(changes: Sequence[RemoteChange], folders: Mapping[str, Folder]) -> ChangePlan:
    """Reduce changes, in order, to their effect.

    Items of folders that are not synchronised are deleted.
    """
    delete: dict[str, None] = {}
    origin: dict[str, str] = {}  # new id → id in the database
    enqueue: dict[str, tuple[str, Kind, ListedItem]] = {}
    for change in changes:
        if change.is_folder:
            continue
        folder = next(_synchronised(_folder_ids(change), folders), None)
        if change.type == "moved" and change.old_id and change.old_id != change.id:
            origin[change.id] = origin.pop(change.old_id, change.old_id)
            enqueue.pop(change.old_id, None)
        if change.type == "deleted" or folder is None:
            enqueue.pop(change.id, None)
            delete[change.id] = None
            if old := origin.pop(change.id, ""):
                delete[old] = None
            continue
        row = ListedItem(change.id, change.version, folder_ids=change.folder_ids)
        enqueue[change.id] = (folder.id, change.kind or folder.kind or "mail", row)
    moved = tuple((old, new, enqueue[new][0]) for new, old in origin.items() if new in enqueue)
    return ChangePlan(tuple(delete), moved, tuple(enqueue.values()))


def plan_patches(
    patches: Sequence[ItemPatch], folders: Mapping[str, Folder]
) -> tuple[tuple[ItemPatch, ...], tuple[str, ...]]:
    """Return (patches to apply, ids to delete).

    Items that are left in no synchronised folder are deleted.
    """
    kept = tuple(patch for patch in patches if any(_synchronised(patch.folder_ids, folders)))
    known = {patch.id for patch in kept}
    return kept, tuple(patch.id for patch in patches if patch.id not in known)


def _synchronised(folder_ids: Sequence[str], folders: Mapping[str, Folder]) -> Iterator[Folder]:
    for folder_id in folder_ids:
        folder = folders.get(folder_id)
        if folder is not None and folder.kind and folder.readable:
            yield folder


async def fetch_all_queued(run: RebuildContext) -> None:
    """Fetch all queued items and attachments."""
    run.item_queue.notify()
    run.attachment_queue.notify()
    async with asyncio.TaskGroup() as group:
        for _ in range(WORKERS):
            group.create_task(item_worker(run))
            group.create_task(attachment_worker(run))
    run.progress.finish_pending()


async def catch_up(run: RebuildContext) -> int:
    """Apply changes until there are none; return their number.

    KeyExpired: the key has to be renewed.
    """
    total = 0
    for _ in range(MAX_ROUNDS):
        key = await run.store.read(queries.meta, SYNC_KEY)
        if key is None:
            raise KeyExpired("there is no sync key")
        feed = await run.mailbox.changes(key)
        if not feed.changes and not feed.patches:
            if feed.key != key:
                await run.store.apply(ApplyChanges(feed.key))
            return total
        total += len(feed.changes) + len(feed.patches)
        await _apply(run, feed)
        # An item that was skipped in an earlier version may differ in more than its flags; so may a copied item.
        flags_only = frozenset() if run.reuse.is_copy else flag_only_ids(feed.changes)
        run.fetch.flag_changes = (
            flags_only - run.comparison.retried - {row.id for row in await run.store.read(queries.skipped)}
        )
        await fetch_all_queued(run)
        run.fetch.flag_changes = frozenset()
    run.notice("The mailbox changes faster than it can be followed. The mail program continues from the last sync key.")
    return total


async def _apply(run: RebuildContext, feed: ChangeSet) -> None:
    if names_unknown_folder(feed, run.folders):
        await list_new_folders(run)
    plan = plan_changes(feed.changes, run.folders)
    patches, unplaced = plan_patches(feed.patches, run.folders)
    if run.reuse.is_copy:  # a moved item may have changed before the move: fetch it completely
        plan = replace(plan, delete=(*plan.delete, *(old for old, _, _ in plan.moved)), moved=())
    ids = [row.id for _, _, row in plan.enqueue] + [patch.id for patch in patches]
    stored = await run.store.read(queries.versions, ids)
    arrived = {new for _, new, _ in plan.moved}
    enqueue = tuple(
        (folder, kind, row)
        for folder, kind, row in plan.enqueue
        if row.id in arrived or run.is_outdated(stored.get(row.id), row.version)
    )
    patches = tuple(patch for patch in patches if stored.get(patch.id) != patch.version)
    run.progress.queued([row for _, _, row in enqueue])
    run.progress.queued([ListedItem(patch.id, patch.version) for patch in patches if patch.id not in stored])
    deleted = (*plan.delete, *unplaced)
    await run.store.apply(ApplyChanges(feed.key, deleted=deleted, queued=enqueue, moved=plan.moved, patched=patches))


async def new_key(run: RebuildContext) -> str:
    """Return a current sync key, for the caller to store.

    ProtocolError if it is empty.
    """
    key = await run.mailbox.sync_key()
    if not key:
        raise ProtocolError("the server sent an empty sync key")
    return key
