"""Finds files that were set aside and have changes that are nowhere else.

Nothing is changed.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from kerio_resync.cache.file_identity import owner_of, unsent_changes
from kerio_resync.identity import describe

_NAME: Final = re.compile(r"cache\.db(\.next)?\.(aside|damaged|dropped)-[0-9TZ~]+")


@dataclass(frozen=True, slots=True)
class SetAside:
    """A file that was set aside.

    `changes`: number of unsent local changes that are not in the cache, None if they cannot be read. `owner`: of the
    file, "" if it does not say.
    """

    path: str
    changes: int | None
    owner: str = ""


async def files_set_aside(cache: Path, known: Collection[str]) -> tuple[SetAside, ...]:
    """Return the files beside `cache` with unsent changes that are not in `known`.

    `known` has uuids. Unreadable files are returned too, and so is `cache` itself if its unsent changes
    cannot be read or are not in `known`.
    """
    files = []
    candidates = [path for path in cache.parent.iterdir() if _NAME.fullmatch(path.name)]
    for path in sorted(path for path in (cache, *candidates) if path.is_file()):
        changes = await unsent_changes(path)
        if changes is None:
            files.append(SetAside(str(path), None))
        elif unknown := len(changes - set(known)):
            owner = await owner_of(path)
            files.append(SetAside(str(path), unknown, describe(owner) if owner else ""))
    return tuple(files)
