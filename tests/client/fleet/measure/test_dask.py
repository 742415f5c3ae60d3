"""Crews on a real Dask cluster: a scheduler and two workers, each a process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import pytest
from pydantic import SecretStr

from kerio_mockserver.testing import Server, running
from kerio_resync.errors import BadSettings, Unreachable
from kerio_resync.fleet.measure import cluster
from kerio_resync.fleet.measure.cluster import Cluster, connected
from kerio_resync.fleet.measure.states import ClientState, Order
from kerio_resync.fleet.measure.step import StepResult, run_step

pytestmark = [
    pytest.mark.soak,  # Dask takes seconds to start
    pytest.mark.filterwarnings("default"),  # some are Dask's own
    pytest.mark.timeout(300),
]
_START_SECONDS = 60


class Dask(NamedTuple):
    """A scheduler's address, its workers, and the folder for their temporary files."""

    address: str
    workers: list[subprocess.Popen[bytes]]
    folder: Path


@pytest.fixture
def dask(tmp_path: Path) -> Iterator[Dask]:
    folder, file = tmp_path / "temporary", tmp_path / "scheduler.json"
    folder.mkdir()
    told = ("--scheduler-file", str(file))
    scheduler = ("scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard", *told)
    worker = ("worker", *told, "--no-nanny", "--nthreads", "1", "--no-dashboard", "--local-directory", str(tmp_path))
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "dask", *command], env={**os.environ, "TMPDIR": str(folder)},
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        ) for command in (scheduler, worker, worker)
    ]  # fmt: skip
    ends = time.monotonic() + _START_SECONDS
    while not (file.exists() and file.read_text().endswith("}")):
        assert time.monotonic() < ends
        time.sleep(0.1)
    yield Dask(json.loads(file.read_text())["address"], processes[1:], folder)
    for process in processes:
        process.kill()
        process.wait()


async def two_workers(joined: Cluster) -> None:
    ends = time.monotonic() + _START_SECONDS
    while len(await joined.workers()) < 2:
        assert time.monotonic() < ends


def order(server: Server) -> Order:
    settings = {"server": server.url, "user": server.user, "protocol": "kerio", "proxy": ""}
    return Order(settings, SecretStr("secret"))


async def killing_one(joined: Cluster, dask: Dask, server: Server) -> StepResult:
    """Run six clients, and kill a worker once all of them have fetched something."""

    def watch(elapsed: float, states: Sequence[ClientState]) -> str:
        if all(state.bytes for state in states):
            dask.workers[1].kill()
        return ""

    return await run_step(joined, [order(server)] * 6, seconds=5, watch=watch)


async def test_a_worker_killed_in_the_middle_loses_only_its_clients(dask: Dask) -> None:
    load = {"load": {"workers": 1, "call_s": 0.02}}
    async with running(mails=200, conditions=load) as server, connected(dask.address) as joined:
        await two_workers(joined)
        result = await killing_one(joined, dask, server)
        assert len(await joined.workers()) == 1
        later = await run_step(joined, [order(server)] * 2, seconds=0.1)
    lost = [client for client in result.clients if client.lost]
    good = [client for client in result.clients if not client.lost]
    assert (len(lost), len(good), len(result.lost)) == (3, 3, 1)
    assert all(client.state.rounds and not client.state.failed for client in good)
    assert all(client.state.failed and client.samples for client in lost)
    assert not any(client.state.failed for client in later.clients)
    ends = time.monotonic() + 10
    while list(dask.folder.glob("kerio-resync-measure-*")):  # also those of the killed worker are removed
        assert time.monotonic() < ends


async def test_a_scheduler_that_does_not_answer_is_reported_within_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "CONNECT_SECONDS", 2)
    address = "tcp://127.0.0.1:9"
    with pytest.raises(Unreachable) as caught:
        async with connected(address):
            pass
    assert str(caught.value) == f"the Dask scheduler at {address} does not answer within 2 s"


async def test_an_address_that_is_none_is_refused() -> None:
    with pytest.raises(BadSettings, match="--scheduler: nowhere://x is not an address"):
        async with connected("nowhere://x"):
            pass
