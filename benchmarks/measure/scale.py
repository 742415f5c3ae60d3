"""The cost of a rebuild as mailboxes grow.

Time, memory, disk, and the exponent of growth.

Mails are small, so that their number counts. Two more mailboxes have all mails in one folder, and very many folders.
The same sizes are measured over JMAP from a server whose ids are hashes (`tools/hashed_mails.py`), with sources.
The server computes a mailbox while it is first read; the client's processor time does not depend on that.
"""

from __future__ import annotations

from math import exp, log
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped,unused-ignore]

from benchmarks.tools import machine

MEAN = 2000  # bytes per mail
EXPONENT = 1.03
SPREAD = 20  # MB between the peaks of 10,000 mails and of the most
LAST = 0.9  # rate of the last tenth relative to the first
_SIZES = {
    "quick": (1_000, 3_000),
    "usual": (1_000, 10_000, 30_000, 100_000),
    "full": (1_000, 10_000, 100_000, 1_000_000),
}
_FROM = 10_000  # below that the start of the program dominates


def measure(quick: bool = False, *, full: bool = False) -> dict[str, Any]:
    """Return the growth over both protocols.

    {"cells": one per mailbox, "exponent", "spread", "steady", "ok", "jmap": likewise}.

    `exponent` is that of processor time, `spread` the range of peak memory in MB. They and `ok` are None if all
    mailboxes are too small.
    """
    sizes = _SIZES["quick" if quick else "full" if full else "usual"]
    cells = [_cell(f"{size:,} mails", size, {}) for size in sizes]
    if not quick:
        cells.append(_cell("one folder of 100,000", 100_000, {"biggest": 100_000, "folders": 6}))
        cells.append(_cell("5,000 folders", 10_000, {"folders": 5_000, "shape": "wide"}))
    found = _judged(cells[: len(sizes)])
    jmap = [_jmap_cell(f"{size:,} mails", size) for size in sizes]
    return {**found, "cells": cells, "jmap": {**_judged(jmap), "cells": jmap}}


def _judged(cells: list[dict[str, Any]]) -> dict[str, Any]:
    """Return {"exponent", "spread", "steady", "ok"} of mailboxes that grow."""
    grown = [cell for cell in cells if cell["mails"] >= _FROM]
    found: dict[str, Any] = {
        "exponent": None,
        "spread": None,
        "ok": None,
        "steady": min(cell["steady"] for cell in cells),
    }
    if len(grown) > 1:
        found["exponent"] = exponent([(cell["mails"], cell["cpu"]) for cell in grown])
        found["spread"] = max(cell["peak"] for cell in grown) - min(cell["peak"] for cell in grown)
        found["ok"] = found["exponent"] <= EXPONENT and found["spread"] <= SPREAD and found["steady"] >= LAST
    return found


def _jmap_cell(name: str, mails: int) -> dict[str, Any]:
    with (
        machine.workspace() as folder,
        machine.child("JMAP server", "benchmarks.tools.hashed_mails", str(mails)) as (pid, line),
    ):
        account = machine.Account(line.strip(), "jane@example.com", "secret")
        spent, summary = machine.rebuilt(account, folder / "profile", "--protocol", "jmap")
        return _figures(name, spent, summary, folder / "profile", sum(psutil.Process(pid).cpu_times()[:2]))


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
        spent, summary = machine.rebuilt(server, folder / "profile")
        return _figures(name, spent, summary, folder / "profile", server.cpu())


def _figures(
    name: str, spent: machine.Spent, summary: dict[str, Any], profile: Path, server_cpu: float
) -> dict[str, Any]:
    return {
        "name": name,
        "mails": summary["items"]["mail"],
        "folders": summary["folders"],
        "seconds": summary["seconds"],
        "cpu": spent.cpu,
        "peak": spent.peak,
        "server_cpu": server_cpu,
        "database": (profile / "cache.db").stat().st_size,
        "steady": steadiness(machine.progress(spent.output)),
    }


def steadiness(events: list[dict[str, Any]]) -> float:
    """Return the rate of the last tenth of the items, relative to the first tenth's."""
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
    """Return the exponent of a power law, by least squares of the logarithms."""
    logs = [(log(x), log(y)) for x, y in points]
    mean_x, mean_y = (sum(column) / len(logs) for column in zip(*logs, strict=True))
    return float(sum((x - mean_x) * (y - mean_y) for x, y in logs) / sum((x - mean_x) ** 2 for x, _ in logs))


def report(results: dict[str, Any]) -> str:
    """Return tables in Markdown."""
    intro = f"Mails of {MEAN} bytes without attachments, one run each; the mailbox is computed while it is read."
    lines = ["## Scale", "", intro, "", *_table(results)]
    if jmap := results.get("jmap"):
        lines += ["", "### Scale, ids that are hashes", ""]
        lines += ["Mails of half a kilobyte over JMAP, with their sources, one run each.", "", *_table(jmap)]
    return "\n".join([*lines, ""])


def _table(results: dict[str, Any]) -> list[str]:
    lines = [
        "| mailbox | folders | seconds | client, CPU s | µs per mail | server, CPU s | peak, MB | on disk, MB"
        " | last tenth / first |",
        "|:---|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for cell in results["cells"]:
        per_mail = 1e6 * cell["cpu"] / max(cell["mails"], 1)
        lines.append(
            f"| {cell['name']} | {cell['folders']:,} | {cell['seconds']:.1f} | {cell['cpu']:.1f} | {per_mail:.0f} |"
            f" {cell['server_cpu']:.1f} | {cell['peak']:.0f} | {cell['database'] / 1e6:.0f} |"
            f" {cell['steady']:.2f} |"
        )
    if results["exponent"] is not None:
        lines += [
            "",
            f"Processor time grows with the power {results['exponent']:.3f} of the number of mails"
            f" (at most {EXPONENT});"
            f" the range of peak memory is {results['spread']:.0f} MB (at most {SPREAD}); the last tenth had at"
            f" least {results['steady']:.2f} of the first tenth's rate. All within bounds:"
            f" {'yes' if results['ok'] else 'NO'}.",
        ]
    else:
        lines += ["", "These mailboxes are too small to show growth: the start of the program dominates."]
    return lines


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
