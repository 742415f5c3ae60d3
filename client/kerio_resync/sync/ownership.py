"""Whose cache it is: no command changes a cache, or sends from it, for another mailbox than the one it was made for.

Promises: what a profile's files say of themselves is compared with the account that the server has just named, before
anything is changed or sent; OtherAccount if they disagree. `same_mailbox` in the settings says that the server or the
account has got another name: then the new one is written into `profile.toml` and the cache. A cache that cannot say
whose it is (its first pages are damaged) is never sent from, unless the profile names the same server and user.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from kerio_resync.cache import queries
from kerio_resync.cache.file_identity import owner_of
from kerio_resync.cache.files import processes_holding, set_aside
from kerio_resync.cache.mutations import SetMeta
from kerio_resync.cache.schema import identity_rows
from kerio_resync.cache.store import Store
from kerio_resync.errors import CacheDamaged, CacheInUse, OtherAccount
from kerio_resync.identity import describe, same_mailbox
from kerio_resync.model import Identity
from kerio_resync.settings import Settings, rebind
from kerio_resync.sync.converge.catch_up import SYNC_KEY

NO_KEY = ""  # a sync key that every server refuses: then everything is compared


def may_use(settings: Settings, held: Identity, asked: Identity) -> bool:
    """Whether a file of `held`'s may be used as `asked`."""
    return same_mailbox(held, asked) or (settings.same_mailbox and held.protocol == asked.protocol)


async def claim(settings: Settings, asked: Identity, notice: Callable[[str], None]) -> Identity | None:
    """Before a rebuild of everything: OtherAccount unless the cache and an unfinished one are `asked`'s. Returns whose
    the cache says it is; None if there is none, or it cannot say."""
    files = {path: await owner_of(path) for path in (settings.cache, settings.next_cache)}
    others = {path: held for path, held in files.items() if held and not same_mailbox(held, asked)}
    for path, held in others.items():
        if not (settings.replace_other or may_use(settings, held, asked)):
            raise refusal(settings, path, held, asked)
    if others or settings.same_mailbox:
        rebind(settings)
    for path, held in others.items():
        if settings.same_mailbox:
            await _adopt(path, asked)
        else:
            name = set_aside(path, "aside").name
            notice(f"{path.name} belongs to {describe(held)}. It was moved to {name}, with its local changes.")
    return await owner_of(settings.cache)


async def claim_live(settings: Settings, asked: Identity) -> None:
    """Before anything else is done with the cache itself: OtherAccount unless it is `asked`'s."""
    held = await owner_of(settings.cache)
    if settings.same_mailbox and (held is None or may_use(settings, held, asked)):
        rebind(settings)
        if held is not None and not same_mailbox(held, asked):
            await _adopt(settings.cache, asked)
        return
    if held is not None:
        require(settings, held, asked)


def require(settings: Settings, held: Identity, asked: Identity) -> None:
    """OtherAccount unless the cache, which is `held`'s, may be used as `asked`."""
    if not may_use(settings, held, asked):
        raise refusal(settings, settings.cache, held, asked)


def refusal(settings: Settings, path: Path, held: Identity, asked: Identity) -> OtherAccount:
    what = "cache" if path == settings.cache else "unfinished cache"
    return OtherAccount(
        f"the {what} in {settings.profile} belongs to {describe(held)}, not to {describe(asked)},"
        " and was left as it is:"
        " use another --profile, or --same-mailbox if this is the same mailbox under a new name"
    )


async def _adopt(path: Path, identity: Identity) -> None:
    """Writes into the cache that the mailbox is called `identity` now. Its sync key is of no use any more."""
    if by := processes_holding(path):
        raise CacheInUse(f"{path} is open in {by[0]}")
    try:
        store = await Store.open(path)
    except CacheDamaged:
        return  # or of an older format: what is made of it says whose it is
    try:
        for key, value in identity_rows(identity).items():
            await store.apply(SetMeta(key, value))
        if await store.read(queries.meta, SYNC_KEY) is not None:
            await store.apply(SetMeta(SYNC_KEY, NO_KEY))
        await store.flush()
    finally:
        await store.close()
