"""Opens the file that a rebuild writes to.

Unsent changes of other files are copied to it before those are dropped. An unfinished file of the same mailbox is
resumed. One that cannot be read is set aside, one of another mailbox is refused (`ownership`). One of an older format
is dropped once its unsent changes are in the new file. If there is none, the
build starts with a copy of the verified rows of the old cache. With `fresh` it starts empty: an unfinished file is
renamed to `cache.db.next.dropped-N`, and is dropped once its unsent changes are in the new file, by this run or by a
later one.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final

from kerio_resync.cache import queries
from kerio_resync.cache.file_identity import owner_of
from kerio_resync.cache.files import processes_holding, set_aside
from kerio_resync.cache.format72.schema import has_format72
from kerio_resync.cache.recovery.copy import CopyResult, copy_verified
from kerio_resync.cache.recovery.rescue_outbox import rescue_outbox
from kerio_resync.cache.store import Store
from kerio_resync.cache.swap import drop
from kerio_resync.errors import CacheDamaged, CacheInUse, NoCache
from kerio_resync.events import Listener, Notice
from kerio_resync.identity import describe, same_mailbox
from kerio_resync.model import Identity, Item
from kerio_resync.profile_file import vouches
from kerio_resync.server.mailbox import Dialect, Mailbox
from kerio_resync.settings import Settings
from kerio_resync.sync.context import RebuildContext
from kerio_resync.sync.listing.early import EarlyListing, list_early
from kerio_resync.sync.ownership import claim, claim_live, may_use, refusal
from kerio_resync.sync.partial_rebuild import PARTIAL_REBUILD_KEY

_OLDER_FORMAT: Final = "The old cache has an older format: its items are downloaded again, unless it is upgraded first."


@dataclass(frozen=True, slots=True)
class BuildTarget:
    """File to write to.

    `resumed`: an earlier run has begun it. `ahead`: lists that were fetched while the old cache was copied.
    `owner`: the mailbox that the old cache belongs to, if it says so.
    """

    store: Store
    resumed: bool = False
    ahead: EarlyListing = field(default_factory=EarlyListing)
    owner: Identity | None = None


async def open_build_file(settings: Settings, identity: Identity, listen: Listener, mailbox: Mailbox) -> BuildTarget:
    """Open or create the file for a rebuild of all folders.

    OtherAccount, CacheInUse, BadSettings, NotEnoughSpace.
    """
    owner = await claim(settings, identity, lambda text: listen(Notice(text)))
    path = settings.next_cache
    if path.exists() and settings.fresh:
        set_aside(path, "dropped")
    if path.exists():
        try:
            return BuildTarget(await _open_own(settings, path, identity), resumed=True, owner=owner)
        except CacheDamaged as error:
            if has_format72(path):  # `rescue_unsent_changes` reads it, and drops it
                set_aside(path, "dropped")
                listen(Notice("The unfinished cache is of an older format; only its local changes are taken over."))
            else:
                name = set_aside(path, "aside").name
                listen(Notice(f"The unfinished cache cannot be resumed ({error}). It was moved to {name}."))
    if owner is not None and not settings.fresh and not settings.drop_first:
        copied, ahead = await _copy_and_list(settings, identity, owner, mailbox)
        if copied is not None:
            if copied.damaged:
                readable = f"Items that could be read from it: {copied.items:,}."
                listen(Notice(f"The old cache is damaged. {readable} The rest is downloaded."))
            return BuildTarget(await Store.open(path, sound=copied.as_checked), ahead=ahead, owner=owner)
        if has_format72(settings.cache):
            listen(Notice(_OLDER_FORMAT))
    return BuildTarget(await Store.create(path, identity), owner=owner)


async def _open_own(settings: Settings, path: Path, identity: Identity) -> Store:
    store = await Store.open(path)
    if not same_mailbox(store.identity, identity):  # another program replaced the file after it was checked
        await store.close()
        raise refusal(settings, path, store.identity, identity)
    return store


async def _copy_and_list(
    settings: Settings, identity: Identity, owner: Identity, mailbox: Mailbox
) -> tuple[CopyResult | None, EarlyListing]:
    """Copy the old cache, and fetch the lists to compare it with meanwhile.

    Without a copy the lists are discarded.
    """
    lists = asyncio.create_task(list_early(mailbox, settings))
    try:
        copied = await copy_verified(settings.cache, settings.next_cache, identity, owner)
        return copied, EarlyListing() if copied is None else await lists
    finally:
        lists.cancel()
        await asyncio.gather(lists, return_exceptions=True)


def discard_build_file(settings: Settings) -> None:
    """Set a damaged unfinished file aside; the next run rescues its changes."""
    if settings.next_cache.exists():
        set_aside(settings.next_cache, "dropped")


async def open_current_cache(settings: Settings, identity: Identity) -> BuildTarget:
    """Open the cache itself for a rebuild of some folders.

    NoCache, OtherAccount, CacheInUse, CacheDamaged.
    """
    path = settings.cache
    if not path.exists():
        raise NoCache(f"there is no cache at {path} to rebuild a part of; run `kerio-resync rebuild` first")
    await claim_live(settings, identity)
    if processes := processes_holding(path):
        raise CacheInUse(f"{path} is open in {processes[0]}")
    store = await _open_own(settings, path, identity)
    resumed = bool(await store.read(queries.meta, PARTIAL_REBUILD_KEY))
    return BuildTarget(store, resumed=resumed, owner=store.identity)


async def rescue_unsent_changes(run: RebuildContext) -> None:
    """Copy the unsent changes of the old cache and of dropped files into the new one."""
    settings = run.settings
    for path in sorted(settings.next_cache.parent.glob(f"{settings.next_cache.name}.dropped-*[0-9]")):
        owner = await owner_of(path)
        if owner is not None and not may_use(settings, owner, run.store.identity):
            run.notice(f"{path.name} belongs to {describe(owner)} and was left as it is.")
            continue
        await _rescue_from(run, path, owner)
        drop(path)
    if not settings.cache.exists():
        return
    await _rescue_from(run, settings.cache, run.owner)
    if settings.drop_first:
        drop(settings.cache)


async def _rescue_from(run: RebuildContext, path: Path, owner: Identity | None) -> None:
    """Rescue from a file of `owner`.

    None: the file does not say whose it is, and is used only if the profile names the same mailbox.
    """
    if owner is None and not (run.settings.same_mailbox or vouches(run.settings)):
        owner = run.store.identity
    report = await rescue_outbox(path, run.store, owner, partial(with_todays_columns, run.mailbox.dialect))
    await run.store.flush()
    for sentence in report.sentences():
        run.notice(sentence)


def with_todays_columns(dialect: Dialect, item: Item) -> Item:
    """Return a local item of an older format with text, html and details."""
    try:
        made = dialect.item_from_struct(item.kind, item.id, item.folder_id, item.payload)
    except ValueError:
        return item
    return item._replace(text=made.text, html=made.html, details=made.details)
