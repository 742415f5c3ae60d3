"""Clients on the workers of a Dask cluster, all started at one instant.

An existing cluster is given by its scheduler's address; without one, a LocalCluster runs on this machine. The workers
need kerio-resync but not these benchmarks: the crew is pickled by value. A client imports its modules before the start
signal, so that the server is measured and not the start of programs. Clocks of several machines are never compared:
each client's time is taken where it runs.
"""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple, cast

import psutil  # type: ignore[import-untyped,unused-ignore]

_PATIENCE = 30  # seconds for a scheduler to answer
_LOADING = 600  # seconds for all clients of a crew to load
_DONE = 7200  # seconds for all of them to end
# `rebuild` as the command line runs it, once all is loaded
_WAITING = """
import os, sys, threading
import kerio_resync, kerio_resync.cli.app
from kerio_resync.server.http import transport
from kerio_resync.server.kerio import mailbox
kerio_resync.rebuild
print("loaded", file=sys.stderr, flush=True)
def end():  # the input ends with the parent process
    os.read(0, 1)
    os._exit(1)
if os.read(0, 1):
    threading.Thread(target=end, daemon=True).start()
    kerio_resync.cli.app.main()
"""


class Target(NamedTuple):
    """The server that the clients rebuild from."""

    url: str
    user: str
    password: str


class Outcome(NamedTuple):
    """One client's result: seconds, processor time, summary, and host."""

    seconds: float
    cpu: float
    summary: dict[str, Any]
    host: str
    cores: int


class Crew:
    """Loads `count` clients on one machine; `go` starts them and waits for their end."""

    def __init__(self, target: Target, count: int) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="kerio-bench-")
        self._clients = [self._start(target, Path(self._folder.name, str(n))) for n in range(count)]

    @staticmethod
    def _start(target: Target, profile: Path) -> tuple[subprocess.Popen[bytes], Any, float]:
        out = profile.with_suffix(".out").open("w+b")
        command = [sys.executable, "-c", _WAITING, "--profile", str(profile), "rebuild", "--json", "--fresh"]
        process = subprocess.Popen(
            [*command, "--server", target.url, "--user", target.user],
            stdin=subprocess.PIPE, stdout=out, stderr=subprocess.PIPE,
            env={**os.environ, "KERIO_RESYNC_PASSWORD": target.password},
        )  # fmt: skip
        return process, out, 0.0

    def ready(self) -> int:
        """Wait until all are loaded; return how many; raise OSError if one fails."""
        for number, (process, out, _) in enumerate(self._clients):
            assert process.stderr is not None
            line = process.stderr.readline()
            if line != b"loaded\n":
                raise OSError(
                    f"a client did not start: {(line + process.stderr.read()).decode(errors='replace')[-300:]}"
                )
            times = psutil.Process(process.pid).cpu_times()
            self._clients[number] = (process, out, times.user + times.system)
        return len(self._clients)

    def go(self) -> list[Outcome]:
        """Start all and wait for them; raise OSError if one fails."""
        began = time.perf_counter()
        for process, _, _ in self._clients:
            assert process.stdin is not None
            process.stdin.write(b"!")
            process.stdin.flush()
        with self._folder, ThreadPoolExecutor(len(self._clients)) as pool:
            return list(pool.map(lambda client: self._end(client[0], client[1], client[2], began), self._clients))

    @staticmethod
    def _end(process: subprocess.Popen[bytes], out: Any, loading: float, began: float) -> Outcome:
        assert process.stderr is not None
        assert process.stdin is not None
        with out, process.stderr, process.stdin:
            output = process.stderr.read().decode(errors="replace")
            _, status, used = os.wait4(process.pid, 0)
            seconds = time.perf_counter() - began
            process.returncode = os.waitstatus_to_exitcode(status)
            out.seek(0)
            lines = out.read().splitlines()
        if process.returncode:
            raise OSError(f"a client ended with {process.returncode}: {output[-300:]}")
        cpu = used.ru_utime + used.ru_stime - loading
        return Outcome(seconds, cpu, json.loads(lines[-1])["summary"], os.uname().nodename, os.cpu_count() or 1)


@contextlib.contextmanager
def joined(scheduler: str = "") -> Iterator[Any]:
    """Yield a Dask client of the cluster at an address, or of one on this machine."""
    from distributed import Client, LocalCluster

    with contextlib.ExitStack() as stack:
        if not scheduler:
            local: Any = cast(Any, LocalCluster)(
                n_workers=os.cpu_count() or 1, threads_per_worker=1, dashboard_address=None, memory_limit=0
            )
            scheduler = stack.enter_context(local).scheduler_address
        yield stack.enter_context(cast(Any, Client)(scheduler, timeout=_PATIENCE))


def run(cluster: Any, target: Target, count: int) -> list[Outcome]:
    """Run `count` clients, spread evenly over the workers; return their outcomes."""
    workers = sorted(cluster.scheduler_info(n_workers=-1)["workers"])
    if not workers:
        raise OSError("the cluster has no workers")
    placed = [(worker, share) for worker, share in zip(workers, shares(count, len(workers)), strict=True) if share]
    futures = [
        cluster.submit(pickle.loads, _by_value(target, share), workers=[worker], actor=True, pure=False)
        for worker, share in placed
    ]
    crews = [future.result(timeout=_LOADING) for future in futures]
    for loading in [crew.ready() for crew in crews]:
        loading.result(timeout=_LOADING)
    under_way = [crew.go() for crew in crews]
    return [ended for future in under_way for ended in future.result(timeout=_DONE)]


class _Recipe:
    """Becomes a crew when it is unpickled."""

    def __init__(self, target: Target, crew: int) -> None:
        self._made_of = (target, crew)

    def __reduce__(self) -> tuple[Any, ...]:
        return Crew, self._made_of


def _by_value(target: Target, count: int) -> bytes:
    """Return a crew with its code; Dask would send only a module name."""
    import cloudpickle  # type: ignore[import-untyped,unused-ignore]

    this = sys.modules[__name__]
    cloudpickle.register_pickle_by_value(this)
    try:
        return bytes(cloudpickle.dumps(_Recipe(target, count)))
    finally:
        cloudpickle.unregister_pickle_by_value(this)


def shares(count: int, among: int) -> Sequence[int]:
    """Divide `count` into whole numbers that differ by at most one, larger ones first."""
    least, more = divmod(count, among)
    return [least + (n < more) for n in range(among)]
