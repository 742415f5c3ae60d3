"""A client that dies by SIGKILL, or by a power cut, at any instant of its work on the disk, again and again.

The server is in this process and outlives it; the mailbox changes on the way. In the end the cache equals the server,
and next to nothing was fetched twice. A power cut is a kill after which the profile is put back as it was after the
last commit or fsync (`crash_child.py` keeps that copy). `KERIO_CRASHES`: how many deaths (25 if it isn't set).
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import shutil
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from kerio_mockserver.testing import Server, running
from kerio_mockserver.wire import Reply, Request
from kerio_resync import Settings, digest

CRASHES = int(os.environ.get("KERIO_CRASHES", "25"))
IN_FLIGHT = 4  # requests at once, as the child is told
RENAMES = ("rename begins:1", "rename done:1", "fsync begins:1", "rename begins:1", "rename done:1")
CHAIN = 5  # deaths in a row before a profile is let finish
PASSWORD = "correct horse battery staple"
CHURN = {
    "churn": {
        "script": [
            {"action": action, "method": "Mails.getById", "nth": nth, "every": 7}
            for nth, action in enumerate(("arrive", "move", "delete", "read", "edit-draft", "rename-folder"), 2)
        ]
    }
}
CONTENTS = ("Mails.getById", "GET attachment", "Contacts.get", "Events.get", "Tasks.get", "Notes.get")


@dataclass
class Tally:
    deaths: int = 0
    instants: dict[str, int] = field(default_factory=dict)
    ratios: list[float] = field(default_factory=list)


def new_server() -> Any:
    return running(
        seed=3, mails=120, password=PASSWORD, conditions=CHURN,
        mailbox={"contacts": 9, "events": 7, "tasks": 3, "notes": 3, "total_bytes": 3_000_000},
    )  # fmt: skip


async def child(server: Server, profile: Path, at: int | str = 0, copy: Path | None = None) -> tuple[int, str]:
    """(exit code, standard output) of one life."""
    environment = {**os.environ, "KERIO_RESYNC_PASSWORD": PASSWORD, "KERIO_CRASH_AT": str(at)}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.whole.crash_child", str(profile), server.url, server.user,
        env=environment | ({"KERIO_CRASH_COPY": str(copy)} if copy else {}),
        cwd=Path(__file__).parents[2], stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, err = await asyncio.wait_for(process.communicate(), 50)
    assert b"Traceback" not in err, err.decode()
    assert process.returncode in (0, -signal.SIGKILL), err.decode()
    return process.returncode, out.decode()


class Given:
    """Bytes of contents that a server gives, as they travel: in all, and in its largest reply."""

    def __init__(self, server: Server) -> None:
        self.total = self.largest = 0
        answer = server.core.answer

        async def count(request: Request) -> Reply:
            reply = await answer(request)
            if reply.rpc in CONTENTS:
                self.total += len(reply.body)
                self.largest = max(self.largest, len(reply.body))
            return reply

        server.core.answer = count  # type: ignore[method-assign]


async def differences(server: Server, profile: Path) -> set[str]:
    ours = {line async for line in digest(Settings(profile=profile))}
    return ours ^ {line.rstrip("\n") for line in server.store.digest()}


async def undisturbed(tmp_path: Path) -> tuple[int, dict[str, int]]:
    """(bytes fetched, instants) of a run that nothing happens to."""
    async with new_server() as server:
        given = Given(server)
        code, out = await child(server, tmp_path / "undisturbed")
        assert code == 0
        assert not await differences(server, tmp_path / "undisturbed")
        return given.total, json.loads(out)["instants"]


async def die_and_finish(server: Server, profile: Path, instants: Sequence[int | str], *, power: bool) -> int:
    """Lives that end at those instants, then one that may finish; how many deaths there were."""
    copy = profile.with_name(profile.name + ".synced") if power else None
    deaths = 0
    for at in instants:
        code, _ = await child(server, profile, at, copy)
        deaths += code != 0
        if code == 0:
            break  # it was done before that instant came
        if copy is not None and copy.exists():
            shutil.rmtree(profile)
            shutil.copytree(copy, profile)
    code, out = await child(server, profile)
    assert code == 0
    assert json.loads(out)["skipped"] == []
    assert not await differences(server, profile)
    left = {path.name for path in profile.iterdir()}
    assert left <= {"cache.db", "kerio-resync.lock", "kerio-resync.holder"}, left
    return deaths


def broken(total: int, seed: int) -> list[int]:
    """A run of `total` instants broken at CHAIN random places: how many instants each life has."""
    places = sorted(random.Random(seed).sample(range(1, total), CHAIN))
    return [there - here for here, there in pairwise([0, *places])]


@pytest.mark.timeout(200 if CRASHES <= 25 else 24 * 3600)
async def test_death_at_any_instant_costs_nothing_but_what_was_in_flight(tmp_path: Path) -> None:
    began, tally = time.monotonic(), Tally()
    base, tally.instants = await undisturbed(tmp_path)
    total = sum(tally.instants.values())
    assert total > 100
    chains = [RENAMES, RENAMES, *(broken(total, seed) for seed in range(CRASHES // CHAIN - 2))]
    for number, chain in enumerate(chains):
        async with new_server() as server:
            profile, given = tmp_path / str(number), Given(server)
            deaths = await die_and_finish(server, profile, chain, power=number % 2 == 1)
            tally.deaths += deaths
            tally.ratios.append(given.total / base)
            assert given.total <= 1.05 * base + deaths * IN_FLIGHT * given.largest
            shutil.rmtree(profile)
    assert tally.deaths >= CRASHES * 4 // 5
    print(
        f"\n{tally.deaths} deaths at {total} kinds of instants {tally.instants} in {time.monotonic() - began:,.0f} s;"
        f" fetched {min(tally.ratios):.2f} to {max(tally.ratios):.2f} of an undisturbed run; differences: 0"
    )
