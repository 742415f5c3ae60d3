"""Status, digest and verification of a profile's cache.

Only a repair changes anything.

`status` and `digest` need no server; `verify` compares the cache with it.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from kerio_resync.cache import outbox_rows, queries
from kerio_resync.cache.file_identity import all_changes
from kerio_resync.cache.files import require_places
from kerio_resync.cache.lock import ProfileLock
from kerio_resync.cache.store import Store
from kerio_resync.errors import BadSettings, CacheDamaged, OtherFormat
from kerio_resync.events import Listener, PhaseChanged, RunStarted, ignore_events
from kerio_resync.filesystem import available_bytes
from kerio_resync.model import Kind
from kerio_resync.server.connect import open_mailbox
from kerio_resync.server.mailbox import Mailbox
from kerio_resync.settings import Settings
from kerio_resync.sync.context import RebuildContext
from kerio_resync.sync.converge.compare_lists import VerifyReport, item_digests
from kerio_resync.sync.left_out import LEFT_OUT_KEY, LeftOut
from kerio_resync.sync.open_cache import old_format_problem, open_cache
from kerio_resync.sync.ownership import claim_live, require
from kerio_resync.sync.set_aside import SetAside, files_set_aside
from kerio_resync.sync.setup import check_profile, single_errors
from kerio_resync.sync.verify.verification import verify_and_repair


@dataclass(frozen=True, slots=True)
class FileStatus:
    """One database file and its contents.

    `state`: absent, ready, building, old, unknown (a format that cannot be read) or damaged. `folders`: those that can
    hold items and may be read. `wanted`, `attachments_wanted`: queued, not fetched yet. `attachments_omitted`: left out
    as asked, and not among `attachments`.
    """

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
    attachments_omitted: int = 0


@dataclass(frozen=True, slots=True)
class Status:
    """The state of a profile.

    `outbox`: one object per unsent local change (id, action, kind, state, reason). `holder`: the program that has the
    profile locked, or "". `asked_at`: the time of this status, ISO 8601.
    """

    profile: str
    cache: FileStatus
    building: FileStatus
    outbox: tuple[dict[str, Any], ...] = ()
    set_aside: tuple[SetAside, ...] = ()
    holder: str = ""
    free_bytes: int = 0
    asked_at: str = ""

    def as_json(self) -> dict[str, Any]:
        """Return plain values only, for one line of JSON."""
        return {**asdict(self), "outbox": list(self.outbox), "set_aside": [asdict(file) for file in self.set_aside]}


async def status(settings: Settings) -> Status:
    """Return the state of the profile's files, without network.

    BadSettings if the folder does not exist.
    """
    if not settings.profile.is_dir():
        raise BadSettings(f"there is no profile folder {settings.profile}; run `kerio-resync rebuild` to make one")
    require_places(settings.profile)
    cache, outbox = await _file_status(settings.cache, "ready")
    building, next_outbox = await _file_status(settings.next_cache, "building")
    known = await all_changes(settings.cache) | await all_changes(settings.next_cache)
    aside = await files_set_aside(settings.cache, known)
    return Status(
        str(settings.profile), cache, building, (*outbox, *next_outbox), aside, ProfileLock(settings.profile).holder(),
        available_bytes(settings.cache), datetime.now(UTC).isoformat(timespec="seconds"),
    )  # fmt: skip


async def _file_status(path: Path, state: str) -> tuple[FileStatus, tuple[dict[str, Any], ...]]:
    if not path.exists():
        return FileStatus(str(path), "absent"), ()
    names = {path.name, *(f"{path.name}{suffix}" for suffix in ("-wal", "-journal", "-shm"))}
    size = sum(file.stat().st_size for file in path.parent.glob(f"{path.name}*") if file.name in names)
    try:
        store = await Store.open(path, readonly=True)
    except CacheDamaged as error:
        state, problem = _state_of(path, error)
        return FileStatus(str(path), state, size, problem=problem), ()
    try:
        totals = await store.read(queries.totals)
        outbox = tuple(row.as_json() for row in await store.read(outbox_rows.changes))
        finished = await store.read(queries.meta, "finished_at") or ""
    except CacheDamaged as error:
        return FileStatus(str(path), "damaged", size, problem=str(error)), ()
    finally:
        await store.close()
    return FileStatus(
        path=str(path),
        state=state,
        bytes=size,
        account=store.identity.user,
        server=store.identity.server,
        folders=totals.folders,
        folders_listed=totals.folders_listed,
        items=dict(totals.items),
        wanted=totals.queued_items,
        attachments=totals.attachments,
        attachments_wanted=totals.queued_attachments,
        skipped=totals.skipped,
        finished_at=finished,
        attachments_omitted=totals.omitted_attachments,
    ), outbox


async def digest(settings: Settings) -> AsyncIterator[str]:
    """Yield lines `kind id version sha256`, sorted, without network.

    NoCache if there is no cache.
    """
    store = await open_cache(settings)
    try:
        async for kind, item_id, version, sha256 in item_digests(store):
            yield f"{kind} {item_id} {version} {sha256}"
    finally:
        await store.close()


def _state_of(path: Path, error: CacheDamaged) -> tuple[str, str]:
    """Return the state of a file that cannot be opened, and the problem."""
    if problem := old_format_problem(path):
        return "old", problem
    return "unknown" if isinstance(error, OtherFormat) else "damaged", str(error)


async def verify(
    settings: Settings,
    listen: Listener = ignore_events,
    *,
    deep: bool = False,
    repair: bool = False,
    mailbox: Mailbox | None = None,
) -> VerifyReport:
    """Compare the cache with the server, and check the database's own checksums.

    `deep` also fetches and compares contents. Changes on the server since the last synchronisation are no difference.
    `repair` fetches what differs. Raise as `rebuild` does.
    """
    listen = settings.redactor.listening(listen)
    check_profile(settings)
    try:
        with single_errors(), ProfileLock(settings.profile):
            await (await open_cache(settings)).close()  # fail without a readable cache before any request
            listen(PhaseChanged("session"))
            mailbox = mailbox or await open_mailbox(settings, listen)
            identity = await mailbox.open()
            await claim_live(settings, identity)
            store = await open_cache(settings, readonly=False)
            try:
                require(settings, store.identity, identity)
                listen(RunStarted(str(settings.profile), identity.server, identity.user, protocol=identity.protocol))
                left_out = LeftOut.from_meta(await store.read(queries.meta, LEFT_OUT_KEY))
                run = RebuildContext.begin(settings, listen, mailbox, store, time.monotonic, left_out=left_out)
                return await verify_and_repair(run, deep=deep, repair=repair)
            finally:
                await store.close()
    finally:
        if mailbox is not None:
            await mailbox.close()
