"""Opens the cache of a profile, or says what to do instead."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from kerio_resync.cache.files import require_places
from kerio_resync.cache.format71 import schema as format71
from kerio_resync.cache.format72 import schema as format72
from kerio_resync.cache.header import read_header
from kerio_resync.cache.store import Store
from kerio_resync.errors import BadSettings, CacheDamaged, NoCache
from kerio_resync.settings import Settings

_OLD_FORMATS = {(each.APPLICATION_ID, each.USER_VERSION): each.FORMAT for each in (format71, format72)}


async def open_cache(settings: Settings, *, readonly: bool = True) -> Store:
    """Open the cache of the profile. NoCache, CacheDamaged, OtherFormat, BadSettings."""
    require_places(settings.profile)
    if not settings.cache.exists():
        raise NoCache(f"there is no cache at {settings.cache}; {_next_step(settings)}")
    try:
        return await Store.open(settings.cache, readonly=readonly)
    except CacheDamaged as error:
        if problem := old_format_problem(settings.cache):
            raise BadSettings(f"{settings.cache}: {problem}") from error
        raise


def _next_step(settings: Settings) -> str:
    again = "run `kerio-resync rebuild`"
    return f"an unfinished rebuild exists: {again} to resume it" if settings.next_cache.exists() else again


def old_format_problem(path: Path) -> str:
    """Return what to do about a file of an older format, "" if it is of another."""
    with suppress(OSError):
        header = read_header(path)
        name = _OLD_FORMATS.get((header.mark, header.version))
        if name and not header.cut_short:
            return f"it has format {name}; run `kerio-resync upgrade`"
    return ""
