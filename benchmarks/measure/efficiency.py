"""Efficiency of a rebuild over a link.

The client over the mock's relay, relative to an ideal transfer.

The mock runs in a process of its own, the client here, with its default of at most 64 requests in flight and with at
most 16. The ideal is the time in which the bodies of all replies of the fetch (compressed, without heads) fit through
the link, plus one round trip. The few calls before and after the fetch cost a round trip each; `whole` includes them.
The client's estimate of the time left, when a tenth of the bytes was there, is compared with the time it took. The same
runs in virtual time (`modelled`), where only the client's pacing counts. Over a link of packets, if available, the
whole program runs beside one curl (`curl.py`), for minutes: not in a quick run, and 10 Mbit/s in a full run only, once.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

from benchmarks.tools import curl
from kerio_mockserver.conditions.link import Link
from kerio_mockserver.mailbox.generate.seed import SeedOptions, generate_mailbox
from kerio_mockserver.server import MockServer
from kerio_resync import Settings, rebuild
from kerio_resync.events import Event, PhaseChanged, Progress
from kerio_resync.server.http.transport import Transport
from kerio_resync.server.kerio.mailbox import KerioMailbox
from simulation import virtual_time
from simulation.link_transport import LinkTransport
from simulation.wire import ORIGIN

LEAST = 0.95
MOST_RATIO = 0.4  # wire to plain bytes of text on a slow link
MOST_OFF = 0.2  # of the time left
FEW, MOST = 16, 64  # requests in flight
SLOW = 20  # Mbit/s; below that text has to be compressed
_FULL = ((10, 0.2, 40.0), (100, 0.05, 25.0), (20, 0.5, 60.0))
_QUICK = ((10, 0.2, 5.0),)
_MEAN = 60_000  # bytes of a mail with its attachments
# 262 MB on the wire, and half of it; text is compressed
_FULL_BESIDE = (curl.Cell(100, 0.05, 283_000_000, FEW, 5), curl.Cell(10, 0.2, 283_000_000, MOST, 1))
_BESIDE = (curl.Cell(100, 0.05, 141_500_000, FEW, 2),)


async def measure(quick: bool, *, full: bool = False) -> dict[str, Any]:
    """Measure efficiency, compression and the time estimate for each link.

    With `quick` one link and a short transfer.
    """
    cells = [await cell(*link, most=most) for link in (_QUICK if quick else _FULL) for most in (FEW, MOST)]
    models = [await asyncio.to_thread(modelled, *link) for link in (_FULL[:1] if quick else _FULL)]
    texts = [await cell(10, 0.05, 3.0 if quick else 10.0, attachments=0.0)]
    ok = all(_holds(cell) for cell in (*cells, *models) if cell["most"] == MOST) and all(map(_is_packed, texts))
    beside = await _beside(quick, full)
    return {"cells": cells, "models": models, "texts": texts, "ok": ok, **beside}


async def _beside(quick: bool, full: bool) -> dict[str, Any]:
    """Return the cells beside curl, and why others are missing."""
    skipped = "a quick run has no time for it" if quick else await curl.missing()
    found: list[dict[str, Any]] = []
    for one in () if skipped else _FULL_BESIDE if full else _BESIDE:
        try:
            found += [await curl.compare(one)]
        except OSError as error:  # keep what was measured before
            skipped = f"{one.mbit} Mbit/s × {one.rtt * 1e3:.0f} ms: {error}"
    return {"packets": found, "packets_skipped": skipped}


def _mails(mbit: float, seconds: float, attachments: float) -> int:
    # text shrinks to a quarter
    return max(20, int(mbit * 125_000 * seconds / (_MEAN if attachments else 2_500)))


async def cell(
    mbit: float, rtt: float, seconds: float, *, attachments: float = 0.3, most: int = MOST
) -> dict[str, Any]:
    """Measure one rebuild over a link, of the bytes that it carries in `seconds`."""
    rate, mails = mbit * 125_000, _mails(mbit, seconds, attachments)
    link = {"down_bytes_s": rate, "up_bytes_s": rate, "rtt_s": rtt}
    async with _served(mails, attachments, link) as server:
        with tempfile.TemporaryDirectory() as folder:
            found = await _rebuilt(_settings(server["url"], server["user"], server["password"], folder, most))
        stats = await asyncio.to_thread(_ask, server["control_url"] + "/stats")
    return _judged(mbit, rtt, mails, most, found | {"most_in_flight": _figure(stats, "most_in_flight")})


def modelled(mbit: float, rtt: float, seconds: float, *, attachments: float = 0.3, most: int = MOST) -> dict[str, Any]:
    """Measure the same in virtual time, without sockets."""
    rate, mails = mbit * 125_000, _mails(mbit, seconds, attachments)
    core = MockServer(generate_mailbox(SeedOptions(5, mails, attachments=attachments)), password="secret", seed=5)
    transport = LinkTransport(core, Link(down_bytes_s=rate, up_bytes_s=rate, rtt_s=rtt), connections=most)
    with tempfile.TemporaryDirectory() as folder:
        settings = _settings(ORIGIN, core.user, "secret", folder, most)
        found = virtual_time.run(_rebuilt(settings, transport))
    return _judged(mbit, rtt, mails, most, found | {"most_in_flight": transport.most_in_flight})


def _settings(server: str, user: str, password: str, folder: str, most: int) -> Settings:
    values = {"profile": folder, "server": server, "user": user, "password": password, "max_in_flight": most}
    return Settings.model_validate(values)


def _judged(mbit: float, rtt: float, mails: int, most: int, found: dict[str, Any]) -> dict[str, Any]:
    rate = mbit * 125_000
    fetch = found.pop("fetch_bytes") / rate + rtt
    whole = found["wire_bytes"] / rate + rtt
    return {
        "mbit": mbit, "rtt": rtt, "mails": mails, "most": most, **found,
        "efficiency": fetch / found["fetch_s"], "whole": whole / found["seconds"],
    }  # fmt: skip


async def _rebuilt(settings: Settings, transport: Transport | None = None) -> dict[str, Any]:
    clock = asyncio.get_running_loop().time
    marks: dict[str, tuple[float, int]] = {}
    samples: list[tuple[float, Progress]] = []

    def listen(event: Event) -> None:
        if isinstance(event, PhaseChanged):
            marks.setdefault(event.phase, (clock(), mailbox.wire_bytes))
        if isinstance(event, Progress) and "fetch" in marks:
            samples.append((clock(), event))

    mailbox = KerioMailbox(settings, listen, transport=transport)
    report = await rebuild(settings, listen, mailbox=mailbox, clock=clock)
    begin, end = marks["fetch"], marks["catch-up"]
    return {
        "seconds": report.seconds,
        "wire_bytes": report.wire_bytes,
        "plain_bytes": report.plain_bytes,
        "fetch_s": end[0] - begin[0],
        "fetch_bytes": end[1] - begin[1],
        **_forecast(samples, end[0], report.plain_bytes),
    }


def _forecast(samples: list[tuple[float, Progress]], end: float, total: int) -> dict[str, Any]:
    """Return the first estimate after a tenth of the bytes, and the time it took.

    `early` is the largest factor by which an earlier estimate was wrong; 1 if there was none.
    """
    early = 1.0
    for moment, progress in samples:
        left, truth = progress.seconds_left, end - moment
        if left is None:
            continue
        if progress.bytes_done >= 0.1 * total:
            return {"left": left, "left_in_truth": truth, "early": early}
        early = max(early, left / truth, truth / left)
    return {"left": None, "left_in_truth": 0.0, "early": early}


@contextlib.asynccontextmanager
async def _served(mails: int, attachments: float, link: dict[str, float]) -> AsyncIterator[dict[str, str]]:
    """Run a mock server in a process of its own, behind a link."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "kerio_mockserver", "serve", "--exit-with-parent", "--seed", "5", "--mails", str(mails),
        "--attachments", str(attachments),
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        server: dict[str, str] = json.loads(await process.stdout.readline())
        await asyncio.to_thread(_ask, server["control_url"] + "/conditions", {"link": link})
        yield server
    finally:
        process.stdin.close()
        await process.wait()


