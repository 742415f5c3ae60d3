"""Compares everything that the cache and the server have, and repairs it.

Changes on the server since the cache's sync key are no difference. After a repair everything is compared again: a
difference counts as repaired if it is gone, not because something was done about it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from kerio_resync.cache import queries
from kerio_resync.events import PhaseChanged
from kerio_resync.model import Folder, ListedItem
from kerio_resync.sync.context import RebuildContext
from kerio_resync.sync.converge.compare_lists import (
    MAX_NAMED_DIFFERENCES,
    Difference,
    VerifyReport,
    changed_since_sync,
    compare_folders,
    enqueue_differing,
)
from kerio_resync.sync.converge.contradictions import find_contradictions
from kerio_resync.sync.converge.reconcile import bring_up_to_date
from kerio_resync.sync.converge.resolve_doubts import fetch_until_settled
from kerio_resync.sync.fetch.folders import list_new_folders, report_invalid_folders, syncable, unique_folders
from kerio_resync.sync.verify.compare_contents import ContentComparison

MAX_NAMED_FOLDERS = 5  # in a notice
MAX_REPAIR_ROUNDS = 3  # each must leave fewer differences


@dataclass(slots=True)
class Verification:
    """One comparison, and its differences.

    `deep`: also compares contents, of all items or of those whose ids are in `only`. `lines`: the differences as text;
    `count`: their number.
    """

    run: RebuildContext
    deep: bool = False
    only: Collection[str] | None = None
    checked: int = 0
    differences: list[Difference] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    count: int = 0

    async def compare(self) -> None:
        """Compare everything."""
        run = self.run
        run.listen(PhaseChanged("verify"))
        run.progress.reset()
        contents = ContentComparison(run, self.only) if self.deep else None
        if contents is not None:
            await contents.expect()
        damaged = await run.store.check()
        for defect in damaged:
            self._name(f"damaged {defect.line}")
        await self._fetch_folders()
        known = {row.folder.id: row.folder for row in await run.store.read(queries.folders)}
        todo = [folder for folder in syncable(run.folders.values()) if folder.id in known]
        if contents is None:
            run.progress.work.items_total = sum(folder.count for folder in todo)
        with run.progress.listing_only():
            unlisted = await compare_folders(run, todo, self._take)
        await self._find_unfetched()
        if contents is not None:
            self.differences += await contents.compare()
        run.progress.emit(now=True)
        # Last: what changes during the comparison is no difference.
        changed, is_complete = await changed_since_sync(run.mailbox, run.store)
        if not is_complete:
            run.notice("The server cannot list the changes since the last synchronisation. They count as differences.")
        self._name_folders(known, unlisted.keys() - await self._skipped_folders(unlisted), changed)
        self.differences = [
            item for item in self.differences if item.row.id not in changed and item.folder.id not in unlisted
        ]
        await self._drop_contradictions()
        for difference in self.differences:
            self._name(f"{difference.what} {difference.folder.kind} {difference.row.id}")
        for item in (defect.item for defect in damaged if defect.item is not None):
            folders = (run.folders[folder_id] for folder_id in item.folder_ids if folder_id in run.folders)
            if folder := next(folders, None):
                self.differences.append(Difference("damaged", folder, ListedItem(item.id, "")))

    async def _fetch_folders(self) -> None:
        run = self.run
        listing = await run.list_folders()
        folders, duplicates = unique_folders(listing)
        report_invalid_folders(run, folders, duplicates)
        run.set_folders(folders)
        if names := [path for path, _ in run.left_out.holding_items()]:
            more = f" and {len(names) - MAX_NAMED_FOLDERS:,} more" if len(names) > MAX_NAMED_FOLDERS else ""
            run.notice(f"The cache was built without: {', '.join(map(repr, names[:MAX_NAMED_FOLDERS]))}{more}.")

    async def _skipped_folders(self, unlisted: Collection[str]) -> set[str]:
        """Return those of these folders that the cache was built without, and report them."""
        run = self.run
        skipped = {row.id for row in await run.store.read(queries.skipped) if row.scope == "folder"}.intersection(
            unlisted
        )
        if names := sorted(repr(run.folders[folder_id].name) for folder_id in skipped):
            more = f" and {len(names) - MAX_NAMED_FOLDERS:,} more" if len(names) > MAX_NAMED_FOLDERS else ""
            run.notice(f"Skipped, because the server does not list them: {', '.join(names[:MAX_NAMED_FOLDERS])}{more}.")
        return skipped

    async def repair(self) -> None:
        """Fetch what differs. Other damage of the file stays."""
        run = self.run
        await list_new_folders(run)
        by_folder: dict[str, list[ListedItem]] = {}
        for difference in self.differences:
            by_folder.setdefault(difference.folder.id, []).append(difference.row)
        for folder_id, rows in by_folder.items():
            if folder_id in run.folders:
                await enqueue_differing(run, run.folders[folder_id], rows)
        await bring_up_to_date(run)
        await fetch_until_settled(run)

    async def _drop_contradictions(self) -> None:
        """Drop differences in which the server's lists contradict the items themselves."""
        settled = set[str]()
        listed = [item for item in self.differences if item.what in ("missing", "stale")]
        for folder in {item.folder.id: item.folder for item in listed}.values():
            rows = [item.row for item in listed if item.folder.id == folder.id]
            if folder.kind is not None:
                settled |= await find_contradictions(self.run, folder.id, folder.kind, rows, only_elsewhere=False)
        self.differences = [item for item in self.differences if item.row.id not in settled]

    def _name(self, line: str) -> None:
        self.count += 1
        if len(self.lines) < MAX_NAMED_DIFFERENCES:
            self.lines.append(self.run.settings.redactor.own(line))

    def _name_folders(self, known: Mapping[str, Folder], unlisted: Collection[str], changed: Collection[str]) -> None:
        """Name the folders that only one side has, and those that could not be listed."""
        settings, folders = self.run.settings, self.run.folders
        places = {"own", *["shared"] * settings.shared, *["public"] * settings.public}
        differing = [("missing", folder) for folder in syncable(folders.values()) if folder.id not in known]
        differing += [("unreadable", folders[folder_id]) for folder_id in unlisted]
        differing += [
            ("extra", folder) for folder in known.values() if folder.id not in folders and folder.place in places
        ]
        for defect, folder in differing:
            if folder.id not in changed:
                self._name(f"{defect} folder {folder.id} {folder.name!r}")

    async def _take(self, rows: int, differences: list[Difference]) -> None:
        self.checked += rows
        self.differences += differences
        if not self.deep:  # otherwise the contents are counted
            self.run.progress.work.items_done += rows
            self.run.progress.emit()

    async def _find_unfetched(self) -> None:
        """Add what an interrupted run has queued and not fetched yet."""
        store, after, key = self.run.store, None, 0
        while rows := await store.read(queries.queued_items, 1000, after):
            after = rows[-1].cursor
            stored = await store.read(queries.versions, [row.id for row in rows])
            for row in rows:
                folder = self.run.folders.get(row.folder_id)
                if folder is not None and row.version and self.run.is_outdated(stored.get(row.id), row.version):
                    listed = ListedItem(row.id, row.version)
                    self.differences.append(Difference("stale" if row.id in stored else "missing", folder, listed))
        while contents := await store.read(queries.queued_attachments, 1000, key):
            key = contents[-1].key
            for content in contents:
                self._name(f"missing attachment {content.attachment.id} of {content.item_id}")


async def verify_and_repair(run: RebuildContext, *, deep: bool, repair: bool) -> VerifyReport:
    """Compare; with `repair`, repair and compare while the differences decrease."""
    first = left = Verification(run, deep)
    await first.compare()
    for _ in range(MAX_REPAIR_ROUNDS if repair else 0):
        if not left.count:
            break
        before = left
        await before.repair()
        altered = {item.row.id for item in before.differences if item.what in ("altered", "unreadable")}
        left = Verification(run, bool(altered), altered)
        await left.compare()
        if left.count >= before.count:
            break
    return VerifyReport(first.checked, tuple(first.lines), first.count, max(0, first.count - left.count))
