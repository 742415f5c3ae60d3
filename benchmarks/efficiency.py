"""What a rebuild gets out of a link: the client over the mock's relay, beside what the link could have carried.

The mock runs as a process of its own, the client here, with at most 16 requests in flight. Ideal is the time in which
the bodies of all replies of the fetch (as they travelled, without their heads, which count against us) fit through the
link, and one round trip. The few calls before and after the fetch each cost a round trip and are shown beside it as
`whole`. The time left is the client's own figure when a tenth of the bytes was there, held against what it took.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from time import perf_counter
from typing import Any
from urllib.request import Request, urlopen

from kerio_resync import Settings, rebuild
from kerio_resync.events import Event, PhaseChanged, Progress
from kerio_resync.server.kerio import KerioMailbox

LEAST = 0.95
MOST_RATIO = 0.4  # wire to plain bytes of text on a slow link
MOST_OFF = 0.2  # of the time left
IN_FLIGHT = 16
SLOW = 20  # Mbit/s; below that text has to be compressed
_FULL = ((10, 0.2, 25.0), (100, 0.05, 25.0), (20, 0.5, 40.0))
_QUICK = ((10, 0.2, 5.0),)
_MEAN = 60_000  # bytes of a mail with its attachments


async def measure(quick: bool) -> dict[str, Any]:
    """Efficiency, compression and the client's forecast for each link; `quick`: one link, a short transfer."""
    cells = [await cell(mbit, rtt, seconds) for mbit, rtt, seconds in (_QUICK if quick else _FULL)]
    texts = [await cell(10, 0.05, 3.0 if quick else 10.0, attachments=0.0)]
    return {"cells": cells, "texts": texts, "ok": all(map(_holds, cells)) and all(_is_packed(one) for one in texts)}


async def cell(mbit: float, rtt: float, seconds: float, *, attachments: float = 0.3) -> dict[str, Any]:
    """One rebuild over a link of `mbit` and `rtt`, of about so many bytes as it carries in `seconds`."""
    rate = mbit * 125_000
    # text shrinks to a quarter on its way
    mails = max(20, int(rate * seconds / (_MEAN if attachments else 2_500)))
    link = {"down_bytes_s": rate, "up_bytes_s": rate, "rtt_s": rtt}
    async with _served(mails, attachments, link) as server:
        with tempfile.TemporaryDirectory() as folder:
            found = await _rebuilt(server, Path(folder))
    fetch = found.pop("fetch_bytes") / rate + rtt
    whole = found["wire_bytes"] / rate + rtt
    return {
        "mbit": mbit, "rtt": rtt, "mails": mails, **found,
        "efficiency": fetch / found["fetch_s"], "whole": whole / found["seconds"],
    }  # fmt: skip


async def _rebuilt(server: dict[str, str], profile: Path) -> dict[str, Any]:
    settings = Settings.model_validate(
        {
            "profile": profile, "server": server["url"], "user": server["user"], "password": server["password"],
            "max_in_flight": IN_FLIGHT,
        }
    )  # fmt: skip
    marks: dict[str, tuple[float, int]] = {}
    told: list[tuple[float, Progress]] = []

    def listen(event: Event) -> None:
        if isinstance(event, PhaseChanged):
            marks.setdefault(event.phase, (perf_counter(), mailbox.wire_bytes))
        if isinstance(event, Progress) and "fetch" in marks:
            told.append((perf_counter(), event))

    mailbox = KerioMailbox(settings, listen)
    report = await rebuild(settings, listen, mailbox=mailbox)
    begin, end = marks["fetch"], marks["catch-up"]
    stats = await asyncio.to_thread(_ask, server["control_url"] + "/stats")
    return {
        "seconds": report.seconds,
        "wire_bytes": report.wire_bytes,
        "plain_bytes": report.plain_bytes,
        "fetch_s": end[0] - begin[0],
        "fetch_bytes": end[1] - begin[1],
        "most_in_flight": _figure(stats, "most_in_flight"),
        **_forecast(told, end[0], report.plain_bytes),
    }


