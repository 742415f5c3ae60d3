from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from kerio_resync.cache import connection as lines
from kerio_resync.cache.connection import Connection
from kerio_resync.cache.files import processes_holding
from kerio_resync.errors import LocalError
from tests.support.cache import filled


async def test_cancelled_open_closes_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "cache.db"
    await (await filled(path)).close()
    begun, goes_on = asyncio.Event(), threading.Event()
    loop, connect = asyncio.get_running_loop(), lines._connect

    def slowly(path: Path, readonly: bool, patience: float) -> sqlite3.Connection:
        loop.call_soon_threadsafe(begun.set)
        goes_on.wait()
        return connect(path, readonly, patience)

    monkeypatch.setattr(lines, "_connect", slowly)
    task = asyncio.create_task(Connection.open(path))
    await begun.wait()
    task.cancel()
    goes_on.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert processes_holding(path) == ()


@pytest.fixture
async def line(tmp_path: Path) -> AsyncIterator[Connection]:
    await (await filled(tmp_path / "cache.db")).close()
    line = await Connection.open(tmp_path / "cache.db")
    yield line
    await line.close()


async def test_run_returns_or_raises_what_work_does(line: Connection) -> None:
    assert await line.run(lambda db: db.execute("SELECT 7").fetchone()) == (7,)
    with pytest.raises(sqlite3.OperationalError, match="no such column: missing"):
        await line.run(lambda db: db.execute("SELECT missing"))


async def test_run_keeps_order_when_callers_are_cancelled(line: Connection) -> None:
    begun, goes_on = asyncio.Event(), threading.Event()
    loop, done = asyncio.get_running_loop(), []

    def slow(_: sqlite3.Connection) -> None:
        loop.call_soon_threadsafe(begun.set)
        goes_on.wait()
        done.append(("slow", threading.get_ident()))

    waiting = asyncio.create_task(line.run(slow))
    await begun.wait()
    queued = asyncio.create_task(line.run(lambda db: done.append(("queued", threading.get_ident()))))
    await asyncio.sleep(0)
    waiting.cancel()
    queued.cancel()
    last = asyncio.create_task(line.run(lambda db: done.append(("last", threading.get_ident()))))
    goes_on.set()
    await last
    assert waiting.cancelled()
    assert queued.cancelled()
    assert [name for name, _ in done] == ["slow", "queued", "last"]
    assert len({thread for _, thread in done}) == 1
    assert done[0][1] != threading.get_ident()


async def test_close_completes_when_cancelled_twice(line: Connection) -> None:
    goes_on = threading.Event()
    working = asyncio.create_task(line.run(lambda db: goes_on.wait()))
    await asyncio.sleep(0)
    closing = asyncio.create_task(line.close())
    for _ in range(2):
        await asyncio.sleep(0)
        closing.cancel()
    await asyncio.sleep(0.01)
    assert not closing.done()
    goes_on.set()
    with pytest.raises(asyncio.CancelledError):
        await closing
    assert processes_holding(line.path) == ()
    assert await working
    await line.close()  # once more: nothing is left to do


async def test_failed_open_leaves_no_thread(tmp_path: Path) -> None:
    threads = threading.active_count()
    with pytest.raises(LocalError):
        await Connection.open(tmp_path / "missing.db")
    for thread in threading.enumerate()[threads:]:
        thread.join(60)
    assert threading.active_count() == threads
