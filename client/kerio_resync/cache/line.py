"""The way to one SQLite file: an aiosqlite connection that runs whole pieces of work in its thread.

A piece of work is a plain function of the connection, such as "BEGIN, a thousand rows, COMMIT". Once begun it ends by
itself, whatever becomes of the task that waits for it; that is why a cancelled caller can't leave a transaction half
way. Opened are only files that exist; `readonly` never changes content, yet may roll back what a killed writer left.

How it is written to (journal TRUNCATE, synchronous FULL, pages of 16 KiB) is measured: 10,000 items of 25 KB and
attachments, with checksums, go in at 200-300 MB/s, against 100-200 MB/s with a write-ahead log, which writes
everything twice; and each commit is durable when it returns.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

import aiosqlite
from kerio_resync.cache.schema import require_sqlite
from kerio_resync.cache.trouble import translated

T = TypeVar("T")
CACHE_KIB: Final = 32 * 1024
PATIENCE: Final = 2.0  # seconds for which another program's short lock is waited out


class Line(aiosqlite.Connection):
    """`await Line.open(path)`; then `await line.run(work)` as often as wanted; then `await line.close()`."""

    path: Path
    readonly: bool

    @classmethod
    async def open(cls, path: Path, *, readonly: bool = False, patience: float | None = None) -> Line:
        """Errors of SQLite come out as ours: BadSettings if it can't be opened; the header is not looked at."""
        require_sqlite()
        with translated(path):
            line = cls(
                partial(_connect, path, readonly, PATIENCE if patience is None else patience), iter_chunk_size=64
            )
            await line
        line.path, line.readonly = path, readonly
        return line

    async def run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Runs `work` in the connection's thread, after what was asked for before. Raises what it raises."""
        found: T = await self._execute(work, self._conn)  # type: ignore[no-untyped-call]  # aiosqlite types it not
        return found

    def end(self) -> Awaitable[None]:
        """Closes without being waited for; what is returned may be awaited."""
        ended = self.stop()
        assert ended is not None, "called in a running loop"
        return ended


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
    except BaseException:
        db.close()
        raise
    return db
