"""Crews on the workers of a Dask cluster.

It is an existing one, or one of a single worker inside this process.

A worker needs the same version of kerio-resync, and Dask's `distributed`. Passwords travel in calls of actors, whose
arguments Dask does not log; with a scheduler at `tls://…` they are encrypted on the way.
"""

from __future__ import annotations

import asyncio
import logging
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from importlib.metadata import version
from importlib.util import find_spec
from tempfile import TemporaryDirectory
from typing import Any, Protocol, cast

from kerio_resync.errors import BadSettings, ResyncError, Unreachable
from kerio_resync.fleet.measure.crew import PREFIX, Crew, connect_seconds
from kerio_resync.fleet.measure.states import ClientState, Machine, Order

CONNECT_SECONDS = 10  # for a scheduler or a worker to answer
CALL_SECONDS = 30  # for a crew to answer
_PACKAGE = "kerio-resync"
_LOOPBACK = "127.0.0.1:0"


class WorkerLost(Exception):
    """A worker does not answer any more; the argument is its address."""


class RemoteCrew(Protocol):
    """A crew on a worker. Each method raises WorkerLost if the worker is gone."""

    @property
    def worker(self) -> str:
        """The address of its worker."""
        ...

    async def machine(self) -> Machine:
        """See `Crew`, as for all methods."""
        ...

    async def load(self, orders: Sequence[Order]) -> None: ...

    async def go(self) -> None: ...

    async def poll(self) -> list[ClientState]: ...

    async def stop(self) -> None: ...

    async def close(self) -> None: ...


class Cluster(Protocol):
    """Where crews can be placed."""

    async def workers(self) -> list[str]:
        """Return the addresses of the workers that are there now."""
        ...

    async def place(self, workers: Sequence[str]) -> list[RemoteCrew]:
        """Return a crew on each of the workers, except those lost meanwhile."""
        ...

    async def connect_seconds(self, host: str, port: int) -> float | None:
        """Return the shortest time to connect from a worker; None if it cannot."""
        ...


def shares(count: int, among: int) -> list[int]:
    """Divide `count` into whole numbers that differ by at most one, larger ones first."""
    least, more = divmod(count, among)
    return [least + (n < more) for n in range(among)]


@asynccontextmanager
async def connected(scheduler: str = "") -> AsyncIterator[Cluster]:
    """Yield the cluster at an address; "": one inside this process.

    Unreachable if the scheduler does not answer. BadSettings if Dask is not installed, if there are no workers, or if
    some of them have another version of kerio-resync.
    """
    if find_spec("distributed") is None:
        raise BadSettings("Dask is not installed: run `pip install 'kerio-resync[fleet]'`")
    logging.getLogger("distributed").setLevel(logging.CRITICAL)  # what happens is reported by the measurement
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # other versions of Dask's own packages
        import dask
        import distributed

    async with AsyncExitStack() as stack:
        if not scheduler:
            folder = stack.enter_context(TemporaryDirectory(prefix=PREFIX, ignore_cleanup_errors=True))
            stack.enter_context(dask.config.set({"temporary-directory": folder}))  # of Dask's own files
            local = await _local_cluster(distributed)
            stack.push_async_callback(_quietly, local.close)
        client = await _connect(distributed, scheduler or local.scheduler_address)
        stack.push_async_callback(_quietly, client.close)
        await _require_workers(client, scheduler)
        yield DaskCluster(client)


async def _local_cluster(distributed: Any) -> Any:
    """Return a cluster inside this process, which no other machine can reach."""
    return await distributed.LocalCluster(
        n_workers=1, threads_per_worker=1, processes=False, memory_limit=0, asynchronous=True,
        dashboard_address=_LOOPBACK, worker_dashboard_address=_LOOPBACK, scheduler_kwargs={"dashboard": False},
    )  # fmt: skip


