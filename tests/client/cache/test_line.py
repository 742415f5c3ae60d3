from __future__ import annotations

import asyncio
import sqlite3
import threading
from pathlib import Path

import pytest

from kerio_resync.cache import line as lines
from kerio_resync.cache.files import holders
from kerio_resync.cache.line import Line
from tests.client.cache.world import filled


async def test_what_nobody_waits_for_does_not_stay_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "cache.db"
    await (await filled(path)).close()
    begun, goes_on = asyncio.Event(), threading.Event()
    loop, connect = asyncio.get_running_loop(), lines._connect

    def slowly(path: Path, readonly: bool, patience: float) -> sqlite3.Connection:
        loop.call_soon_threadsafe(begun.set)
        goes_on.wait()
        return connect(path, readonly, patience)

    monkeypatch.setattr(lines, "_connect", slowly)
    task = asyncio.create_task(Line.open(path))
    await begun.wait()
    task.cancel()
    goes_on.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert holders(path) == ()
