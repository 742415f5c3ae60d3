"""Many clients against one server: what all of them together get, and whether each gets its share.

Each client is a process that rebuilds a profile of its own, all started at the same instant on this machine. The total
is limited by the machine that runs both sides; what counts is that it holds as clients are added, and that the slowest
is not left behind.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from benchmarks import machine

KEPT = 0.9  # of the best total
FAIR = 2.0  # the slowest client's time over the fastest one's
_COUNTS = {"quick": (1, 4), "usual": (1, 2, 4, 8, 16, 32, 64)}
_MADE: dict[str, Any] = {"seed": 11, "mails": 1_000, "total_bytes": 12_000_000}


def measure(quick: bool = False) -> dict[str, Any]:
    """{"cells": one a number of clients, "ok": whether both bounds hold for the most clients}"""
    with machine.server(**_MADE) as server:
        with machine.workspace() as folder:
            machine.rebuilt(server, folder / "first")  # the server makes the mailbox when it is first read
        cells = [_cell(server, count) for count in _COUNTS["quick" if quick else "usual"]]
    best = max(cell["total"] for cell in cells)
    last = cells[-1]
    return {"cells": cells, "best": best, "ok": last["total"] >= KEPT * best and last["unfair"] <= FAIR}


def _cell(server: machine.Server, count: int) -> dict[str, Any]:
    with machine.workspace() as folder:
        began = time.perf_counter()
        started = [machine.launch(*machine.command(server, folder / str(n), "--fresh")) for n in range(count)]
        ended = [machine.wait(each) for each in started]
        wall = time.perf_counter() - began
    told = [machine.summary(each.said) for each in ended]
    seconds = [float(each["seconds"]) for each in told]
    return {
        "clients": count,
        "seconds": wall,
        "total": sum(each["plain_bytes"] for each in told) / wall,
        "fastest": min(seconds),
        "slowest": max(seconds),
        "unfair": max(seconds) / min(seconds),
        "retries": sum(each["retries"] for each in told),
        "cpu": sum(each.cpu for each in ended),
    }


def report(results: dict[str, Any]) -> str:
    """A table in Markdown."""
    lines = [
        "## Many at once",
        "",
        f"1,000 mails for each client; all processes on this machine. With the most clients at least {KEPT:.0%} of the"
        f" best total, and the slowest at most {FAIR:.0f} times the fastest: {'yes' if results['ok'] else 'NO'}.",
        "",
        "| clients | seconds | MB/s in all | fastest, s | slowest, s | ratio | processor s each |",
        "|---:|---:|---:|---:|---:|---:|---:|",
    ]
    lines += [
        f"| {cell['clients']} | {cell['seconds']:.1f} | {cell['total'] / 1e6:.1f} | {cell['fastest']:.2f} |"
        f" {cell['slowest']:.2f} | {cell['unfair']:.2f} | {cell['cpu'] / cell['clients']:.2f} |"
        for cell in results["cells"]
    ]
    return "\n".join([*lines, ""])


def picture(results: dict[str, Any], path: Path) -> None:
    """The total over the number of clients, into an image file."""
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(6, 3.5))
    counts = [cell["clients"] for cell in results["cells"]]
    axes.semilogx(counts, [cell["total"] / 1e6 for cell in results["cells"]], "o-", base=2)
    axes.set(xlabel="clients", ylabel="MB/s in all", title="Many clients, one server", ylim=(0, None))
    figure.savefig(path, dpi=100, bbox_inches="tight")
    pyplot.close(figure)
