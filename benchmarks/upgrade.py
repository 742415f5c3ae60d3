"""How fast a local upgrade is: against `cp` and `sync` of the same file, and against the vendor's figure.

`measure` makes old databases of growing size, copies each with `cp` and `sync`, upgrades it, and gives rates in MB
(10**6 bytes) of the old file a second. Both are done in turns on the same disk, and the medians are compared.
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

from benchmarks.legacy import write

VENDOR = 1e9 / 300  # bytes a second: 1 GB in 5 minutes
MEAN = 60_000  # bytes of a mail
_UPGRADE = """
import json, resource, sys, threading, time
from pathlib import Path
from kerio_resync.upgrade.migrate import migrate
started = time.perf_counter()
moved = migrate(Path(sys.argv[1]), Path(sys.argv[1] + ".next"), lambda *told: None, threading.Event())
seconds = time.perf_counter() - started
memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
print(json.dumps({"seconds": seconds, "memory": memory, "items": moved.items, "new_bytes": moved.new_bytes}))
"""


def measure(quick: bool = False, *, megabytes: tuple[int, ...] = (), rounds: int = 3) -> dict[str, Any]:
    """{"sizes": [one dict a size], "linear": …}. `megabytes`: about the sizes of the old files; if none: by `quick`."""
    sizes = megabytes or ((50, 100) if quick else (100, 500, 2000, 4000))
    with tempfile.TemporaryDirectory(prefix="upgrade-", dir=os.environ.get("KERIO_RESYNC_BENCH_DIR")) as folder:
        found = [_measure(Path(folder), each, 1 if quick else rounds) for each in sizes]
    first, last = found[0], found[-1]
    growth = (last["seconds"] / first["seconds"]) / (last["old_bytes"] / first["old_bytes"])
    return {"sizes": found, "linear": growth}


def report(found: dict[str, Any]) -> str:
    """A table in Markdown, and what it shows."""
    head = [
        "| old file | items | upgrade | rate | cp + sync | ratio | × vendor | memory |",
        "|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    rows = [
        (
            f"| {each['old_bytes'] / 1e6:,.0f} MB | {each['items']:,} | {each['seconds']:.1f} s"
            f" | {each['rate'] / 1e6:,.0f} MB/s | {each['copy_rate'] / 1e6:,.0f} MB/s | {each['ratio']:.2f}"
            f" | {each['rate'] / VENDOR:,.0f} | {each['memory'] / 1e6:,.0f} MB |"
        )
        for each in found["sizes"]
    ]
    growth = f"Time for a byte in the largest file, over that in the smallest: {found['linear']:.2f}."
    return "\n".join([*head, *rows, "", growth])


def _measure(folder: Path, megabytes: int, rounds: int) -> dict[str, Any]:
    master, profile = folder / "master.db", folder / "profile"
    write(master, max(1, int(megabytes * 1e6 / 90_000)), MEAN)
    size = master.stat().st_size
    copies, upgrades = [], []
    for _ in range(rounds):
        profile.mkdir()
        os.sync()
        started = time.perf_counter()
        subprocess.run(["cp", master, profile / "cache.db"], check=True)
        subprocess.run(["sync", profile / "cache.db"], check=True)
        copies.append(time.perf_counter() - started)
        done = subprocess.run(
            [sys.executable, "-c", _UPGRADE, profile / "cache.db"], check=True, capture_output=True, text=True
        )
        upgrades.append(json.loads(done.stdout))
        for each in profile.iterdir():
            each.unlink()
        profile.rmdir()
    master.unlink()
    seconds, copy = statistics.median(each["seconds"] for each in upgrades), statistics.median(copies)
    return {
        "old_bytes": size, "new_bytes": upgrades[0]["new_bytes"], "items": upgrades[0]["items"], "seconds": seconds,
        "rate": size / seconds, "copy_rate": size / copy, "ratio": copy / seconds,
        "memory": max(each["memory"] for each in upgrades),
    }  # fmt: skip
