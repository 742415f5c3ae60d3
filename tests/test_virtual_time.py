"""Time jumps only when nothing else can happen."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from pathlib import Path

import aiosqlite
import pytest

from benchmarks import virtual_time
from tests.virtual_time import Stuck, VirtualLoop, run


def test_hours_pass_in_order_and_in_no_time() -> None:
    async def main() -> list[tuple[str, float]]:
        loop, seen = asyncio.get_running_loop(), []

        async def wait(name: str, seconds: float) -> None:
            await asyncio.sleep(seconds)
            seen.append((name, loop.time()))

        await asyncio.gather(wait("b", 7200), wait("a", 0.25), wait("c", 7200.5))
        return seen

    began = time.monotonic()
    assert run(main()) == [("a", 0.25), ("b", 7200.0), ("c", 7200.5)]
    assert time.monotonic() - began < 2


def test_a_timeout_ends_what_is_too_slow_and_nothing_else() -> None:
    async def main() -> None:
        async with asyncio.timeout(0.001):
            await asyncio.sleep(0.0005)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(10):
                await asyncio.sleep(11)

    run(main())


def test_time_stands_still_while_a_thread_works() -> None:
    async def main() -> float:
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(0.001):
            await loop.run_in_executor(None, lambda: sum(range(200_000)))
        return loop.time()

    assert run(main()) == 0.0


def test_time_stands_still_while_a_database_works(tmp_path: Path) -> None:
    async def main() -> float:
        async with asyncio.timeout(0.001), aiosqlite.connect(tmp_path / "db") as database:
            await database.execute("create table t (n)")
            for n in range(50):
                await database.execute("insert into t values (?)", (n,))
                await database.commit()
        await asyncio.sleep(100)
        return asyncio.get_running_loop().time()

    assert run(main()) == 100.0
    assert sqlite3.connect(tmp_path / "db").execute("select count(*) from t").fetchone() == (50,)


def test_a_cancelled_database_call_holds_time_until_it_is_done(tmp_path: Path) -> None:
    async def main() -> tuple[int, int]:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        async with aiosqlite.connect(tmp_path / "db") as database:
            slow = (
                "with recursive n(i) as (select 1 union all select i + 1 from n where i < 200000) select max(i) from n"
            )
            task = asyncio.ensure_future(database.execute_fetchall(slow))
            await asyncio.sleep(0)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            during = loop.outstanding
            await asyncio.sleep(1)
            return during, loop.outstanding

    during, after = run(main())
    assert during >= 1  # the thread may not yet have told of the call before
    assert after == 0


def test_outside_the_counting_the_driver_is_as_it_was() -> None:
    before = aiosqlite.core.SimpleQueue
    with virtual_time.database_counted():
        assert aiosqlite.core.SimpleQueue is not before
    assert aiosqlite.core.SimpleQueue is before


def test_what_can_never_happen_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(virtual_time, "_PATIENCE", 0.0)

    async def main() -> None:
        await asyncio.get_running_loop().create_future()

    with pytest.raises(Stuck):
        run(main())
