"""Records true logs of the client, one for each way in which a run ends.

`python -m tests.support.fleet_samples DIR` runs the client against the mock server and writes `KIND.log`, the profile's
log, for each kind of `RECIPES`. Names of this computer and ports are replaced. `tests/data/fleet` holds the result.
"""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

from benchmarks.format71_files import copy
from benchmarks.format72_writer import convert
from kerio_mockserver.conditions.model import Conditions
from kerio_mockserver.testing import Server
from kerio_resync import Settings
from kerio_resync.cache.mutations import AddChange, LocalChange
from kerio_resync.server.kerio.mailbox import KerioMailbox
from kerio_resync.upgrade.migration import format71
from tests.support.programs import ENVIRONMENT, PASSWORD, finish, kerio_resync, mock, start

DATA: Final = Path(__file__).parents[1] / "data" / "fleet"
LOG: Final = "kerio-resync.log"
_SLOW: Final = {"load": {"workers": 2, "call_s": 0.1, "spread": "fixed"}}
_SMALL_DISK: Final = """
import shutil, sys
from types import SimpleNamespace
shutil.disk_usage = lambda path: SimpleNamespace(total=10**9, used=10**9 - 5_000_000, free=5_000_000)
from kerio_resync.cli.app import main
main(sys.argv[1:])
"""
_CRASH: Final = """
import sys
from kerio_resync.sync import rebuild
async def fetch(run, todo):
    raise ValueError("a mail")
rebuild._fetch = fetch
from kerio_resync.cli.app import main
main(sys.argv[1:])
"""
Recipe = Callable[[Path, Server, tuple[str, ...]], Awaitable[Any]]


def _configure(profile: Path, text: str = "retry_timeout = 1.5\n") -> None:
    profile.mkdir(exist_ok=True)
    (profile / "profile.toml").write_text(text)


async def _program(code: str, *arguments: str | Path) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, *map(str, arguments), env=ENVIRONMENT | {"KERIO_RESYNC_PASSWORD": PASSWORD},
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    await finish(process)


async def _old_cache(server: Server, profile: Path, *changes: AddChange) -> Path:
    """Write a cache of format 7.2 with the server's mailbox."""
    _configure(profile, f'server = "{server.url}"\nuser = "{server.user}"\nretry_timeout = 1.5\n')
    settings = Settings.model_validate(
        {"profile": profile, "server": server.url, "user": server.user, "password": server.password}
    )
    mailbox = KerioMailbox(settings)
    try:
        await copy(mailbox, settings.cache, pending=changes)
    finally:
        await mailbox.close()
    today = settings.cache.rename(profile / "today.db")
    format71.migrate(today, profile / "today.db.next", lambda *_: None, threading.Event())
    convert(today, settings.cache)
    today.unlink()
    return settings.cache


async def _rebuilt(profile: Path, server: Server, named: tuple[str, ...]) -> None:
    await kerio_resync("--profile", profile, "rebuild", *named)


async def _upgraded(profile: Path, server: Server, named: tuple[str, ...]) -> None:
    await _old_cache(server, profile)
    await kerio_resync("--profile", profile, "upgrade")


async def _unsent(profile: Path, server: Server, named: tuple[str, ...]) -> None:
    drafts = next(str(each["id"]) for each in server.store.folders() if each["subType"] == "FSubDrafts")
    change = LocalChange(
        "11111111-1111-4111-8111-111111111111", "create", "mail", made="2026-03-01T09:30:00Z", folder_id=drafts,
        struct=json.dumps({"subject": "offline"}).encode(),
    )  # fmt: skip
    cache = await _old_cache(server, profile, AddChange(change))
    await kerio_resync("--profile", profile, "upgrade")
    assert cache.exists()
    server.core.change(Conditions.parse({"faults": [{"kind": "code", "method": "Mails.create", "code": 4101}]}))
    await _rebuilt(profile, server, named)


async def _postponed(profile: Path, server: Server, named: tuple[str, ...]) -> None:
    await _old_cache(server, profile)
    await _program(_SMALL_DISK, "--profile", profile, "upgrade")
    await _program(_SMALL_DISK, "--profile", profile, "upgrade")


async def _damaged(profile: Path, server: Server, named: tuple[str, ...]) -> None:
    cache = await _old_cache(server, profile)
    data = bytearray(cache.read_bytes())
    at = data.index(b"mhMessageID")
    data[at : at + 11] = bytes(11)
    cache.write_bytes(data)
    await kerio_resync("--profile", profile, "upgrade")


async def _no_room(profile: Path, server: Server, named: tuple[str, ...]) -> None:
    await _program(_SMALL_DISK, "--profile", profile, "rebuild", *named)


async def _wrong_password(profile: Path, server: Server, named: tuple[str, ...]) -> None:
    await kerio_resync("--profile", profile, "rebuild", *named, password="wrong battery")


async def _unreachable(profile: Path, server: Server, named: tuple[str, ...]) -> None:
    _configure(profile)
    await kerio_resync("--profile", profile, "rebuild", "--server", "http://127.0.0.1:9", "--user", server.user)


