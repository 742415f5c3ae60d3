"""A disk that fills at a random moment: exit 7 with figures, what was committed stays, and with room the run finishes.

A limit on the size of files stands in for the small disk: it needs no rights, and a write fails with it just as late.
`KERIO_FULL_DISKS`: the number of runs (default 4).
"""

from __future__ import annotations

import json
import os
import random
import re
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest

from kerio_mockserver.testing import Server
from kerio_resync import Settings
from simulation.world import differences
from tests.support.crashes import Nursery, new_server, nursery

TIMES = int(os.environ.get("KERIO_FULL_DISKS", "4"))
NO_ROOM = 7
SENTENCE = re.compile(r"cannot grow: a limit of this process")


def stored(path: Path) -> set[tuple[str, int]]:
    """(id, version) of what is committed in a half-built file."""
    if not path.exists():
        return set()
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        return set(db.execute("SELECT id, version FROM item"))


@pytest.mark.timeout(120 if TIMES <= 6 else 24 * 3600)
async def test_a_full_disk_loses_nothing_and_room_lets_it_finish(tmp_path: Path) -> None:
    began = time.monotonic()
    async with nursery(tmp_path) as nurse:
        full = await fill_disks(nurse, tmp_path)
    print(f"\n{full} full disks in {time.monotonic() - began:,.0f} s; all finished afterwards; differences: 0")


async def fill_disks(nurse: Nursery, tmp_path: Path) -> int:
    """How many were full."""
    rng, full = random.Random(5), 0
    async with new_server() as server:
        assert (await nurse.life(server, tmp_path / "whole"))[0] == 0
        size = (tmp_path / "whole" / "cache.db").stat().st_size
    for number in range(TIMES):
        profile = tmp_path / str(number)
        before: set[tuple[str, int]] = set()
        async with new_server() as server:
            for limit in sorted(rng.randrange(20_000, size * 9 // 10) for _ in range(2)):
                code, _, err = await nurse.lived(server, profile, KERIO_FILE_LIMIT=str(limit))
                assert code == NO_ROOM, err
                assert "Traceback" not in err
                assert SENTENCE.search(err), err
                now = stored(profile / "cache.db.next")
                assert {name for name, _ in before} - {name for name, _ in now} <= gone_from(server)
                assert not (profile / "cache.db").exists()
                before, full = now, full + 1
            code, out = await nurse.life(server, profile)
            assert code == 0
            assert json.loads(out)["skipped"] == []
            assert not await differences(server.store, Settings(profile=profile))
    return full


def gone_from(server: Server) -> set[str]:
    """Ids that the server had once: the churn deletes and moves."""
    return {name for change in server.store.journal.history() for name in ids_of(change)}


def ids_of(change: object) -> set[str]:
    return set(re.findall(r"keriostorage://[^\s'\"]+", str(change)))
