"""A rebuild and its lower bounds, for the same mailbox and in the same run.

Four programs take turns: the rebuild; a bare aiohttp loop that makes the same requests and discards the replies; a bare
sqlite3 loop that writes the same rows with one fsync; `cp` and `sync` of the finished file. Other load on the machine
affects all four, so the ratios are stable where the seconds are not.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.tools import machine
from benchmarks.tools.machine import Server, middle, shown

LIMIT = 1.5  # times the slower bare loop
PEAK = 120  # MB
_BARE = (sys.executable, "-m", "benchmarks.tools.bare")
_MADE: dict[str, Any] = {"seed": 7, "mails": 10_000, "total_bytes": 250_000_000}
_QUICK: dict[str, Any] = {"seed": 7, "mails": 2_000, "total_bytes": 50_000_000}


def measure(quick: bool = False, *, rounds: int = 0, corpus: str = "") -> dict[str, Any]:
    """Measure a generated mailbox, and the corpus at `corpus` or $KERIO_CORPUS."""
    corpus = corpus or os.environ.get("KERIO_CORPUS", "")
    rounds = rounds or (3 if quick else 5)
    found = [_mailbox("made", _QUICK if quick else _MADE, rounds)]
    if corpus:
        found.append(_mailbox("corpus", {"import_": str(Path(corpus).absolute())}, rounds))
    return {"mailboxes": found, "ok": all(mailbox["ok"] for mailbox in found)}


def _mailbox(name: str, made: dict[str, Any], rounds: int) -> dict[str, Any]:
    with machine.workspace() as folder, machine.server(**made) as server:
        secret = {"KERIO_RESYNC_PASSWORD": server.password}
        requests, profile = folder / "requests", folder / "profile"
        # also warms the server up: it computes the mailbox when it is first read
        machine.spend([*_BARE, "record", server.url, server.user, str(requests), str(folder / "first")], secret)
        turns = [_turn(server, folder, profile, requests, secret) for _ in range(rounds)]
        size = (profile / "cache.db").stat().st_size
    return {"name": name, "turns": turns, "database": size, **_judged(turns)}


def _turn(server: Server, folder: Path, profile: Path, requests: Path, secret: dict[str, str]) -> dict[str, Any]:
    """Run each of the four once."""
    before = server.cpu()
    machine.empty(profile)
    spent, summary = machine.rebuilt(server, profile)
    between = server.cpu()
    reader = json.loads(machine.spend([*_BARE, "read", server.url, server.user, str(requests)], secret).output)
    after = server.cpu()
    new = folder / "bare.db"
    writer = json.loads(machine.spend([*_BARE, "write", str(profile / "cache.db"), str(new)]).output)
    new.unlink()
    return {
        "rebuild": summary["seconds"],
        "process": spent.wall,
        "cpu": spent.cpu,
        "peak": spent.peak,
        "server_cpu": between - before,
        "server_cpu_bare": after - between,
        "server_peak": server.peak(),
        "plain_bytes": summary["plain_bytes"],
        "read": reader,
        "write": writer,
        "copy": _copy(profile / "cache.db", folder / "copy.db"),
    }


def _copy(source: Path, target: Path) -> float:
    """Return the seconds of `cp` and `sync` of a file."""
    began = time.perf_counter()
    shutil.copyfile(source, target)
    with target.open("rb") as file:
        os.fsync(file.fileno())
    spent = time.perf_counter() - began
    target.unlink()
    return spent


def _judged(turns: list[dict[str, Any]]) -> dict[str, Any]:
    """Return medians, and ratios taken within each turn."""
    figures = {name: middle([turn[name] for turn in turns]) for name in ("rebuild", "process", "cpu", "peak", "copy")}
    figures["server_cpu"] = middle([turn["server_cpu"] for turn in turns])
    figures["read"] = middle([turn["read"]["seconds"] for turn in turns])
    figures["write"] = middle([turn["write"]["seconds"] for turn in turns])
    figures["read_cpu"] = middle([turn["read"]["cpu"] for turn in turns])
    figures["write_cpu"] = middle([turn["write"]["cpu"] for turn in turns])
    pairs = [(turn["rebuild"], turn["read"]["seconds"], turn["write"]["seconds"]) for turn in turns]
    slower = middle([ours / max(read, write) for ours, read, write in pairs])
    total = middle([ours / (read + write) for ours, read, write in pairs])
    # how much faster the server answers a client that only reads
    headroom = middle([ours / read for ours, read, _ in pairs])
    work = middle([turn["cpu"] / (turn["read"]["cpu"] + turn["write"]["cpu"]) for turn in turns])
    ok = slower["median"] <= LIMIT and figures["peak"]["median"] <= PEAK
    return {**figures, "slower": slower, "sum": total, "headroom": headroom, "work": work, "ok": ok}


def report(results: dict[str, Any]) -> str:
    """Return tables in Markdown."""
    lines = ["## Limits", ""]
    for mailbox in results["mailboxes"]:
        turns = mailbox["turns"]
        lines += [
            f"Mailbox {mailbox['name']}: {turns[0]['plain_bytes'] / 1e6:.0f} MB plain,"
            f" database {mailbox['database'] / 1e6:.0f} MB;"
            f" medians of {len(turns)} (least–most). Bounds: {LIMIT} times the slower bare loop, and {PEAK} MB:"
            f" {'yes' if mailbox['ok'] else 'NO'}.",
            "",
            "| | seconds | processor, s |",
            "|:---|---:|---:|",
            f"| rebuild, durable | {shown(mailbox['rebuild'])} | {shown(mailbox['cpu'])} |",
            f"| the same, including the start of the program | {shown(mailbox['process'])} | |",
            f"| bare aiohttp loop, replies discarded | {shown(mailbox['read'])} | {shown(mailbox['read_cpu'])} |",
            f"| bare sqlite3 loop, one fsync | {shown(mailbox['write'])} | {shown(mailbox['write_cpu'])} |",
            f"| `cp` and `sync` of the database | {shown(mailbox['copy'])} | |",
            f"| mock server, during a rebuild | | {shown(mailbox['server_cpu'])} |",
            "",
            f"Time relative to the slower loop: {shown(mailbox['slower'])};"
            f" to the sum of both: {shown(mailbox['sum'])};"
            f" processor time relative to both: {shown(mailbox['work'])}. The server answers the bare reader"
            f" {shown(mailbox['headroom'])} times as fast as the rebuild. Peak memory: {shown(mailbox['peak'], 0)} MB,"
            f" the server {max(turn['server_peak'] for turn in turns):.0f} MB.",
            "",
        ]
    return "\n".join(lines)


def picture(results: dict[str, Any], path: Path) -> None:
    """Draw bars for each mailbox."""
    from matplotlib import pyplot

    names = {"rebuild": "rebuild", "read": "bare aiohttp", "write": "bare sqlite3", "copy": "cp + sync"}
    figure, axes = pyplot.subplots(figsize=(6, 3.5))
    width = 0.8 / len(results["mailboxes"])
    for place, mailbox in enumerate(results["mailboxes"]):
        values = [mailbox[name] for name in names]
        heights = [value["median"] for value in values]
        reach = [[v["median"] - v["least"] for v in values], [v["most"] - v["median"] for v in values]]
        where = [index + (place - (len(results["mailboxes"]) - 1) / 2) * width for index in range(len(names))]
        axes.bar(where, heights, width, yerr=reach, capsize=3, label=mailbox["name"])
    axes.set_xticks(range(len(names)), list(names.values()))
    axes.set(ylabel="seconds", title="A rebuild and its lower bounds")
    axes.legend()
    figure.savefig(path, dpi=100, bbox_inches="tight")
    pyplot.close(figure)
