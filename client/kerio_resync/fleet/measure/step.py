"""One step of a measurement: a number of clients at once.

All clients are loaded before they start. They are polled, so that a worker that dies loses nothing that its clients
have reported; its clients then count as failed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from kerio_resync.errors import Exit, NotEnoughSpace, Unreachable
from kerio_resync.fleet.measure.cluster import Cluster, RemoteCrew, WorkerLost, shares
from kerio_resync.fleet.measure.states import ClientState, Machine, Order
from kerio_resync.sync.disk_space import DATABASE_OVERHEAD, RESERVE_BYTES

POLL_SECONDS = 0.25
LOAD_SECONDS = 300.0  # for all clients of a step to load
STOP_SECONDS = 8.0  # for stopped clients to log out

Watch = Callable[[float, Sequence[ClientState]], str]  # seconds and states; returns why to stop the step, or ""


class Sample(NamedTuple):
    """What a client had fetched after `elapsed` seconds."""

    elapsed: float
    items: int
    bytes: int


@dataclass(slots=True)
class Client:
    """A client of a step: where it ran, and what it reported.

    `samples`: in order of time. `lost`: its worker died.
    """

    machine: Machine
    lost: bool = False
    state: ClientState = ClientState()  # noqa: RUF009 - a frozen value
    samples: list[Sample] = field(default_factory=list)

    def update(self, state: ClientState) -> None:
        """Take in a newer state."""
        self.state = state
        if not self.samples or state.elapsed > self.samples[-1].elapsed:
            self.samples.append(Sample(state.elapsed, state.items, state.bytes))


class StepResult(NamedTuple):
    """The clients of a step.

    `cut`: why it was stopped before its end, "" if it was not. `lost`: workers that died.
    """

    clients: tuple[Client, ...]
    cut: str
    lost: tuple[str, ...]


async def _nothing() -> None:
    return None


def _never(elapsed: float, states: Sequence[ClientState]) -> str:
    return ""


async def run_step(
    cluster: Cluster,
    orders: Sequence[Order],
    *,
    seconds: float = 0.0,
    max_seconds: float = 7200.0,
    bytes_each: int = 0,
    on_start: Callable[[], Awaitable[None]] = _nothing,
    watch: Watch = _never,
) -> StepResult:
    """Run a client per order, spread evenly over the workers.

    The step ends when all clients have ended. Clients that rebuild until they are stopped are stopped after `seconds`,
    once each has completed a rebuild; all are stopped after `max_seconds`, or when `watch` returns a reason. `on_start`
    is called when all are loaded, just before they start. `bytes_each`: the room on the disk that a client needs, 0 if
    unknown. Unreachable without workers, NotEnoughSpace for a disk that is too small.
    """
    step = _Step(await _place(cluster, len(orders)), orders)
    try:
        await step.load(bytes_each)
        await on_start()
        await step.each(lambda part: part.crew.go())
        cut = await step.follow(seconds, max_seconds, watch)
    finally:
        await asyncio.shield(step.close())
    return step.result(cut)


async def _place(cluster: Cluster, count: int) -> list[RemoteCrew]:
    workers = await cluster.workers()
    crews = await cluster.place(workers[:count])
    if not crews:
        raise Unreachable("the Dask cluster has no workers any more")
    return crews


@dataclass(slots=True)
class _Part:
    """The clients of a step on one worker."""

    crew: RemoteCrew
    orders: Sequence[Order]
    clients: list[Client] = field(default_factory=list)
    lost: bool = False


class _Step:
    def __init__(self, crews: Sequence[RemoteCrew], orders: Sequence[Order]) -> None:
        self._parts, at = [], 0
        for crew, share in zip(crews, shares(len(orders), len(crews)), strict=True):
            self._parts.append(_Part(crew, orders[at : at + share]))
            at += share

    @property
    def _clients(self) -> list[Client]:
        return [client for part in self._parts for client in part.clients]

    async def each(self, call: Callable[[_Part], Awaitable[Any]]) -> None:
        """Call each part that is not lost, at the same time."""

        async def guarded(part: _Part) -> None:
            try:
                await call(part)
            except WorkerLost:
                part.lost = True
                part.clients = part.clients or [Client(_UNKNOWN) for _ in part.orders]
                for client in part.clients:
                    if client.state.stage != "ended":
                        client.lost = True
                        client.state = _lost(client.state, part.crew.worker)

        await asyncio.gather(*(guarded(part) for part in self._parts if not part.lost))

    async def load(self, bytes_each: int) -> None:
        """Load all clients, and wait until they are loaded or have failed."""

        async def load(part: _Part) -> None:
            machine = await part.crew.machine()
            _require_room(machine, len(part.orders), bytes_each)
            part.clients = [Client(machine) for _ in part.orders]
            await part.crew.load(part.orders)

        await self.each(load)
        loop = asyncio.get_running_loop()
        until = loop.time() + LOAD_SECONDS
        while any(client.state.stage == "loading" for client in self._clients):
            if loop.time() > until:
                raise Unreachable(f"the clients did not load within {LOAD_SECONDS:.0f} s; the workers are too busy")
            await asyncio.sleep(POLL_SECONDS)
            await self._poll()

    async def follow(self, seconds: float, max_seconds: float, watch: Watch) -> str:
        """Poll the clients until the step is over; return why it was cut."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        while True:
            await asyncio.sleep(POLL_SECONDS)
            await self._poll()
            states = [client.state for client in self._clients]
            if all(state.stage == "ended" for state in states):
                return ""
            elapsed = loop.time() - began
            cut = watch(elapsed, states)
            if not cut and elapsed >= max_seconds:
                cut = "its time was over"
            is_over = seconds and elapsed >= seconds and all(s.rounds for s in states if s.stage != "ended")
            if cut or is_over:
                await self._stop()
                return cut

    async def _stop(self) -> None:
        loop = asyncio.get_running_loop()
        until = loop.time() + STOP_SECONDS
        await self.each(lambda part: part.crew.stop())
        while any(client.state.stage != "ended" for client in self._clients) and loop.time() < until:
            await asyncio.sleep(POLL_SECONDS)
            await self._poll()

    async def _poll(self) -> None:
        async def poll(part: _Part) -> None:
            for client, state in zip(part.clients, await part.crew.poll(), strict=True):
                client.update(state)

        await self.each(poll)

    async def close(self) -> None:
        """End all clients, and remove their caches."""

        async def close(part: _Part) -> None:
            with suppress(WorkerLost):  # its clients end with it
                await part.crew.close()

        await asyncio.gather(*(close(part) for part in self._parts if not part.lost))

    def result(self, cut: str) -> StepResult:
        lost = tuple(part.crew.worker for part in self._parts if part.lost)
        return StepResult(tuple(self._clients), cut, lost)


_UNKNOWN = Machine("", 0, 0, "")


def _lost(state: ClientState, worker: str) -> ClientState:
    error = f"The Dask worker {worker} was lost."
    return replace(state, stage="ended", exit_code=int(Exit.UNFINISHED), error=error)


def _require_room(machine: Machine, count: int, bytes_each: int) -> None:
    needed = int(count * bytes_each * DATABASE_OVERHEAD) + RESERVE_BYTES if bytes_each else 0
    if needed > machine.free_bytes:
        clients = "1 client needs" if count == 1 else f"{count} clients need"
        sentence = (
            f"There is not enough room for caches in {machine.folder} on {machine.host}: {clients} {needed:,} bytes and"
            f" {machine.free_bytes:,} are free. Free some space, set TMPDIR to another folder there, or use fewer"
            " clients."
        )
        raise NotEnoughSpace(needed=needed, available=machine.free_bytes, where=machine.folder, sentence=sentence)