def _ask(url: str, patch: dict[str, Any] | None = None) -> dict[str, Any]:
    body = json.dumps(patch).encode() if patch else None
    request = Request(url, body, {"Content-Type": "application/json"}, method="PATCH" if patch else "GET")
    with urlopen(request, timeout=30) as reply:
        output: dict[str, Any] = json.load(reply)
        return output


def _figure(stats: Any, name: str) -> int:
    """Return the figure of a name, wherever it is."""
    if isinstance(stats, dict):
        if isinstance(stats.get(name), int):
            return int(stats[name])
        return max((_figure(entry, name) for entry in stats.values()), default=0)
    return 0


def _off(one: dict[str, Any]) -> float:
    if one["left"] is None:
        return float("inf")
    return float(abs(one["left"] / one["left_in_truth"] - 1)) if one["left_in_truth"] else 0.0


def _is_packed(one: dict[str, Any]) -> bool:
    return float(one["wire_bytes"]) <= MOST_RATIO * float(one["plain_bytes"])


def _holds(one: dict[str, Any]) -> bool:
    return one["efficiency"] >= LEAST and _off(one) <= MOST_OFF and one["most_in_flight"] <= one["most"]


def report(results: dict[str, Any]) -> str:
    """Return tables in Markdown."""
    lines = [
        "## Links",
        "",
        f"Bounds: efficiency of the fetch at least {LEAST} with at most {MOST} requests in flight, the time left"
        f" after a tenth within {MOST_OFF:.0%}, text on the wire at most {MOST_RATIO} of its plain size:"
        f" {'yes' if results['ok'] else 'NO'}.",
        "",
        "| time | Mbit/s | round trip, ms | mails | wire, MB | fetch, s | efficiency | whole | allowed | in flight"
        " | left, s | truth |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
        *(_row("real", cell) for cell in results["cells"]),
        *(_row("virtual", cell) for cell in results["models"]),
    ]
    lines += ["", "| text over | plain, MB | on the wire, MB | share |", "|---|---:|---:|---:|"]
    lines += [
        f"| {text['mbit']} Mbit/s | {text['plain_bytes'] / 1e6:.1f} | {text['wire_bytes'] / 1e6:.1f}"
        f" | {text['wire_bytes'] / text['plain_bytes']:.2f} |"
        for text in results["texts"]
    ]
    return "\n".join([*lines, "", curl.report(results)])


