"""The rebuild beside mbsync and offlineimap3 with the same mails.

Both servers have the same mails, stand behind the same relay and use the same disk; the programs take turns, and ratios
are taken within a turn. The rivals run as users run them (mbsync fsyncs each mail) and at their best (no fsync, four
processes that share the folders). Ours is durable at its end in all cases, and its time is that of the whole process,
as theirs is. A run that did not bring all mails is an error.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.rivals import dovecot, mails, programs
from benchmarks.rivals.clients import Run, mbsync, offlineimap
from benchmarks.rivals.mails import Written
from benchmarks.rivals.programs import Programs
from benchmarks.tools import machine, relay
from benchmarks.tools.machine import middle, shown

OURS = "ours"
_LINE = {"down_bytes_s": 12_500_000, "up_bytes_s": 12_500_000, "rtt_s": 0.05}
_WAYS: dict[str, dict[str, Any]] = {
    "mbsync": {"fsync": True, "processes": 1},
    "mbsync, no fsync": {"fsync": False, "processes": 1},
    "mbsync, no fsync, 4 processes": {"fsync": False, "processes": 4},
}
_SLOW = "offlineimap3"  # so slow that one run must do


class Cell(NamedTuple):
    """Mails (of a seed or path), a link, turns, and offlineimap3 or not."""

    name: str
    source: tuple[int, int] | Path
    link: dict[str, float] | None
    turns: int
    slow: bool = False


Program = Callable[[], Run]


def measure(quick: bool = False, *, full: bool = False, corpus: str = "") -> dict[str, Any]:
    """Return {"skipped": reason, "versions", "cells": one per mailbox and link}."""
    installed = programs.find()
    if isinstance(installed, str):
        return {"skipped": installed, "versions": {}, "cells": []}
    cells = [_measure(installed, cell) for cell in _cells(quick, full, corpus or os.environ.get("KERIO_CORPUS", ""))]
    return {"skipped": "", "versions": programs.versions(installed), "cells": cells}


def _cells(quick: bool, full: bool, corpus: str) -> Iterator[Cell]:
    if quick:
        yield Cell("loopback", (500, 12_500_000), None, 1)
        return
    made = (10_000, 250_000_000)
    yield Cell("loopback", made, None, 5, slow=True)
    yield Cell("100 Mbit/s × 50 ms", made, _LINE, 5 if full else 1, slow=full)
    if corpus:
        yield Cell("real text, 100 Mbit/s × 50 ms", Path(corpus), _LINE, 5)


def _measure(installed: Programs, cell: Cell) -> dict[str, Any]:
    with machine.workspace() as folder:
        maildir = folder / "served" / "Maildir"
        if isinstance(cell.source, Path):
            written = mails.write_real(maildir, cell.source)
        else:
            written = mails.write_seeded(maildir, 7, *cell.source)
        with _ready(installed, cell, folder, maildir, written) as runners:
            turns = [_turn(runners, written, slow=cell.slow and not n) for n in range(cell.turns)]
    return {
        "name": cell.name, "mails": written.mails, "bytes": written.bytes, "folders": len(written.folders),
        "link": cell.link, "turns": turns, **_judged(turns),
    }  # fmt: skip


@contextmanager
def _ready(
    installed: Programs, cell: Cell, folder: Path, maildir: Path, written: Written
) -> Iterator[dict[str, Program]]:
    """Yield all programs ready to run, with both servers warmed up."""
    conditions = {"link": cell.link} if cell.link else None
    with (
        machine.server(conditions, import_=str(maildir)) as server,
        dovecot.serving(installed, maildir, folder / "dovecot") as direct,
        relay.before(direct, cell.link) as port,
    ):

        def ours() -> Run:
            spent, summary = machine.rebuilt(server, machine.empty(folder / "profile"))
            return Run(spent.wall, spent.cpu, summary["items"]["mail"])

        def theirs(how: dict[str, Any]) -> Program:
            return lambda: mbsync(installed, port, folder / "near", written.folders, **how)

        runners: dict[str, Program] = {OURS: ours, **{name: theirs(how) for name, how in _WAYS.items()}}
        if installed.offlineimap:
            runners[_SLOW] = lambda: offlineimap(installed, port, folder / "near")
        ours()
        mbsync(installed, direct, folder / "near", written.folders, fsync=False, processes=1)
        yield runners


def _turn(runners: dict[str, Program], written: Written, *, slow: bool) -> dict[str, dict[str, float]]:
    """Run each program once; raise OSError if one did not bring all mails."""
    found = {}
    for name, run in runners.items():
        if name == _SLOW and not slow:
            continue
        os.sync()
        one = run()
        if one.mails != written.mails:
            raise OSError(f"{name} brought {one.mails} of {written.mails} mails")
        found[name] = {"seconds": one.seconds, "cpu": one.cpu}
    return found


def _ordered(cell: dict[str, Any]) -> list[str]:
    """Return a cell's programs, ours first."""
    return [name for name in (OURS, *_WAYS, _SLOW) if name in cell["programs"]]


