"""The only task that uses an open cache file.

It executes mutations and queries in the order in which they came. Many mutations share a transaction of at most about 8
MiB or a quarter of a second. A query runs within the open transaction, so that it sees every mutation enqueued before.
A cancelled caller leaves no transaction half done. If an operation fails, the open transaction is rolled back and every
waiting and later call raises the error; what was committed before stays intact. Before each transaction the free space
is compared with what is to be written, so that the error has figures and does not come in the middle of a write.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, Self, TypeVar

from kerio_resync.cache.connection import Connection
from kerio_resync.cache.db_errors import FOREIGN, map_db_error
from kerio_resync.cache.integrity import check
from kerio_resync.cache.mutations import Mutation
from kerio_resync.cache.write import dispatch
from kerio_resync.cache.write.session import WriteSession
from kerio_resync.errors import CacheDamaged, LocalError, ResyncError
from kerio_resync.filesystem import available_bytes, not_enough_space

T = TypeVar("T")
MAX_QUEUED_BYTES: Final = 4 * 1024 * 1024
APPLY_BYTES: Final = 1024 * 1024  # of mutations that are applied at once
COMMIT_BYTES: Final = 8 * 1024 * 1024
COMMIT_INTERVAL_SECONDS: Final = 0.25
RESERVE_BYTES: Final = 8 * 1024 * 1024  # to leave free, for the journal and other programs


@dataclass(slots=True)
class _Query:
    work: Callable[[WriteSession], Any]
    writes: bool  # needs an open transaction
    commits: bool  # commits what was enqueued before
    result: asyncio.Future[Any]


class Writer:
    """Owns `connection` from `start` to `close`."""

    def __init__(self, connection: Connection, session: WriteSession) -> None:
        self._connection = connection
        self._session = session
        self._queue: deque[tuple[Mutation, int] | _Query] = deque()
        self._queued_bytes = 0
        self._uncommitted_bytes = 0
        self._began_at: float | None = None  # when the open transaction began
        self._wakeup = asyncio.Event()
        self._enqueue_order = asyncio.Lock()
        self._capacity = asyncio.Event()
        self._failure: ResyncError | None = None
        self._failure_raised = False
        self._closing = False
        self._task = asyncio.create_task(self._run(), name=f"writer of {connection.path.name}")

    @classmethod
    async def start(cls, connection: Connection, *, sound: bool = False) -> Self:
        """Start the task. `sound`: the structure of the file has been checked."""
        session = await connection.run(WriteSession)
        if sound:
            await connection.run(lambda _: session.mark_checked())
        return cls(connection, session)

    async def enqueue(self, mutation: Mutation) -> None:
        """Queue a mutation. Waits while more than `MAX_QUEUED_BYTES` would be queued."""
        size = mutation.byte_size()
        async with self._enqueue_order:
            self._require_open()
            while self._queued_bytes and self._queued_bytes + size > MAX_QUEUED_BYTES:
                self._capacity.clear()
                await self._capacity.wait()
                self._require_open()
            self._queue.append((mutation, size))
            self._queued_bytes += size
            self._wakeup.set()

    async def wait_for_capacity(self) -> None:
        """Wait until at most half of `MAX_QUEUED_BYTES` is queued."""
        while self._queued_bytes > MAX_QUEUED_BYTES // 2:
            self._capacity.clear()
            await self._capacity.wait()

    async def execute(self, work: Callable[[WriteSession], T], *, writes: bool = False, commits: bool = False) -> T:
        """Return the result of `work`, which sees every mutation enqueued before."""
        self._require_open()
        result: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._queue.append(_Query(work, writes, commits, result))
        self._wakeup.set()
        return await result

    async def close(self) -> None:
        """Commit what was enqueued and close the file.

        Raise the failure that no call has raised yet.
        """
        self._closing = True
        self._wakeup.set()
        await asyncio.shield(self._task)
        if not self._failure_raised:
            self._raise_failure()

    def _raise_failure(self) -> None:
        if self._failure is not None:
            self._failure_raised = True
            raise self._failure

    def _require_open(self) -> None:
        self._raise_failure()
        if self._closing:
            raise LocalError(f"{self._connection.path} is closed")

    async def _run(self) -> None:
        try:
            while self._queue or not self._closing:
                await self._step()
            await self._commit()
        except FOREIGN as error:
            self._fail(map_db_error(error, self._connection.path, self._needed_bytes()))
        except ResyncError as error:
            self._fail(error)
        except BaseException as error:
            if isinstance(error, Exception) and (defect := await self._first_defect()):
                self._fail(CacheDamaged(f"{self._connection.path}: {defect}"))
                return
            self._fail(LocalError(f"{self._connection.path}: the writer ended ({type(error).__name__})"))
            raise
        finally:
            await self._end()

    async def _first_defect(self) -> str:
        """Check the structure after an unexpected error.

        SQLite may return values that the schema excludes.
        """
        defects = await self._connection.run(check.check_structure)
        return defects[0].line if defects else ""

    async def _step(self) -> None:
        """Apply mutations, or execute a query, or wait; commit when it is time."""
        if not self._queue:
            await self._wait()
        elif isinstance(self._queue[0], _Query):
            await self._execute(self._queue[0])
            self._queue.popleft()
        else:
            await self._apply()
        if self._began_at is not None and (
            self._uncommitted_bytes >= COMMIT_BYTES or self._transaction_seconds() >= COMMIT_INTERVAL_SECONDS
        ):
            await self._commit()

    async def _wait(self) -> None:
        self._wakeup.clear()
        if self._began_at is None:
            await self._wakeup.wait()
            return
        try:
            async with asyncio.timeout(max(0.0, COMMIT_INTERVAL_SECONDS - self._transaction_seconds())):
                await self._wakeup.wait()
        except TimeoutError:
            await self._commit()  # without another look at the clock, which may round the time below the interval

    async def _apply(self) -> None:
        """Apply what is queued or arrives meanwhile.

        It ends at a query, or when a transaction has its size.
        """
        begins = self._begins(self._queued_bytes)
        loop = asyncio.get_running_loop()
        left = COMMIT_BYTES - self._uncommitted_bytes

        def work(_: sqlite3.Connection) -> None:
            nonlocal left
            if begins:
                self._session.begin()
            while left > 0:
                mutations, size = self._take_mutations()
                if not mutations:
                    break
                dispatch.apply_mutations(mutations, self._session)
                left -= size
                loop.call_soon_threadsafe(self._count_applied, size)

        await self._connection.run(work)

    def _take_mutations(self) -> tuple[list[Mutation], int]:
        """Take mutations of at most `APPLY_BYTES`, but at least one, off the queue.

        Return them and their bytes. It runs in the connection's thread; the event loop only appends to the queue.
        """
        queue, taken = self._queue, 0
        mutations: list[Mutation] = []
        while queue:
            head = queue[0]
            if isinstance(head, _Query) or (mutations and taken + head[1] > APPLY_BYTES):
                break
            queue.popleft()
            mutations.append(head[0])
            taken += head[1]
        return mutations, taken

    def _count_applied(self, size: int) -> None:
        self._queued_bytes -= size
        self._uncommitted_bytes += size
        self._capacity.set()

    async def _execute(self, query: _Query) -> None:
        if query.result.cancelled():
            return
        begins = query.writes and self._begins()

        def work(_: sqlite3.Connection) -> Any:
            if begins:
                self._session.begin()
            return query.work(self._session)

        if query.commits:
            await self._commit()
        value = await self._connection.run(work)
        if not query.result.done():
            query.result.set_result(value)

    def _begins(self, size: int = 0) -> bool:
        """Return whether a transaction has to begin.

        Raise NotEnoughSpace if `size` bytes do not fit.
        """
        if self._began_at is not None:
            return False
        needed = size + size // 4 + RESERVE_BYTES
        if size and available_bytes(self._connection.path) < needed:
            raise not_enough_space(self._connection.path, self._needed_bytes())
        self._began_at = asyncio.get_running_loop().time()
        return True

    async def _commit(self) -> None:
        if self._began_at is not None:
            await self._connection.run(lambda _: self._session.commit())
            self._began_at, self._uncommitted_bytes = None, 0

    def _transaction_seconds(self) -> float:
        return asyncio.get_running_loop().time() - (self._began_at or 0.0)

    def _needed_bytes(self) -> int:
        return self._uncommitted_bytes + self._queued_bytes + RESERVE_BYTES

    def _fail(self, failure: ResyncError) -> None:
        self._failure = failure
        for entry in self._queue:
            if isinstance(entry, _Query) and not entry.result.done():
                entry.result.set_exception(failure)
                self._failure_raised = True
        self._queue.clear()
        self._queued_bytes = 0
        self._capacity.set()

    async def _end(self) -> None:
        def end(db: sqlite3.Connection) -> None:
            self._session.rollback()
            if self._failure is None and not self._connection.readonly:
                with suppress(sqlite3.Error):  # while another program reads, an empty journal stays: it does no harm
                    db.execute("PRAGMA journal_mode = DELETE").fetchone()

        try:
            await self._connection.run(end)
        finally:
            await self._connection.close()
