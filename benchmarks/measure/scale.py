"""What a rebuild costs as mailboxes grow: time, memory and the database's size, and the exponent of their growth.

Small mails, so that the number of them is what counts. Beside the sizes, one folder that holds everything and a mailbox
of very many folders. The mailbox is computed by the server while it is read for the first time; the client's processor
time is the figure that does not depend on that.
"""

from __future__ import annotations

from math import exp, log
from pathlib import Path
from typing import Any

from benchmarks.tools import machine

MEAN = 2000  # bytes a mail
EXPONENT = 1.03
SPREAD = 20  # MB by which the peaks of 10,000 mails and of the most may differ
LAST = 0.9  # the rate of the last tenth, of that of the first
_SIZES = {
    "quick": (1_000, 3_000),
    "usual": (1_000, 10_000, 30_000, 100_000),
    "full": (1_000, 10_000, 100_000, 1_000_000),
}
_FROM = 10_000  # below that the start of the program is what is measured


def measure(quick: bool = False, *, full: bool = False) -> dict[str, Any]:
    """{"cells": one a mailbox, "exponent": of processor time, "spread": of peaks, "ok": …}; the last three are None
    where all mailboxes are too small to tell."""
    sizes = _SIZES["quick" if quick else "full" if full else "usual"]
    cells = [_cell(f"{size:,} mails", size, {}) for size in sizes]
    if not quick:
        cells.append(_cell("one folder of 100,000", 100_000, {"biggest": 100_000, "folders": 6}))
        cells.append(_cell("5,000 folders", 10_000, {"folders": 5_000, "shape": "wide"}))
    grown = [cell for cell in cells[: len(sizes)] if cell["mails"] >= _FROM]
    found: dict[str, Any] = {
        "cells": cells,
        "exponent": None,
        "spread": None,
        "ok": None,
        "steady": min(cell["steady"] for cell in cells[: len(sizes)]),
    }
    if len(grown) > 1:
        found["exponent"] = exponent([(cell["mails"], cell["cpu"]) for cell in grown])
        found["spread"] = max(cell["peak"] for cell in grown) - min(cell["peak"] for cell in grown)
        found["ok"] = found["exponent"] <= EXPONENT and found["spread"] <= SPREAD and found["steady"] >= LAST
    return found


def _cell(name: str, mails: int, more: dict[str, Any]) -> dict[str, Any]:
    made: dict[str, Any] = {
        "mails": mails,
        "mean_bytes": MEAN,
        "attachments": 0.0,
        "contacts": 0,
        "events": 0,
        "tasks": 0,
        "notes": 0,
    }
    with machine.workspace() as folder, machine.server(**made, shared=False, **more) as server:
        spent, told = machine.rebuilt(server, folder / "profile")
        database = (folder / "profile" / "cache.db").stat().st_size
        return {
            "name": name,
            "mails": told["items"]["mail"],
            "folders": told["folders"],
            "seconds": told["seconds"],
            "cpu": spent.cpu,
            "peak": spent.peak,
            "server_cpu": server.cpu(),
            "database": database,
            "steady": steadiness(machine.progress(spent.said)),
        }


def steadiness(events: list[dict[str, Any]]) -> float:
    """The rate of the last tenth of the items over that of the first; 1.0 if there is too little to tell."""
    marks = [(event["elapsed"], event["items_done"]) for event in events]
    total = max((done for _, done in marks), default=0)
    began = next((at for at, done in marks if done), None)
    first = next((at for at, done in marks if done >= 0.1 * total), None)
    late = next((at for at, done in marks if done >= 0.9 * total), None)
    last = next((at for at, done in marks if done >= total), None)
    if None in (began, first, late, last) or total < 10_000 or first == began or last == late:
        return 1.0
    assert began is not None and first is not None and late is not None and last is not None  # noqa: PT018
    return float((first - began) / (last - late))


def exponent(points: list[tuple[float, float]]) -> float:
    """The slope of a straight line through the logarithms, by least squares."""
    logs = [(log(x), log(y)) for x, y in points]
    mean_x, mean_y = (sum(each) / len(logs) for each in zip(*logs, strict=True))
    return float(sum((x - mean_x) * (y - mean_y) for x, y in logs) / sum((x - mean_x) ** 2 for x, _ in logs))


def report(results: dict[str, Any]) -> str:
    """A table in Markdown."""
    lines = [
        "## Scale",
        "",
        f"Mails of {MEAN} bytes without attachments, one run each, the mailbox computed while it is read.",
        "",
        "| mailbox | folders | seconds | client, CPU s | µs a mail | server, CPU s | peak, MB | on disk, MB"
        " | last tenth to first |",
        "|:---|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for cell in results["cells"]:
        each = 1e6 * cell["cpu"] / max(cell["mails"], 1)
        lines.append(
            f"| {cell['name']} | {cell['folders']:,} | {cell['seconds']:.1f} | {cell['cpu']:.1f} | {each:.0f} |"
            f" {cell['server_cpu']:.1f} | {cell['peak']:.0f} | {cell['database'] / 1e6:.0f} |"
            f" {cell['steady']:.2f} |"
        )
    if results["exponent"] is not None:
        lines += [
            "",
            f"Processor time grows with the power {results['exponent']:.3f} of the number of mails"
            f" (at most {EXPONENT});"
            f" peaks of memory lie {results['spread']:.0f} MB apart (at most {SPREAD}); the last tenth came at"
            f" {results['steady']:.2f} of the first one's rate at least. All kept: {'yes' if results['ok'] else 'NO'}.",
        ]
    else:
        lines += ["", "Too small to tell how it grows: what is measured is mostly the start of the program."]
    return "\n".join([*lines, ""])


def picture(results: dict[str, Any], path: Path) -> None:
    """Draw the time over the number of mails."""
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(6, 4))
    cells = [cell for cell in results["cells"] if cell["name"].endswith(" mails")]
    sizes = [cell["mails"] for cell in cells]
    axes.loglog(sizes, [cell["cpu"] for cell in cells], "o-", label="client, processor time")
    axes.loglog(sizes, [cell["seconds"] for cell in cells], "x--", label="wall time")
    if results["exponent"] is not None:
        last = cells[-1]
        scale = exp(log(last["cpu"]) - results["exponent"] * log(last["mails"]))
        line = [scale * size ** results["exponent"] for size in sizes]
        axes.loglog(sizes, line, ":", color="0.5", label=f"power {results['exponent']:.3f}")
    axes.set(xlabel="mails", ylabel="seconds", title="Time and the size of the mailbox")
    axes.legend()
    figure.savefig(path, dpi=100, bbox_inches="tight")
    pyplot.close(figure)
