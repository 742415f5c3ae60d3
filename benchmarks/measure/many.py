"""Many clients on one server: their total throughput, and their shares of it.

The server is the mock with two workers and a few webmail users, with the presets' costs: once it refuses when its queue
is full, once its queue is unbounded. It can give far less than the clients' machine could take, so that the server is
measured; the clients' processor time is shown beside it. The clients are those of `fleet measure`: all are loaded
before they start at one instant. With `scheduler` they run on an existing Dask cluster, with `listen` its machines can
reach the mock, and with `target` they rebuild from another server.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from benchmarks.tools import machine
from kerio_resync.fleet.measure import cluster as clusters
from kerio_resync.fleet.measure import figures
from kerio_resync.fleet.measure.cluster import Cluster
from kerio_resync.fleet.measure.probe import MockUsers
from kerio_resync.fleet.measure.states import Order
from kerio_resync.fleet.measure.step import Client, run_step
from kerio_resync.variables import PASSWORD_VARIABLE

Served = contextlib.AbstractContextManager[tuple[Order, MockUsers | None]]

KEPT = 0.9  # of the best total
FAIR = 2.0  # the slowest client's time over the fastest's
_COUNTS = {"quick": (1, 4), "usual": (1, 4, 16, 64), "full": (1, 2, 4, 8, 16, 32, 64)}
_MADE: dict[str, Any] = {"seed": 11, "mails": 100, "total_bytes": 2_000_000, "shared": False}
_LOAD: dict[str, Any] = {"workers": 2, "call_s": 0.015, "kb_s": 0.0003, "users": {"per_second": 2, "service_s": 0.15}}
_MANNERS: dict[str, dict[str, Any]] = {"refuses": {"places": 128, "retry_after_s": 2}, "queues": {"places": None}}


async def measure(
    quick: bool = False,
    *,
    full: bool = False,
    scheduler: str = "",
    listen: str = "127.0.0.1",
    target: str = "",
    user: str = "",
) -> dict[str, Any]:
    """Return {"servers": each with its manner, cells and best total, "ok".

    Both bounds hold}.

    `target` is the URL of another server; `user` logs in there with $KERIO_RESYNC_PASSWORD.
    """
    counts = _COUNTS["quick" if quick else "full" if full else "usual"]
    quirks = [""] if target else ["refuses"] if quick else list(_MANNERS)
    async with clusters.connected(scheduler) as cluster:
        servers = [await _measure(cluster, _server(manner, listen, target, user), manner, counts) for manner in quirks]
    return {
        "servers": servers, "target": target, "scheduler": bool(scheduler),
        "kept": min(server["kept"] for server in servers), "unfair": max(server["unfair"] for server in servers),
        "ok": all(server["kept"] >= KEPT and server["unfair"] <= FAIR for server in servers),
    }  # fmt: skip


async def _measure(cluster: Cluster, server: Served, manner: str, counts: tuple[int, ...]) -> dict[str, Any]:
    with server as (order, users):
        await _rebuild(cluster, order, 1, None)  # the server computes the mailbox when it is first read
        cells = [await _cell(cluster, order, users, count) for count in counts]
    best, last = max(cell["total"] for cell in cells), cells[-1]
    return {"manner": manner, "cells": cells, "best": best, "kept": last["total"] / best, "unfair": last["unfair"]}


@contextlib.contextmanager
def _server(manner: str, listen: str, target: str, user: str) -> Iterator[tuple[Order, MockUsers | None]]:
    """Yield what a client rebuilds, and the mock's users."""
    if target:
        yield Order({"server": target, "user": user}, SecretStr(os.environ.get(PASSWORD_VARIABLE, "")), rounds=1), None
        return
    with machine.server({"load": _LOAD | _MANNERS[manner]}, host=listen, **_MADE) as made:
        settings = {"server": made.url, "user": made.user, "proxy": ""}
        yield Order(settings, SecretStr(made.password), rounds=1), MockUsers(made.control_url)


async def _rebuild(cluster: Cluster, order: Order, count: int, users: MockUsers | None) -> Sequence[Client]:
    """Rebuild once by each of `count` clients; raise OSError if one fails."""

    async def start() -> None:
        if users is not None:
            await users.reset()

    clients = (await run_step(cluster, [order] * count, on_start=start)).clients
    for client in clients:
        if client.state.failed or not client.state.rounds:
            raise OSError(f"a client ended with {client.state.exit_code}: {client.state.error}")
    return clients


