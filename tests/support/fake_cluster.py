"""A cluster whose clients follow a script instead of rebuilding."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from kerio_resync.fleet.measure.cluster import RemoteCrew, WorkerLost
from kerio_resync.fleet.measure.states import ClientState, Machine, Order

Script = Callable[[int, int], ClientState]  # of a client's number on its worker and the polls since the start signal

LOADED = ClientState("loaded")


class FakeCrew:
    """Clients on one worker. It dies at the poll number `dies_at` after the start signal."""

    def __init__(self, cluster: FakeCluster, worker: str) -> None:
        self.worker = worker
        self._cluster = cluster
        self._polls = 0
        self._count = 0
        self._runs = self._stopped = False

    def _say(self, what: str) -> None:
        self._cluster.said.append(f"{what} {self.worker}")

    async def machine(self) -> Machine:
        return Machine(self.worker, 2, self._cluster.free_bytes, "/tmp")

    async def load(self, orders: Sequence[Order]) -> None:
        self._say(f"load {len(orders)}")
        self._cluster.orders += orders
        self._count = len(orders)

    async def go(self) -> None:
        self._say("go")
        self._runs = True

    async def poll(self) -> list[ClientState]:
        if not self._runs:
            return [LOADED] * self._count
        self._polls += 1
        if self._polls == self._cluster.dies_at.get(self.worker):
            self._cluster.alive.remove(self.worker)
        if self.worker not in self._cluster.alive:
            raise WorkerLost(self.worker)
        states = [self._cluster.script(number, self._polls) for number in range(self._count)]
        return [self._ended(state) for state in states]

    def _ended(self, state: ClientState) -> ClientState:
        return replace(state, stage="ended") if self._stopped else state

    async def stop(self) -> None:
        self._say("stop")
        self._stopped = True

    async def close(self) -> None:
        self._say("close")


class FakeCluster:
    """Workers that are alive, and what their crews received."""

    def __init__(self, *workers: str, script: Script, dies_at: dict[str, int] | None = None) -> None:
        self.alive = list(workers)
        self.script = script
        self.dies_at = dies_at or {}
        self.free_bytes = 10**12
        self.said: list[str] = []
        self.orders: list[Order] = []

    async def workers(self) -> list[str]:
        return list(self.alive)

    async def place(self, workers: Sequence[str]) -> list[RemoteCrew]:
        return [FakeCrew(self, worker) for worker in workers]

    async def connect_seconds(self, host: str, port: int) -> float | None:
        return 0.02


async def until(holds: Callable[[], bool], seconds: float = 30.0) -> None:
    """Wait until something holds; fail after so many seconds."""
    ends = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < ends
        await asyncio.sleep(0.01)
