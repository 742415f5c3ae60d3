from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import pytest

from kerio_resync.cache.integrity import worker_process as module
from kerio_resync.cache.integrity.worker_process import worker_process


async def test_run_calls_function_in_one_other_process() -> None:
    async with worker_process() as run:
        pids = {await run(os.getpid) for _ in range(3)}
    assert len(pids) == 1
    assert os.getpid() not in pids
    assert multiprocessing.active_children() == []


async def test_run_raises_error_of_function() -> None:
    async with worker_process() as run:
        with pytest.raises(ZeroDivisionError):
            await run(divmod, 1, 0)


async def test_run_raises_broken_pool_after_worker_was_killed() -> None:
    async with worker_process() as run:
        os.kill(await run(os.getpid), signal.SIGKILL)
        with pytest.raises(BrokenProcessPool):
            await run(time.sleep, 60)


async def test_worker_ignores_ctrl_c() -> None:
    async with worker_process() as run:
        os.kill(await run(os.getpid), signal.SIGINT)
        assert await run(divmod, 7, 2) == (3, 1)


async def test_cancelled_caller_waits_for_worker_to_end() -> None:
    started = asyncio.Event()

    async def sleep() -> None:
        async with worker_process() as run:
            await run(os.getpid)
            started.set()
            await run(time.sleep, 0.2)

    task = asyncio.create_task(sleep())
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert multiprocessing.active_children() == []


PARENT = """
import asyncio, os
from kerio_resync.cache.integrity.worker_process import worker_process
async def main():
    async with worker_process() as run:
        print(await run(os.getpid), flush=True)
        await asyncio.sleep(60)
asyncio.run(main())
"""


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="looks for the process in /proc")
def test_worker_ends_when_parent_is_killed() -> None:
    with subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        worker = Path("/proc", parent.stdout.readline().strip())
        parent.kill()
    deadline = time.monotonic() + 20
    while _runs(worker) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not _runs(worker)


def _runs(process: Path) -> bool:
    with suppress(OSError):
        return ") Z " not in (process / "stat").read_text()
    return False


def test_start_worker_watches_parent(monkeypatch: pytest.MonkeyPatch) -> None:
    ended = threading.Event()
    monkeypatch.setattr(multiprocessing, "parent_process", lambda: SimpleNamespace(join=lambda: None))
    monkeypatch.setattr(os, "_exit", lambda code: ended.set())
    handler = signal.getsignal(signal.SIGINT)
    try:
        module._start_worker()
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, handler)
    assert ended.wait(10)


def test_exit_with_parent_returns_in_main_process() -> None:
    module._exit_with_parent()