def _judged(turns: list[dict[str, dict[str, float]]]) -> dict[str, Any]:
    """Return seconds, processor time and ratio to ours by program."""
    found: dict[str, Any] = {"programs": {}}
    for name in turns[0]:
        those = [turn for turn in turns if name in turn]
        found["programs"][name] = {
            "seconds": middle([turn[name]["seconds"] for turn in those]),
            "cpu": middle([turn[name]["cpu"] for turn in those]),
            "times": middle([turn[name]["seconds"] / turn[OURS]["seconds"] for turn in those]),
            "runs": len(those),
        }
    return found


def report(results: dict[str, Any]) -> str:
    """Return a table per cell in Markdown."""
    lines = ["## Rivals", ""]
    if results["skipped"]:
        return "\n".join([*lines, f"Skipped: {results['skipped']}.", ""])
    names = ", ".join(f"{name} {number}" for name, number in results["versions"].items())
    lines += [
        f"The same mails behind the same relay: kerio-resync (ours) from the mock, the others from dovecot ({names})."
        " Ours is durable at its end. Times are those of whole processes: medians (least–most).",
        "",
    ]
    for cell in results["cells"]:
        lines += [
            f"### {cell['name'][0].upper()}{cell['name'][1:]}",
            "",
            f"{cell['mails']:,} mails, {cell['bytes'] / 1e6:.0f} MB as MIME, in {cell['folders']} folders.",
            "",
            "| program | runs | seconds | processor, s | relative to ours |",
            "|:---|---:|---:|---:|---:|",
        ]
        lines += [_row(name, cell["programs"][name]) for name in _ordered(cell)]
        lines.append("")
    return "\n".join(lines)


def _row(name: str, one: dict[str, Any]) -> str:
    return f"| {name} | {one['runs']} | {shown(one['seconds'])} | {shown(one['cpu'])} | {shown(one['times'])} |"


def picture(results: dict[str, Any], path: Path) -> None:
    """Draw bars of seconds, one panel per cell."""
    if not results["cells"]:
        return
    from matplotlib import pyplot

    cells = results["cells"]
    figure, axes = pyplot.subplots(len(cells), 1, figsize=(8, 0.8 + 1.9 * len(cells)), squeeze=False)
    for axis, cell in zip(axes[:, 0], cells, strict=True):
        names = _ordered(cell)
        values = [cell["programs"][name]["seconds"] for name in names]
        reach = [[v["median"] - v["least"] for v in values], [v["most"] - v["median"] for v in values]]
        colors = ["C1" if name == OURS else "C0" for name in names]
        bars = axis.barh(names, [v["median"] for v in values], xerr=reach, capsize=3, color=colors)
        axis.bar_label(bars, [f" {v['median']:.1f}" for v in values], padding=3)
        axis.invert_yaxis()
        axis.margins(x=0.15)
        axis.set(xlabel="seconds", title=cell["name"])
    figure.tight_layout()
    figure.savefig(path, dpi=100, bbox_inches="tight")
    pyplot.close(figure)
