"""A rebuild over JMAP beside mbsync over IMAP: one Cyrus, one mailbox.

Both read the same mails from the same server, over the same relay, and write to the same disk; the programs take
turns, and ratios are taken within a turn. mbsync runs as users run it (it fsyncs each mail) and at its best (no fsync,
four processes that share the folders). Ours is durable at its end. Times are those of whole processes. Requests and
bytes come from one more run of each program, through a relay that counts. A run that did not bring all mails is an
error.
"""

from __future__ import annotations

import contextlib
import os
import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.rivals import cyrus, imap_mailbox, mails, programs
from benchmarks.rivals.clients import Run, mbsync
from benchmarks.rivals.cyrus import Cyrus
from benchmarks.rivals.imap_mailbox import Mail
from benchmarks.rivals.programs import Programs
from benchmarks.tools import counting, machine, relay
from benchmarks.tools.machine import Account, middle, shown

OURS = "ours"
LOOPBACK = "loopback"
LINE = "100 Mbit/s × 50 ms"
_LINK = {"down_bytes_s": 12_500_000, "up_bytes_s": 12_500_000, "rtt_s": 0.05}
_WAYS: dict[str, dict[str, Any]] = {
    "mbsync": {"fsync": True, "processes": 1},
    "mbsync, no fsync": {"fsync": False, "processes": 1},
    "mbsync, no fsync, 4 processes": {"fsync": False, "processes": 4},
}
_TEXT_BYTES = 5_400  # the mean of the SpamAssassin corpus
_FOLDERS = ("INBOX", "Sent", "Junk", "Work", "Work/Projects", "Work/Projects/2002", "Lists", "Lists/ilug", "Lists/exmh")
_WEIGHTS = (40, 6, 8, 8, 6, 4, 4, 16, 8)
_FIRST_MAIL = 1_700_000_000


class Cell(NamedTuple):
    """A link (None: loopback), and how often each program runs."""

    name: str
    link: dict[str, float] | None
    turns: int


Program = Callable[[int, int], Run]  # with the ports for HTTP and IMAP


def measure(quick: bool = False, *, full: bool = False, corpus: str = "") -> dict[str, Any]:
    """Return {"skipped": reason, "versions", "mails", "bytes", "cells": one per link}."""
    installed = programs.find_mbsync()
    if reason := cyrus.missing() or (installed if isinstance(installed, str) else ""):
        return {"skipped": reason, "versions": {}, "cells": []}
    assert isinstance(installed, Programs)
    corpus = corpus or os.environ.get("KERIO_CORPUS", "")
    mailbox = list(_mailbox(150 if quick else 1500, 6 if quick else 60, Path(corpus) if corpus else None))
    turns = 1 if quick else 5 if full else 3
    with cyrus.running() as server:
        with server.imap() as imap:
            imap_mailbox.fill(imap, mailbox)
        cells = [_measure(installed, server, mailbox, cell) for cell in _cells(turns)]
    return {
        "skipped": "", "versions": {"Cyrus": cyrus.version(), "isync": programs.versions(installed)["isync"]},
        "source": "real text" if corpus else "generated text", "mails": len(mailbox),
        "bytes": sum(len(mail.source) for mail in mailbox), "cells": cells,
    }  # fmt: skip


def _cells(turns: int) -> Iterator[Cell]:
    yield Cell(LOOPBACK, None, turns)
    yield Cell(LINE, _LINK, turns)


def _mailbox(count: int, attached: int, corpus: Path | None) -> Iterator[Mail]:
    """Yield read mails: many without large parts, some with attachments."""
    rng = random.Random(7)
    if corpus is None:
        texts = [data for _, data in mails.seeded(7, count, count * _TEXT_BYTES)]
    else:
        texts = list(islice(imap_mailbox.shuffled(corpus, rng), count))
    sources = [*dict.fromkeys(texts), *map(imap_mailbox.attached_source, range(attached))]
    for number, source in enumerate(sources):
        folder = rng.choices(_FOLDERS, _WEIGHTS)[0]
        yield Mail(folder, (r"\Seen",), _FIRST_MAIL + number * 3600, source)


def _measure(installed: Programs, server: Cyrus, mailbox: list[Mail], cell: Cell) -> dict[str, Any]:
    with machine.workspace() as folder:
        runners = _runners(installed, folder, mailbox)
        with (
            relay.before(server.http_port, cell.link) as http,
            relay.before(server.imap_port, cell.link) as imap,
        ):
            for warm_up in (OURS, "mbsync, no fsync"):
                runners[warm_up](server.http_port, server.imap_port)
            turns = [_turn(runners, len(mailbox), http, imap) for _ in range(cell.turns)]
            counted = {name: _counted(run, http, imap) for name, run in runners.items()}
    return {"name": cell.name, "link": cell.link, "turns": turns, "counts": counted, "programs": _judged(turns)}


