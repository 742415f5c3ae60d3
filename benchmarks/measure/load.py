"""A rebuild on a busy server: its throughput, and the waits of webmail users.

The client's own pacing (limit, limiter, retries, batch sizes, number of workers) meets the mock's load model under the
presets `monday-morning` (which refuses when its queue is full) and `server-queues` (which never does), with fixed
numbers of requests in flight and with the client's own limit. Time is virtual and replies have sizes but no contents,
so that minutes take seconds and runs are deterministic. The users are drawn from the seed alone; their waits without
the client are computed for the same users, so the ratio is no estimate.

Throughput counts from the first second, so a client that finds its pace slowly pays for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from typing import Any

import orjson

from kerio_mockserver.conditions.presets import PRESETS
from kerio_mockserver.conditions.worker_pool import WorkerPool
from kerio_resync.errors import TransientServerError
from kerio_resync.server.http.transport import Request, Response
from kerio_resync.server.kerio.rpc import RpcClient
from kerio_resync.server.kerio.session import Session
from kerio_resync.server.pacing.adaptive_limit import AdaptiveLimit, Sample
from kerio_resync.server.pacing.limiter import Limiter
from kerio_resync.server.pacing.retry import Retrier
from kerio_resync.sync.batch_size import BatchSize
from simulation import virtual_time
from simulation.direct_transport import DirectResponse
from simulation.wire import ORIGIN

NAMES = ("monday-morning", "server-queues")
FIXED = (1, 2, 4, 8, 16, 32, 64)
OURS = "ours"
MOST_WAIT = 2.0  # times the users' p95 without the client
LEAST_SHARE = 0.8  # of the best fixed limit's throughput
WORKERS = 32  # fetching items, and as many fetching attachments, so that 64 may be in flight
ATTACHMENTS = (11.0, 1.2, 3e6)  # mu and sigma of the logarithm of their bytes (median 60 KB), and the maximum


class Fixed(AdaptiveLimit):
    """A limit that never changes."""

    def after(self, sample: Sample) -> AdaptiveLimit:
        return self


async def no_login() -> None:
    """Renew nothing: the session never expires."""


class Server:
    """A transport whose requests name the bytes of their reply and wait for a worker."""

    def __init__(self, workers: WorkerPool) -> None:
        self._workers = workers
        self.bytes = 0
        self.in_flight = 0

    @asynccontextmanager
    async def send(self, request: Request) -> AsyncIterator[Response]:
        asked = orjson.loads(request.body or b"{}")
        size = asked["params"]["bytes"]
        async with self._workers.slot(asked["method"], asked["params"]) as turn:
            if turn.refusal is not None:
                headers = {name.lower(): value for name, value in turn.refusal.headers.items()}
                yield DirectResponse(turn.refusal.status, headers, bytes(turn.refusal.body))  # type: ignore[arg-type]
                return
            await turn.serve(size)
        self.bytes += size
        yield DirectResponse(200, {}, b'{"jsonrpc":"2.0","result":{}}', wire_bytes=size)

    async def aclose(self) -> None:
        return None


async def measure(quick: bool) -> dict[str, Any]:
    """Measure throughput and waits for each limit under each preset."""
    seconds, fixed = (120.0, (1, 4, 16, 64)) if quick else (900.0, FIXED)
    return await asyncio.to_thread(_measure, seconds, fixed)


def _measure(seconds: float, fixed: tuple[int, ...]) -> dict[str, Any]:
    runs = [run(name, limit, seconds) for name in NAMES for limit in (*fixed, None)]
    return {"seconds": seconds, "runs": runs, "ok": all(holds(runs, name) for name in NAMES)}


def run(name: str, limit: int | None, seconds: float, seed: int = 1) -> dict[str, Any]:
    """Run under a preset with a fixed `limit`, or the client's own if None."""
    return virtual_time.run(_run(name, limit, seconds, seed))


async def _run(name: str, limit: int | None, seconds: float, seed: int) -> dict[str, Any]:
    load = WorkerPool(PRESETS[name].load, seed=seed)
    server = Server(load)
    limiter = Limiter(Fixed(value=float(limit), most=limit) if limit else AdaptiveLimit())
    rng = Random(f"{seed}/client")
    retrier = Retrier(chance=rng.random)
    caller = RpcClient(server, Session(ORIGIN), limiter, retrier, no_login)
    load.start()
    tasks = [asyncio.ensure_future(work) for work in _work(caller, Random(f"{seed}/attachments"))]
    levels = []
    for _ in range(int(seconds * 2)):
        await asyncio.sleep(0.5)
        levels.append(limiter.limit.slots)
    found = {
        "preset": name, "limit": limit or OURS, "bytes_s": server.bytes / seconds, "retries": retrier.retries,
        "levels": levels, **_waits(load),
    }  # fmt: skip
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    limiter.close()
    load.stop()
    return found


