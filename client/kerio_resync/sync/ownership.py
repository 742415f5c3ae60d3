"""Checks that a cache belongs to the mailbox that the server has named.

That is done before a cache is changed or sent from. OtherAccount if they disagree. `same_mailbox` in the settings
says that the server or the account was renamed; the new name is then written to `profile.toml` and to the cache. A
cache that does not say whose it is, because its first pages are damaged, is never sent from, unless the profile names
the same server and user.
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
from kerio_resync.errors import OTHER_PROFILE, CacheDamaged, CacheInUse, OtherAccount
from kerio_resync.identity import describe, same_mailbox
from kerio_resync.model import Identity
from kerio_resync.profile_file import rebind
from kerio_resync.settings import Settings
from kerio_resync.sync.converge.catch_up import SYNC_KEY

NO_KEY = ""  # a sync key that every server refuses, so that everything is compared


def may_use(settings: Settings, owner: Identity, identity: Identity) -> bool:
    """Return whether a file of `owner` may be used for the mailbox `identity`."""
    return same_mailbox(owner, identity) or (settings.same_mailbox and owner.protocol == identity.protocol)


async def claim(settings: Settings, identity: Identity, notice: Callable[[str], None]) -> Identity | None:
    """Check the cache and an unfinished one before a rebuild of all folders.

    OtherAccount, CacheInUse. With `replace_other` a file of another mailbox is set aside. Return the owner that the
    cache states, None if there is no cache or it does not say.
    """
    owners = {path: await owner_of(path) for path in (settings.cache, settings.next_cache)}
    others = {path: owner for path, owner in owners.items() if owner and not same_mailbox(owner, identity)}
    for path, owner in others.items():
        if not (settings.replace_other or may_use(settings, owner, identity)):
            raise refusal(settings, path, owner, identity)
    if others or settings.same_mailbox:
        rebind(settings)
    for path, owner in others.items():
        if settings.same_mailbox:
            await _adopt(path, identity)
        else:
            name = set_aside(path, "aside").name
            notice(f"{path.name} belongs to {describe(owner)}. It was moved to {name}, with its local changes.")
    return await owner_of(settings.cache)


async def claim_live(settings: Settings, identity: Identity) -> None:
    """Check the cache before anything else is done with it. OtherAccount, CacheInUse."""
    owner = await owner_of(settings.cache)
    if settings.same_mailbox and (owner is None or may_use(settings, owner, identity)):
        rebind(settings)
        if owner is not None and not same_mailbox(owner, identity):
            await _adopt(settings.cache, identity)
        return
    if owner is not None:
        require(settings, owner, identity)


def require(settings: Settings, owner: Identity, identity: Identity) -> None:
    """Raise OtherAccount unless the cache of `owner` may be used for `identity`."""
    if not may_use(settings, owner, identity):
        raise refusal(settings, settings.cache, owner, identity)


def refusal(settings: Settings, path: Path, owner: Identity, identity: Identity) -> OtherAccount:
    """Return the error for a file of another mailbox."""
    file = "cache" if path == settings.cache else "unfinished cache"
    return OtherAccount(
        f"the {file} in {settings.profile} belongs to {describe(owner)}, not to {describe(identity)},"
        " and was left as it is:"
        f" {OTHER_PROFILE}"
    )


async def _adopt(path: Path, identity: Identity) -> None:
    """Write the new identity to the file, and invalidate its sync key. CacheInUse."""
    if processes := processes_holding(path):
        raise CacheInUse(f"{path} is open in {processes[0]}")
    try:
        store = await Store.open(path)
    except CacheDamaged:
        return  # or of an older format; the cache that replaces it gets the new identity
    try:
        for key, value in identity_rows(identity).items():
            await store.apply(SetMeta(key, value))
        if await store.read(queries.meta, SYNC_KEY) is not None:
            await store.apply(SetMeta(SYNC_KEY, NO_KEY))
        await store.flush()
    finally:
        await store.close()
