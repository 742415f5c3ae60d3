"""Checks structure, items and attachments of a closed cache file concurrently.

The file is only read, and is synced to the disk. Whatever is not reported was read and matches its checksum. Memory is
bounded by a slice of items, one chunk of an attachment, and eight bytes for each corrupt row.

The structure and the attachments take one thread each, because SQLite and hashing release the interpreter's lock.
Items do not, so the items of a large file are checked in a subprocess, or in this process if the subprocess fails.
"""

from __future__ import annotations

import asyncio
import sqlite3
from array import array
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from kerio_resync.cache.connection import Connection
from kerio_resync.cache.files import sync_file
from kerio_resync.cache.integrity import check
from kerio_resync.cache.integrity.check import Slice
from kerio_resync.cache.integrity.worker_process import worker_process

CACHE_KIB: Final = 1024  # of each connection; each page is read once
SUBPROCESS_MIN_BYTES: Final = 64 * 1024 * 1024  # size of a file whose items are worth a subprocess


@dataclass(frozen=True, slots=True)
class CorruptRows:
    """Row numbers of the items and attachments that do not match their checksums."""

    items: array[int]
    attachments: array[int]


async def check_file(path: Path) -> CorruptRows | None:
    """Return the corrupt rows of a file; None if its structure is damaged.

    No other program may write to the file. Raises sqlite3.Error, or an ExceptionGroup with it, if the file cannot be
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
        items = group.create_task(_corrupt_items(path))
        attachments = group.create_task(_corrupt_rows(path, check.corrupt_attachments))
        group.create_task(_sync(path))
    return CorruptRows(items.result(), attachments.result())


async def _corrupt_items(path: Path) -> array[int]:
    if path.stat().st_size >= SUBPROCESS_MIN_BYTES:
        try:
            async with worker_process() as run:
                return await _collect(lambda after: run(check.corrupt_items_of_file, path, after))
        except Exception:
            pass  # whatever keeps the subprocess from working, this process can do the same
    return await _corrupt_rows(path, check.corrupt_items)


async def _corrupt_rows(path: Path, check_slice: Callable[[sqlite3.Connection, int], Slice]) -> array[int]:
    async with _reader(path) as connection:
        return await _collect(lambda after: connection.run(lambda db: check_slice(db, after)))


async def _collect(check_slice: Callable[[int], Awaitable[Slice]]) -> array[int]:
    found: array[int] = array("q")
    after: int | None = 0
    while after is not None:
        corrupt, after = await check_slice(after)
        found.extend(corrupt)
    return found


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
