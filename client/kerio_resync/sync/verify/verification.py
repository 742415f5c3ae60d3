"""One verification under way: everything that the cache and the server hold, side by side, and the mending of it.

What changed on the server since the cache's sync key is no difference. What was mended is looked at again: it counts as
repaired if nothing is wrong with it any more, not because something was done about it.
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
from kerio_resync.sync.fetch.folders import list_new_folders, name_odd_folders, syncable, told_once
from kerio_resync.sync.fetch.resolve_doubts import fetch_until_settled
from kerio_resync.sync.verify.compare_contents import ContentComparison

NAMED_FOLDERS = 5  # that a cache was built without, and the server still refuses
MAX_REPAIR_ROUNDS = 3  # times that what differs is fetched again, as long as less and less does


@dataclass(slots=True)
class Verification:
    """What was found. `deep`: contents are fetched and compared, of all items or of those named in `only`."""

    run: RebuildContext
    deep: bool = False
    only: Collection[str] | None = None
    checked: int = 0
    found: list[Difference] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    count: int = 0

    async def compare(self) -> None:
        run = self.run
        run.listen(PhaseChanged("verify"))
        run.progress.reset()
        contents = ContentComparison(run, self.only) if self.deep else None
        if contents is not None:
            await contents.expect()
        damaged = await run.store.check()
        for damage in damaged:
            self._name(f"damaged {damage.line}")
        told, twins = told_once(await run.mailbox.folders(shared=run.settings.shared, public=run.settings.public))
        name_odd_folders(run, told, twins)
        run.set_folders(told)
        known = {row.folder.id: row.folder for row in await run.store.read(queries.folders)}
        todo = [each for each in syncable(told) if each.id in known]
        if contents is None:
            run.progress.work.items_total = sum(each.count for each in todo)
        with run.progress.listing_only():
            unlisted = await compare_folders(run, todo, self._take)
        await self._find_unfetched()
        if contents is not None:
            self.found += await contents.compare()
        run.progress.emit(now=True)
        changed, whole = await changed_since_sync(
            run.mailbox, run.store
        )  # last: what changes while we look is no difference
        if not whole:
            run.notice("The server can't tell what changed since the last synchronisation: that is named as well.")
        self._name_folders(known, unlisted.keys() - await self._left_out(unlisted), changed)
        self.found = [each for each in self.found if each.row.id not in changed and each.folder.id not in unlisted]
        await self._let_contradictions_be()
        for odd in self.found:
            self._name(f"{odd.what} {odd.folder.kind} {odd.row.id}")
        for item in (each.item for each in damaged if each.item is not None):
            if folder := run.folders.get(item.folder_id):
                self.found.append(Difference("damaged", folder, ListedItem(item.id, 0)))

    async def _left_out(self, unlisted: Collection[str]) -> set[str]:
        """Of these folders, those that the cache was built without: it is named that the server still refuses them."""
        run = self.run
        found = {row.id for row in await run.store.read(queries.skipped) if row.scope == "folder"}.intersection(
            unlisted
        )
        if names := sorted(repr(run.folders[each].name) for each in found):
            more = f" and {len(names) - NAMED_FOLDERS:,} more" if len(names) > NAMED_FOLDERS else ""
            run.notice(f"Left out, because the server does not list them: {', '.join(names[:NAMED_FOLDERS])}{more}.")
        return found

    async def repair(self) -> None:
        """Fetches what differs. What is damaged beyond that stays."""
        run = self.run
        await list_new_folders(run)
        by_folder: dict[str, list[ListedItem]] = {}
        for each in self.found:
            by_folder.setdefault(each.folder.id, []).append(each.row)
        for folder_id, rows in by_folder.items():
            if folder_id in run.folders:
                await enqueue_differing(run, run.folders[folder_id], rows)
        await bring_up_to_date(run)
        await fetch_until_settled(run)

    async def _let_contradictions_be(self) -> None:
        """Takes out what only the server's lists say, and the items themselves do not."""
        settled = set[str]()
        odd = [each for each in self.found if each.what in ("missing", "stale")]
        for folder in {each.folder.id: each.folder for each in odd}.values():
            rows = [each.row for each in odd if each.folder.id == folder.id]
            if folder.kind is not None:
                settled |= await find_contradictions(self.run, folder.id, folder.kind, rows, only_elsewhere=False)
        self.found = [each for each in self.found if each.row.id not in settled]

    def _name(self, line: str) -> None:
        self.count += 1
        if len(self.lines) < MAX_NAMED_DIFFERENCES:
            self.lines.append(self.run.settings.redactor.own(line))

    def _name_folders(self, known: Mapping[str, Folder], unlisted: Collection[str], changed: Collection[str]) -> None:
        """Folders that only one side has, and those that could not be compared."""
        settings, there = self.run.settings, self.run.folders
        places = {"own", *["shared"] * settings.shared, *["public"] * settings.public}
        odd = [("missing", each) for each in syncable(there.values()) if each.id not in known]
        odd += [("unreadable", there[each]) for each in unlisted]
        odd += [("extra", each) for each in known.values() if each.id not in there and each.place in places]
        for what, folder in odd:
            if folder.id not in changed:
                self._name(f"{what} folder {folder.id} {folder.name!r}")

    async def _take(self, folder: Folder, rows: int, odd: list[Difference]) -> None:
        self.checked += rows
        self.found += odd
        if not self.deep:  # else it is the contents that are counted
            self.run.progress.work.items_done += rows
            self.run.progress.emit()

    async def _find_unfetched(self) -> None:
        """What an interrupted run knows to be missing, and has not fetched yet."""
        store, after, key = self.run.store, None, 0
        while rows := await store.read(queries.queued_items, 1000, after):
            after = rows[-1].cursor
            held = await store.read(queries.watermarks, [row.id for row in rows])
            for row in rows:
                if row.folder_id in self.run.folders and held.get(row.id, -1) < row.watermark:
                    what = "stale" if row.id in held else "missing"
                    self.found.append(
                        Difference(what, self.run.folders[row.folder_id], ListedItem(row.id, row.watermark))
                    )
        while contents := await store.read(queries.queued_attachments, 1000, key):
            key = contents[-1].key
            for each in contents:
                self._name(f"missing attachment {each.attachment.id} of {each.item_id}")


async def verify_and_repair(run: RebuildContext, *, deep: bool, repair: bool) -> VerifyReport:
    """Looks, and with `repair` mends and looks again, while that makes it less."""
    first = left = Verification(run, deep)
    await first.compare()
    for _ in range(MAX_REPAIR_ROUNDS if repair else 0):
        if not left.count:
            break
        before = left
        await before.repair()
        altered = {each.row.id for each in before.found if each.what in ("altered", "unreadable")}
        left = Verification(run, bool(altered), altered)
        await left.compare()
        if left.count >= before.count:
            break
    return VerifyReport(first.checked, tuple(first.lines), first.count, max(0, first.count - left.count))
