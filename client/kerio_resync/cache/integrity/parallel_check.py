"""Checks structure, items and attachments of a closed cache file concurrently.

The file is only read, and is synced to the disk. Whatever is not reported was read and matches its checksum. Memory is
bounded by a slice of items, one chunk of an attachment, and eight bytes for each corrupt row.

Each check has a thread of its own. SQLite and the hashing of chunks release the interpreter's lock, so on two cores the
checks run side by side. The check of items holds the lock; moving it to a subprocess cost more processor time than it
saved.
"""

from __future__ import annotations

import asyncio
from array import array
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from kerio_resync.cache.connection import Connection
from kerio_resync.cache.files import sync_file
from kerio_resync.cache.integrity import check
from kerio_resync.cache.integrity.check import Slice

CACHE_KIB: Final = 1024  # of each connection; each page is read once


@dataclass(frozen=True, slots=True)
class CorruptRows:
    """Row numbers of the items and attachments that do not match their checksums."""

    items: array[int]
    attachments: array[int]


async def check_file(path: Path) -> CorruptRows | None:
    """Return the corrupt rows of a file; None if its structure is damaged.

    No other program may write to the file. Raise sqlite3.Error, or an ExceptionGroup with it, if the file cannot be
    read.
    """
    rows = asyncio.create_task(_check_rows(path))
    try:
        async with _reader(path) as connection:
            damaged = await connection.run(check.check_structure)
        return None if damaged else await rows
    finally:
        rows.cancel()
        await asyncio.gather(rows, return_exceptions=True)


async def _check_rows(path: Path) -> CorruptRows:
    async with asyncio.TaskGroup() as group:
        items = group.create_task(_corrupt_rows(path, check.corrupt_items))
        attachments = group.create_task(_corrupt_rows(path, check.corrupt_attachments))
        group.create_task(_sync(path))
    return CorruptRows(items.result(), attachments.result())


async def _corrupt_rows(path: Path, check_slice: Callable[..., Slice]) -> array[int]:
    rows: array[int] = array("q")
    after: int | None = 0
    async with _reader(path) as connection:
        while after is not None:
            corrupt, after = await connection.run(partial(check_slice, after=after))
            rows.extend(corrupt)
    return rows


async def _sync(path: Path) -> None:
    async with _reader(path) as connection:  # for its thread
        await connection.run(lambda _: sync_file(path))


@asynccontextmanager
async def _reader(path: Path) -> AsyncIterator[Connection]:
    connection = await Connection.open(path, readonly=True)
    try:
        await connection.run(lambda db: db.execute(f"PRAGMA cache_size = -{CACHE_KIB}"))
        yield connection
    finally:
        await connection.close()
