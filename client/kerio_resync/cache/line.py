"""The way to one SQLite file: an aiosqlite connection that runs whole pieces of work in its thread.

A piece of work is a plain function of the connection, such as "BEGIN, a thousand rows, COMMIT". Once begun it ends by
itself, whatever becomes of the task that waits for it; that is why a cancelled caller can't leave a transaction half
way. Opened are only files that exist; `readonly` never changes content, yet may roll back what a killed writer left.

How it is written to (journal TRUNCATE, synchronous FULL, pages of 16 KiB) is measured on this schema, with checksums:
10,000 items of 25 KB and some attachments went in at about 1.5 times the speed of a write-ahead log with synchronous
NORMAL, which writes everything twice; and each commit is durable when it returns.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

import aiosqlite

from kerio_resync.cache.schema import require_sqlite
from kerio_resync.cache.trouble import Foreign, translate

T = TypeVar("T")
CACHE_KIB: Final = 8 * 1024
PATIENCE: Final = 2.0  # seconds for which another program's short lock is waited out


class Line(aiosqlite.Connection):
    """`await Line.open(path)`; then `await line.run(work)` as often as wanted; then `await line.close()`."""

    path: Path
    readonly: bool

    @classmethod
    async def open(cls, path: Path, *, readonly: bool = False, patience: float | None = None) -> Line:
        """Errors of SQLite come out as ours: BadSettings if it can't be opened; the header is not looked at."""
        require_sqlite()
        failed: list[Foreign] = []
        line = cls(
            partial(_try, path, readonly, PATIENCE if patience is None else patience, failed), iter_chunk_size=64
        )
        opening = asyncio.ensure_future(_opened(line))
        try:
            await asyncio.shield(opening)
        except asyncio.CancelledError:
            await asyncio.wait([opening])  # what nobody waits for any more must not stay open
            await line.close()
            raise
        line.path, line.readonly = path, readonly
        if failed:
            await line.close()
            raise translate(failed[0], path) from failed[0]
        return line

    async def run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Runs `work` in the connection's thread, after what was asked for before. Raises what it raises."""
        found: T = await self._execute(work, self._conn)  # type: ignore[no-untyped-call]  # aiosqlite types it not
        return found


async def _opened(line: Line) -> None:
    await line


def _try(path: Path, readonly: bool, patience: float, failed: list[Foreign]) -> sqlite3.Connection:
    """Errors go into `failed` instead of being raised: aiosqlite does not wait for its thread to end after one."""
    try:
        return _connect(path, readonly, patience)
    except (sqlite3.Error, UnicodeDecodeError) as error:
        failed.append(error)
        return sqlite3.connect(":memory:")


def _connect(path: Path, readonly: bool, patience: float) -> sqlite3.Connection:
    db = sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", uri=True, isolation_level=None, timeout=patience)
    try:
        db.execute("PRAGMA foreign_keys = 1")
        db.execute("PRAGMA cell_size_check = 1")
        db.execute("PRAGMA trusted_schema = 0")
        db.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
        if readonly:
            db.execute("PRAGMA query_only = 1")
        else:
            db.execute("PRAGMA synchronous = FULL")
            # what undoes a statement of many rows: some pages each time, which would all go into temporary files
            db.execute("PRAGMA temp_store = MEMORY")
    except BaseException:
        db.close()
        raise
    return db
