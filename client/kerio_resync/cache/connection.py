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
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar, cast

import aiosqlite

from kerio_resync.cache.db_errors import Foreign, map_db_error
from kerio_resync.cache.schema import require_sqlite
from kerio_resync.cache.schema_guard import restrict

T = TypeVar("T")
CACHE_KIB: Final = 8 * 1024
BUSY_TIMEOUT_SECONDS: Final = 2.0  # seconds for which another program's short lock is waited out


class Connection:
    """`await Line.open(path)`; then `await line.run(work)` as often as wanted; then `await line.close()`."""

    def __init__(self, connection: aiosqlite.Connection, path: Path, *, readonly: bool) -> None:
        self._connection = connection
        self.path = path
        self.readonly = readonly

    @classmethod
    async def open(cls, path: Path, *, readonly: bool = False, patience: float | None = None) -> Connection:
        """Errors of SQLite come out as ours: BadSettings if it can't be opened; the header is not looked at."""
        require_sqlite()
        failed: list[Foreign] = []
        patience = BUSY_TIMEOUT_SECONDS if patience is None else patience
        connection = aiosqlite.Connection(partial(_try, path, readonly, patience, failed), iter_chunk_size=64)
        line = cls(connection, path, readonly=readonly)
        try:
            await run_to_end(connection)
        except asyncio.CancelledError:
            await line.close()
            raise
        if failed:
            await line.close()
            raise map_db_error(failed[0], path) from failed[0]
        return line

    async def run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Runs `work` in the connection's thread, after what was asked for before. Raises what it raises."""
        results: list[T] = []

        def script(db: sqlite3.Connection) -> None:
            results.append(work(db))

        await self._connection.executescript(cast("str", script))
        return results[0]

    async def close(self) -> None:
        """Closes the file, after what was asked for before. A caller that is cancelled still waits for that."""
        await run_to_end(self._connection.close())


class _Connection(sqlite3.Connection):
    """A connection of SQLite whose script is a function.

    aiosqlite calls the methods of the connection in a thread of its own. Nothing that it offers runs a function there,
    so the method for scripts, which are whole pieces of work too, takes one.
    """

    def executescript(self, script: Any, /) -> Any:
        return script(self)


async def run_to_end(work: Awaitable[T]) -> T:
    """The result of `work`. It runs to its end also if the caller is cancelled, who waits for that."""
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        while not task.done():
            with suppress(asyncio.CancelledError):  # cancelled once more: the file is still open
                await asyncio.wait([task])
        if not task.cancelled():
            task.exception()  # no complaint that it was not looked at
        raise


def _try(path: Path, readonly: bool, patience: float, failed: list[Foreign]) -> sqlite3.Connection:
    """Errors go into `failed` instead of being raised: aiosqlite does not wait for its thread to end after one."""
    try:
        return _connect(path, readonly, patience)
    except (sqlite3.Error, UnicodeDecodeError) as error:
        failed.append(error)
        return sqlite3.connect(":memory:", factory=_Connection)


def _connect(path: Path, readonly: bool, patience: float) -> sqlite3.Connection:
    address = f"{path.absolute().as_uri()}?mode=rw"
    db = sqlite3.connect(address, uri=True, isolation_level=None, timeout=patience, factory=_Connection)
    try:
        restrict(db, path)
        db.execute("PRAGMA foreign_keys = 1")
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
