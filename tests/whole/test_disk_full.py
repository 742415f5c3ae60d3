"""A disk that fills at a random moment: exit 7 with figures, what was committed stays, and with room the run finishes.

A limit on the size of files stands in for the small disk: it needs no rights, and a write fails with it just as late.
`KERIO_FULL_DISKS`: how many times (6 if it isn't set).
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import re
import sqlite3
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from kerio_mockserver.testing import Server
from kerio_resync import Settings
from tests.whole.test_crash import PASSWORD, new_server
from tests.whole.world import differences

TIMES = int(os.environ.get("KERIO_FULL_DISKS", "6"))
NO_ROOM = 7
SENTENCE = re.compile(r"not enough room on the disk: [\d,]+ bytes are needed and [\d,]+ are free at .+")


async def life(server: Server, profile: Path, limit: int = 0) -> tuple[int, str, str]:
    """(exit code, standard output, standard error) of a run in which no file grows beyond `limit` bytes."""
    environment = {**os.environ, "KERIO_RESYNC_PASSWORD": PASSWORD, "KERIO_FILE_LIMIT": str(limit)}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.whole.crash_child", str(profile), server.url, server.user, env=environment,
        cwd=Path(__file__).parents[2], stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, err = await asyncio.wait_for(process.communicate(), 50)
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


def stored(path: Path) -> set[tuple[str, int]]:
    """(id, watermark) of what is committed in a half-built file."""
    if not path.exists():
        return set()
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        return set(db.execute("SELECT id, watermark FROM item"))


@pytest.mark.timeout(120 if TIMES <= 6 else 24 * 3600)
async def test_a_full_disk_loses_nothing_and_room_lets_it_finish(tmp_path: Path) -> None:
    rng, began, full = random.Random(5), time.monotonic(), 0
    async with new_server() as server:
        assert (await life(server, tmp_path / "whole"))[0] == 0
        size = (tmp_path / "whole" / "cache.db").stat().st_size
    for number in range(TIMES):
        profile = tmp_path / str(number)
        before: set[tuple[str, int]] = set()
        async with new_server() as server:
            for limit in sorted(rng.randrange(20_000, size * 9 // 10) for _ in range(2)):
                code, _, err = await life(server, profile, limit)
                assert code == NO_ROOM, err
                assert "Traceback" not in err
                assert SENTENCE.search(err), err
                now = stored(profile / "cache.db.next")
                assert {name for name, _ in before} - {name for name, _ in now} <= gone_from(server)
                assert not (profile / "cache.db").exists()
                before, full = now, full + 1
            code, out, err = await life(server, profile)
            assert code == 0, err
            assert json.loads(out)["skipped"] == []
            assert not await differences(server.store, Settings(profile=profile))
    print(f"\n{full} full disks in {time.monotonic() - began:,.0f} s; all finished afterwards; differences: 0")


def gone_from(server: Server) -> set[str]:
    """Ids that the server had once: the churn deletes and moves."""
    return {name for change in server.store.journal.history() for name in ids_of(change)}


def ids_of(change: object) -> set[str]:
    return set(re.findall(r"keriostorage://[^\s'\"]+", str(change)))
