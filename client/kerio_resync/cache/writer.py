"""The one task that works on an open cache file: facts and questions in the order they came, many facts a transaction.

Nothing else touches the connection. A fact is applied soon after it is told, in whole transactions of some 8 MiB or a
quarter of a second; a question is answered within the transaction that is open, so it sees every fact told before. A
caller that is cancelled takes nothing with it. If work fails, the open transaction is undone, and the error stands for
every waiting and later call: what was committed before is whole. Before each transaction the room on the disk is
compared with what is to be written, so that it ends with figures and not in the middle of a write.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from kerio_resync.cache.connection import Connection
from kerio_resync.cache.db_errors import FOREIGN, available_bytes, map_db_error, not_enough_space
from kerio_resync.cache.integrity import check
from kerio_resync.cache.mutations import Mutation
from kerio_resync.cache.write import dispatch
from kerio_resync.cache.write.session import WriteSession
from kerio_resync.errors import CacheDamaged, LocalError, ResyncError

T = TypeVar("T")
MAX_QUEUED_BYTES: Final = 4 * 1024 * 1024  # bytes of facts that may wait
APPLY_BYTES: Final = 1024 * 1024  # bytes of facts handed to SQLite at once
COMMIT_BYTES: Final = 8 * 1024 * 1024  # bytes after which a transaction is committed
COMMIT_INTERVAL_SECONDS: Final = 0.25  # seconds after which it is
RESERVE_BYTES: Final = 8 * 1024 * 1024  # bytes to leave free for the journal and what is beside us


@dataclass(slots=True)
class _Query:
    work: Callable[[WriteSession], Any]
    writes: bool  # needs an open transaction
    commits: bool  # what was told before is durable when it is answered
    answer: asyncio.Future[Any]


class Writer:
    """Works on `line` from `start` to `close`."""

    def __init__(self, line: Connection) -> None:
        self._line = line
        self._tables: WriteSession | None = None
        self._queue: deque[tuple[Mutation, int] | _Query] = deque()
        self._waiting = 0  # bytes of facts told and not yet applied
        self._open = 0  # bytes applied and not yet committed
        self._since: float | None = None  # when the open transaction began
        self._told = asyncio.Event()
        self._turn = asyncio.Lock()
        self._room = asyncio.Event()
        self._failure: ResyncError | None = None
        self._known = False  # whether somebody was told of the failure
        self._closing = False
        self._task: asyncio.Task[None] | None = None

    async def start(self, *, sound: bool = False) -> None:
        """`sound`: the file's structure is known to be that."""
        tables = self._tables = await self._line.run(WriteSession)
        if sound:
            await self._line.run(lambda _: tables.mark_checked())
        self._task = asyncio.create_task(self._work(), name=f"owner of {self._line.path.name}")

    async def enqueue(self, fact: Mutation) -> None:
        """Returns once the fact is queued; waits while more than QUEUE bytes wait."""
        weight = fact.byte_size()
        async with self._turn:
            self._check()
            while self._waiting and self._waiting + weight > MAX_QUEUED_BYTES:
                self._room.clear()
                await self._room.wait()
                self._check()
            self._queue.append((fact, weight))
            self._waiting += weight
            self._told.set()

    async def wait_for_capacity(self) -> None:
        """Returns once less than half of QUEUE waits."""
        while self._waiting > MAX_QUEUED_BYTES // 2:
            self._room.clear()
            await self._room.wait()

    async def execute(self, work: Callable[[WriteSession], T], *, writes: bool = False, commits: bool = False) -> T:
        """The answer of `work`, which sees every fact told before."""
        self._check()
        answer: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._queue.append(_Query(work, writes, commits, answer))
        self._told.set()
        return await answer

    async def close(self) -> None:
        """Commits what was told, closes the file. Raises what ended the work if nobody was told of it yet."""
        self._closing = True
        self._told.set()
        assert self._task is not None
        await asyncio.shield(self._task)
        if not self._known:
            self._check_failure()

    def _check_failure(self) -> None:
        if self._failure is not None:
            self._known = True
            raise self._failure

    def _check(self) -> None:
        self._check_failure()
        if self._closing:
            raise LocalError(f"{self._line.path} is closed")

    async def _work(self) -> None:
        try:
            while self._queue or not self._closing:
                await self._one()
            await self._commit()
        except FOREIGN as error:
            self._fail(map_db_error(error, self._line.path, self._needed()))
        except ResyncError as error:
            self._fail(error)
        except BaseException as error:
            if isinstance(error, Exception) and (damage := await self._damage()):
                self._fail(CacheDamaged(f"{self._line.path}: {damage}"))
                return
            self._fail(LocalError(f"{self._line.path}: the writer ended ({type(error).__name__})"))
            raise
        finally:
            await self._end()

    async def _damage(self) -> str:
        """What is wrong with the file; '' if it is sound. A value where the schema allows none is no error to SQLite,
        but one to whoever reckons with it."""
        found = await self._line.run(check.check_structure)
        return found[0].line if found else ""

    async def _one(self) -> None:
        """One step: some facts, or one question, or a commit that is due, or the wait for any of them."""
        if not self._queue:
            await self._wait()
        elif isinstance(self._queue[0], _Query):
            await self._reply(self._queue[0])
            self._queue.popleft()
        else:
            await self._store()
        if self._since is not None and (self._open >= COMMIT_BYTES or self._age() >= COMMIT_INTERVAL_SECONDS):
            await self._commit()

    async def _wait(self) -> None:
        self._told.clear()
        if self._since is None:
            await self._told.wait()
            return
        try:
            async with asyncio.timeout(max(0.0, COMMIT_INTERVAL_SECONDS - self._age())):
                await self._told.wait()
        except TimeoutError:
            await self._commit()  # not by the clock once more: of two readings one may round the age below AGE

    async def _store(self) -> None:
        """Stores what waits, and what comes meanwhile: up to a transaction's worth, or to a question."""
        begins = self._begins(self._waiting)
        loop = asyncio.get_running_loop()
        room = COMMIT_BYTES - self._open

        def work(_: sqlite3.Connection) -> None:
            nonlocal room
            assert self._tables is not None
            if begins:
                self._tables.begin()
            while room > 0:
                facts, weight = self._next()
                if not facts:
                    break
                dispatch.apply_mutations(self._tables, facts)
                room -= weight
                loop.call_soon_threadsafe(self._applied, weight)

        await self._line.run(work)

    def _next(self) -> tuple[list[Mutation], int]:
        """Takes the next facts out of the queue, a STEP at most, and their weight. Called in the connection's thread,
        while nobody else takes any."""
        queue, weight = self._queue, 0
        facts: list[Mutation] = []
        while queue:
            head = queue[0]
            if isinstance(head, _Query) or (facts and weight + head[1] > APPLY_BYTES):
                break
            queue.popleft()
            facts.append(head[0])
            weight += head[1]
        return facts, weight

    def _applied(self, weight: int) -> None:
        self._waiting -= weight
        self._open += weight
        self._room.set()

    async def _reply(self, question: _Query) -> None:
        if question.answer.cancelled():
            return
        begins = question.writes and self._begins()

        def work(_: sqlite3.Connection) -> Any:
            assert self._tables is not None
            if begins:
                self._tables.begin()
            return question.work(self._tables)

        if question.commits:
            await self._commit()
        found = await self._line.run(work)
        if not question.answer.done():
            question.answer.set_result(found)

    def _begins(self, weight: int = 0) -> bool:
        """Whether a transaction has to be begun; NotEnoughSpace if there is no room for it."""
        if self._since is not None:
            return False
        needed = weight + weight // 4 + RESERVE_BYTES
        if weight and available_bytes(self._line.path) < needed:
            raise not_enough_space(self._line.path, self._needed())
        self._since = asyncio.get_running_loop().time()
        return True

    async def _commit(self) -> None:
        if self._since is not None:
            assert self._tables is not None
            commit = self._tables.commit
            await self._line.run(lambda _: commit())
            self._since, self._open = None, 0

    def _age(self) -> float:
        return asyncio.get_running_loop().time() - (self._since or 0.0)

    def _needed(self) -> int:
        return self._open + self._waiting + RESERVE_BYTES

    def _fail(self, failure: ResyncError) -> None:
        self._failure = failure
        for each in self._queue:
            if isinstance(each, _Query) and not each.answer.done():
                each.answer.set_exception(failure)
                self._known = True
        self._queue.clear()
        self._waiting = 0
        self._room.set()

    async def _end(self) -> None:
        tables = self._tables
        assert tables is not None

        def end(db: sqlite3.Connection) -> None:
            tables.rollback()
            if self._failure is None and not self._line.readonly:
                with suppress(sqlite3.Error):  # someone reads: then an empty journal stays, and harms nobody
                    db.execute("PRAGMA journal_mode = DELETE").fetchone()

        try:
            await self._line.run(end)
        finally:
            await self._line.close()
