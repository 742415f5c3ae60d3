"""A rebuild after a changed byte in the first hundred of a file repairs it, and sends or names the local changes.

`KERIO_FLIPS=all`: every byte, in four ways; else those bytes that SQLite interprets, each in one of the two files.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from kerio_resync.cache import queries
from kerio_resync.cache.outbox import Outbox
from kerio_resync.cache.store import Store
from kerio_resync.events import Event, Notice
from simulation import virtual_time
from simulation.world import World

EVERY = os.environ.get("KERIO_FLIPS") == "all"
# magic, page size, versions, reserved, fractions, counter, pages, free list, cookie, format, encoding, marks
TELLING = (0, 16, 17, 18, 19, 20, 21, 24, 28, 31, 32, 35, 36, 39, 43, 47, 52, 56, 59, 60, 64, 68, 92, 96)
FLIPS = (1, 3, 128, 255) if EVERY else (1,)
SUBJECT = "a draft of before the damage"


async def add_draft(path: Path) -> None:
    store = await Store.open(path)
    folder = next(row.folder.id for row in await store.read(queries.folders) if row.folder.kind == "mail")
    await Outbox(store).add("create", "mail", folder_id=folder, struct=b'{"subject": "%s"}' % SUBJECT.encode())
    await store.close()


@pytest.mark.timeout(4 * 3600 if EVERY else 120)
@pytest.mark.parametrize("half_built", [False, True], ids=["cache", "unfinished"])
@pytest.mark.parametrize("part", range(4))
def test_first_rebuild_repairs_changed_byte_of_header(part: int, half_built: bool, tmp_path: Path) -> None:
    world = World(tmp_path / "p", mails=12)
    assert world.run() == "done"
    virtual_time.run(add_draft(world.settings().cache))
    shutil.copy(world.settings().cache, tmp_path / "built.db")
    world.mutate("arrive", 3)  # so that there is something to write
    told: list[str] = []

    def listen(event: Event) -> None:
        if isinstance(event, Notice):
            told.append(event.text)

    for place in range(part, 100, 4) if EVERY else TELLING[part + 4 * half_built :: 8]:
        for flip in FLIPS:
            shutil.rmtree(world.profile)
            world.profile.mkdir()
            told.clear()
            victim = world.settings().next_cache if half_built else world.settings().cache
            data = bytearray((tmp_path / "built.db").read_bytes())
            data[place] ^= flip
            victim.write_bytes(data)
            assert world.run(listen) == "done", (place, flip)
            assert world.differences() == [], (place, flip)
            assert world.report is not None
            assert world.report.outbox_sent or any("kept as" in each or "aside" in each for each in told), (
                place, flip, told,
            )  # fmt: skip
