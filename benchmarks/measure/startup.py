"""The time of `kerio-resync --help`, and of `upgrade` on an up-to-date database.

Both are whole processes as a shell starts them, in turns. `upgrade` runs before every start of the mail program, so
every user pays for it every day. Beside it is the check alone, as another program calls it in its own process.
"""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.tools import machine
from benchmarks.tools.machine import middle, shown
from kerio_resync.settings import Settings
from kerio_resync.upgrade import upgrade

MOST = {"help": 0.3, "upgrade": 0.25, "check": 0.05}  # seconds
_WORDS = {
    "help": "kerio-resync --help",
    "upgrade": "kerio-resync upgrade, up to date",
    "check": "await upgrade(settings), up to date",
}
_MADE: dict[str, Any] = {"seed": 3, "mails": 20, "shared": False}


def measure(quick: bool = False, *, rounds: int = 0) -> dict[str, Any]:
    """Return {"help", "upgrade", "check": each with "seconds" and "cpu", "ok"}.

    `ok` tells whether all medians are within their bounds.
    """
    rounds = rounds or (5 if quick else 15)
    with machine.workspace() as folder:
        with machine.server(**_MADE) as server:
            machine.rebuilt(server, folder / "profile")
        program = _program()
        commands = {"help": [*program, "--help"], "upgrade": [*program, "--profile", f"{folder}/profile", "upgrade"]}
        turns = [{name: machine.spend(line) for name, line in commands.items()} for _ in range(rounds + 1)][1:]
        checks = [asyncio.run(_checked(folder / "profile")) for _ in range(rounds + 1)][1:]
    found: dict[str, Any] = {"runs": rounds}
    for name in commands:
        seconds, cpu = ([getattr(turn[name], what) for turn in turns] for what in ("wall", "cpu"))
        found[name] = {"seconds": middle(seconds), "cpu": middle(cpu)}
    found["check"] = {"seconds": middle([wall for wall, _ in checks]), "cpu": middle([cpu for _, cpu in checks])}
    return found | {"ok": all(found[name]["seconds"]["median"] <= most for name, most in MOST.items())}


async def _checked(profile: Path) -> tuple[float, float]:
    """Return the wall and processor seconds of the library's `upgrade`."""
    wall, cpu = time.perf_counter(), time.process_time()
    step = await upgrade(Settings(profile=profile))
    if not step.ready or step.done:
        raise ValueError(f"a database that is up to date came to {step.action}")
    return time.perf_counter() - wall, time.process_time() - cpu


def _program() -> list[str]:
    """Return the installed program, else its module."""
    script = Path(sys.executable).with_name("kerio-resync")
    return [str(script)] if script.exists() else [sys.executable, "-m", "kerio_resync"]


def report(results: dict[str, Any]) -> str:
    """Return a table in Markdown."""
    lines = [
        "## Start of the program",
        "",
        f"Whole processes, and the library's call in a running one; medians of {results['runs']} (least–most).",
        "",
        "| command | seconds | processor, s | at most |",
        "|:---|---:|---:|---:|",
    ]
    lines += [
        f"| `{_WORDS[name]}` | {shown(results[name]['seconds'])} | {shown(results[name]['cpu'])} | {most} |"
        for name, most in MOST.items()
        if name in results
    ]
    return "\n".join([*lines, ""])