async def _cell(cluster: Cluster, order: Order, users: MockUsers | None, count: int) -> dict[str, Any]:
    clients = await _rebuild(cluster, order, count, users)
    waits = await users.all_waits() if users is not None else None
    seconds = [client.state.rounds[0].seconds for client in clients]
    wall = max(seconds)
    return {
        "clients": count,
        "seconds": wall,
        "total": sum(client.state.rounds[0].bytes for client in clients) / wall,
        "fastest": min(seconds),
        "slowest": wall,
        "unfair": wall / min(seconds),
        "retries": sum(client.state.retries for client in clients),
        "cpu": sum(client.state.cpu for client in clients),
        "busy": figures.busy(clients),
        "hosts": len({client.machine.host for client in clients}),
        "users": {"p95": waits.p95, "alone": waits.alone, "count": waits.users} if waits is not None else None,
    }


def report(results: dict[str, Any]) -> str:
    """Return a table in Markdown."""
    where = "an existing Dask cluster" if results["scheduler"] else "the server's machine"
    what = f"{_MADE['mails']} mails per client from a mock with two workers and a few webmail users"
    lines = [
        "## Many at once",
        "",
        f"{'Rebuilds from ' + results['target'] if results['target'] else what}. The clients run on {where} and are"
        f" loaded before they start at one instant. Bounds with the most clients: at least {KEPT:.0%} of the best total"
        f" ({results['kept']:.0%}), and the slowest at most {FAIR:g} times the fastest ({results['unfair']:.2f}):"
        f" {'yes' if results['ok'] else 'NO'}. The server is the bottleneck as long as the clients' processors"
        " (last column) are not busy.",
    ]
    for server in results["servers"]:
        lines += ["", *([f"### A server that {server['manner']}", ""] if server["manner"] else []), *_HEAD]
        lines += [_row(cell) for cell in server["cells"]]
    return "\n".join([*lines, ""])


_HEAD = (
    "| clients | hosts | seconds | MB/s in all | fastest, s | slowest, s | ratio | retries | users' p95, ms"
    " | without clients | processors busy |",
    "|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
)


def _row(cell: dict[str, Any]) -> str:
    users = cell["users"]
    waits = f"{users['p95'] * 1000:.0f} | {users['alone'] * 1000:.0f}" if users else "- | -"
    return (
        f"| {cell['clients']} | {cell['hosts']} | {cell['seconds']:.1f} | {cell['total'] / 1e6:.2f}"
        f" | {cell['fastest']:.2f} | {cell['slowest']:.2f} | {cell['unfair']:.2f} | {cell['retries']} | {waits}"
        f" | {cell['busy']:.0%} |"
    )


def picture(results: dict[str, Any], path: Path) -> None:
    """Draw totals, fairness and the users' waits over the number of clients."""
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 3, figsize=(12, 3.5))
    for server in results["servers"]:
        cells = server["cells"]
        counts = [cell["clients"] for cell in cells]
        name = server["manner"] or "the server"
        axes[0].semilogx(counts, [cell["total"] / 1e6 for cell in cells], "o-", base=2, label=name)
        axes[1].semilogx(counts, [cell["unfair"] for cell in cells], "o-", base=2, label=name)
        if all(cell["users"] for cell in cells):
            axes[2].semilogx(counts, [cell["users"]["p95"] for cell in cells], "o-", base=2, label=name)
    axes[0].set(ylabel="MB/s", title="All clients together")
    axes[1].axhline(FAIR, color="gray", linestyle=":")
    axes[1].set(title="Slowest client's time / fastest's")
    axes[2].set(ylabel="seconds", title="Webmail users' p95 wait")
    ticks = [cell["clients"] for cell in results["servers"][0]["cells"]]
    for axis in axes:
        axis.set(xlabel="clients", ylim=(0, 1.15 * axis.get_ylim()[1]))
        axis.set_xticks(ticks, map(str, ticks))
        axis.legend()
    figure.tight_layout()
    figure.savefig(path, dpi=100, bbox_inches="tight")
    pyplot.close(figure)
