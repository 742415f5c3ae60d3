"""Files that were moved out of the way, and the local changes in them that are nowhere else. Nothing is changed."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from kerio_resync.cache.file_identity import owner_of
from kerio_resync.cache.local_changes import open_changes
from kerio_resync.identity import describe

_NAME: Final = re.compile(r"cache\.db(\.next)?\.(aside|damaged|dropped)-[0-9TZ~]+")


@dataclass(frozen=True, slots=True)
class SetAside:
    """`changes`: local changes that neither were sent nor are in the cache; None: they can't be read. `owner`: of the
    file, as it says, or ""."""

    path: str
    changes: int | None
    owner: str = ""


async def files_set_aside(cache: Path, known: Collection[str]) -> tuple[SetAside, ...]:
    """Files beside `cache` with local changes that are not among `known`, by uuid, or that can't be read; and `cache`
    itself if it is of another format."""
    found = []
    aside = [each for each in cache.parent.iterdir() if _NAME.fullmatch(each.name)]
    for path in sorted(each for each in (cache, *aside) if each.is_file()):
        changes = await open_changes(path)
        if changes is None:
            found.append(SetAside(str(path), None))
        elif left := len(changes - set(known)):
            owner = await owner_of(path)
            found.append(SetAside(str(path), left, describe(owner) if owner else ""))
    return tuple(found)
