"""What does not hold of a cache file that nobody writes to: its structure, its items, its contents, side by side.

Promises: the file is only read, and on the disk in the end; what is not named here was read and held its checksum;
memory is bounded by a slice of items, a content's chunk, and eight bytes for each thing that does not hold.

SQLite's own check and the contents take a thread each: reading and hashing let other threads run. Items do not, so
those of a large file are proven in a process of its own (`apart`); where there can't be one, or it dies, here.
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from array import array
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final, Protocol, TypeVar

from kerio_resync.cache.connection import Connection
from kerio_resync.cache.files import sync_file
from kerio_resync.cache.integrity import check, item_check_process

T = TypeVar("T")
CONTENTS_PER_SLICE: Final = 500  # contents proven at once
SLICE_BYTES: Final = 64 * 1024 * 1024  # bytes of contents proven at once, or a single larger one
CACHE_KIB: Final = 1024  # of each connection: what they read they read once
SUBPROCESS_MIN_BYTES: Final = 64 * 1024 * 1024  # bytes of a file that are worth a process


class ContentSlice(Protocol):
    """Proves what comes after a number: (those that don't hold, where to go on or None at the end)."""

    def __call__(self, db: sqlite3.Connection, after: int) -> tuple[list[int], int | None]: ...


@dataclass(frozen=True, slots=True)
class CorruptRows:
    """The numbers of the items and of the contents that don't hold."""

    items: array[int]
    contents: array[int]


async def check_file(path: Path) -> CorruptRows | None:
    """None: its structure is damaged. The file must be one that nobody needs a lock on."""
    proofs = asyncio.create_task(_prove_all(path))
    try:
        damage = await _run(path, check.check_structure)
        return None if damage else await proofs
    finally:
        proofs.cancel()
        await asyncio.gather(proofs, return_exceptions=True)


async def _prove_all(path: Path) -> CorruptRows:
    async with asyncio.TaskGroup() as group:
        contents = group.create_task(_in_slices(path, check_contents))
        items = group.create_task(_items(path))
        group.create_task(_run(path, lambda _: sync_file(path)))
    return CorruptRows(items.result(), contents.result())


async def _items(path: Path) -> array[int]:
    found = None
    if path.stat().st_size >= SUBPROCESS_MIN_BYTES:
        stop = threading.Event()
        found = await _run(path, lambda _: item_check_process.find_corrupt_items(path, stop), stop)
    return await _in_slices(path, item_check_process.check_items) if found is None else found


async def _in_slices(path: Path, work: ContentSlice) -> array[int]:
    found: array[int] = array("q")
    line = await Connection.open(path, readonly=True)
    try:
        await line.run(_with_little_memory)
        after: int | None = 0
        while after is not None:
            bad, after = await line.run(partial(work, after=after))
            found.extend(bad)
    finally:
        await line.close()
    return found


async def _run(path: Path, work: Callable[[sqlite3.Connection], T], stop: threading.Event | None = None) -> T:
    """Does it in a thread of its own, and is not left before it has ended; that it is left sets `stop`."""
    line = await Connection.open(path, readonly=True)
    try:
        await line.run(_with_little_memory)
        return await line.run(work)
    finally:
        if stop is not None:
            stop.set()
        await line.close()


def _with_little_memory(db: sqlite3.Connection) -> None:
    db.execute(f"PRAGMA cache_size = -{CACHE_KIB}")


def check_contents(db: sqlite3.Connection, after: int) -> tuple[list[int], int | None]:
    """(those of the next contents that are not as they were when they came, where to go on or None at the end)"""
    rows = db.execute(
        "SELECT number, received, sha256 FROM attachment WHERE state = 'done' AND number > ? ORDER BY number LIMIT ?",
        (after, CONTENTS_PER_SLICE),
    ).fetchall()
    size, last, bad = 0, None, []
    for number, received, told in rows:
        if size >= SLICE_BYTES:
            break
        if not check.content_matches_checksum(db, "chunk", number, received, told):
            bad.append(number)
        size, last = size + received, number
    return bad, last
