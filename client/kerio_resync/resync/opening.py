"""Which file a rebuild builds, and what is taken over from others before anything of them is dropped.

A half-built file is gone on with if it belongs to the same account; one that does not, or can't be read, is set aside
under a name that is told. Where there is none, a copy of what is sound in the old cache is the beginning. `fresh`
starts anew, but not before the pending changes that only the discarded file has are in the new one: until then it stays
as `cache.db.next.dropped-N`, and a run that finds such a file takes it up first.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from pathlib import Path

from kerio_resync.cache.copying import Copied, copy_proven
from kerio_resync.cache.files import holders, sidecars
from kerio_resync.cache.rescue import rescue
from kerio_resync.cache.store import Store
from kerio_resync.cache.swap import drop
from kerio_resync.errors import BadSettings, CacheDamaged, CacheInUse
from kerio_resync.events import Listener, Notice
from kerio_resync.model import Identity
from kerio_resync.resync.ahead import Ahead, list_ahead
from kerio_resync.resync.part import UNDER_WAY
from kerio_resync.resync.run import Run
from kerio_resync.server.mailbox import Mailbox
from kerio_resync.settings import Settings


@dataclass(frozen=True, slots=True)
class Opened:
    """A file to work on. `resumed`: it is an earlier run's; `ahead`: lists that came while it was being made."""

    store: Store
    resumed: bool = False
    ahead: Ahead = field(default_factory=Ahead)


async def open_next(settings: Settings, identity: Identity, listen: Listener, mailbox: Mailbox) -> Opened:
    """The file to build. CacheInUse, BadSettings, NotEnoughSpace."""
    path = settings.next_cache
    if path.exists() and settings.fresh:
        _rename(path, "dropped")
    if path.exists():
        try:
            store = await Store.open(path)
        except CacheDamaged as error:
            name = _rename(path, "aside").name
            listen(Notice(f"The half-built cache can't be gone on with ({error}); it was set aside as {name}."))
        else:
            if same_owner(store.identity, identity):
                return Opened(store, resumed=True)
            await store.close()
            name = _rename(path, "aside").name
            listen(Notice(f"The half-built cache is that of {store.identity.user}; it was set aside as {name}."))
    if not settings.fresh and not settings.drop_first:
        copied, ahead = await _copy(settings, identity, mailbox)
        if copied is not None:
            if copied.damaged:
                listen(Notice(f"The old cache is damaged; items that could be read from it: {copied.items:,}."))
            return Opened(await Store.open(path, sound=copied.as_checked), ahead=ahead)
    return Opened(await Store.create(path, identity))


async def _copy(settings: Settings, identity: Identity, mailbox: Mailbox) -> tuple[Copied | None, Ahead]:
    """What is sound in the old cache, and the lists that it is to be held against: one is the machine's work, the other
    the server's."""
    if not settings.cache.exists():
        return None, Ahead()
    lists = asyncio.create_task(list_ahead(mailbox, settings))
    try:
        copied = await copy_proven(settings.cache, settings.next_cache, identity)
        return copied, Ahead() if copied is None else await lists
    finally:
        lists.cancel()
        await asyncio.gather(lists, return_exceptions=True)


def give_up_next(settings: Settings) -> None:
    """Lets go of a half-built file that turned out damaged: gone on with, it would fail for ever. The next run takes up
    the pending changes that can still be read in it."""
    if settings.next_cache.exists():
        _rename(settings.next_cache, "dropped")


async def open_live(settings: Settings) -> Opened:
    """The cache that is in use, for a rebuild of a part of it: as `open_next`. BadSettings if there is none."""
    path = settings.cache
    if not path.exists():
        raise BadSettings(f"there is no cache at {path} to rebuild a part of; run `kerio-resync rebuild` first")
    if by := holders(path):
        raise CacheInUse(f"{path} is open in {by[0]}")
    store = await Store.open(path)
    return Opened(store, resumed=bool(await store.meta(UNDER_WAY)))


def same_owner(held: Identity, asked: Identity) -> bool:
    """Whether a file belongs to the account. The server may have got another name; the account's id stays."""
    return held.account == asked.account


async def take_over_changes(run: Run) -> None:
    """Brings pending local changes of the old cache, and of files that earlier runs discarded, into the new one."""
    settings = run.settings
    for path in sorted(settings.profile.glob(f"{settings.next_cache.name}.dropped-*[0-9]")):
        await _rescue_from(run, path)
        drop(path)
    if not settings.cache.exists():
        return
    if not await _is_ours(run, settings.cache):
        name = _rename(settings.cache, "aside").name
        run.notice(f"The cache belongs to another account; it was set aside as {name}, its pending changes with it.")
        return
    await _rescue_from(run, settings.cache)
    if settings.drop_first:
        drop(settings.cache)


async def _rescue_from(run: Run, path: Path) -> None:
    rescued = await rescue(path, run.store)
    await run.store.flush()
    for sentence in rescued.sentences():
        run.notice(sentence)


async def _is_ours(run: Run, path: Path) -> bool:
    """False only if the file can be read and says that it is another's."""
    try:
        store = await Store.open(path, readonly=True)
    except CacheDamaged:
        return True
    await store.close()
    return same_owner(store.identity, run.store.identity)


def _rename(path: Path, word: str) -> Path:
    """Gives a file and its sidecars a free name `….<word>-N`; the new path."""
    number = 1
    while (target := path.with_name(f"{path.name}.{word}-{number}")).exists():
        number += 1
    beside = sidecars(path)
    path.rename(target)
    for each in beside:
        each.rename(target.with_name(target.name + each.name.removeprefix(path.name)))
    return target
