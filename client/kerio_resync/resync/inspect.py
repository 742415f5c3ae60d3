"""Looks at a profile's cache without changing it: its state, its digest, and how it compares with the server."""

from __future__ import annotations

import hashlib
import shutil
import time
from collections.abc import AsyncIterator, Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from kerio_resync.cache.facts import Want
from kerio_resync.cache.lock import ProfileLock
from kerio_resync.cache.reading import StoredItem
from kerio_resync.cache.store import Store
from kerio_resync.errors import BadSettings, CacheDamaged, ResyncError
from kerio_resync.events import Listener, PhaseChanged, nobody
from kerio_resync.model import Attachment, Folder, Kind, Listed
from kerio_resync.resync.catchup import drain
from kerio_resync.resync.folders import mirrored, without_loops
from kerio_resync.resync.progress import Meter
from kerio_resync.resync.rebuild import prepare, single_error
from kerio_resync.resync.run import Run
from kerio_resync.resync.settle import bring_up_to_date
from kerio_resync.resync.verify import NAMED, Difference, Verdict, compare_folders, explained, item_digests
from kerio_resync.server.items import digest as digest_struct
from kerio_resync.server.kerio import KerioMailbox
from kerio_resync.server.mailbox import Mailbox
from kerio_resync.settings import Settings


@dataclass(frozen=True, slots=True)
class FileStatus:
    """One database file, and what it holds. `state`: absent, ready, building, damaged."""

    path: str
    state: str
    bytes: int = 0
    account: str = ""
    server: str = ""
    folders: int = 0
    folders_listed: int = 0
    items: dict[Kind, int] = field(default_factory=dict)
    wanted: int = 0
    attachments: int = 0
    attachments_wanted: int = 0
    skipped: int = 0
    finished_at: str = ""
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Status:
    """`outbox`: one dict a pending local change (id, action, kind, state, reason). `holder`: of the profile, or ""."""

    profile: str
    cache: FileStatus
    building: FileStatus
    outbox: tuple[dict[str, Any], ...] = ()
    holder: str = ""
    free_bytes: int = 0
    asked_at: str = ""

    def as_json(self) -> dict[str, Any]:
        def plain(each: FileStatus) -> dict[str, Any]:
            return {name: getattr(each, name) for name in FileStatus.__slots__}

        return {
            "profile": self.profile, "cache": plain(self.cache), "building": plain(self.building),
            "outbox": list(self.outbox), "holder": self.holder,
            "free_bytes": self.free_bytes, "asked_at": self.asked_at,
        }  # fmt: skip


async def status(settings: Settings) -> Status:
    """The state of the profile's files; no network. BadSettings if there is no such folder."""
    if not settings.profile.is_dir():
        raise BadSettings(f"there is no profile folder {settings.profile}; run `kerio-resync rebuild` to make one")
    cache, outbox = await _file(settings.cache, "ready")
    building, more = await _file(settings.next_cache, "building")
    return Status(
        str(settings.profile), cache, building, (*outbox, *more), ProfileLock(settings.profile).holder(),
        shutil.disk_usage(settings.profile).free, datetime.now(UTC).isoformat(timespec="seconds"),
    )  # fmt: skip


async def _file(path: Path, state: str) -> tuple[FileStatus, tuple[dict[str, Any], ...]]:
    if not path.exists():
        return FileStatus(str(path), "absent"), ()
    size = sum(each.stat().st_size for each in path.parent.glob(f"{path.name}*") if each.name in _family(path))
    try:
        store = await Store.open(path, readonly=True)
    except ResyncError as error:
        return FileStatus(str(path), "damaged", size, problem=str(error)), ()
    try:
        held = await store.totals()
        outbox = tuple(row.as_json() for row in await store.outbox())
        finished = await store.meta("finished_at") or ""
    except CacheDamaged as error:
        return FileStatus(str(path), "damaged", size, problem=str(error)), ()
    finally:
        await store.close()
    return FileStatus(
        str(path), state, size, store.identity.user, store.identity.server, held.folders, held.folders_listed,
        dict(held.items), held.wanted, held.attachments, held.attachments_wanted, held.skipped, finished,
    ), outbox  # fmt: skip


def _family(path: Path) -> set[str]:
    return {path.name, f"{path.name}-wal", f"{path.name}-journal", f"{path.name}-shm"}


async def digest(settings: Settings) -> AsyncIterator[str]:
    """The digest's lines, `kind id watermark sha256`, sorted; no network. BadSettings if there is no cache yet."""
    store = await _cache(settings)
    try:
        async for kind, each, watermark, sha256 in item_digests(store):
            yield f"{kind} {each} {watermark} {sha256}"
    finally:
        await store.close()


async def _cache(settings: Settings, *, readonly: bool = True) -> Store:
    if not settings.cache.exists():
        raise BadSettings(f"there is no cache at {settings.cache}; run `kerio-resync rebuild` first")
    return await Store.open(settings.cache, readonly=readonly)


