"""Runs functions in one subprocess.

So computing in Python does not slow the event loop and the writer down. The subprocess is spawned: it imports the
main module anew, so a program that uses this package needs the usual `if __name__ == "__main__":`. It ends when the
context is left, and also when this process is killed.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

RunInWorker = Callable[..., Awaitable[Any]]


@asynccontextmanager
async def worker_process() -> AsyncIterator[RunInWorker]:
    """Yield `run(function, *args)`, which calls a function in the subprocess.

    The function must be importable by name; its result is returned. A caller that is cancelled waits for the function
    to end, so keep each call short. `run` raises what the function raises, and BrokenProcessPool or OSError if the
    subprocess cannot be started or dies.
    """
    import asyncio  # not at the top: the subprocess imports this module, and needs neither

    from kerio_resync.cache.connection import run_to_end

    pool = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), initializer=_start_worker)
    try:
        yield partial(asyncio.get_running_loop().run_in_executor, pool)
    finally:
        await run_to_end(asyncio.to_thread(pool.shutdown, cancel_futures=True))


def _start_worker() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches every process of the terminal; the parent handles it
    threading.Thread(target=_exit_with_parent, daemon=True).start()


def _exit_with_parent() -> None:
    """End this process once its parent is gone.

    An idle worker of an executor would otherwise wait for ever.
    """
    if parent := multiprocessing.parent_process():
        parent.join()
        os._exit(1)
