"""Looks at a profile's cache without changing it: its state, its digest, and how it compares with the server."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from kerio_resync.cache import outbox_rows, queries
from kerio_resync.cache.file_identity import all_changes
from kerio_resync.cache.files import require_places
from kerio_resync.cache.format71 import schema as legacy
from kerio_resync.cache.header import read_header
from kerio_resync.cache.lock import ProfileLock
from kerio_resync.cache.store import Store
from kerio_resync.errors import BadSettings, CacheDamaged, NoCache, OtherFormat, ResyncError
from kerio_resync.events import Listener, PhaseChanged, RunStarted, ignore_events
from kerio_resync.filesystem import available_bytes
from kerio_resync.model import Kind
from kerio_resync.redaction import emptied
from kerio_resync.server.kerio.mailbox import KerioMailbox
from kerio_resync.server.mailbox import Mailbox
from kerio_resync.settings import Settings
from kerio_resync.sync.context import RebuildContext
from kerio_resync.sync.converge.compare_lists import VerifyReport, item_digests
from kerio_resync.sync.ownership import claim_live, require
from kerio_resync.sync.rebuild import check_profile, most_severe
from kerio_resync.sync.set_aside import SetAside, files_set_aside
from kerio_resync.sync.verify.verification import verify_and_repair

_OLD_FORMAT_PROBLEM = f"it is still of format {legacy.FORMAT}; run `kerio-resync upgrade`"


@dataclass(frozen=True, slots=True)
class FileStatus:
    """One database file, and what it holds. `state`: absent, ready, building, old, unknown (a format that is
    not read), damaged; `folders`: those that can
    hold items and may be read."""

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
    set_aside: tuple[SetAside, ...] = ()
    holder: str = ""
    free_bytes: int = 0
    asked_at: str = ""

    def as_json(self) -> dict[str, Any]:
        def plain(each: FileStatus) -> dict[str, Any]:
            return {name: getattr(each, name) for name in FileStatus.__slots__}

        return {
            "profile": self.profile, "cache": plain(self.cache), "building": plain(self.building),
            "outbox": list(self.outbox), "set_aside": [asdict(each) for each in self.set_aside], "holder": self.holder,
            "free_bytes": self.free_bytes, "asked_at": self.asked_at,
        }  # fmt: skip


async def status(settings: Settings) -> Status:
    """The state of the profile's files; no network. BadSettings if there is no such folder."""
    if not settings.profile.is_dir():
        raise BadSettings(f"there is no profile folder {settings.profile}; run `kerio-resync rebuild` to make one")
    require_places(settings.profile)
    cache, outbox = await _file(settings.cache, "ready")
    building, more = await _file(settings.next_cache, "building")
    known = await all_changes(settings.cache) | await all_changes(settings.next_cache)
    aside = await files_set_aside(settings.cache, known)
    return Status(
        str(settings.profile), cache, building, (*outbox, *more), aside, ProfileLock(settings.profile).holder(),
        available_bytes(settings.cache), datetime.now(UTC).isoformat(timespec="seconds"),
    )  # fmt: skip


async def _file(path: Path, state: str) -> tuple[FileStatus, tuple[dict[str, Any], ...]]:
    if not path.exists():
        return FileStatus(str(path), "absent"), ()
    size = sum(each.stat().st_size for each in path.parent.glob(f"{path.name}*") if each.name in _family(path))
    try:
        store = await Store.open(path, readonly=True)
    except CacheDamaged as error:
        state, problem = _state_of(path, error)
        return FileStatus(str(path), state, size, problem=problem), ()
    try:
        held = await store.read(queries.totals)
        outbox = tuple(row.as_json() for row in await store.read(outbox_rows.changes))
        finished = await store.read(queries.meta, "finished_at") or ""
    except CacheDamaged as error:
        return FileStatus(str(path), "damaged", size, problem=str(error)), ()
    finally:
        await store.close()
    return FileStatus(
        str(path), state, size, store.identity.user, store.identity.server, held.folders, held.folders_listed,
        dict(held.items), held.queued_items, held.attachments, held.queued_attachments, held.skipped, finished,
    ), outbox  # fmt: skip


def _family(path: Path) -> set[str]:
    return {path.name, f"{path.name}-wal", f"{path.name}-journal", f"{path.name}-shm"}


async def digest(settings: Settings) -> AsyncIterator[str]:
    """The digest's lines, `kind id watermark sha256`, sorted; no network. NoCache if there is none yet."""
    store = await _cache(settings)
    try:
        async for kind, each, watermark, sha256 in item_digests(store):
            yield f"{kind} {each} {watermark} {sha256}"
    finally:
        await store.close()


async def _cache(settings: Settings, *, readonly: bool = True) -> Store:
    require_places(settings.profile)
    if not settings.cache.exists():
        raise NoCache(f"there is no cache at {settings.cache}; {_next_step(settings)}")
    try:
        return await Store.open(settings.cache, readonly=readonly)
    except CacheDamaged as error:
        if _is_old(settings.cache):
            raise BadSettings(f"{settings.cache}: {_OLD_FORMAT_PROBLEM}") from error
        raise


def _next_step(settings: Settings) -> str:
    again = "run `kerio-resync rebuild`"
    return f"a rebuild was begun and is not finished: {again} to resume it" if settings.next_cache.exists() else again


def _state_of(path: Path, error: CacheDamaged) -> tuple[str, str]:
    """The state of a file that can't be opened, and why it can't."""
    if _is_old(path):
        return "old", _OLD_FORMAT_PROBLEM
    return "unknown" if isinstance(error, OtherFormat) else "damaged", str(error)


def _is_old(path: Path) -> bool:
    with suppress(OSError):
        header = read_header(path)
        old = (header.mark, header.version) == (legacy.APPLICATION_ID, legacy.USER_VERSION)
        return old and not header.cut_short
    return False


async def verify(
    settings: Settings,
    listen: Listener = ignore_events,
    *,
    deep: bool = False,
    repair: bool = False,
    mailbox: Mailbox | None = None,
) -> VerifyReport:
    """Compares the cache with the server, item by item: ids and versions, the database's own checksums, and with `deep`
    the contents as the server has them now. What changed on the server since the last synchronisation is no difference.
    `repair` fetches what differs. Raises as `rebuild` does."""
    listen = settings.redactor.listening(listen)
    check_profile(settings)
    mailbox = mailbox or KerioMailbox(settings, listen)
    try:
        with ProfileLock(settings.profile):
            await (await _cache(settings)).close()  # whether there is one that can be read, before a server is asked
            listen(PhaseChanged("session"))
            identity = await mailbox.open()
            await claim_live(settings, identity)
            store = await _cache(settings, readonly=False)
            try:
                require(settings, store.identity, identity)
                listen(RunStarted(str(settings.profile), identity.server, identity.user))
                run = RebuildContext.begin(settings, listen, mailbox, store, time.monotonic)
                return await verify_and_repair(run, deep=deep, repair=repair)
            finally:
                await store.close()
    except BaseExceptionGroup as group:
        emptied(group)
        raise most_severe(group) from None
    except ResyncError as error:
        emptied(error)
        raise
    finally:
        await mailbox.close()
