"""What an export of mails with sources takes, compared with copying its result.

`cp -r` copies the exported folder within the same file system, in turn with the export. Neither makes its files
durable; in the second comparison each is followed by `sync -f`, which does. The time of the export includes the start
of the program. Each turn writes into new folders: ext4 creates files slowly for minutes after many were deleted.
"""

from __future__ import annotations

import asyncio
import base64
import json
import random
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.tools import machine
from kerio_resync.cache.mutations import PutItems, SetFolders
from kerio_resync.cache.store import Store
from kerio_resync.model import Attachment, Folder, Identity, Item

SHARE = 0.5  # of the rate of `cp`
MAILS = {"usual mails": 25_000, "small mails": 6_000}  # bytes of the mean mail
_FOLDER = Folder("inbox", "", "Inbox", "mail", "inbox")
_WORDS = Path(__file__).read_text(encoding="utf-8").split()


def measure(quick: bool = False) -> dict[str, Any]:
    """Return the times of exports and copies for each size of mails."""
    total, turns = (20_000_000, 2) if quick else (200_000_000, 5)
    return {name: _measured(mean, total, turns) for name, mean in MAILS.items()}


def _measured(mean: int, total: int, turns: int) -> dict[str, Any]:
    with machine.workspace() as folder:
        profile = folder / "profile"
        count = asyncio.run(write_cache(profile / "cache.db", mean, total))
        runs: dict[str, list[machine.Spent]] = {"export": [], "cp": [], "export + sync": [], "cp + sync": []}
        for synced in ("", " + sync"):
            for turn in range(turns):
                target, copy = (str(folder / f"{name}{synced} {turn}") for name in ("mail", "copy"))
                _settle(folder)
                runs[f"export{synced}"].append(_spend(_export(profile, target), folder, synced=bool(synced)))
                _settle(folder)
                runs[f"cp{synced}"].append(_spend(["cp", "-r", target, copy], folder, synced=bool(synced)))
        size = sum(path.stat().st_size for path in Path(target).rglob("*.kerio-resync*"))
        asyncio.run(write_cache(folder / "tenth" / "cache.db", mean, total // 10))
        tenth = machine.spend(_export(folder / "tenth", str(folder / "tenth" / "mail")))
    return {
        "mails": count, "bytes": size, "turns": turns,
        "ratio": _ratio(runs["cp"], runs["export"]), "ratio_synced": _ratio(runs["cp + sync"], runs["export + sync"]),
        "seconds": {name: machine.middle([run.wall for run in found]) for name, found in runs.items()},
        "cpu": {name: statistics.median(run.cpu for run in found) for name, found in runs.items()},
        "peak": statistics.median(run.peak for run in runs["export"]), "peak_of_tenth": tenth.peak,
    }  # fmt: skip


def _settle(folder: Path) -> None:
    """Write what is pending, so that it does not fall into the next measurement."""
    subprocess.run(["sync", "-f", str(folder)], check=True)


def _export(profile: Path, target: str) -> list[str]:
    command = [sys.executable, "-m", "kerio_resync", "--profile", str(profile)]
    return [*command, "export", "--maildir", target, "--quiet"]


def _spend(command: list[str], folder: Path, *, synced: bool) -> machine.Spent:
    if not synced:
        return machine.spend(command)
    return machine.spend(["sh", "-c", '"$@" && sync -f "$0"', str(folder), *command])


def _ratio(cp: list[machine.Spent], export: list[machine.Spent]) -> float:
    return statistics.median(one.wall / other.wall for one, other in zip(cp, export, strict=True))


async def write_cache(path: Path, mean: int, total: int) -> int:
    """Write a cache of mails with sources; return how many."""
    path.parent.mkdir(exist_ok=True)
    store = await Store.create(
        path, Identity("https://mail.example.com", "anna", "anna", "anna@example.com", "", "jmap")
    )
    await store.apply(SetFolders((_FOLDER,), {"inbox": 0}))
    count = 0
    for number, source in enumerate(_sources(mean, total)):
        await store.apply(PutItems((_mail(number, source),)))
        count += 1
    await store.finish()
    await store.close()
    return count


def _sources(mean: int, total: int) -> Iterator[bytes]:
    """Yield mails: text, and in a tenth of them an attachment that has what is left."""
    rng, made = random.Random(7), 0
    text_bytes = min(mean, 6_000)
    attached_bytes = (mean - text_bytes) * 10
    while made < total:
        words = " ".join(rng.choices(_WORDS, k=int(text_bytes / 7.6 * rng.lognormvariate(-0.32, 0.8))))
        body = "\r\n".join(words[place : place + 76] for place in range(0, len(words), 76))
        if attached_bytes and rng.random() < 0.1:
            data = base64.encodebytes(rng.randbytes(int(attached_bytes * rng.expovariate(1) * 0.74)))
            body += "\r\n" + data.decode().replace("\n", "\r\n")
        source = (
            f"From: Anna <anna@example.com>\r\nTo: Jane <jane@example.com>\r\nSubject: Mail {made}\r\n"
            f"Message-ID: <{rng.getrandbits(64):x}@example.com>\r\n\r\n{body}\r\n"
        ).encode()
        made += len(source)
        yield source


def _mail(number: int, source: bytes) -> Item:
    date = f"2026-{number % 12 + 1:02}-{number % 28 + 1:02}T{number % 24:02}:00:00Z"
    raw = Attachment(f"blob-{number}", "", "", "message/rfc822", "", len(source), "source", source)
    payload = json.dumps({"id": str(number), "keywords": {"$seen": True}, "subject": f"Mail {number}"}).encode()
    return Item(
        f"M{number}", ("inbox",), "mail", "1", f"Mail {number}", "Anna <anna@example.com>", "jane@example.com", date,
        size=len(source), seen=number % 3 > 0, payload=payload, attachments=(raw,),
    )  # fmt: skip


def report(results: dict[str, Any]) -> str:
    """Return a table in Markdown."""
    lines = [
        "## Export",
        "",
        "`export --maildir` of mails whose sources are in the cache, compared with `cp -r` of the exported folder: in"
        f" turn, on the same file system. The goal is {SHARE} of the rate of `cp`, with neither made durable. Peak"
        " memory is also that of a tenth of the mails.",
        "",
        "| mails | MB | export, s | cp, s | rate relative to cp | with sync -f | peak, MB | of a tenth |",
        "|:---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for name, found in results.items():
        seconds = found["seconds"]
        lines.append(
            f"| {found['mails']:,} {name} | {found['bytes'] / 1e6:.0f} | {machine.shown(seconds['export'])} |"
            f" {machine.shown(seconds['cp'])} | {found['ratio']:.2f} | {found['ratio_synced']:.2f} |"
            f" {found['peak']:.0f} | {found['peak_of_tenth']:.0f} |"
        )
    return "\n".join([*lines, ""])
