"""Many clients against one server: what all of them together get, and whether each gets its share.

The server is the mock as it is on a Monday morning: a pool of workers that webmail users keep busy and that refuses
when its queue is full. What it can give is well below what the clients' machine could take, so that it is the server
that is measured; how busy the clients' processors were is told beside it. All clients are loaded before they start at
one instant. With `scheduler` they run on an existing Dask cluster (see `cluster.py`), with `listen` the mock is
reachable from its machines, and with `target` it is another server that they all rebuild from.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

from benchmarks import cluster, machine
from benchmarks.cluster import Target
from kerio_mockserver.conditions.presets import PRESETS

KEPT = 0.9  # of the best total
FAIR = 2.0  # the slowest client's time over the fastest one's
PRESET = "monday-morning"
_COUNTS = {"quick": (1, 8), "usual": (1, 2, 4, 8, 16, 32, 64)}
_MADE: dict[str, Any] = {"seed": 11, "mails": 200, "total_bytes": 4_000_000, "shared": False}


def measure(
    quick: bool = False, *, scheduler: str = "", listen: str = "127.0.0.1", target: str = "", user: str = ""
) -> dict[str, Any]:
    """{"cells": one a number of clients, "best": the best total, "ok": whether both bounds hold for the most clients}

    `target`: the URL of a server that is not the mock; `user` logs in there with $KERIO_RESYNC_PASSWORD.
    """
    counts = _COUNTS["quick" if quick else "usual"]
    with _server(listen, target, user) as (server, control), cluster.joined(scheduler) as joined:
        cluster.run(joined, server, 1)  # the server makes the mailbox when it is first read
        cells = [_cell(joined, server, control, count) for count in counts]
        workers = len(joined.scheduler_info(n_workers=-1)["workers"])
    best = max(cell["total"] for cell in cells)
    last = cells[-1]
    return {
        "cells": cells, "best": best, "workers": workers, "preset": "" if target else PRESET, "target": target,
        "scheduler": bool(scheduler), "ok": last["total"] >= KEPT * best and last["unfair"] <= FAIR,
    }  # fmt: skip


@contextlib.contextmanager
def _server(listen: str, target: str, user: str) -> Iterator[tuple[Target, str]]:
    """The server, and the address that its statistics are at ("" if there are none)."""
    if target:
        yield Target(target, user, os.environ.get("KERIO_RESYNC_PASSWORD", "")), ""
        return
    with machine.server(PRESETS[PRESET].as_json(), host=listen, **_MADE) as made:
        yield Target(made.url, made.user, made.password), made.control_url


def _cell(joined: Any, server: Target, control: str, count: int) -> dict[str, Any]:
    if control:
        _ask(control + "/reset", b"{}")
    ended = cluster.run(joined, server, count)
    wall = max(one.seconds for one in ended)
    seconds = [one.seconds for one in ended]
    cores = {one.host: one.cores for one in ended}
    bytes_ = sum(one.summary["plain_bytes"] for one in ended)
    return {
        "clients": count,
        "seconds": wall,
        "total": bytes_ / wall,
        "fastest": min(seconds),
        "slowest": wall,
        "unfair": wall / min(seconds),
        "retries": sum(one.summary["retries"] for one in ended),
        "cpu": sum(one.cpu for one in ended),
        "busy": sum(one.cpu for one in ended) / wall / sum(cores.values()),
        "hosts": len(cores),
        "users": _users(control),
    }


def _users(control: str) -> dict[str, float] | None:
    """How long webmail users waited, and would have waited without the clients."""
    if not control:
        return None
    told = _ask(control + "/stats", None)["load"]["users"]
    alone = told["without_client"]["wait"]
    return {"p95": told["wait"]["p95"], "alone": alone["p95"], "count": told["wait"]["count"]}


def _ask(url: str, body: bytes | None) -> Any:
    with urlopen(Request(url, body, {"Content-Type": "application/json"}), timeout=30) as reply:
        return json.load(reply)


def report(results: dict[str, Any]) -> str:
    """A table in Markdown."""
    where = "an existing Dask cluster" if results["scheduler"] else "this machine, which the server is on as well"
    what = f"{_MADE['mails']} mails for each client from the mock under `{results['preset']}`"
    lines = [
        "## Many at once",
        "",
        f"{'Rebuilds from ' + results['target'] if results['target'] else what}; the clients on {where}, loaded before"
        f" they start at one instant. With the most clients at least {KEPT:.0%} of the best total, and the slowest at"
        f" most {FAIR:.0f} times the fastest: {'yes' if results['ok'] else 'NO'}. The server is what limits them as"
        " long as the clients' processors (last column) are not fully busy.",
        "",
        "| clients | hosts | seconds | MB/s in all | fastest, s | slowest, s | ratio | retries"
        " | users' p95, ms | without clients | processors busy |",
        "|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for cell in results["cells"]:
        users = cell["users"]
        waits = f"{users['p95'] * 1000:.0f} | {users['alone'] * 1000:.0f}" if users else "- | -"
        lines.append(
            f"| {cell['clients']} | {cell['hosts']} | {cell['seconds']:.1f} | {cell['total'] / 1e6:.2f}"
            f" | {cell['fastest']:.2f} | {cell['slowest']:.2f} | {cell['unfair']:.2f} | {cell['retries']} | {waits}"
            f" | {cell['busy']:.0%} |"
        )
    return "\n".join([*lines, ""])


def picture(results: dict[str, Any], path: Path) -> None:
    """The total and the users' waits over the number of clients, into an image file."""
    from matplotlib import pyplot

    cells = results["cells"]
    counts = [cell["clients"] for cell in cells]
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(10, 3.5))
    left.semilogx(counts, [cell["total"] / 1e6 for cell in cells], "o-", base=2)
    left.axhline(KEPT * results["best"] / 1e6, color="gray", linestyle=":")
    left.set(xlabel="clients", ylabel="MB/s in all", title="Many clients, one server", ylim=(0, None))
    right.semilogx(counts, [cell["unfair"] for cell in cells], "o-", base=2, label="slowest client / fastest")
    right.axhline(FAIR, color="gray", linestyle=":")
    if all(cell["users"] for cell in cells):
        waits = [cell["users"]["p95"] for cell in cells]
        right.semilogx(counts, waits, "x--", base=2, label="webmail users' p95 wait, s")
    right.set(xlabel="clients", title="Fairness, and the users", ylim=(0, None))
    right.legend()
    figure.savefig(path, dpi=100, bbox_inches="tight")
    pyplot.close(figure)