def _runners(installed: Programs, folder: Path, mailbox: list[Mail]) -> dict[str, Program]:
    shares: dict[str, tuple[int, int]] = {}
    for mail in mailbox:
        name = "" if mail.folder == imap_mailbox.INBOX else mail.folder
        size, count = shares.get(name, (0, 0))
        shares[name] = (size + len(mail.source), count + 1)

    def ours(http: int, _: int) -> Run:
        account = Account(f"http://127.0.0.1:{http}", cyrus.USER, cyrus.PASSWORD)
        spent, summary = machine.rebuilt(account, machine.empty(folder / "profile"), "--protocol", "jmap")
        return Run(spent.wall, spent.cpu, summary["items"]["mail"])

    def theirs(how: Mapping[str, Any]) -> Program:
        return lambda _, imap: mbsync(installed, imap, folder / "near", shares, **how)

    return {OURS: ours, **{name: theirs(how) for name, how in _WAYS.items()}}


def _turn(runners: Mapping[str, Program], mails: int, http: int, imap: int) -> dict[str, dict[str, float]]:
    """Run each program once; raise OSError if one did not bring all mails."""
    found = {}
    for name, run in runners.items():
        os.sync()
        one = run(http, imap)
        if one.mails != mails:
            raise OSError(f"{name} brought {one.mails} of {mails} mails")
        found[name] = {"seconds": one.seconds, "cpu": one.cpu}
    return found


def _counted(run: Program, http: int, imap: int) -> dict[str, int]:
    """Return what passes between a program and the server in one run."""
    with contextlib.ExitStack() as stack:
        http_port, over_http = stack.enter_context(counting.before(http, counting.HTTP_REQUEST))
        imap_port, over_imap = stack.enter_context(counting.before(imap, counting.IMAP_COMMAND))
        run(http_port, imap_port)
    return asdict(over_http if over_http.requests else over_imap)


def _judged(turns: list[dict[str, dict[str, float]]]) -> dict[str, Any]:
    """Return seconds, processor time and ratio to ours by program."""
    return {
        name: {
            "seconds": middle([turn[name]["seconds"] for turn in turns]),
            "cpu": middle([turn[name]["cpu"] for turn in turns]),
            "times": middle([turn[name]["seconds"] / turn[OURS]["seconds"] for turn in turns]),
        }
        for name in turns[0]
    }


def report(results: dict[str, Any]) -> str:
    """Return a table per link in Markdown."""
    lines = ["## JMAP", ""]
    if results["skipped"]:
        return "\n".join([*lines, f"Skipped: {results['skipped']}.", ""])
    names = ", ".join(f"{name} {number}" for name, number in results["versions"].items())
    lines += [
        f"{results['mails']:,} mails, {results['bytes'] / 1e6:.0f} MB ({results['source']}), from one server ({names}):"
        " kerio-resync (ours) over JMAP, mbsync over IMAP. Times are those of whole processes: medians (least–most)."
        " Requests (HTTP requests, IMAP commands) and bytes (TCP payload) are of one more run each.",
        "",
    ]
    for cell in results["cells"]:
        lines += [
            f"### JMAP, {cell['name']}",
            "",
            "| program | seconds | processor, s | relative to ours | requests | connections | MB received | MB sent |",
            "|:---|---:|---:|---:|---:|---:|---:|---:|",
        ]
        lines += [_row(name, cell["programs"][name], cell["counts"][name]) for name in (OURS, *_WAYS)]
        lines.append("")
    return "\n".join(lines)


def _row(name: str, one: Mapping[str, Any], counts: Mapping[str, int]) -> str:
    return (
        f"| {name} | {shown(one['seconds'])} | {shown(one['cpu'])} | {shown(one['times'])} | {counts['requests']:,} |"
        f" {counts['connections']} | {counts['down_bytes'] / 1e6:.1f} | {counts['up_bytes'] / 1e6:.2f} |"
    )


def picture(results: dict[str, Any], path: Path) -> None:
    """Draw bars of seconds, one panel per link."""
    if not results["cells"]:
        return
    from matplotlib import pyplot

    cells = results["cells"]
    figure, axes = pyplot.subplots(len(cells), 1, figsize=(8, 0.8 + 1.5 * len(cells)), squeeze=False)
    for axis, cell in zip(axes[:, 0], cells, strict=True):
        names = [OURS, *_WAYS]
        values = [cell["programs"][name]["seconds"] for name in names]
        reach = [[v["median"] - v["least"] for v in values], [v["most"] - v["median"] for v in values]]
        colors = ["C1" if name == OURS else "C0" for name in names]
        bars = axis.barh(names, [v["median"] for v in values], xerr=reach, capsize=3, color=colors)
        axis.bar_label(bars, [f" {v['median']:.1f}" for v in values], padding=3)
        axis.invert_yaxis()
        axis.margins(x=0.15)
        axis.set(xlabel="seconds", title=cell["name"])
    figure.tight_layout()
    figure.savefig(path, dpi=100, bbox_inches="tight")
    pyplot.close(figure)
