"""Brings the database from its sync key to the server's present: changes since the key, applied with the next key.

The plan for a list of changes is a pure function. Applying it and advancing the key is one transaction: deletions and
moves are done in it, and what has to be fetched is recorded as wanted in it, so that a kill between any two steps loses
nothing. Rounds go on until the server has nothing more to tell.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from kerio_resync.cache import queries
from kerio_resync.cache.mutations import ApplyChanges
from kerio_resync.errors import KeyExpired, ProtocolError
from kerio_resync.model import Folder, Kind, ListedItem, RemoteChange
from kerio_resync.sync.context import RebuildContext
from kerio_resync.sync.fetch.attachments import attachment_worker
from kerio_resync.sync.fetch.folders import list_new_folders
from kerio_resync.sync.fetch.items import item_worker

SYNC_KEY = "sync_key"
MAX_ROUNDS = 200  # a mailbox that changes faster than it can be followed is handed over to the mail program after these
WORKERS = 16  # details and as many attachments; the limiter decides how many of them have a request in flight


@dataclass(frozen=True, slots=True)
class ChangePlan:
    """What a list of changes comes to. `moved`: (old id, new id, folder id); that item is wanted under its new id."""

    delete: tuple[str, ...] = ()
    moved: tuple[tuple[str, str, str], ...] = ()
    enqueue: tuple[tuple[str, Kind, ListedItem], ...] = ()


def names_unknown_folder(changes: Sequence[RemoteChange], folders: Mapping[str, Folder]) -> bool:
    """Whether the folders must be asked for again before the changes can be applied."""
    return any(each.is_folder or (each.type != "deleted" and each.parent_id not in folders) for each in changes)


def flag_only_ids(changes: Sequence[RemoteChange]) -> frozenset[str]:
    """Ids of which the changes say nothing but that a flag changed."""
    others = {each.id for each in changes if each.type != "flags"}
    return frozenset(each.id for each in changes if each.type == "flags" and each.id not in others)


def plan_changes(changes: Sequence[RemoteChange], folders: Mapping[str, Folder]) -> ChangePlan:
    """Folds changes, in their order, into what is to be done. Items of folders that are not mirrored are let go."""
    forget: dict[str, None] = {}
    origin: dict[str, str] = {}  # new id → the id under which the database may have it
    want: dict[str, tuple[str, Kind, ListedItem]] = {}
    for change in changes:
        if change.is_folder:
            continue
        folder = folders.get(change.parent_id)
        if change.type == "moved" and change.old_id and change.old_id != change.id:
            origin[change.id] = origin.pop(change.old_id, change.old_id)
            want.pop(change.old_id, None)
        if change.type == "deleted" or folder is None or not folder.kind or not folder.readable:
            want.pop(change.id, None)
            forget[change.id] = None
            if old := origin.pop(change.id, ""):
                forget[old] = None
            continue
        want[change.id] = (change.parent_id, change.kind or folder.kind, ListedItem(change.id, change.watermark))
    moved = tuple((old, new, want[new][0]) for new, old in origin.items() if new in want)
    return ChangePlan(tuple(forget), moved, tuple(want.values()))


async def fetch_all_queued(run: RebuildContext) -> None:
    """Fetches all that is wanted now, items and attachments."""
    run.item_queue.notify()
    run.attachment_queue.notify()
    async with asyncio.TaskGroup() as group:
        for _ in range(WORKERS):
            group.create_task(item_worker(run))
            group.create_task(attachment_worker(run))
    run.progress.finish_pending()


async def catch_up(run: RebuildContext) -> int:
    """Applies changes until there are none; returns how many there were. KeyExpired: the key has to be renewed."""
    total = 0
    for _ in range(MAX_ROUNDS):
        key = await run.store.read(queries.meta, SYNC_KEY)
        if key is None:
            raise KeyExpired("there is no sync key")
        told = await run.mailbox.changes(key)
        if not told.changes:
            if told.key != key:
                await run.store.apply(ApplyChanges(told.key))
            return total
        total += len(told.changes)
        await _apply(run, told.changes, told.key)
        # What could not be had in an earlier version may differ in more than its flags.
        # Nor is anything known of the version in which a copied item is here.
        flagged = frozenset() if run.reuse.is_copy else flag_only_ids(told.changes)
        run.fetch.flag_changes = (
            flagged - run.comparison.retried - {row.id for row in await run.store.read(queries.skipped)}
        )
        await fetch_all_queued(run)
        run.fetch.flag_changes = frozenset()
    run.notice("The mailbox changes faster than it can be followed; the mail program goes on from the last sync key.")
    return total


async def _apply(run: RebuildContext, changes: Sequence[RemoteChange], key: str) -> None:
    if names_unknown_folder(changes, run.folders):
        await list_new_folders(run)
    todo = plan_changes(changes, run.folders)
    if run.reuse.is_copy:  # what moved may have changed before that: it comes anew, contents and all
        todo = replace(todo, delete=(*todo.delete, *(old for old, _, _ in todo.moved)), moved=())
    stored = await run.store.read(queries.watermarks, [row.id for _, _, row in todo.enqueue])
    arrived = {new for _, new, _ in todo.moved}
    want = tuple(
        (folder, kind, row)
        for folder, kind, row in todo.enqueue
        if row.id in arrived or not row.watermark or stored.get(row.id, -1) < row.watermark
    )
    run.progress.queued([row for _, _, row in want])
    await run.store.apply(ApplyChanges(key, forget=todo.delete, want=want, moved=todo.moved))


async def new_key(run: RebuildContext) -> str:
    """A sync key for the server's present, which the caller stores. ProtocolError if there is none."""
    key = await run.mailbox.sync_key()
    if not key:
        raise ProtocolError("the server gave an empty sync key")
    return key