def _forecast(told: list[tuple[float, Progress]], end: float, total: int) -> dict[str, Any]:
    """The first time left that was told after a tenth of the bytes, and what it was."""
    for moment, progress in told:
        if progress.bytes_done >= 0.1 * total and progress.seconds_left is not None:
            return {"left": progress.seconds_left, "left_in_truth": end - moment}
    return {"left": None, "left_in_truth": 0.0}


@contextlib.asynccontextmanager
async def _served(mails: int, attachments: float, link: dict[str, float]) -> AsyncIterator[dict[str, str]]:
    """A mock server in a process of its own, behind a link."""
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
        said: dict[str, Any] = json.load(reply)
        return said


def _figure(stats: Any, name: str) -> int:
    """The figure of that name, wherever it stands."""
    if isinstance(stats, dict):
        if isinstance(stats.get(name), int):
            return int(stats[name])
        return max((_figure(each, name) for each in stats.values()), default=0)
    return 0


def _off(one: dict[str, Any]) -> float:
    if one["left"] is None:
        return float("inf")
    return float(abs(one["left"] / one["left_in_truth"] - 1)) if one["left_in_truth"] else 0.0


def _is_packed(one: dict[str, Any]) -> bool:
    return float(one["wire_bytes"]) <= MOST_RATIO * float(one["plain_bytes"])


def _holds(one: dict[str, Any]) -> bool:
    return one["efficiency"] >= LEAST and _off(one) <= MOST_OFF and one["most_in_flight"] <= IN_FLIGHT


def report(results: dict[str, Any]) -> str:
    """Two tables in Markdown."""
    lines = [
        "## Links",
        "",
        f"Rebuilds with at most {IN_FLIGHT} requests in flight; efficiency of the fetch at least {LEAST}, the time left"
        f" after a tenth within {MOST_OFF:.0%}, text on the wire at most {MOST_RATIO} of what it holds:"
        f" {'yes' if results['ok'] else 'NO'}.",
        "",
        "| Mbit/s | round trip, ms | mails | wire, MB | fetch, s | efficiency | whole | in flight | left, s | truth |",
        "|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for one in results["cells"]:
        left = "-" if one["left"] is None else f"{one['left']:.1f}"
        lines.append(
            f"| {one['mbit']} | {one['rtt'] * 1000:.0f} | {one['mails']:,} | {one['wire_bytes'] / 1e6:.1f}"
            f" | {one['fetch_s']:.1f} | {one['efficiency']:.3f} | {one['whole']:.3f} | {one['most_in_flight']}"
            f" | {left} | {one['left_in_truth']:.1f} |"
        )
    lines += ["", "| text over | plain, MB | on the wire, MB | share |", "|---|---:|---:|---:|"]
    lines += [
        f"| {one['mbit']} Mbit/s | {one['plain_bytes'] / 1e6:.1f} | {one['wire_bytes'] / 1e6:.1f}"
        f" | {one['wire_bytes'] / one['plain_bytes']:.2f} |"
        for one in results["texts"]
    ]
    return "\n".join(lines) + "\n"


def picture(results: dict[str, Any], path: Path) -> None:
    """Efficiency of each link as bars, the goal as a line, into an image file."""
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(6, 4))
    names = [f"{one['mbit']} Mbit/s\n{one['rtt'] * 1000:.0f} ms" for one in results["cells"]]
    places = range(len(names))
    axes.bar([at - 0.2 for at in places], [one["efficiency"] for one in results["cells"]], 0.4, label="fetch")
    axes.bar([at + 0.2 for at in places], [one["whole"] for one in results["cells"]], 0.4, label="whole run")
    axes.axhline(LEAST, color="gray", linestyle=":")
    axes.set(
        xticks=list(places), xticklabels=names, ylabel="ideal time / time", ylim=(0, 1.05), title="What a link gives"
    )
    axes.legend(loc="lower right")
    figure.savefig(path, dpi=120, bbox_inches="tight")
    pyplot.close(figure)
