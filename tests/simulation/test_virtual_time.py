"""The virtual clock advances only while everything else waits."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import aiosqlite
import pytest

from kerio_resync.cache.connection import Connection
from simulation import virtual_time
from simulation.virtual_time import DeadlockError, VirtualLoop, run


def test_run_fires_timers_in_order_without_waiting() -> None:
    async def main() -> list[tuple[str, float]]:
        loop, seen = asyncio.get_running_loop(), []

        async def wait(name: str, seconds: float) -> None:
            await asyncio.sleep(seconds)
            seen.append((name, loop.time()))

        await asyncio.gather(wait("b", 7200), wait("a", 0.25), wait("c", 7200.5))
        return seen

    began = time.monotonic()
    assert run(main()) == [("a", 0.25), ("b", 7200.0), ("c", 7200.5)]
    assert time.monotonic() - began < 60


def test_timeout_fires_only_after_its_virtual_seconds() -> None:
    async def main() -> None:
        async with asyncio.timeout(0.001):
            await asyncio.sleep(0.0005)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(10):
                await asyncio.sleep(11)

    run(main())


def test_clock_stands_still_while_a_thread_works() -> None:
    async def main() -> float:
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(0.001):
            await loop.run_in_executor(None, lambda: sum(range(200_000)))
        return loop.time()

    assert run(main()) == 0.0


def test_executor_shutdown_takes_no_virtual_time() -> None:
    """`Runner` asks for it with a timeout from Python 3.12 on: time must not jump there while a thread is at work."""
    ended = threading.Event()

    def work() -> None:
        time.sleep(0.05)
        ended.set()

    async def main() -> None:
        asyncio.get_running_loop().run_in_executor(None, work).add_done_callback(lambda _: None)

    loops: list[VirtualLoop] = []

    def loop() -> VirtualLoop:
        loops.append(VirtualLoop())
        return loops[0]

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(main())
    assert (ended.is_set(), loops[0].time()) == (True, 0.0)


def test_database_call_takes_the_seconds_of_disk(tmp_path: Path) -> None:
    path = tmp_path / "db"
    with closing(sqlite3.connect(path)) as made:
        made.execute("create table t (n)")

    def insert(n: int, db: sqlite3.Connection) -> None:
        db.execute("insert into t values (?)", (n,))

    async def main() -> float:
        connection = await Connection.open(path)
        for n in range(50):
            await connection.run(partial(insert, n))
        await connection.close()
        return asyncio.get_running_loop().time()

    threads = threading.active_count()
    assert run(main(), disk=lambda: 1.0) == 52  # opening, the rows, closing
    assert threading.active_count() == threads
    with closing(sqlite3.connect(path)) as made:
        assert made.execute("select count(*) from t").fetchone() == (50,)


def test_database_calls_run_in_order_even_if_one_is_cancelled(tmp_path: Path) -> None:
    (tmp_path / "db").touch()

    def insert(n: int) -> Callable[[sqlite3.Connection], Any]:
        return lambda db: db.execute("insert into t values (?)", (n,))

    async def main() -> list[int]:
        connection = await Connection.open(tmp_path / "db")
        await connection.run(lambda db: db.execute("create table t (n)"))
        inserts = [asyncio.ensure_future(connection.run(insert(n))) for n in range(4)]
        await asyncio.sleep(0)
        inserts[1].cancel()
        rows = await connection.run(lambda db: db.execute("select n from t order by rowid").fetchall())
        with pytest.raises(sqlite3.OperationalError):
            await connection.run(lambda db: db.execute("select nothing"))
        await connection.close()
        return [n for (n,) in rows]

    delays = iter(range(100, 0, -1))
    assert run(main(), disk=lambda: float(next(delays))) == [0, 1, 2, 3]


def test_run_restores_aiosqlite() -> None:
    async def main() -> bool:
        return aiosqlite.Connection is before

    before = aiosqlite.Connection
    assert not run(main())
    assert aiosqlite.Connection is before


def test_deadlock_raises_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(virtual_time, "SOCKET_WAIT_SECONDS", 0.0)

    async def main() -> None:
        await asyncio.get_running_loop().create_future()

    with pytest.raises(DeadlockError):
        run(main())
