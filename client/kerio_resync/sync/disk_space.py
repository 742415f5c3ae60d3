"""Checks that a rebuild fits on the disk, before anything is dropped or fetched.

The server's sizes of folders include attachments. Where the settings leave those out, each mail counts with at most
TEXT_BYTES. The writer watches the disk as well, so a wrong estimate loses no data.
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
from kerio_resync.sync.fetch.folders import syncable, unique_folders

RESERVE_BYTES: Final = 64 * 1024 * 1024  # left free
DATABASE_OVERHEAD: Final = 1.15  # size of the database over that of its contents
TEXT_BYTES: Final = 32 * 1024  # of a mail without attachments, at most in most cases
Attachments = Literal["all", "inbox", "none"]


async def check_space(run: RebuildContext) -> None:
    """Raise NotEnoughSpace if the mailbox does not fit.

    What is stored already is subtracted.
    """
    await _check(run, list(run.folders.values()), freed=0)


async def check_space_before_drop(run: RebuildContext) -> None:
    """Check before the old cache is dropped, and count its space as free."""
    settings = run.settings
    folders, _ = unique_folders(await run.list_folders())
    await _check(run, folders, freed=freed_by_drop(settings.cache))


def freed_by_drop(cache: Path) -> int:
    """Return the bytes that deleting the file frees: none if it has another name too."""
    freed = 0
    for path in (cache, *sidecars(cache)):
        try:
            status = os.stat(path)
        except OSError:
            continue
        if status.st_nlink == 1:
            blocks = getattr(status, "st_blocks", None)
            freed += status.st_size if blocks is None else min(status.st_size, blocks * 512)
    return freed


def expected_bytes(folders: Iterable[Folder], attachments: Attachments) -> int:
    """Return the bytes to fetch for these folders; 0 if the server states no sizes."""
    return sum(_expected(folder, attachments) for folder in syncable(folders))


def _expected(folder: Folder, attachments: Attachments) -> int:
    whole = folder.kind != "mail" or attachments == "all" or (attachments == "inbox" and folder.role == "inbox")
    return folder.size if whole else min(folder.size, folder.count * TEXT_BYTES)


async def _check(run: RebuildContext, folders: list[Folder], *, freed: int) -> None:
    settings, stored = run.settings, (await run.store.read(queries.totals)).bytes_here
    quota = 0 if expected_bytes(folders, "all") > 0 else (await run.mailbox.quota()).bytes

    def needed(attachments: Attachments) -> int:
        expected = expected_bytes(folders, attachments)
        if quota:  # the server states no sizes of folders
            texts = sum(folder.count for folder in syncable(folders)) * TEXT_BYTES
            expected = min(quota, texts) if attachments == "none" else quota
        return int(max(0, expected * DATABASE_OVERHEAD - stored)) + RESERVE_BYTES

    free = available_bytes(settings.cache) + freed
    required = needed(settings.attachments)
    if required > free:
        options: list[tuple[str, int, int]] = []
        if not settings.drop_first:
            options.append(("rebuild --drop-first", required, free + freed_by_drop(settings.cache)))
        choices: tuple[Attachments, ...] = ("inbox", "none")
        for choice in choices:
            drop = " --drop-first" if settings.drop_first else ""
            options.append((f"rebuild{drop} --attachments {choice}", needed(choice), free))
        raise NotEnoughSpace(
            needed=required, available=free, where=str(settings.cache.parent), advice=_first_fitting(options, settings)
        )


def _first_fitting(options: Iterable[tuple[str, int, int]], settings: Settings) -> str:
    used = f"--attachments {settings.attachments}"
    return next((f"`{name}`" for name, needed, free in options if needed <= free and not name.endswith(used)), "")
