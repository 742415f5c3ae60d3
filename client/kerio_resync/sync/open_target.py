"""Which file a rebuild builds, and what is taken over from others before anything of them is dropped.

A half-built file of the same mailbox is resumed; one that can't be read is set aside under a name that is told, and one
of another mailbox is refused (`ownership`). Where there is none, a copy of what is sound in the old cache is the
beginning. `fresh` starts anew, but not before the pending changes that only the discarded file has are in the new one:
until then it stays as `cache.db.next.dropped-N`, and a run that finds such a file takes it up first.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from pathlib import Path

from kerio_resync.cache import queries
from kerio_resync.cache.file_identity import owner_of
from kerio_resync.cache.files import processes_holding, set_aside
from kerio_resync.cache.recovery.copy import CopyResult, copy_verified
from kerio_resync.cache.recovery.rescue_outbox import rescue_outbox
from kerio_resync.cache.store import Store
from kerio_resync.cache.swap import drop
from kerio_resync.errors import CacheDamaged, CacheInUse, NoCache
from kerio_resync.events import Listener, Notice
from kerio_resync.identity import describe, same_mailbox
from kerio_resync.model import Identity
from kerio_resync.server.mailbox import Mailbox
from kerio_resync.settings import Settings, vouches
from kerio_resync.sync.context import RebuildContext
from kerio_resync.sync.listing.early import EarlyListing, list_early
from kerio_resync.sync.ownership import claim, claim_live, may_use, refusal
from kerio_resync.sync.partial_rebuild import PARTIAL_REBUILD_KEY


@dataclass(frozen=True, slots=True)
class BuildTarget:
    """A file to work on. `resumed`: it is an earlier run's; `ahead`: lists that came while it was being made; `owner`:
    whose the old cache says it is."""

    store: Store
    resumed: bool = False
    ahead: EarlyListing = field(default_factory=EarlyListing)
    owner: Identity | None = None


async def open_build_file(settings: Settings, identity: Identity, listen: Listener, mailbox: Mailbox) -> BuildTarget:
    """The file to build. OtherAccount, CacheInUse, BadSettings, NotEnoughSpace."""
    owner = await claim(settings, identity, lambda text: listen(Notice(text)))
    path = settings.next_cache
    if path.exists() and settings.fresh:
        set_aside(path, "dropped")
    if path.exists():
        try:
            store = await Store.open(path)
        except CacheDamaged as error:
            name = set_aside(path, "aside").name
            listen(Notice(f"The half-built cache can't be gone on with ({error}); it was set aside as {name}."))
        else:
            if not same_mailbox(store.identity, identity):  # put there a moment ago
                await store.close()
                raise refusal(settings, path, store.identity, identity)
            return BuildTarget(store, resumed=True, owner=owner)
    if not settings.fresh and not settings.drop_first:
        copied, ahead = await _copy(settings, identity, owner, mailbox)
        if copied is not None:
            if copied.damaged:
                readable = f"Items that could be read from it: {copied.items:,}."
                listen(Notice(f"The old cache is damaged. {readable} The rest is downloaded."))
            return BuildTarget(await Store.open(path, sound=copied.as_checked), ahead=ahead, owner=owner)
    return BuildTarget(await Store.create(path, identity), owner=owner)


async def _copy(
    settings: Settings, identity: Identity, owner: Identity | None, mailbox: Mailbox
) -> tuple[CopyResult | None, EarlyListing]:
    """What is sound in the old cache, and the lists that it is to be held against: one is the machine's work, the other
    the server's."""
    if owner is None:
        return None, EarlyListing()
    lists = asyncio.create_task(list_early(mailbox, settings))
    try:
        copied = await copy_verified(settings.cache, settings.next_cache, identity, owner)
        return copied, EarlyListing() if copied is None else await lists
    finally:
        lists.cancel()
        await asyncio.gather(lists, return_exceptions=True)


def discard_build_file(settings: Settings) -> None:
    """Lets go of a half-built file that turned out damaged: gone on with, it would fail for ever. The next run takes up
    the pending changes that can still be read in it."""
    if settings.next_cache.exists():
        set_aside(settings.next_cache, "dropped")


async def open_current_cache(settings: Settings, identity: Identity) -> BuildTarget:
    """The cache that is in use, for a rebuild of a part of it: as `open_next`. NoCache if there is none."""
    path = settings.cache
    if not path.exists():
        raise NoCache(f"there is no cache at {path} to rebuild a part of; run `kerio-resync rebuild` first")
    await claim_live(settings, identity)
    if by := processes_holding(path):
        raise CacheInUse(f"{path} is open in {by[0]}")
    store = await Store.open(path)
    if not same_mailbox(store.identity, identity):  # put there a moment ago
        await store.close()
        raise refusal(settings, path, store.identity, identity)
    return BuildTarget(store, resumed=bool(await store.read(queries.meta, PARTIAL_REBUILD_KEY)), owner=store.identity)


async def rescue_unsent_changes(run: RebuildContext) -> None:
    """Brings pending local changes of the old cache, and of files that earlier runs discarded, into the new one."""
    settings = run.settings
    for path in sorted(settings.next_cache.parent.glob(f"{settings.next_cache.name}.dropped-*[0-9]")):
        held = await owner_of(path)
        if held is not None and not may_use(settings, held, run.store.identity):
            run.notice(f"{path.name} belongs to {describe(held)} and was left as it is.")
            continue
        await _rescue_from(run, path, held)
        drop(path)
    if not settings.cache.exists():
        return
    await _rescue_from(run, settings.cache, run.owner)
    if settings.drop_first:
        drop(settings.cache)


async def _rescue_from(run: RebuildContext, path: Path, owner: Identity | None) -> None:
    """`owner`: whose the file said it is; a file that cannot say is only sent from if the profile vouches for it."""
    if owner is None and not (run.settings.same_mailbox or vouches(run.settings)):
        owner = run.store.identity
    rescued = await rescue_outbox(path, run.store, owner)
    await run.store.flush()
    for sentence in rescued.sentences():
        run.notice(sentence)
