"""The rate of an upgrade from format 7.1, and of one from 7.2.

The former is compared with `cp` + `sync`, the vendor, and the estimate.

`measure` writes old databases of growing size, copies each with `cp` and `sync`, asks `estimate` for the time of its
upgrade, upgrades it, and returns rates in MB (10**6 bytes) of the old file per second. The same mailbox in format 7.2
is upgraded in the same turn. All sides take turns on the same disk, and ratios are taken within a turn. Memory is the
sum of the peaks of both processes; processor time includes their start.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.format71_files import write
from benchmarks.format72_writer import convert
from benchmarks.measure.scale import exponent
from benchmarks.tools import machine

VENDOR = 1e9 / 300  # bytes per second: 1 GB in 5 minutes
MEAN = 60_000  # bytes of a mail
LARGE, RATIO, FAST, MEMORY = 1.9e9, 0.4, 60, 150e6  # from such a size on: of cp + sync, times the vendor's, bytes
FORETOLD = 0.25  # allowed error of an estimate, relative to the real time
ROUNDS = 5
_ESTIMATE = """
import asyncio, json, sys, time
from pathlib import Path
from kerio_resync.settings import Settings
from kerio_resync.upgrade.estimation import estimate
started = time.perf_counter()
found = asyncio.run(estimate(Settings(profile=Path(sys.argv[1]).parent)))
forecast = found.upgrade
print(json.dumps({
    "seconds": forecast.seconds, "low": forecast.low, "high": forecast.high, "took": time.perf_counter() - started,
}))
"""
_UPGRADE = """
import json, resource, sys, threading, time
from pathlib import Path
from kerio_resync.upgrade.formats import UPGRADES, detect_format, path_from
migrate = path_from(detect_format(Path(sys.argv[1])).version, UPGRADES)[0].load().migrate
started = time.perf_counter()
moved = migrate(Path(sys.argv[1]), Path(sys.argv[1] + ".next"), lambda *progress: None, threading.Event())
seconds = time.perf_counter() - started
used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
print(json.dumps({
    "seconds": seconds, "memory": sum(each.ru_maxrss for each in used) * 1024, "items": moved.items,
    "cpu": sum(each.ru_utime + each.ru_stime for each in used), "new_bytes": moved.new_bytes,
}))
"""


def measure(quick: bool = False, *, full: bool = False, megabytes: tuple[int, ...] = ()) -> dict[str, Any]:
    """Return {"sizes": one dict per size, "exponent" of the time's growth, "ok"}.

    `megabytes` are about the sizes of the old files. `ok` is None without a file of 2 GB, for which the bounds are.
    """
    sizes = megabytes or ((50, 100) if quick else (100, 500, 2000, 4000) if full else (100, 500))
    rounds = 1 if quick else ROUNDS
    with tempfile.TemporaryDirectory(prefix="upgrade-", dir=os.environ.get("KERIO_RESYNC_BENCH_DIR")) as folder:
        found = [_measure(Path(folder), size, rounds) for size in sizes]
    steep = exponent([(cell["old_bytes"], cell["seconds"]) for cell in found]) if len(found) > 1 else None
    large = [cell for cell in found if cell["old_bytes"] >= LARGE]
    kept = [cell["ratio"] >= RATIO and cell["rate"] >= FAST * VENDOR and cell["memory"] <= MEMORY for cell in large]
    errors = [abs(cell["foretold_error"]) for cell in large]
    return {
        "sizes": found, "rounds": rounds, "exponent": steep, "ok": all(kept) if kept else None,
        "foretold": max(errors) <= FORETOLD if errors else None,
    }  # fmt: skip


def report(found: dict[str, Any]) -> str:
    """Return a table in Markdown, and what it shows."""
    head = [
        "## Upgrade",
        "",
        f"Upgrades from format 7.1, and `cp` and `sync` of the same file, in turns; medians of {found['rounds']}.",
        "",
        "| old file | items | upgrade | processor | rate | cp + sync | ratio (pairs) | × vendor | memory | estimate |",
        "|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    rows = [
        (
            f"| {cell['old_bytes'] / 1e6:,.0f} MB | {cell['items']:,} | {cell['seconds']:.1f} s | {cell['cpu']:.1f} s"
            f" | {cell['rate'] / 1e6:,.0f} MB/s | {cell['copy_rate'] / 1e6:,.0f} MB/s | {cell['ratio']:.2f}"
            f" ({cell['least']:.2f}–{cell['most']:.2f}) | {cell['rate'] / VENDOR:,.0f}"
            f" | {cell['memory'] / 1e6:,.0f} MB | {cell['foretold_error']:+.0%} |"
        )
        for cell in found["sizes"]
    ]
    lines = [*head, *rows, "", *_format72_lines(found["sizes"]), ""]
    if found["exponent"] is not None:
        lines.append(f"Time grows with the power {found['exponent']:.2f} of the size.")
    if found["ok"] is not None:
        lines.append(
            f"From {LARGE / 1e9:.1f} GB on at least {RATIO} of cp + sync, {FAST} times the vendor's"
            f" {VENDOR / 1e6:.1f} MB/s, in at most {MEMORY / 1e6:.0f} MB: {'yes' if found['ok'] else 'NO'}."
            f" Estimates within {FORETOLD:.0%}: {'yes' if found['foretold'] else 'NO'}."
        )
    return "\n".join([*lines, ""])


def _format72_lines(cells: list[dict[str, Any]]) -> list[str]:
    """Return a table of the upgrades from format 7.2."""
    return [
        "From format 7.2, the same mailboxes in the same turns:",
        "",
        "| old file | upgrade | processor | rate | time relative to 7.1 (pairs) | memory |",
        "|---:|---:|---:|---:|---:|---:|",
        *(
            f"| {cell['old_bytes'] / 1e6:,.0f} MB | {cell['seconds']:.1f} s | {cell['cpu']:.1f} s"
            f" | {cell['rate'] / 1e6:,.0f} MB/s | {cell['relative']:.2f} ({cell['least']:.2f}–{cell['most']:.2f})"
            f" | {cell['memory'] / 1e6:,.0f} MB |"
            for cell in (each["format72"] for each in cells)
        ),
    ]


def _measure(folder: Path, megabytes: int, rounds: int) -> dict[str, Any]:
    master, second, profile = folder / "master.db", folder / "master72.db", folder / "profile"
    write(master, max(1, int(megabytes * 1e6 / 90_000)), MEAN)
    size = master.stat().st_size
    copies, upgrades, forecasts, upgrades72 = [], [], [], []
    for number in range(rounds):
        profile.mkdir()
        os.sync()
        started = time.perf_counter()
        subprocess.run(["cp", master, profile / "cache.db"], check=True)
        subprocess.run(["sync", profile / "cache.db"], check=True)
        copies.append(time.perf_counter() - started)
        forecasts.append(_run(_ESTIMATE, profile / "cache.db"))
        upgrades.append(_run(_UPGRADE, profile / "cache.db"))
        if not number:
            convert(profile / "cache.db", second)
        (profile / "cache.db").unlink()
        subprocess.run(["cp", second, profile / "cache.db"], check=True)
        subprocess.run(["sync", profile / "cache.db"], check=True)
        upgrades72.append(_run(_UPGRADE, profile / "cache.db"))
        for path in profile.iterdir():
            path.unlink()
        profile.rmdir()
    size72 = second.stat().st_size
    master.unlink()
    second.unlink()
    seconds, copy = statistics.median(upgrade["seconds"] for upgrade in upgrades), statistics.median(copies)
    pairs = [copied / upgrade["seconds"] for copied, upgrade in zip(copies, upgrades, strict=True)]
    errors = [guess["seconds"] / real["seconds"] - 1 for guess, real in zip(forecasts, upgrades, strict=True)]
    return {
        "old_bytes": size, "new_bytes": upgrades[0]["new_bytes"], "items": upgrades[0]["items"], "seconds": seconds,
        "cpu": statistics.median(real["cpu"] for real in upgrades), "rate": size / seconds, "copy_rate": size / copy,
        "ratio": statistics.median(pairs), "least": min(pairs), "most": max(pairs),
        "memory": max(upgrade["memory"] for upgrade in upgrades), "foretold_error": statistics.median(errors),
        "foretold": forecasts, "pairs": pairs, "seconds_each": [upgrade["seconds"] for upgrade in upgrades],
        "format72": _format72_cell(size72, upgrades72, upgrades),
    }  # fmt: skip


def _format72_cell(size: int, upgrades: list[dict[str, float]], others: list[dict[str, float]]) -> dict[str, Any]:
    seconds = statistics.median(upgrade["seconds"] for upgrade in upgrades)
    pairs = [own["seconds"] / other["seconds"] for own, other in zip(upgrades, others, strict=True)]
    return {
        "old_bytes": size, "seconds": seconds, "rate": size / seconds, "relative": statistics.median(pairs),
        "least": min(pairs), "most": max(pairs), "cpu": statistics.median(real["cpu"] for real in upgrades),
        "memory": max(upgrade["memory"] for upgrade in upgrades), "pairs": pairs,
        "seconds_each": [upgrade["seconds"] for upgrade in upgrades],
    }  # fmt: skip


def _run(program: str, database: Path) -> dict[str, float]:
    """Run a program that prints JSON about a database; return it."""
    found: dict[str, float] = json.loads(machine.spend([sys.executable, "-c", program, str(database)]).output)
    return found