async def _overloaded(profile: Path, server: Server, named: tuple[str, ...]) -> None:
    _configure(profile)
    server.core.change(Conditions.parse({"load": {"refusal_windows": [{"seconds": 600, "first": 6}]}}))
    await _rebuilt(profile, server, named)


async def _in_use(profile: Path, server: Server, named: tuple[str, ...]) -> None:
    server.core.change(Conditions.parse(_SLOW))
    first = await start("--profile", profile, "rebuild", *named, "--log-level", "off")
    while not (profile / "kerio-resync.holder").exists():  # noqa: ASYNC110 - another process makes it
        await asyncio.sleep(0.05)
    await _rebuilt(profile, server, named)
    first.kill()
    await first.wait()


async def _other_account(profile: Path, server: Server, named: tuple[str, ...]) -> None:
    await kerio_resync("--profile", profile, "rebuild", *named, "--log-level", "off")
    async with mock(seed=8, mails=5, user="bob@example.com") as (_, other):
        await _rebuilt(profile, server, other)


async def _unverified(profile: Path, server: Server, named: tuple[str, ...]) -> None:
    fault = {"kind": "missing", "method": "Mails.get", "every": 1}
    server.core.change(Conditions.parse({"faults": [fault]}))
    await _rebuilt(profile, server, named)


async def _unexpected(profile: Path, server: Server, named: tuple[str, ...]) -> None:
    _configure(profile)
    server.core.change(Conditions.parse({"faults": [{"kind": "garbled", "method": "*.get"}]}))
    await _rebuilt(profile, server, named)


async def _internal(profile: Path, server: Server, named: tuple[str, ...]) -> None:
    await _program(_CRASH, "--profile", profile, "rebuild", *named)


async def _ended_by(number: signal.Signals, profile: Path, server: Server, named: tuple[str, ...]) -> None:
    """End a rebuild after some progress."""
    server.core.change(Conditions.parse(_SLOW))
    process = await start(
        "--profile", profile, "rebuild", *named, "--json", "--max-in-flight", "1", "--log-level", "debug"
    )
    assert process.stdout is not None
    left = None
    while left is None:
        event = json.loads(await process.stdout.readline())
        left = event.get("seconds_left") if event.get("bytes_done", 0) > event.get("bytes_total", 0) / 10 else None
    process.send_signal(number)
    await process.wait()


async def _interrupted(profile: Path, server: Server, named: tuple[str, ...]) -> None:
    await _ended_by(signal.SIGTERM, profile, server, named)


async def _killed(profile: Path, server: Server, named: tuple[str, ...]) -> None:
    await _ended_by(signal.SIGKILL, profile, server, named)


RECIPES: Final[dict[str, Recipe]] = {
    "rebuilt": _rebuilt,
    "upgraded": _upgraded,
    "unsent": _unsent,
    "postponed": _postponed,
    "damaged": _damaged,
    "no-room": _no_room,
    "wrong-password": _wrong_password,
    "unreachable": _unreachable,
    "overloaded": _overloaded,
    "in-use": _in_use,
    "other-account": _other_account,
    "unverified": _unverified,
    "unexpected": _unexpected,
    "internal": _internal,
    "interrupted": _interrupted,
    "killed": _killed,
}


async def record(kind: str) -> bytes:
    """Run the client so that it ends in this way; return the profile's log."""
    folder = Path(tempfile.mkdtemp(prefix="kerio-resync-fleet-"))
    try:
        mails = 600 if kind in ("interrupted", "killed") else 60
        async with mock(seed=7, mails=mails) as (server, named):
            await RECIPES[kind](folder / "profile", server, named)
        text = (folder / "profile" / LOG).read_text()
    finally:
        shutil.rmtree(folder)
    text = text.replace(str(folder / "profile"), "/home/anna/.local/share/kerio-resync")
    addresses = dict.fromkeys(re.findall(r"http://127\.0\.0\.1:\d+", text))
    for number, address in enumerate(addresses):
        text = text.replace(address, f"https://mail{number or ''}.example.com")
    return text.encode()


def shape_of(log: bytes) -> list[tuple[Any, ...]]:
    """What of a log the report depends on, without times and counts: events, members, exit codes and kinds."""
    rows = [json.loads(line) for line in log.splitlines()]
    return [
        (row["event"], row["command"], sorted(row), sorted(row.get("summary", ())), row.get("exit_code"),
         row.get("summary", {}).get("kind"))
        for row in rows
        if row["event"] in ("run-started", "run-finished")
    ]  # fmt: skip


async def main(folder: Path, kinds: tuple[str, ...]) -> None:
    """Record all kinds, or those named."""
    folder.mkdir(parents=True, exist_ok=True)
    for kind in kinds or RECIPES:
        (folder / f"{kind}.log").write_bytes(await record(kind))
        print(kind, flush=True)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), tuple(sys.argv[2:])))
