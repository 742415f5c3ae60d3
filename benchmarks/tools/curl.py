"""A rebuild beside one curl of one big file of as many bytes, over a packet-level link (see `packets.py`).

They take turns, each round its own ratio. The file has as many bytes as the bodies of all replies of the rebuild before
it had as they travelled, so that their heads, requests, and what else the client does count against us. Both run as
processes; ours begins with nothing and is durable at its end, curl throws away what it gets. The mock has made its
mailbox before (a rebuild on its own side of the link), and both servers' TCP is the kernel's, as `packets.py` sets it.

    python -m benchmarks.tools.curl HOST     serves N bytes at /N; prints its port; ends when its standard input does
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import shutil
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.tools import machine, packets
from benchmarks.tools.machine import middle, shown

LEAST = 0.98
PARTS = ("start", "session", "rescue", "folders", "fetch", "catch-up", "verify", "swap", "end")
_PIECE = bytes(1 << 18)
_MEAN = 60_000  # bytes of a mail with its attachments
_ASK = ("curl", "--disable", "--silent", "--show-error", "--fail", "--noproxy", "*")


class Cell(NamedTuple):
    """A link of `mbit` and `rtt` (seconds), bytes of mail (which are fewer on the wire, as text shrinks), requests in
    flight at most, and how often."""

    mbit: float
    rtt: float
    size: int
    most: int
    rounds: int


class Run(NamedTuple):
    """A rebuild: seconds of wall time, of its and the server's processor time, body bytes as they travelled, IP bytes
    that the link brought, the most requests in flight, and seconds by part."""

    seconds: float
    cpu: float
    server_cpu: float
    bytes: int
    packets: int
    in_flight: int
    parts: dict[str, float]


class Fetch(NamedTuple):
    """A curl: seconds of wall time, and IP bytes that the link brought."""

    seconds: float
    packets: int


async def missing() -> str:
    """Why nothing can be measured here; empty if it can."""
    return await packets.missing() or ("" if shutil.which("curl") else "it needs curl")


async def compare(cell: Cell) -> dict[str, Any]:
    """`of_curl`: curl's time, of that of a rebuild of as many bytes, median of the rounds. OSError."""
    async with packets.link(cell.mbit * 1e6, cell.rtt) as sides:
        rounds = await asyncio.to_thread(_rounds, cell, sides)
    return judged(cell, rounds)


def judged(cell: Cell, rounds: Sequence[tuple[Run, Fetch]]) -> dict[str, Any]:
    ours, theirs = [run for run, _ in rounds], [fetch for _, fetch in rounds]
    spread = middle([fetch.seconds / run.seconds for run, fetch in rounds])
    return {
        "mbit": cell.mbit, "rtt": cell.rtt, "rounds": len(rounds), "of_curl": spread["median"], "spread": spread,
        "seconds": middle([run.seconds for run in ours]), "curl": middle([fetch.seconds for fetch in theirs]),
        "bytes": statistics.median(run.bytes for run in ours), "cpu": middle([run.cpu for run in ours]),
        "server_cpu": middle([run.server_cpu for run in ours]),
        "packets": statistics.median(run.packets for run in ours),
        "curl_packets": statistics.median(fetch.packets for fetch in theirs),
        "most": cell.most, "most_in_flight": max(run.in_flight for run in ours),
        "parts": {name: statistics.median(run.parts.get(name, 0.0) for run in ours) for name in PARTS},
        "ok": spread["median"] >= LEAST,
    }  # fmt: skip


