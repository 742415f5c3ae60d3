"""Brings a cache to the server's present and proves it by listing again, until the lists and the cache agree.

A sync key that the server refuses is not the end: a new one is taken and everything is compared. The cache keeps the
refused one until that is done, for nobody else would know what changed in between: whoever is killed meanwhile, or only
looks at the cache, is told by the server that the key is too old, and compares too.
"""

from __future__ import annotations

from kerio_resync.cache.copying import COPIED
from kerio_resync.cache.facts import Apply, SetMeta, Unskip
from kerio_resync.errors import CacheDamaged, KeyExpired, ServerNonsense, VerificationFailed
from kerio_resync.events import PhaseChanged
from kerio_resync.resync.catchup import catch_up, new_key
from kerio_resync.resync.folders import list_new_folders
from kerio_resync.resync.resolving import drain_all, resolve_doubts
from kerio_resync.resync.run import Run
from kerio_resync.resync.verify import relist

CHECKS = 3  # times the whole list is compared again before a disagreement is called one
RENEWALS = 5  # sync keys that may expire under one run


async def bring_up_to_date(run: Run) -> None:
    """Catches up; where the key has expired, compares everything."""
    try:
        await catch_up(run)
    except KeyExpired:
        await settle(run)


async def settle(run: Run) -> None:
    """Catches up, and lists again until the lists agree. VerificationFailed if they don't though nothing changes;
    CacheDamaged if that is the file's fault, which no run to come would get over."""
    checks = renewals = 0
    await retry_skipped(run)
    while True:
        try:
            if not run.ahead.lists:  # they are of the key's time: what has changed since comes after them
                run.listen(PhaseChanged("catch-up"))
                await catch_up(run)
            await resolve_doubts(run)
            run.salvaged -= run.meter.tally.items_done - run.held if run.copied else 0
            found = await _compare(run, last=checks + 1 >= CHECKS)
            changed = await catch_up(run)
            await drain_all(run)
        except KeyExpired:
            renewals += 1
            await _renew(run, renewals)
            continue
        checks += 1
        if run.copied:
            await _accept(run)
        else:
            run.repaired += found
        if not found:
            return
        if checks >= CHECKS and not changed:
            await must_hold(run, contents=False)  # else it is not the server that disagrees with itself
            raise VerificationFailed(f"{found} items still differ from the server's lists", differences=found)
        if checks >= 3 * CHECKS:
            run.notice("The mailbox changes faster than it can be compared; each difference met was settled by itself.")
            return


async def retry_skipped(run: Run) -> None:
    """Whatever was left out is tried once more: contents become wanted, and items are found missing."""
    await run.store.retry_failed()
    for row in await run.store.skipped():
        if row.id not in run.unlistable:
            run.retried.add(row.id)
            await run.store.put(Unskip(row.scope, row.id))


async def must_hold(run: Run, *, contents: bool) -> None:
    """CacheDamaged unless the database is sound; with `contents` every checksum in it too."""
    if damage := await run.store.check(contents=contents):
        raise CacheDamaged(f"the new database failed its own check ({damage[0].line})")


async def _accept(run: Run) -> None:
    """The copy that the new cache began as has been held against the lists: from now on it is like any other."""
    run.copied, run.salvaged = False, max(0, run.salvaged)
    await run.store.put(SetMeta(COPIED, ""))


async def _compare(run: Run, *, last: bool = False) -> int:
    """Lists everything again; what disagrees is wanted then. Returns how many rows that were."""
    run.listen(PhaseChanged("verify"))
    await list_new_folders(run)
    found = await relist(run, last=last)
    run.ahead.lists.clear()
    return found


async def _renew(run: Run, renewals: int) -> None:
    """A new key, taken before the comparison and stored after it. `renewals`: how many there were, with this one."""
    if renewals > RENEWALS:
        raise ServerNonsense("the server refuses every sync key it gives") from None
    run.notice("The server refused the sync key; a new one was taken and everything is compared again.")
    run.ahead.lists.clear()  # they are older than the key
    key = await new_key(run)
    run.repaired += await _compare(run)
    await drain_all(run)
    await run.store.put(Apply(key))
    await run.store.flush()
