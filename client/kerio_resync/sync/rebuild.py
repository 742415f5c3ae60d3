"""The rebuild: from a mailbox on a server to a cache that equals it, in steps that a kill may end anywhere.

    lock → log in → open or start cache.db.next → rescue pending changes → sync key → folders → room
    → list, fetch → catch up → list again and settle what disagrees → catch up → check → swap → send local changes

Beside an old cache the key and the lists come while it is copied, and the copy is held against them.

The old cache is not touched before the new one is whole (but with `drop_first`, once its pending changes are safe in
the new file). No step after an unresolved error: an exception leaves the half-built file for the next run.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, replace

from kerio_resync.cache import outbox_rows, queries
from kerio_resync.cache.files import require_places
from kerio_resync.cache.lock import ProfileLock
from kerio_resync.cache.mutations import ApplyChanges, UnskipEntry
from kerio_resync.cache.recovery.copy import COPIED_ITEMS_KEY
from kerio_resync.cache.store import Store
from kerio_resync.cache.swap import replace_cache, seal
from kerio_resync.errors import (
    BadSettings,
    CacheDamaged,
    CacheInUse,
    ProtocolError,
    ResyncError,
    ServerRefused,
    TransientServerError,
    VerificationFailed,
)
from kerio_resync.events import Event, Listener, Notice, PhaseChanged, RunStarted, Skipped, ignore_events
from kerio_resync.filesystem import translate_os_error, write_private
from kerio_resync.model import Identity
from kerio_resync.redaction import emptied
from kerio_resync.server.kerio.mailbox import KerioMailbox
from kerio_resync.server.mailbox import Mailbox
from kerio_resync.settings import Settings
from kerio_resync.sync.context import RebuildContext
from kerio_resync.sync.converge.catch_up import SYNC_KEY, WORKERS, catch_up, fetch_all_queued, new_key
from kerio_resync.sync.converge.reconcile import bring_up_to_date, converge, require_sound
from kerio_resync.sync.disk_space import check_space, check_space_before_drop
from kerio_resync.sync.fetch.attachments import attachment_worker
from kerio_resync.sync.fetch.folders import list_folder_into_cache, refresh_folders, syncable
from kerio_resync.sync.fetch.items import item_worker
from kerio_resync.sync.fetch.resolve_doubts import resolve_doubts
from kerio_resync.sync.listing.concurrency import for_each_concurrently
from kerio_resync.sync.listing.paging import Position
from kerio_resync.sync.open_target import (
    BuildTarget,
    discard_build_file,
    open_build_file,
    open_current_cache,
    rescue_unsent_changes,
)
from kerio_resync.sync.outbox.replay import TO_REPLAY, Replayed, enqueue_results, replay
from kerio_resync.sync.ownership import require
from kerio_resync.sync.partial_rebuild import rebuild_partially
from kerio_resync.sync.report import Report


async def rebuild(
    settings: Settings,
    listen: Listener = ignore_events,
    *,
    mailbox: Mailbox | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Report:
    """Rebuilds `settings.cache` from the server and returns what came of it. `mailbox`: instead of the Kerio server's.

    Cancelling it stops the intake, keeps what is whole, and raises CancelledError; run again, it goes on from there.
    Raises the errors of `kerio_resync.errors`: BadCredentials, Unreachable, ProtocolError, NotEnoughSpace, …
    """
    started = clock()
    listen = settings.redactor.listening(listen)
    check_profile(settings)
    unstored: dict[tuple[str, str, str], None] = {}  # what was left out before it could get a row in the database

    def heard(event: Event) -> None:
        if isinstance(event := settings.redactor.event(event), Skipped):
            unstored[event.scope, event.id, event.reason] = None
        listen(event)

    mailbox = mailbox or KerioMailbox(settings, heard)
    try:
        with ProfileLock(settings.profile):
            listen(PhaseChanged("session"))
            identity = await mailbox.open()
            report = await _once(settings, identity, listen, mailbox, clock, started)
            while isinstance(report, _Again):
                unstored.clear()
                listen(Notice(f"The new cache turned out damaged ({report.reason}). It is built once more."))
                report = await _once(report.settings, identity, listen, mailbox, clock, started)
            return replace(report, skipped=(*report.skipped, *unstored))
    except BaseExceptionGroup as group:
        emptied(group)
        raise most_severe(group) from None
    except ResyncError as error:
        emptied(error)
        raise
    finally:
        await mailbox.close()


@dataclass(frozen=True, slots=True)
class _Again:
    """The new cache was damaged by what it was made from; `settings`: how it is built once more."""

    settings: Settings
    reason: str


async def _once(
    settings: Settings,
    identity: Identity,
    listen: Listener,
    mailbox: Mailbox,
    clock: Callable[[], float],
    started: float,
) -> Report | _Again:
    """Builds once. Damage in what was resumed leads to a start from the old cache, damage in what came from that one
    to a start from nothing; beyond that it is the disk's, and is raised."""
    resumed = False
    try:
        async with _opened(settings, identity, listen, mailbox) as opened:
            resumed = opened.resumed
            listen(RunStarted(str(settings.profile), identity.server, identity.user, opened.resumed))
            run = RebuildContext.begin(
                settings, listen, mailbox, opened.store, clock, owner=opened.owner, early=opened.ahead
            )
            if settings.folders:
                await rebuild_partially(run)
            else:
                await _build(run)
            return await _finish(run, identity, started, opened.resumed)
    except (CacheDamaged, BaseExceptionGroup) as caught:
        error = most_severe(caught) if isinstance(caught, BaseExceptionGroup) else caught
        takes_over = resumed or (settings.cache.exists() and not (settings.fresh or settings.drop_first))
        if not isinstance(error, CacheDamaged) or settings.folders or not takes_over:
            raise
        return _Again(settings if resumed else settings.model_copy(update={"fresh": True}), str(error))


