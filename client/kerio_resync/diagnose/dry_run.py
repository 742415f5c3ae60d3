"""Says what a rebuild would fetch, and how much room it needs."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from kerio_resync.cache.file_identity import stored_owner
from kerio_resync.cache.write.folders import folder_paths
from kerio_resync.filesystem import available_bytes
from kerio_resync.server.connect import open_mailbox
from kerio_resync.settings import Settings
from kerio_resync.sync.disk_space import DATABASE_OVERHEAD, RESERVE_BYTES, expected_bytes, freed_by_drop
from kerio_resync.sync.fetch.folders import syncable
from kerio_resync.sync.folder_names import select_folders
from kerio_resync.sync.left_out import LeftOut


@dataclass(frozen=True, slots=True)
class FolderPlan:
    """A folder that would be fetched.

    `bytes`: at most, 0 if the server states no size.
    """

    path: str
    kind: str
    items: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Plan:
    """What a rebuild would fetch: folders, largest first, items, and bytes at most.

    `bytes`: 0 if it is unknown; then `needed_bytes` is what a rebuild needs in any case. `has_cache`: unchanged items
    are copied from the present cache. `partial`: only some folders were named. `needed_bytes`, `free_bytes`: on the
    disk. `excluded`: (path, items) of each folder that is left out as asked; `unknown`: a sentence for each name that
    means no folder.
    """

    server: str
    user: str
    folders: tuple[FolderPlan, ...]
    items: int
    bytes: int
    has_cache: bool
    partial: bool
    needed_bytes: int
    free_bytes: int
    excluded: tuple[tuple[str, int], ...] = ()
    unknown: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """Return plain values only, for one line of JSON."""
        return {**asdict(self), "folders": [asdict(folder) for folder in self.folders]}

    def with_measured(self, size: int) -> Plan:
        """Return the plan with a measured size, if the server states none."""
        return self if self.bytes or not size else replace(self, bytes=size, needed_bytes=_needed(size))


async def plan_rebuild(settings: Settings) -> Plan:
    """Log in, read the folders, and return the plan.

    BadSettings for an unknown folder; the errors of the server.
    """
    mailbox = await open_mailbox(settings)
    try:
        identity = await mailbox.open()
        listed = await mailbox.folders(shared=settings.shared, public=settings.public)
        left_out = LeftOut(settings.exclude_folders)
        folders = left_out.mark(listed)
    finally:
        await mailbox.close()
    paths = folder_paths(folders)
    chosen = syncable(folders)
    if settings.folders:
        chosen = select_folders(settings.folders, chosen, paths)
    plans = [
        FolderPlan(paths[folder.id], str(folder.kind), folder.count, expected_bytes([folder], settings.attachments))
        for folder in chosen
    ]
    size = sum(plan.bytes for plan in plans)
    freed = freed_by_drop(settings.cache) if settings.drop_first else 0
    return Plan(
        server=identity.server,
        user=identity.user,
        folders=tuple(sorted(plans, key=lambda plan: (-plan.bytes, -plan.items, plan.path))),
        items=sum(plan.items for plan in plans),
        bytes=size,
        has_cache=not (settings.fresh or settings.drop_first) and stored_owner(settings.cache) is not None,
        partial=bool(settings.folders),
        needed_bytes=_needed(size),
        free_bytes=available_bytes(_existing(settings.profile)) + freed,
        excluded=left_out.holding_items(),
        unknown=left_out.unknown,
    )


def _existing(folder: Path) -> Path:
    """Return the folder, or the first above it that exists."""
    return next((each for each in (folder, *folder.parents) if each.is_dir()), folder)


def _needed(size: int) -> int:
    return int(size * DATABASE_OVERHEAD) + RESERVE_BYTES
