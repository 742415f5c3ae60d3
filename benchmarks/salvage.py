"""What a rebuild saves that finds its old cache whole: its time and bytes beside those of a rebuild from nothing.

The server sits behind a link of 100 Mbit/s and 50 ms, which is where a rebuild from nothing takes its time.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks import machine

SHARE = 0.05  # of the time of a full rebuild
_LINK = {"link": {"down_bytes_s": 12_500_000, "up_bytes_s": 12_500_000, "rtt_s": 0.05}}
_MADE = {
    "quick": {"seed": 5, "mails": 2_000, "total_bytes": 50_000_000},
    "usual": {"seed": 5, "mails": 10_000, "total_bytes": 250_000_000},
    "full": {"seed": 5, "mails": 40_000, "total_bytes": 1_000_000_000},
}


def measure(quick: bool = False, *, full: bool = False) -> dict[str, Any]:
    """{"fresh", "again": seconds, wire and plain bytes; "time", "bytes": shares}"""
    made: dict[str, Any] = _MADE["quick" if quick else "full" if full else "usual"]
    with machine.workspace() as folder, machine.server(_LINK, **made) as server:
        profile = folder / "profile"
        spent, fresh = machine.rebuilt(server, profile)
        spent_again, again = machine.rebuilt(server, profile)
        size = (profile / "cache.db").stat().st_size
    names = ("seconds", "wire_bytes", "salvaged")
    time, wire = again["seconds"] / fresh["seconds"], again["wire_bytes"] / fresh["wire_bytes"]
    return {
        "database": size,
        "fresh": {name: fresh[name] for name in names} | {"cpu": spent.cpu, "peak": spent.peak},
        "again": {name: again[name] for name in names} | {"cpu": spent_again.cpu, "peak": spent_again.peak},
        "time": time,
        "bytes": wire,
        "ok": time <= SHARE,
    }


def report(results: dict[str, Any]) -> str:
    """A table in Markdown."""
    lines = [
        "## Salvage",
        "",
        f"A rebuild beside an undamaged cache of {results['database'] / 1e6:.0f} MB, over 100 Mbit/s and 50 ms:"
        f" {results['time']:.1%} of the time (at most {SHARE:.0%}: {'yes' if results['ok'] else 'NO'}) and"
        f" {results['bytes']:.2%} of the bytes of a rebuild from nothing.",
        "",
        "| | seconds | processor, s | MB on the wire | peak, MB | items taken over |",
        "|:---|---:|---:|---:|---:|---:|",
    ]
    for name, words in (("fresh", "from nothing"), ("again", "beside the old cache")):
        one = results[name]
        lines.append(
            f"| {words} | {one['seconds']:.1f} | {one['cpu']:.1f} | {one['wire_bytes'] / 1e6:.1f} | {one['peak']:.0f} |"
            f" {one['salvaged']:,} |"
        )
    return "\n".join([*lines, ""])


def picture(results: dict[str, Any], path: Path) -> None:
    """Two bars, into an image file."""
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(4, 3))
    axes.bar(["from nothing", "old cache"], [results["fresh"]["seconds"], results["again"]["seconds"]])
    axes.set(ylabel="seconds", title="Salvage")
    figure.savefig(path, dpi=100, bbox_inches="tight")
    pyplot.close(figure)
