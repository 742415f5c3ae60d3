"""Catches up with the server, and compares lists until they agree with the cache.

If the server refuses the sync key, a new one is taken and everything is compared. The cache keeps the refused key until
that is done: nothing else would know what changed in between. After a kill the next run, and `verify`, meet the refused
key again, and compare everything too.
"""

from __future__ import annotations

from kerio_resync.cache import queries
from kerio_resync.cache.mutations import ApplyChanges, SetMeta, UnskipEntry
from kerio_resync.cache.recovery.copy import COPIED_ITEMS_KEY
from kerio_resync.errors import CacheDamaged, KeyExpired, ProtocolError, VerificationFailed
from kerio_resync.events import PhaseChanged
from kerio_resync.sync.context import RebuildContext
from kerio_resync.sync.converge.catch_up import catch_up, new_key
from kerio_resync.sync.converge.compare_lists import reconcile_lists
from kerio_resync.sync.converge.resolve_doubts import fetch_until_settled, resolve_doubts
from kerio_resync.sync.fetch.folders import list_new_folders

MAX_COMPARISONS = 3  # of all lists, before a remaining difference is an error
MAX_KEY_RENEWALS = 5  # per run


async def bring_up_to_date(run: RebuildContext) -> None:
    """Catch up; compare everything if the key has expired."""
    try:
        await catch_up(run)
    except KeyExpired:
        await converge(run)


async def converge(run: RebuildContext) -> None:
    """Catch up, and list again until the lists agree.

    VerificationFailed if they differ although nothing changes; CacheDamaged if the file is the cause.
    """
    checks = renewals = 0
    await retry_skipped(run)
    while True:
        try:
            if not run.comparison.early.lists:  # as old as the key; later changes are applied after them
                run.listen(PhaseChanged("catch-up"))
                await catch_up(run)
            await resolve_doubts(run)
            run.reuse.reused_items -= run.progress.work.items_done - run.reuse.initial_items if run.reuse.is_copy else 0
            found = await _compare(run, last=checks + 1 >= MAX_COMPARISONS)
            changed = await catch_up(run)
            await fetch_until_settled(run)
        except KeyExpired:
            renewals += 1
            await _renew_sync_key(run, renewals)
            continue
        checks += 1
        if run.reuse.is_copy:
            await _accept_copy(run)
        else:
            run.comparison.repaired += found
        if not found:
            return
        if checks >= MAX_COMPARISONS and not changed:
            await require_sound(run, contents=False)  # is the file the cause?
            raise VerificationFailed(f"{found} items still differ from the server's lists", differences=found)
        if checks >= 3 * MAX_COMPARISONS:
            run.notice("The mailbox changes faster than it can be compared. Each known difference was fetched.")
            return


async def retry_skipped(run: RebuildContext) -> None:
    """Queue skipped attachments again, and let the comparison find skipped items."""
    await run.store.retry_failed()
    for row in await run.store.read(queries.skipped):
        if row.id not in run.fetch.unlistable:
            run.comparison.retried.add(row.id)
            await run.store.apply(UnskipEntry(row.scope, row.id))


async def require_sound(run: RebuildContext, *, contents: bool) -> None:
    """Raise CacheDamaged unless the database is sound.

    With `contents`, every checksum too.
    """
    if damage := await run.store.check(contents=contents):
        raise CacheDamaged(f"the new database failed its own check ({damage[0].line})")


async def _accept_copy(run: RebuildContext) -> None:
    """Record that the copy was compared with the lists: it is a cache like any other."""
    run.reuse.is_copy, run.reuse.reused_items = False, max(0, run.reuse.reused_items)
    await run.store.apply(SetMeta(COPIED_ITEMS_KEY, ""))


async def _compare(run: RebuildContext, *, last: bool = False) -> int:
    """List everything again and queue what differs; return the number of differences."""
    run.listen(PhaseChanged("verify"))
    await list_new_folders(run)
    found = await reconcile_lists(run, last=last)
    run.comparison.early.lists.clear()
    return found


async def _renew_sync_key(run: RebuildContext, renewals: int) -> None:
    """Take a new key before the comparison, and store it afterwards.

    `renewals`: this one included.
    """
    if renewals > MAX_KEY_RENEWALS:
        raise ProtocolError("the server refuses every sync key that it issues") from None
    run.notice("The server refused the sync key. A new one was taken, and everything is compared again.")
    run.comparison.early.lists.clear()  # older than the new key
    key = await new_key(run)
    run.comparison.repaired += await _compare(run)
    await fetch_until_settled(run)
    await run.store.apply(ApplyChanges(key))
    await run.store.flush()
