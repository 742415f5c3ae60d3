"""Whether what a rebuild will fetch fits on the disk, asked before anything is dropped or fetched.

What the server says a folder holds includes attachments. Where the settings leave them out, each mail counts with at
most TEXT_BYTES. The writer watches the disk as well, so a wrong guess costs no data.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Final, Literal

from kerio_resync.cache import queries
from kerio_resync.cache.files import sidecars
from kerio_resync.errors import NotEnoughSpace
from kerio_resync.filesystem import available_bytes
from kerio_resync.model import Folder
from kerio_resync.settings import Settings
from kerio_resync.sync.context import RebuildContext
from kerio_resync.sync.fetch.folders import syncable, told_once

RESERVE_BYTES: Final = 64 * 1024 * 1024  # bytes to leave free
DATABASE_OVERHEAD: Final = 1.15  # a database's size over what it holds
TEXT_BYTES: Final = 32 * 1024  # of a mail without its attachments; most take less
Attachments = Literal["all", "inbox", "none"]


async def check_space(run: RebuildContext) -> None:
    """NotEnoughSpace if what the server holds would not fit; what is already here counts."""
    await _check(run, list(run.folders.values()), freed=0)


async def check_space_before_drop(run: RebuildContext) -> None:
    """The same before the old cache is dropped, whose room counts as free."""
    settings = run.settings
    told, _ = told_once(await run.mailbox.folders(shared=settings.shared, public=settings.public))
    await _check(run, told, freed=freed_by_drop(settings.cache))


def freed_by_drop(cache: Path) -> int:
    """Bytes that are free once the file is gone: none if it has another name too."""
    found = 0
    for path in (cache, *sidecars(cache)):
        try:
            status = os.stat(path)
        except OSError:
            continue
        if status.st_nlink == 1:
            blocks = getattr(status, "st_blocks", None)
            found += status.st_size if blocks is None else min(status.st_size, blocks * 512)
    return found


def expected_bytes(folders: Iterable[Folder], attachments: Attachments) -> int:
    """What fetching these comes to, as far as the server says it; 0 if it does not."""
    return sum(_expected(folder, attachments) for folder in syncable(folders))


def _expected(folder: Folder, attachments: Attachments) -> int:
    whole = folder.kind != "mail" or attachments == "all" or (attachments == "inbox" and folder.role == "inbox")
    return folder.size if whole else min(folder.size, folder.count * TEXT_BYTES)


async def _check(run: RebuildContext, folders: list[Folder], *, freed: int) -> None:
    settings, here = run.settings, (await run.store.read(queries.totals)).bytes_here
    quota = 0 if expected_bytes(folders, "all") > 0 else (await run.mailbox.quota()).bytes

    def needed(attachments: Attachments) -> int:
        told = expected_bytes(folders, attachments)
        if quota:  # the server tells no sizes of folders
            texts = sum(each.count for each in syncable(folders)) * TEXT_BYTES
            told = min(quota, texts) if attachments == "none" else quota
        return int(max(0, told * DATABASE_OVERHEAD - here)) + RESERVE_BYTES

    free = available_bytes(settings.cache) + freed
    asked = needed(settings.attachments)
    if asked > free:
        options: list[tuple[str, int, int]] = []
        if not settings.drop_first:
            options.append(("rebuild --drop-first", asked, free + freed_by_drop(settings.cache)))
        choices: tuple[Attachments, ...] = ("inbox", "none")
        for choice in choices:
            drop = " --drop-first" if settings.drop_first else ""
            options.append((f"rebuild{drop} --attachments {choice}", needed(choice), free))
        raise NotEnoughSpace(
            needed=asked, available=free, where=str(settings.cache.parent), advice=_first_that_fits(options, settings)
        )


def _first_that_fits(options: Iterable[tuple[str, int, int]], settings: Settings) -> str:
    used = f"--attachments {settings.attachments}"
    return next((f"`{name}`" for name, needed, free in options if needed <= free and not name.endswith(used)), "")