def _row(time: str, one: dict[str, Any]) -> str:
    left = "-" if one["left"] is None else f"{one['left']:.1f}"
    return (
        f"| {time} | {one['mbit']} | {one['rtt'] * 1000:.0f} | {one['mails']:,} | {one['wire_bytes'] / 1e6:.1f}"
        f" | {one['fetch_s']:.1f} | {one['efficiency']:.3f} | {one['whole']:.3f} | {one['most']}"
        f" | {one['most_in_flight']} | {left} | {one['left_in_truth']:.1f} |"
    )


def picture(results: dict[str, Any], path: Path) -> None:
    """Draw the efficiency over each link as bars, and the goal as a line."""
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(8, 4))
    names = [f"{cell['mbit']} Mbit/s\n{cell['rtt'] * 1000:.0f} ms\nlimit {cell['most']}" for cell in results["cells"]]
    places = range(len(names))
    axes.bar([at - 0.2 for at in places], [cell["efficiency"] for cell in results["cells"]], 0.4, label="fetch")
    axes.bar([at + 0.2 for at in places], [cell["whole"] for cell in results["cells"]], 0.4, label="whole run")
    axes.axhline(LEAST, color="gray", linestyle=":")
    axes.set(
        xticks=list(places),
        xticklabels=names,
        ylabel="ideal time / time",
        ylim=(0, 1.05),
        title="Efficiency over a link",
    )
    axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1))
    figure.savefig(path, dpi=120, bbox_inches="tight")
    pyplot.close(figure)