def most_severe(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The first error of a group that is not retryable; the group itself if it holds other errors than ours.

    The caller raises it from a plain `except`: Python 3.11.2 wraps what is raised within `except*` in a new group.
    """
    errors: list[ResyncError] = []
    pending: list[BaseException] = [group]
    while pending:
        error = pending.pop(0)
        if isinstance(error, BaseExceptionGroup):
            pending[:0] = error.exceptions
        elif isinstance(error, ResyncError):
            errors.append(error)
        else:
            return group
    return min(errors, key=lambda each: each.retryable)


def check_profile(settings: Settings) -> None:
    if not settings.server or not settings.user:
        raise BadSettings("no server and user are set: give --server URL and --user NAME")
    try:
        settings.profile.mkdir(parents=True, exist_ok=True, mode=0o700)
    except FileExistsError as error:
        raise BadSettings(f"{settings.profile} is not a folder; name another one with --profile") from error
    except OSError as error:
        raise translate_os_error(error, settings.profile) from error
    require_places(settings.profile)
    for folder in {settings.profile, settings.cache.parent}:
        probe = folder / ".writable"
        try:
            write_private(probe, b"", sync=False)
            probe.unlink()
        except OSError as error:
            raise translate_os_error(error, probe) from error


@asynccontextmanager
async def _opened(
    settings: Settings, identity: Identity, listen: Listener, mailbox: Mailbox
) -> AsyncIterator[BuildTarget]:
    """The file to write to, closed at the end."""
    opening = (
        open_current_cache(settings, identity)
        if settings.folders
        else open_build_file(settings, identity, listen, mailbox)
    )
    opened = await opening
    try:
        yield opened
    except BaseException as error:
        damaged = (
            error.subgroup(CacheDamaged) if isinstance(error, BaseExceptionGroup) else isinstance(error, CacheDamaged)
        )
        if damaged:
            await opened.store.close()
            if not settings.folders:
                discard_build_file(settings)
        raise
    finally:
        await opened.store.close()


async def _build(run: RebuildContext) -> None:
    settings, listen = run.settings, run.listen
    listen(PhaseChanged("rescue"))
    if settings.drop_first and settings.cache.exists():
        await check_space_before_drop(run)
    await rescue_unsent_changes(run)
    await _resume(run)
    if await run.store.read(queries.meta, SYNC_KEY) is None:
        await run.store.apply(
            ApplyChanges(run.comparison.early.key or await new_key(run))
        )  # before the first page, and committed
        await run.store.flush()
    listen(PhaseChanged("folders"))
    todo = await refresh_folders(run)
    await check_space(run)
    run.reuse.is_copy = bool(await run.store.read(queries.meta, COPIED_ITEMS_KEY))
    if run.reuse.is_copy:
        await run.store.omit_contents([each for each in run.folders if run.omits_attachments(each)])
    listen(PhaseChanged("fetch"))
    await _fetch(run, [each.id for each in todo])
    await converge(run)


async def _resume(run: RebuildContext) -> None:
    """What an earlier run fetched counts; what it had to leave out is asked for again."""
    for row in await run.store.read(queries.skipped):
        run.comparison.retried.add(row.id)
        await run.store.apply(UnskipEntry(row.scope, row.id))
    held = await run.store.read(queries.totals)
    run.reuse.initial_items = sum(held.items.values())
    run.progress.resume(held)


async def _fetch(run: RebuildContext, todo: list[str]) -> None:
    """Lists the folders named, in order of rank, and fetches what becomes wanted, all at once."""
    positions = {row.folder.id: Position.from_bytes(row.position) for row in await run.store.read(queries.folders)}
    run.progress.work.folders_total = len(syncable(run.folders.values()))
    run.progress.work.folders_done = run.progress.work.folders_total - len(todo)
    for each in todo:
        folder = run.folders[each]
        share = max(0.0, 1 - positions[each].seen / folder.count) if folder.count else 0.0
        run.progress.expect(each, int(folder.count * share), int(folder.size * share))

    async def list_folders() -> None:
        with run.item_queue.producer(), run.attachment_queue.producer():
            await for_each_concurrently(
                todo, lambda each: list_folder_into_cache(run, run.folders[each], positions[each])
            )

    async with asyncio.TaskGroup() as group:
        group.create_task(list_folders())
        for _ in range(WORKERS):
            group.create_task(item_worker(run))
            group.create_task(attachment_worker(run))
    run.progress.finish_pending()
    run.progress.emit(now=True)


async def _finish(run: RebuildContext, identity: Identity, started: float, resumed: bool) -> Report:
    run.progress.emit(now=True)
    # What this run wrote was summed on its way in; what an earlier one left has been through a kill or a power cut.
    await require_sound(run, contents=resumed)
    clean = run.settings.redactor.own
    skipped = tuple((row.scope, clean(row.id), clean(row.reason)) for row in await run.store.read(queries.skipped))
    await run.store.finish()
    async with AsyncExitStack() as stack:
        if not run.settings.folders:
            run.listen(PhaseChanged("swap"))
            await stack.enter_async_context(replace_cache(run.store, run.settings.cache, run.owner))
        live = await stack.enter_async_context(_reopen_after_swap(run))
        require(run.settings, live.store.identity, identity)
        found = await _send_changes(live) if await live.store.read(outbox_rows.changes, TO_REPLAY) else Replayed()
        held = await live.store.read(queries.totals)
    work = run.progress.work
    return Report(
        cache=run.settings.cache,
        folders=held.folders,
        items=held.items,
        attachments=held.attachments,
        plain_bytes=work.bytes_done - work.bytes_reused,
        wire_bytes=run.mailbox.wire_bytes,
        seconds=run.clock() - started,
        resumed=resumed,
        salvaged=run.reuse.reused_items,
        repaired=run.comparison.repaired,
        retries=run.mailbox.retries,
        skipped=skipped,
        outbox_sent=found.sent,
        outbox_pending=found.pending,
        outbox_refused=found.refused,
        conflicts=found.conflicts,
        unfinished=bool(found.trouble or found.pending),
        problems=tuple(run.announced.notices),
    )


@asynccontextmanager
async def _reopen_after_swap(run: RebuildContext) -> AsyncIterator[RebuildContext]:
    """The same run on the cache that is in use now, where the new one has taken its place."""
    if run.settings.folders:
        yield run
        return
    store = await Store.open(run.settings.cache)
    try:
        yield run.with_store(store)
    finally:
        await store.close()
        with suppress(CacheInUse):  # then the mail program has it already
            await seal(run.settings.cache)


async def _send_changes(run: RebuildContext) -> Replayed:
    """Replays the outbox and catches up with what came of it. Trouble with the server ends it, but not the run."""
    run.listen(PhaseChanged("replay"))
    found = await replay(run)
    if found.trouble or not found.asked:
        return found
    run.listen(PhaseChanged("catch-up"))
    try:
        await bring_up_to_date(run)
        if await enqueue_results(run, found):
            await fetch_all_queued(run)
            await catch_up(run)
        await resolve_doubts(run)
        await run.store.flush()
    except* (TransientServerError, ServerRefused, ProtocolError, VerificationFailed) as group:
        found.trouble = str(most_severe(group))
        run.notice(f"What became of the local changes could not be fetched ({found.trouble}); run again to have it.")
    return found
