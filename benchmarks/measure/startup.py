"""How long people wait for the program itself: `kerio-resync --help`, and `upgrade` where there is nothing to do.

Both are whole processes as a shell starts them, one after the other in turns. `upgrade` comes before every start of the
mail program, so that what it costs on a database that is up to date is paid every morning by everybody. Beside it the
check alone, as an upgrader written by others calls it in a process of its own that runs already.
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
    """{"help", "upgrade", "check": {"seconds", "cpu"}, "ok": whether all medians are within their bounds}"""
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
    """Wall and processor seconds of the library's whole `upgrade` of a database that is up to date."""
    wall, cpu = time.perf_counter(), time.process_time()
    step = await upgrade(Settings(profile=profile))
    if not step.ready or step.done:
        raise ValueError(f"a database that is up to date came to {step.action}")
    return time.perf_counter() - wall, time.process_time() - cpu


def _program() -> list[str]:
    """The program as it is installed, else as a module."""
    script = Path(sys.executable).with_name("kerio-resync")
    return [str(script)] if script.exists() else [sys.executable, "-m", "kerio_resync"]


def report(results: dict[str, Any]) -> str:
    """A table in Markdown."""
    lines = [
        "## Start of the program",
        "",
        f"Whole processes, and the library's call in one that runs; medians of {results['runs']} (least–most).",
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
