"""What a rebuild saves with an old cache, compared with one from nothing.

The server is behind a link of 100 Mbit/s and 50 ms, which dominates a rebuild from nothing. The old cache is sound, or
one in a hundred of its pages is overwritten: in ten stretches, as a disk loses them, or one by one.
"""

from __future__ import annotations

import random
import statistics
from pathlib import Path
from typing import Any

from benchmarks.tools import machine
from kerio_resync.cache.schema import CHUNK_BYTES, PAGE_SIZE

SHARE = 0.05  # of the time of a full rebuild
DAMAGE = 0.01  # of the old cache's pages
STRETCHES = 10
ROUNDS = 5
_LINK = {"link": {"down_bytes_s": 12_500_000, "up_bytes_s": 12_500_000, "rtt_s": 0.05}}
_MADE = {
    "quick": {"seed": 5, "mails": 2_000, "total_bytes": 50_000_000},
    "usual": {"seed": 5, "mails": 10_000, "total_bytes": 250_000_000},
    "full": {"seed": 5, "mails": 40_000, "total_bytes": 1_000_000_000},
}


def measure(quick: bool = False, *, full: bool = False) -> dict[str, Any]:
    """Return the four rebuilds, and their ratios of time and bytes."""
    made: dict[str, Any] = _MADE["quick" if quick else "full" if full else "usual"]
    rounds = 1 if quick else ROUNDS
    turns: list[dict[str, Any]] = []
    with machine.workspace() as folder, machine.server(_LINK, **made) as server:
        profile = folder / "profile"
        fresh = [_rebuilt(server, profile, "--fresh")]
        for turn in range(rounds):
            again = _rebuilt(server, profile)
            found = {"again": again}
            for name, pieces in (("stretches", STRETCHES), ("pages", 0)):
                damage(profile / "cache.db", DAMAGE, pieces, turn)
                found[name] = _rebuilt(server, profile)
            turns.append(found)
        size = (profile / "cache.db").stat().st_size
        fresh += [_rebuilt(server, profile, "--fresh") for _ in range(0 if quick else 1)]
    whole = {name: statistics.mean(run[name] for run in fresh) for name in fresh[0]}
    middle = {what: _middle([turn[what] for turn in turns]) for what in turns[0]}
    time = middle["again"]["seconds"] / whole["seconds"]
    return {
        "database": size, "rounds": rounds, "fresh": whole, **middle, "turns": turns, "time": time, "ok": time <= SHARE,
        "shares": {name: run["wire_bytes"] / whole["wire_bytes"] for name, run in middle.items()},
    }  # fmt: skip


def _rebuilt(server: machine.Server, profile: Path, *options: str) -> dict[str, Any]:
    spent, summary = machine.rebuilt(server, profile, *options)
    found = {name: summary[name] for name in ("seconds", "wire_bytes", "salvaged")}
    return found | {"cpu": spent.cpu, "peak": spent.peak}


def _middle(turns: list[dict[str, Any]]) -> dict[str, float]:
    return {name: statistics.median(run[name] for run in turns) for name in turns[0]}


def damage(path: Path, share: float, pieces: int, seed: int) -> None:
    """Overwrite a share of a file's pages in stretches, or (0) one by one.

    The first page stays.
    """
    rng = random.Random(seed)
    count = path.stat().st_size // PAGE_SIZE
    pieces = pieces or max(1, int(count * share))
    length = max(1, int(count * share / pieces))
    with path.open("r+b") as file:
        for place in rng.sample(range(1, count - length), pieces):
            file.seek(place * PAGE_SIZE)
            file.write(rng.randbytes(length * PAGE_SIZE))


def report(results: dict[str, Any]) -> str:
    """Return a table in Markdown."""
    lines = [
        "## Salvage",
        "",
        f"A rebuild with a sound old cache of {results['database'] / 1e6:.0f} MB, over 100 Mbit/s and 50 ms, takes"
        f" {results['time']:.1%} of the time (at most {SHARE:.0%}: {'yes' if results['ok'] else 'NO'}) and"
        f" {results['shares']['again']:.2%} of the bytes of a rebuild from nothing. Where {DAMAGE:.0%} of its pages are"
        f" overwritten, {results['shares']['stretches']:.1%} of the bytes if they lie in {STRETCHES} stretches, and"
        f" {results['shares']['pages']:.1%} if each lies by itself: then one content in three has lost a piece, which"
        f" is fetched in the {CHUNK_BYTES // 1024} KiB that have a checksum. Medians of {results['rounds']}.",
        "",
        "| | seconds | processor, s | MB on the wire | peak, MB | items reused |",
        "|:---|---:|---:|---:|---:|---:|",
    ]
    for name, words in (
        ("fresh", "no old cache"),
        ("again", "sound old cache"),
        ("stretches", "damaged in stretches"),
        ("pages", "single damaged pages"),
    ):
        one = results[name]
        lines.append(
            f"| {words} | {one['seconds']:.1f} | {one['cpu']:.1f} | {one['wire_bytes'] / 1e6:.1f} | {one['peak']:.0f} |"
            f" {one['salvaged']:,.0f} |"
        )
    return "\n".join([*lines, ""])


def picture(results: dict[str, Any], path: Path) -> None:
    """Draw the time of each rebuild as bars."""
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(6, 3))
    names = {"no old cache": "fresh", "sound": "again", "damaged\nstretches": "stretches", "damaged\npages": "pages"}
    axes.bar(list(names), [results[name]["seconds"] for name in names.values()])
    axes.set(ylabel="seconds", title="Rebuild with an old cache")
    figure.savefig(path, dpi=100, bbox_inches="tight")
    pyplot.close(figure)
