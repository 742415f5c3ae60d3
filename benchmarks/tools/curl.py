"""A rebuild beside one curl of as many bytes, over a packet-level link.

They take turns, and each round gives a ratio. The file has as many bytes as the bodies of the previous rebuild's
replies, compressed, so that heads, requests, and everything else that the client does count against it. Both are
processes; the rebuild starts from nothing and is durable at its end, curl discards its data. The mock computed its
mailbox before (in a rebuild on its own side of the link), and `packets.py` sets both servers' TCP.

    python -m benchmarks.tools.curl HOST     serves N bytes at /N; prints its port; ends at the end of its input
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
    """A link, bytes of mail (fewer on the wire), maximum requests in flight, rounds."""

    mbit: float
    rtt: float
    size: int
    most: int
    rounds: int


class Run(NamedTuple):
    """A rebuild: wall time, processor time of both, bytes, requests in flight, parts.

    Body bytes are compressed; IP bytes are those that the link delivered.
    """

    seconds: float
    cpu: float
    server_cpu: float
    bytes: int
    packets: int
    in_flight: int
    parts: dict[str, float]


class Fetch(NamedTuple):
    """A curl: seconds of wall time, and the IP bytes that the link delivered."""

    seconds: float
    packets: int


async def missing() -> str:
    """Return why nothing can be measured here; empty if it can."""
    return await packets.missing() or ("" if shutil.which("curl") else "it needs curl")


async def compare(cell: Cell) -> dict[str, Any]:
    """Return curl's time relative to a rebuild's, as the median of the rounds."""
    async with packets.link(cell.mbit * 1e6, cell.rtt) as sides:
        rounds = await asyncio.to_thread(_rounds, cell, sides)
    return judged(cell, rounds)


def judged(cell: Cell, rounds: Sequence[tuple[Run, Fetch]]) -> dict[str, Any]:
    """Compare the rounds of a cell with curl."""
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
    """Rebuild once from one side of the link; raise OSError if it is incomplete."""
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
        events = [(time.perf_counter() - began, json.loads(line)) for line in process.stdout]
    _, status, used = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode or events[-1][1]["summary"]["skipped"]:
        raise OSError(f"a rebuild ended with {process.returncode}: {str(events[-1:])[-300:]}")
    stats = json.loads(machine.spend([*before, *_ASK, f"{server.control_url}/stats"]).output)
    return Run(
        seconds, used.ru_utime + used.ru_stime, server.cpu() - worked, events[-1][1]["summary"]["wire_bytes"],
        _came(before) - was, stats["most_in_flight"], parts(events, seconds),
    )  # fmt: skip


def parts(events: Sequence[tuple[float, dict[str, Any]]], seconds: float) -> dict[str, float]:
    """Return the seconds of each part of a run, by the times of its events."""
    marks = [(0.0, "start")]
    marks += [(at, event["phase"]) for at, event in events if event["event"] == "phase"]
    marks += [(at, "end") for at, event in events if event["event"] == "run-finished"]
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
    """Return the IP bytes received on this side of the link."""
    lines = machine.spend([*before, "cat", "/proc/net/dev"]).output.splitlines()
    return next(int(line.split(":")[1].split()[0]) for line in lines if line.strip().startswith("em0:"))


def report(results: dict[str, Any]) -> str:
    """Return tables in Markdown, of `packets` and `packets_skipped`."""
    lines = ["### Beside one curl, over packets", ""]
    if results["packets_skipped"]:
        lines += [f"Left out: {results['packets_skipped']}.", ""]
    if not results["packets"]:
        return "\n".join(lines)
    cells = results["packets"]
    lines += [
        "A rebuild as users run it and one curl of one file of as many bytes (those of all replies' bodies, as they"
        f" travelled) in turns over a packet-level link. At least {LEAST} of curl's speed:"
        f" {'yes' if all(cell['ok'] for cell in cells) else 'NO'}. Medians (least–most); a round is one run of each.",
        "",
        "| Mbit/s | round trip, ms | rounds | bytes, MB | in flight | seconds | curl, s | of curl's speed"
        " | IP, MB | curl's IP, MB | processor, s | mock's, s |",
        "|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    lines += [
        f"| {cell['mbit']} | {cell['rtt'] * 1e3:.0f} | {cell['rounds']} | {cell['bytes'] / 1e6:.1f}"
        f" | {cell['most_in_flight']} of {cell['most']} | {shown(cell['seconds'])} | {shown(cell['curl'])}"
        f" | {shown(cell['spread'], 3)} | {cell['packets'] / 1e6:.1f} | {cell['curl_packets'] / 1e6:.1f}"
        f" | {shown(cell['cpu'], 1)} | {shown(cell['server_cpu'], 1)} |"
        for cell in cells
    ]
    lines += [
        "",
        "Where the rebuild's seconds went (`start`: until the program is at work; `end`: after its last word):",
        "",
        "| Mbit/s | " + " | ".join(PARTS) + " |",
        "|---:" * (len(PARTS) + 1) + "|",
    ]
    for cell in cells:
        parts_of = cell["parts"]
        lines.append(f"| {cell['mbit']} | " + " | ".join(f"{parts_of[name]:.2f}" for name in PARTS) + " |")
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
        """Log nothing."""


def serve(host: str) -> None:
    """Serve until the end of standard input."""
    with ThreadingHTTPServer((host, 0), _Bytes) as server:
        print(server.server_port, flush=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        sys.stdin.read()
        server.shutdown()


if __name__ == "__main__":
    serve(sys.argv[1])