def _rounds(cell: Cell, sides: packets.Sides) -> list[tuple[Run, Fetch]]:
    mailbox: dict[str, Any] = {"seed": 5, "mails": cell.size // _MEAN, "total_bytes": cell.size, "attachments": 0.3}
    with (
        machine.workspace() as folder,
        machine.server(host=packets.SERVER, before=sides.server, **mailbox) as server,
        machine.child("file server", "benchmarks.tools.curl", packets.SERVER, before=sides.server) as (_, port),
    ):
        profile, files = folder / "profile", f"http://{packets.SERVER}:{int(port)}"
        _rebuilt(server, profile, cell, sides.server)
        found = []
        for _ in range(cell.rounds):
            run = _rebuilt(server, profile, cell, sides.client)
            if run.in_flight > cell.most:
                raise OSError(f"{run.in_flight} requests were in flight, and {cell.most} allowed")
            found.append((run, _fetched(f"{files}/{run.bytes}", sides.client)))
    return found


def _rebuilt(server: machine.Server, profile: Path, cell: Cell, before: Sequence[str]) -> Run:
    """One rebuild from one side of the link. OSError if it did not bring all."""
    machine.spend([*before, *_ASK, "--json", "{}", f"{server.control_url}/reset"])
    command, more = machine.command(server, machine.empty(profile), "--max-in-flight", str(cell.most))
    os.sync()
    was, worked, began = _came(before), server.cpu(), time.perf_counter()
    process = subprocess.Popen(
        [*before, *command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, cwd=machine.ROOT,
        env={**os.environ, **more},
    )  # fmt: skip
    assert process.stdout is not None
    with process.stdout:
        told = [(time.perf_counter() - began, json.loads(line)) for line in process.stdout]
    _, status, used = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode or told[-1][1]["summary"]["skipped"]:
        raise OSError(f"a rebuild ended with {process.returncode}: {str(told[-1:])[-300:]}")
    stats = json.loads(machine.spend([*before, *_ASK, f"{server.control_url}/stats"]).said)
    return Run(
        seconds, used.ru_utime + used.ru_stime, server.cpu() - worked, told[-1][1]["summary"]["wire_bytes"],
        _came(before) - was, stats["most_in_flight"], parts(told, seconds),
    )  # fmt: skip


def parts(told: Sequence[tuple[float, dict[str, Any]]], seconds: float) -> dict[str, float]:
    """Seconds of each part of a run, by when its events were told and how long it took as a whole."""
    marks = [(0.0, "start")]
    marks += [(at, event["phase"]) for at, event in told if event["event"] == "phase"]
    marks += [(at, "end") for at, event in told if event["event"] == "run-finished"]
    found: dict[str, float] = {}
    for (at, name), (until, _) in itertools.pairwise([*marks, (seconds, "")]):
        found[name] = found.get(name, 0.0) + until - at
    return found


def _fetched(url: str, before: Sequence[str]) -> Fetch:
    os.sync()
    was = _came(before)
    spent = machine.spend([*before, *_ASK, "--output", os.devnull, url])
    return Fetch(spent.wall, _came(before) - was)


def _came(before: Sequence[str]) -> int:
    """IP bytes that came to this side of the link so far."""
    lines = machine.spend([*before, "cat", "/proc/net/dev"]).said.splitlines()
    return next(int(line.split(":")[1].split()[0]) for line in lines if line.strip().startswith("em0:"))


def report(results: dict[str, Any]) -> str:
    """Tables in Markdown, of `packets` and `packets_skipped`."""
    lines = ["### Beside one curl, over packets", ""]
    if results["packets_skipped"]:
        lines += [f"Left out: {results['packets_skipped']}.", ""]
    if not results["packets"]:
        return "\n".join(lines)
    cells = results["packets"]
    lines += [
        "A rebuild as users run it and one curl of one file of as many bytes (those of all replies' bodies, as they"
        f" travelled) in turns over a packet-level link. At least {LEAST} of curl's speed:"
        f" {'yes' if all(one['ok'] for one in cells) else 'NO'}. Medians (least–most); a round is one run of each.",
        "",
        "| Mbit/s | round trip, ms | rounds | bytes, MB | in flight | seconds | curl, s | of curl's speed"
        " | IP, MB | curl's IP, MB | processor, s | mock's, s |",
        "|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    lines += [
        f"| {one['mbit']} | {one['rtt'] * 1e3:.0f} | {one['rounds']} | {one['bytes'] / 1e6:.1f}"
        f" | {one['most_in_flight']} of {one['most']} | {shown(one['seconds'])} | {shown(one['curl'])}"
        f" | {shown(one['spread'], 3)} | {one['packets'] / 1e6:.1f} | {one['curl_packets'] / 1e6:.1f}"
        f" | {shown(one['cpu'], 1)} | {shown(one['server_cpu'], 1)} |"
        for one in cells
    ]
    lines += [
        "",
        "Where the rebuild's seconds went (`start`: until the program is at work; `end`: after its last word):",
        "",
        "| Mbit/s | " + " | ".join(PARTS) + " |",
        "|---:" * (len(PARTS) + 1) + "|",
    ]
    lines += [f"| {one['mbit']} | " + " | ".join(f"{one['parts'][name]:.2f}" for name in PARTS) + " |" for one in cells]
    return "\n".join([*lines, ""])


class _Bytes(BaseHTTPRequestHandler):
    """Sends as many bytes as the path says."""

    def do_GET(self) -> None:
        left = int(self.path[1:])
        self.send_response(200)
        self.send_header("Content-Length", str(left))
        self.end_headers()
        while left:
            piece = memoryview(_PIECE)[:left]
            self.wfile.write(piece)
            left -= len(piece)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base's name for it
        """Says nothing."""


def serve(host: str) -> None:
    """Until standard input ends."""
    with ThreadingHTTPServer((host, 0), _Bytes) as server:
        print(server.server_port, flush=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        sys.stdin.read()
        server.shutdown()


if __name__ == "__main__":
    serve(sys.argv[1])
