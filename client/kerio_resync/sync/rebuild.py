"""The rebuild: from a mailbox on a server to a cache that equals it.

It may be killed at any instant.

    lock → log in → open or start cache.db.next → rescue unsent changes → sync key → folders → space on disk
    → list, fetch → catch up → compare the lists, fetch what differs → catch up → check → swap → send unsent changes

With an old cache, the key and the lists are fetched while it is copied, and the copy is compared with them.

The old cache is not touched until the new one is complete (except with `drop_first`, once its unsent changes are in the
new file). Nothing happens after an unresolved error: the unfinished file is left for the next run.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial

from kerio_resync.cache import outbox_rows, queries
from kerio_resync.cache.lock import ProfileLock
from kerio_resync.cache.mutations import ApplyChanges, UnskipEntry
from kerio_resync.cache.recovery.copy import COPIED_ITEMS_KEY
from kerio_resync.cache.store import Store
from kerio_resync.cache.swap import replace_cache, seal
from kerio_resync.errors import (
    CacheDamaged,
    CacheInUse,
    ProtocolError,
    ServerRefused,
    TransientServerError,
    VerificationFailed,
)
from kerio_resync.events import Event, Listener, Notice, PhaseChanged, RunStarted, Skipped, ignore_events
from kerio_resync.model import Folder, Identity
from kerio_resync.server.connect import open_mailbox
from kerio_resync.server.mailbox import Mailbox
from kerio_resync.settings import Settings
from kerio_resync.sync.context import RebuildContext
from kerio_resync.sync.converge.catch_up import SYNC_KEY, WORKERS, catch_up, fetch_all_queued, new_key
from kerio_resync.sync.converge.reconcile import bring_up_to_date, converge, require_sound
from kerio_resync.sync.converge.resolve_doubts import resolve_doubts
from kerio_resync.sync.disk_space import check_space, check_space_before_drop
from kerio_resync.sync.fetch.attachments import attachment_worker
from kerio_resync.sync.fetch.folders import drop_left_out, list_into_cache, refresh_folders, syncable
from kerio_resync.sync.fetch.items import item_worker
from kerio_resync.sync.fetch.sources import enqueue_mails_without_source
from kerio_resync.sync.left_out import LEFT_OUT_KEY, LeftOut
from kerio_resync.sync.listing.concurrency import for_each_concurrently
from kerio_resync.sync.open_target import (
    BuildTarget,
    discard_build_file,
    open_build_file,
    open_current_cache,
    rescue_unsent_changes,
    with_todays_columns,
)
from kerio_resync.sync.outbox.replay import TO_REPLAY, Replayed, enqueue_results, replay
from kerio_resync.sync.ownership import require
from kerio_resync.sync.partial_rebuild import rebuild_partially
from kerio_resync.sync.report import Report
from kerio_resync.sync.setup import check_profile, most_severe, single_errors


async def rebuild(
    settings: Settings,
    listen: Listener = ignore_events,
    *,
    mailbox: Mailbox | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Report:
    """Rebuild `settings.cache` from the server.

    `mailbox` replaces that of the settings; `clock` returns seconds. Cancellation stops all requests, keeps what is
    complete, and raises CancelledError; the next run resumes. Raise the errors of `kerio_resync.errors`:
    BadCredentials, Unreachable, ProtocolError, NotEnoughSpace, …
    """
    started = clock()
    listen = settings.redactor.listening(listen)
    check_profile(settings)
    unstored: dict[tuple[str, str, str], None] = {}  # skipped before there was a database row for it

    def note_skipped(event: Event) -> None:
        if isinstance(event := settings.redactor.event(event), Skipped):
            unstored[event.scope, event.id, event.reason] = None
        listen(event)

    try:
        with single_errors(), ProfileLock(settings.profile):
            listen(PhaseChanged("session"))
            mailbox = mailbox or await open_mailbox(settings, note_skipped)
            identity = await mailbox.open()
            report = await _build_once(settings, identity, listen, mailbox, clock, started)
            while isinstance(report, _BuildAgain):
                unstored.clear()
                listen(Notice(f"The new cache is damaged ({report.reason}). It is built again."))
                report = await _build_once(report.settings, identity, listen, mailbox, clock, started)
            return replace(report, skipped=(*report.skipped, *unstored))
    finally:
        if mailbox is not None:
            await mailbox.close()


@dataclass(frozen=True, slots=True)
class _BuildAgain:
    """The new cache was damaged by its source; build it again with `settings`."""

    settings: Settings
    reason: str


async def _build_once(
    settings: Settings,
    identity: Identity,
    listen: Listener,
    mailbox: Mailbox,
    clock: Callable[[], float],
    started: float,
) -> Report | _BuildAgain:
    """Build the cache once.

    If a resumed file is damaged, the build starts again from the old cache; if a copy of the old cache is, it starts
    from nothing. Damage without either source is the disk's, and is raised.
    """
    resumed = False
    try:
        async with _open_target(settings, identity, listen, mailbox) as target:
            resumed = target.resumed
            listen(RunStarted(str(settings.profile), identity.server, identity.user, target.resumed, identity.protocol))
            left_out = None
            if settings.folders:
                left_out = LeftOut.from_meta(await target.store.read(queries.meta, LEFT_OUT_KEY))
            run = RebuildContext.begin(
                settings, listen, mailbox, target.store, clock, owner=target.owner, early=target.ahead,
                left_out=left_out,
            )  # fmt: skip
            if settings.folders:
                await rebuild_partially(run)
            else:
                await _build(run)
            return await _finish(run, identity, started, target.resumed)
    except (CacheDamaged, BaseExceptionGroup) as caught:
        error = most_severe(caught) if isinstance(caught, BaseExceptionGroup) else caught
        has_source = resumed or (settings.cache.exists() and not (settings.fresh or settings.drop_first))
        if not isinstance(error, CacheDamaged) or settings.folders or not has_source:
            raise
        return _BuildAgain(settings if resumed else settings.model_copy(update={"fresh": True}), str(error))


@asynccontextmanager
async def _open_target(
    settings: Settings, identity: Identity, listen: Listener, mailbox: Mailbox
) -> AsyncIterator[BuildTarget]:
    """Open the file to write to; close it at the end, and discard it if it is damaged."""
    if settings.folders:
        target = await open_current_cache(settings, identity)
    else:
        target = await open_build_file(settings, identity, listen, mailbox)
    try:
        yield target
    except BaseException as error:
        is_damaged = error.subgroup(CacheDamaged) if isinstance(error, BaseExceptionGroup) else None
        if is_damaged or isinstance(error, CacheDamaged):
            await target.store.close()
            if not settings.folders:
                discard_build_file(settings)
        raise
    finally:
        await target.store.close()


async def _build(run: RebuildContext) -> None:
    settings, listen = run.settings, run.listen
    listen(PhaseChanged("rescue"))
    if settings.drop_first and settings.cache.exists():
        await check_space_before_drop(run)
    await rescue_unsent_changes(run)
    await _resume(run)
    if await run.store.read(queries.meta, SYNC_KEY) is None:
        # Committed before the first page: later changes are in the feed since this key.
        await run.store.apply(ApplyChanges(run.comparison.early.key or await new_key(run)))
        await run.store.flush()
    listen(PhaseChanged("folders"))
    unlisted = await refresh_folders(run)
    await drop_left_out(run)
    await check_space(run)
    run.reuse.is_copy = bool(await run.store.read(queries.meta, COPIED_ITEMS_KEY))
    if run.reuse.is_copy:
        await run.store.omit_contents(
            [folder_id for folder_id in run.folders if run.omits_attachments([folder_id])], before=settings.since
        )
    if run.mailbox.traits.sources:
        await enqueue_mails_without_source(run)
    listen(PhaseChanged("fetch"))
    await _fetch(run, unlisted)
    await converge(run)


async def _resume(run: RebuildContext) -> None:
    """Count what an earlier run fetched, and try again what it skipped."""
    for row in await run.store.read(queries.skipped):
        run.comparison.retried.add(row.id)
        await run.store.apply(UnskipEntry(row.scope, row.id))
    totals = await run.store.read(queries.totals)
    run.reuse.initial_items = sum(totals.items.values())
    run.progress.resume(totals)


async def _fetch(run: RebuildContext, folders: list[Folder]) -> None:
    """List these folders in order of rank, and fetch what becomes queued meanwhile."""
    rows = {row.folder.id: row for row in await run.store.read(queries.folders)}
    run.progress.work.folders_total = len(syncable(run.folders.values()))
    run.progress.work.folders_done = run.progress.work.folders_total - len(folders)
    listings = run.mailbox.listings(folders)
    for listing in listings:
        share = max(0.0, 1 - rows[listing.id].listed_rows / listing.count) if listing.count else 0.0
        size = sum(folder.size for folder in listing.folders)
        run.progress.expect(listing.id, int(listing.count * share), int(size * share))

    async def list_folders() -> None:
        with run.item_queue.producer(), run.attachment_queue.producer():
            await for_each_concurrently(
                listings, lambda listing: list_into_cache(run, listing, rows[listing.id].position)
            )

    async with asyncio.TaskGroup() as group:
        group.create_task(list_folders())
        for _ in range(WORKERS):
            group.create_task(item_worker(run))
            group.create_task(attachment_worker(run))
    run.progress.finish_pending()
    run.progress.emit(now=True)


async def _finish(run: RebuildContext, identity: Identity, started: float, resumed: bool) -> Report:
    """Check the database, swap it in, send unsent changes, and return the report."""
    run.progress.emit(now=True)
    # What this run wrote was checksummed on its way in; an earlier run's data may have seen a kill or a power cut.
    await require_sound(run, contents=resumed)
    redact = run.settings.redactor.own
    skipped = tuple((row.scope, redact(row.id), redact(row.reason)) for row in await run.store.read(queries.skipped))
    await run.store.finish()
    async with AsyncExitStack() as stack:
        if not run.settings.folders:
            run.listen(PhaseChanged("swap"))
            complete = partial(with_todays_columns, run.mailbox.dialect)
            await stack.enter_async_context(replace_cache(run.store, run.settings.cache, run.owner, complete))
        live = await stack.enter_async_context(_reopen_after_swap(run))
        require(run.settings, live.store.identity, identity)
        replayed = await _send_changes(live) if await live.store.read(outbox_rows.changes, TO_REPLAY) else Replayed()
        totals = await live.store.read(queries.totals)
    work = run.progress.work
    return Report(
        cache=run.settings.cache,
        folders=totals.folders,
        items=totals.items,
        attachments=totals.attachments,
        plain_bytes=work.bytes_done - work.bytes_reused,
        wire_bytes=run.mailbox.wire_bytes,
        seconds=run.clock() - started,
        resumed=resumed,
        salvaged=run.reuse.reused_items,
        repaired=run.comparison.repaired,
        retries=run.mailbox.retries,
        skipped=skipped,
        excluded=run.left_out.holding_items(),
        outbox_sent=replayed.sent,
        outbox_pending=replayed.pending,
        outbox_refused=replayed.refused,
        conflicts=replayed.conflicts,
        unfinished=bool(replayed.trouble or replayed.pending),
        problems=tuple(run.announced.notices),
        attachments_omitted=totals.omitted_attachments,
    )


@asynccontextmanager
async def _reopen_after_swap(run: RebuildContext) -> AsyncIterator[RebuildContext]:
    """Yield the context on the cache in use, which the new file has replaced."""
    if run.settings.folders:
        yield run
        return
    store = await Store.open(run.settings.cache)
    try:
        yield run.with_store(store)
    finally:
        await store.close()
        with suppress(CacheInUse):  # the mail program has opened it already
            await seal(run.settings.cache)


async def _send_changes(run: RebuildContext) -> Replayed:
    """Replay the outbox, and fetch the results.

    An error of the server ends this step, but not the run.
    """
    run.listen(PhaseChanged("replay"))
    replayed = await replay(run)
    if replayed.trouble or not replayed.asked:
        return replayed
    run.listen(PhaseChanged("catch-up"))
    try:
        await bring_up_to_date(run)
        if await enqueue_results(run, replayed):
            await fetch_all_queued(run)
            await catch_up(run)
        await resolve_doubts(run)
        await run.store.flush()
    except* (TransientServerError, ServerRefused, ProtocolError, VerificationFailed) as group:
        replayed.trouble = str(most_severe(group))
        run.notice(
            f"Your changes were sent, but their new state could not be downloaded ({replayed.trouble}). Run again."
        )
    return replayed