async def verify(
    settings: Settings,
    listen: Listener = nobody,
    *,
    deep: bool = False,
    repair: bool = False,
    mailbox: Mailbox | None = None,
) -> Verdict:
    """Compares the cache with the server, item by item: ids and versions, the database's own checksums, and with `deep`
    the contents as the server has them now. What changed on the server since the last synchronisation is no difference.
    `repair` fetches what differs. Raises as `rebuild` does."""
    prepare(settings)
    mailbox = mailbox or KerioMailbox(settings, listen)
    try:
        with ProfileLock(settings.profile):
            store = await _cache(settings, readonly=False)
            try:
                listen(PhaseChanged("session"))
                await mailbox.open()
                run = Run(settings, listen, mailbox, store, Meter(listen, time.monotonic), time.monotonic)
                return await Check(run, deep=deep, repair=repair).verdict()
            finally:
                await store.close()
    except* ResyncError as group:
        raise single_error(group) from None
    finally:
        await mailbox.close()


@dataclass(slots=True)
class Check:
    """One verification under way: what was found, and what to do about it."""

    run: Run
    deep: bool
    repair: bool
    checked: int = 0
    found: list[Difference] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    count: int = 0

    async def verdict(self) -> Verdict:
        run = self.run
        run.listen(PhaseChanged("verify"))
        for problem in await run.store.check():
            self._name(f"damaged {problem}")
        told, looping = without_loops(await run.mailbox.folders(shared=run.settings.shared, public=run.settings.public))
        for each in looping:
            self._name(f"folder {each.id} is inside itself on the server")
        run.folders = {each.id: each for each in told}
        known = {row.folder.id: row.folder for row in await run.store.folders()}
        unlisted = await compare_folders(run, [each for each in mirrored(told) if each.id in known], self._take)
        changed, whole = await explained(run.mailbox, run.store)
        if not whole:
            run.notice("The server can't tell what changed since the last synchronisation: that is named as well.")
        self._name_folders(known, unlisted, changed)
        self.found = [each for each in self.found if each.row.id not in changed and each.folder.id not in unlisted]
        for odd in self.found:
            self._name(f"{odd.what} {odd.folder.kind} {odd.row.id}")
        if self.deep:
            await self._compare_contents(changed)
        repaired = await self._mend() if self.repair and self.count else 0
        return Verdict(self.checked, tuple(self.lines), self.count, repaired)

    def _name_folders(self, known: Mapping[str, Folder], unlisted: Collection[str], changed: Collection[str]) -> None:
        """Folders that only one side has, and those that could not be compared."""
        settings, there = self.run.settings, self.run.folders
        places = {"own", *["shared"] * settings.shared, *["public"] * settings.public}
        odd = [("missing", each) for each in mirrored(there.values()) if each.id not in known]
        odd += [("closed", there[each]) for each in unlisted]
        odd += [("extra", each) for each in known.values() if each.id not in there and each.place in places]
        for what, folder in odd:
            if folder.id not in changed:
                self._name(f"{what} folder {folder.id} {folder.name!r}")

    def _name(self, line: str) -> None:
        self.count += 1
        if len(self.lines) < NAMED:
            self.lines.append(line)

    async def _take(self, folder: Folder, rows: int, odd: list[Difference]) -> None:
        self.checked += rows
        self.found += odd

    async def _compare_contents(self, changed: set[str]) -> None:
        """Fetches every item and every attachment again and compares digests."""
        store, after = self.run.store, ("", "")
        while rows := await store.items(after, limit=100):
            after = (rows[-1].kind, rows[-1].id)
            for kind in dict.fromkeys(row.kind for row in rows):
                await self._compare_batch({row.id: row for row in rows if row.kind == kind and row.id not in changed})

    async def _compare_batch(self, rows: dict[str, StoredItem]) -> None:
        if not rows:
            return
        kind = next(iter(rows.values())).kind
        details = await self.run.mailbox.by_ids(kind, list(rows))
        for item in details.items:
            row = rows[item.id]
            held = {each.id: each.sha256.hex() for each in row.attachments if each.sha256 is not None}
            theirs = {each.id: await self._content_hash(each) for each in item.attachments if each.id in held}
            if digest_struct(kind, row.payload, held) != digest_struct(kind, item.payload, theirs):
                folder = self.run.folders[row.folder_id]
                self.found.append(Difference("altered", folder, Listed(row.id, row.watermark)))
                self._name(f"altered {kind} {row.id}")

    async def _content_hash(self, attachment: Attachment) -> str:
        sha = hashlib.sha256()
        async for piece in self.run.mailbox.download(attachment):
            if piece.offset == 0:
                sha = hashlib.sha256()
            sha.update(piece.data)
        return sha.hexdigest()

    async def _mend(self) -> int:
        run = self.run
        for each in self.found:
            if each.folder.kind:
                await run.store.put(Want(each.folder.id, each.folder.kind, (each.row,)))
        await bring_up_to_date(run)
        await drain(run)
        return self.count