def _work(caller: RpcClient, rng: Random) -> Iterator[Any]:
    """Return what the client's workers do continuously."""
    size = BatchSize()

    async def details() -> None:
        nonlocal size
        while True:
            asked = int(size.bytes)
            answer = await caller.call("Mails.getById", {"bytes": asked}, retry_timeout=1e9)
            size = size.after(asked, answer.seconds, answer.server_seconds, answer.min_latency)

    async def contents() -> None:
        mu, sigma, most = ATTACHMENTS
        while True:
            asked = int(min(most, rng.lognormvariate(mu, sigma)))
            try:
                await caller.call("GET attachment", {"bytes": asked}, retry_timeout=1e9)
            except TransientServerError:
                continue

    for _ in range(WORKERS):
        yield details()
        yield contents()


def _waits(load: WorkerPool) -> dict[str, Any]:
    tally = load.tally
    return {
        "p95": tally.users.percentile(0.95),
        "p95_alone": tally.alone.waits.percentile(0.95),
        "mean": tally.users.mean,
        "users": tally.users.count,
        "turned_away": tally.turned_away,
        "refused": tally.refused,
        "arrived_in_pause": tally.in_pause,
    }


def _of(runs: list[dict[str, Any]], name: str) -> list[dict[str, Any]]:
    return [run for run in runs if run["preset"] == name]


def best(runs: list[dict[str, Any]], name: str) -> float:
    """Return the throughput of the best fixed limit, in bytes per second."""
    return max(float(run["bytes_s"]) for run in _of(runs, name) if run["limit"] != OURS)


def holds(runs: list[dict[str, Any]], name: str) -> bool:
    """Return whether the client's own limit keeps both bounds and every pause."""
    ours = next(run for run in _of(runs, name) if run["limit"] == OURS)
    return bool(
        ours["p95"] <= MOST_WAIT * ours["p95_alone"]
        and ours["bytes_s"] >= LEAST_SHARE * best(runs, name)
        and ours["arrived_in_pause"] == 0
    )


def report(results: dict[str, Any]) -> str:
    """Return a table per preset in Markdown."""
    runs = results["runs"]
    lines = [
        "## A busy server",
        "",
        f"{results['seconds']:.0f} s of bulk traffic on a server with 40 webmail users per second. Bounds: the users'"
        f" p95 wait at most {MOST_WAIT:g} times that without the client, and at least {LEAST_SHARE:g} of the best"
        f" fixed limit's throughput: {'yes' if results['ok'] else 'NO'}.",
    ]
    for name in NAMES:
        top = best(runs, name)
        lines += [
            "",
            f"### {name}",
            "",
            "| in flight | MB/s | of the best | users' p95, ms | without client | ratio | users refused"
            " | calls refused | in pause |",
            "|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
        ]
        lines += [_row(run, top) for run in _of(runs, name)]
    return "\n".join(lines) + "\n"


def _row(run: dict[str, Any], top: float) -> str:
    levels = run["levels"]
    shown = f"{run['limit']} ({sum(levels) / len(levels):.1f})" if run["limit"] == OURS else str(run["limit"])
    return (
        f"| {shown} | {run['bytes_s'] / 1e6:.2f} | {run['bytes_s'] / top:.2f} | {run['p95'] * 1000:.0f}"
        f" | {run['p95_alone'] * 1000:.0f} | {_times(run):.2f} | {run['turned_away']} | {run['refused']}"
        f" | {run['arrived_in_pause']} |"
    )


def _times(run: dict[str, Any]) -> float:
    return float(run["p95"] / run["p95_alone"]) if run["p95_alone"] else float("inf")


_TICKS = (1, 1.5, 2, 3, 4, 6, 8, 10)  # of the relative waits


def picture(results: dict[str, Any], path: Path) -> None:
    """Draw throughput over the users' waits.

    A line for fixed limits, a cross for the client's own.
    """
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, len(NAMES), figsize=(11, 4), sharey=True)
    for axis, name in zip(axes, NAMES, strict=True):
        runs = _of(results["runs"], name)
        fixed = [(_times(run), run["bytes_s"] / 1e6, run["limit"]) for run in runs if run["limit"] != OURS]
        ours = next(run for run in runs if run["limit"] == OURS)
        axis.plot([point[0] for point in fixed], [point[1] for point in fixed], "o-", label="fixed limits")
        for times, rate, limit in fixed:
            offset = (-9, -4) if limit < 4 else (0, 7)  # beside the rising part of the line, above the flat one
            axis.annotate(str(limit), (times, rate), xytext=offset, textcoords="offset points", ha="center")
        axis.plot(_times(ours), ours["bytes_s"] / 1e6, "rx", markersize=12, markeredgewidth=3, label="ours")
        axis.axvline(MOST_WAIT, color="gray", linestyle=":")
        axis.axhline(LEAST_SHARE * best(results["runs"], name) / 1e6, color="gray", linestyle=":")
        axis.margins(x=0.08, y=0.1)
        axis.set(xscale="log", xlabel="users' p95 wait, relative to that without the client", title=name)
        axis.set_xticks(_TICKS, map(str, _TICKS))
        axis.minorticks_off()
        axis.legend(loc="lower right")
    axes[0].set(ylabel="MB/s")
    figure.savefig(path, dpi=120, bbox_inches="tight")
    pyplot.close(figure)
