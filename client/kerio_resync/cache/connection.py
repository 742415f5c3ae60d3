"""A connection to one SQLite file, with a thread of its own.

aiosqlite runs the thread; `Connection.run` runs a function in it. The function is a complete operation, such as "BEGIN,
a thousand rows, COMMIT". Once begun, it runs to its end even if the task that waits for it is cancelled, so that no
transaction is left half done. Only existing files are opened. A read-only connection changes no content, but SQLite may
roll back what a killed writer left.

The settings for writing (journal TRUNCATE, synchronous FULL, pages of 16 KiB) were measured on this schema with
checksums: storing 10,000 items of 25 KB with some attachments was about 1.5 times as fast as with a write-ahead log and
synchronous NORMAL, which writes everything twice. Each commit is durable when it returns.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Final, Self, TypeVar, cast

import aiosqlite

from kerio_resync.cache.db_errors import Foreign, map_db_error
from kerio_resync.cache.schema import require_sqlite
from kerio_resync.cache.schema_guard import restrict

T = TypeVar("T")
CACHE_KIB: Final = 8 * 1024
BUSY_TIMEOUT_SECONDS: Final = 2.0  # longer than the short lock of another program


class Connection:
    """A file opened by `await Connection.open(path)`.

    `await connection.close()` closes it.
    """

    def __init__(self, connection: aiosqlite.Connection, path: Path, *, readonly: bool) -> None:
        self._connection = connection
        self.path = path
        self.readonly = readonly

    @classmethod
    async def open(cls, path: Path, *, readonly: bool = False, busy_timeout: float | None = None) -> Self:
        """Open a file without reading it. `busy_timeout`: in seconds.

        BadSettings if it cannot be opened; CacheInUse, CacheDamaged.
        """
        require_sqlite()
        failures: list[Foreign] = []
        busy_timeout = BUSY_TIMEOUT_SECONDS if busy_timeout is None else busy_timeout
        connector = partial(_connect_or_report, path, readonly, busy_timeout, failures)
        connection = cls(aiosqlite.Connection(connector, iter_chunk_size=64), path, readonly=readonly)
        try:
            await run_to_end(connection._connection)
        except asyncio.CancelledError:
            await connection.close()
            raise
        if failures:
            await connection.close()
            raise map_db_error(failures[0], path) from failures[0]
        return connection

    async def run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run `work` in the connection's thread, after earlier calls.

        Return or raise what `work` does.
        """
        results: list[T] = []

        def script(db: sqlite3.Connection) -> None:
            results.append(work(db))

        await self._connection.executescript(cast("str", script))
        return results[0]

    async def close(self) -> None:
        """Close the file after earlier calls.

        A caller that is cancelled waits until it is closed.
        """
        await run_to_end(self._connection.close())


class _Connection(sqlite3.Connection):
    """A connection to SQLite that takes a function in place of a script.

    aiosqlite runs the methods of the connection in a thread, and has no public way to run a function there. The method
    for scripts runs a complete operation too.
    """

    def executescript(self, script: Any, /) -> Any:
        return script(self)


async def run_to_end(work: Awaitable[T]) -> T:
    """Return the result of `work`; cancellation does not interrupt it.

    A caller that is cancelled waits until `work` has ended.
    """
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        while not task.done():
            with suppress(asyncio.CancelledError):  # cancelled again: the file is still open
                await asyncio.wait([task])
        await asyncio.gather(task, return_exceptions=True)  # retrieves its exception, which asyncio would log
        raise


def _connect_or_report(path: Path, readonly: bool, busy_timeout: float, failures: list[Foreign]) -> sqlite3.Connection:
    """Connect; append an error to `failures` instead of raising it.

    After a raised error, aiosqlite would not wait for its thread to end.
    """
    try:
        return _connect(path, readonly, busy_timeout)
    except (sqlite3.Error, UnicodeDecodeError) as error:
        failures.append(error)
        return sqlite3.connect(":memory:", factory=_Connection)


def _connect(path: Path, readonly: bool, busy_timeout: float) -> sqlite3.Connection:
    uri = f"{path.absolute().as_uri()}?mode=rw"
    db = sqlite3.connect(uri, uri=True, isolation_level=None, timeout=busy_timeout, factory=_Connection)
    try:
        restrict(db, path)
        db.execute("PRAGMA foreign_keys = 1")
        db.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
        if readonly:
            db.execute("PRAGMA query_only = 1")
        else:
            db.execute("PRAGMA synchronous = FULL")
            # the statement journal of an insert of many rows would go into a temporary file each time
            db.execute("PRAGMA temp_store = MEMORY")
    except BaseException:
        db.close()
        raise
    return db