async def _connect(distributed: Any, address: str) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            client = distributed.Client(address, asynchronous=True, timeout=CONNECT_SECONDS)
            try:
                return await client
            except BaseException:
                await _quietly(client.close)
                raise
    except (OSError, TimeoutError):
        raise Unreachable(f"the Dask scheduler at {address} does not answer within {CONNECT_SECONDS} s") from None
    except (ValueError, TypeError) as error:
        raise BadSettings(f"--scheduler: {address} is not an address such as tcp://10.0.0.5:8786 ({error})") from None


async def _require_workers(client: Any, scheduler: str) -> None:
    """Raise BadSettings unless there are workers, all with this version."""
    try:
        found = await asyncio.wait_for(client.run(version, _PACKAGE, on_error="return"), CALL_SECONDS)
    except TimeoutError:
        raise Unreachable(f"the workers of the Dask cluster at {scheduler} do not answer") from None
    if not found:
        raise BadSettings(f"the Dask cluster at {scheduler} has no workers: start some with `dask worker {scheduler}`")
    ours = version(_PACKAGE)
    others = sorted(f"{worker} has {_version_of(theirs)}" for worker, theirs in found.items() if theirs != ours)
    if others:
        more = f" and {len(others) - 3} more" if len(others) > 3 else ""
        raise BadSettings(
            f"the workers need kerio-resync {ours}, as it is here: {', '.join(others[:3])}{more};"
            " install the same version there"
        )


def _version_of(answer: object) -> str:
    return f"version {answer}" if isinstance(answer, str) else "none"


async def _quietly(close: Callable[[], Awaitable[Any]]) -> None:
    """Close something; what fails then changes nothing."""
    with suppress(Exception):
        await asyncio.wait_for(close(), CONNECT_SECONDS)


class DaskCluster:
    """A `Cluster` behind a Dask client."""

    def __init__(self, client: Any) -> None:
        self._client = client

    async def workers(self) -> list[str]:
        return sorted(await asyncio.wait_for(self._client.nthreads(), CALL_SECONDS))

    async def place(self, workers: Sequence[str]) -> list[RemoteCrew]:
        placed = await asyncio.gather(*(self._place(worker) for worker in workers))
        return [crew for crew in placed if crew is not None]

    async def connect_seconds(self, host: str, port: int) -> float | None:
        future = self._client.submit(connect_seconds, host, port, pure=False)
        with suppress(TimeoutError, RuntimeError, OSError):
            return cast(float | None, await asyncio.wait_for(future, CALL_SECONDS))
        return None

    async def _place(self, worker: str) -> RemoteCrew | None:
        future = self._client.submit(Crew, workers=[worker], actor=True, pure=False)
        try:
            return DaskCrew(worker, future, await asyncio.wait_for(future, CALL_SECONDS))
        except (TimeoutError, RuntimeError, OSError, asyncio.CancelledError) as error:
            if isinstance(error, asyncio.CancelledError) and not future.cancelled():
                raise
            return None


class DaskCrew:
    """A `RemoteCrew` behind a Dask actor."""

    def __init__(self, worker: str, future: Any, actor: Any) -> None:
        self.worker = worker
        self._future, self._actor = future, actor  # the actor exists as long as its future

    async def machine(self) -> Machine:
        return cast(Machine, await self._call("machine"))

    async def load(self, orders: Sequence[Order]) -> None:
        await self._call("load", list(orders))

    async def go(self) -> None:
        await self._call("go")

    async def poll(self) -> list[ClientState]:
        return cast(list[ClientState], await self._call("poll"))

    async def stop(self) -> None:
        await self._call("stop")

    async def close(self) -> None:
        try:
            await self._call("close")
        finally:
            self._future.release()

    async def _call(self, method: str, *arguments: Any) -> Any:
        async def call() -> Any:
            return await getattr(self._actor, method)(*arguments)

        try:
            return await asyncio.wait_for(call(), CALL_SECONDS)
        except ResyncError:
            raise
        except Exception as error:
            raise WorkerLost(self.worker) from error
