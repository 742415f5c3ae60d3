"""The mock's queue compared with theory.

Mean waits of M/M/c and Erlang's formula C.

Most arrivals are webmail users, one in ten is a client's call; both streams are Poisson and so is their sum, service
times are exponential, so both must wait what the formula says (A. K. Erlang, 1917). It runs in virtual time. Waits in a
busy queue are correlated for long, so that a mean needs very many arrivals near saturation: with one worker at load
0.95 its relative error is about sqrt(1700 / arrivals), 3 % of 1,500,000.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ProcessPoolExecutor
from itertools import islice
from math import factorial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from kerio_mockserver.conditions.model import Load, Users
from kerio_mockserver.conditions.webmail_users import arrivals
from kerio_mockserver.conditions.worker_pool import WorkerPool
from simulation.virtual_time import run

SERVICE_S = 0.1
TOLERANCE = 0.10
_WORKERS = (1, 4, 8)
_ARRIVALS = {0.5: 200_000, 0.8: 400_000, 0.95: 1_500_000}
_QUICK = {0.5: 60_000, 0.8: 120_000}
_CALLS = 0.1  # of the arrivals


def erlang_c(workers: int, offered: float) -> float:
    """Return the share of arrivals that wait; `offered` is the load times `workers`."""
    busy = offered**workers / factorial(workers) * workers / (workers - offered)
    return busy / (sum(offered**n / factorial(n) for n in range(workers)) + busy)


def mean_wait(workers: int, load: float) -> float:
    """Return the mean wait of all arrivals at `load` (0 to 1), in service times."""
    return erlang_c(workers, load * workers) * SERVICE_S / (workers * (1 - load))


async def measure(quick: bool) -> dict[str, Any]:
    """Measure waits for each number of workers and load.

    With `quick` fewer arrivals, and none near saturation.
    """
    wanted = [(workers, load, n) for load, n in (_QUICK if quick else _ARRIVALS).items() for workers in _WORKERS]
    loop = asyncio.get_running_loop()
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:
        cells = await asyncio.gather(*(loop.run_in_executor(pool, cell, *parameters) for parameters in wanted))
    return {"cells": cells, "ok": all(_off(cell) <= TOLERANCE for cell in cells)}


def cell(workers: int, load: float, number: int) -> dict[str, Any]:
    """Return the mean waits of one queue in seconds, and the expected one."""
    users, calls = run(_simulate(workers, load, number))
    return {
        "workers": workers,
        "load": load,
        "arrivals": number,
        "expected": mean_wait(workers, load),
        "users": users,
        "calls": calls,
    }


async def _simulate(workers: int, load: float, number: int) -> tuple[float, float]:
    """Return the mean waits of users and of calls."""
    rate = load * workers / SERVICE_S
    people = Users(per_second=rate * (1 - _CALLS), service_s=SERVICE_S)
    calls = Users(per_second=rate * _CALLS, service_s=SERVICE_S)
    queue = WorkerPool(Load(workers=workers, call_s=SERVICE_S, users=people), seed=f"queues-{workers}-{load}")
    loop = asyncio.get_running_loop()
    queue.start()
    async with asyncio.TaskGroup() as group:
        for arrival in islice(arrivals(calls, f"calls-{workers}-{load}"), int(number * _CALLS)):
            await asyncio.sleep(arrival.at - loop.time())
            group.create_task(_call(queue))
    queue.stop()
    return queue.tally.users.mean, queue.tally.calls.mean


async def _call(queue: WorkerPool) -> None:
    async with queue.slot("call") as turn:
        await turn.serve(0)


def _off(cell: dict[str, Any]) -> float:
    """Return the relative deviation of the mean over all arrivals from theory."""
    mean = cell["users"] * (1 - _CALLS) + cell["calls"] * _CALLS
    return abs(float(mean / cell["expected"]) - 1)


def report(results: dict[str, Any]) -> str:
    """Return a table in Markdown."""
    lines = [
        "## Queues",
        "",
        f"Mean waits in ms and those of Erlang C; all within {TOLERANCE:.0%}: {'yes' if results['ok'] else 'NO'}.",
        "",
        "| workers | load | arrivals | Erlang C | users | calls | deviation |",
        "|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for cell in results["cells"]:
        waits = " | ".join(f"{cell[name] * 1000:.2f}" for name in ("expected", "users", "calls"))
        lines.append(f"| {cell['workers']} | {cell['load']} | {cell['arrivals']:,} | {waits} | {_off(cell):.1%} |")
    return "\n".join(lines) + "\n"


def picture(results: dict[str, Any], path: Path) -> None:
    """Draw theory as lines and measurements as dots."""
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(6, 4))
    loads = [0.3 + n * 0.01 for n in range(67)]
    for workers in _WORKERS:
        (line,) = axes.plot(
            loads,
            [mean_wait(workers, load) * 1000 for load in loads],
            label=f"{workers} worker{'s' if workers > 1 else ''}",
        )
        cells = [cell for cell in results["cells"] if cell["workers"] == workers]
        for name, marker in (("users", "o"), ("calls", "x")):
            waits = [cell[name] * 1000 for cell in cells]
            axes.plot([cell["load"] for cell in cells], waits, marker, color=line.get_color())
    axes.set(xlabel="load", ylabel="mean wait, ms", yscale="log", title="M/M/c: Erlang C (lines), users (o), calls (x)")
    axes.legend()
    figure.savefig(path, dpi=120, bbox_inches="tight")
    pyplot.close(figure)
