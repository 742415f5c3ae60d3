"""A rebuild after damage anywhere in the old or unfinished cache ends equal to the server.

`KERIO_DAMAGES`: the number of places (default 8).
"""

from __future__ import annotations

import os
import random
import shutil
import time
from pathlib import Path

import pytest

from simulation.world import World

TIMES = int(os.environ.get("KERIO_DAMAGES", "8"))
SPARED = {"kerio-resync.lock", "kerio-resync.holder"}


def overwrite(path: Path, rng: random.Random) -> None:
    """Write random bytes, or zeros, at a random place; one in six times on the first page."""
    size = path.stat().st_size
    start = rng.randrange(4096) if rng.random() < 1 / 6 else rng.randrange(size)
    length = min(size - start, int(2 ** rng.uniform(0, 16)))
    with path.open("r+b") as file:
        file.seek(start)
        file.write(rng.choice((rng.randbytes(length), bytes(length))))


@pytest.mark.timeout(120 if TIMES <= 12 else 24 * 3600)
@pytest.mark.parametrize("half_built", [False, True], ids=["old cache", "unfinished cache"])
def test_rebuild_after_damage_anywhere_equals_server(half_built: bool, tmp_path: Path) -> None:
    began, salvaged = time.monotonic(), []
    world = World(tmp_path / "p", mails=60)
    assert world.run() == "done"
    built = tmp_path / "built.db"
    shutil.copy(world.settings().cache, built)
    for number in range(TIMES):
        rng = random.Random(f"{half_built}/{number}")
        shutil.rmtree(world.profile)
        world.profile.mkdir()
        victim = world.settings().next_cache if half_built else world.settings().cache
        shutil.copy(built, victim)
        overwrite(victim, rng)
        assert world.run() == "done", number
        assert world.differences() == [], number
        assert world.report is not None
        salvaged.append(world.report.salvaged)
        for path in world.profile.iterdir():
            assert path.name in SPARED or path.name.startswith("cache.db")
            assert path.stat().st_mode & 0o077 == 0, path
    if not half_built:
        assert sum(each > 30 for each in salvaged) > TIMES // 2  # most items are reused, not fetched
    print(f"\n{TIMES} damaged caches in {time.monotonic() - began:,.0f} s; differences: 0")


@pytest.mark.parametrize("number", [341, 468])
def test_rebuild_gives_up_unfinished_file_that_stays_damaged(number: int, tmp_path: Path) -> None:
    """Found by `make soak`: an id that is not text, and an index that lacks rows, which are fetched again each time."""
    world = World(tmp_path / "p", mails=60)
    assert world.run() == "done"
    world.settings().cache.rename(world.settings().next_cache)
    overwrite(world.settings().next_cache, random.Random(f"True/{number}"))
    assert world.run() == "done"
    assert world.differences() == []
