"""Partial and full rebuilds, repairs and dropped caches in any order, with kills in between.

Each run may be killed before any of its requests, while the mailbox changes, keys expire, and items vanish from the
cache unnoticed. A run that succeeds leaves a cache that equals the server; no local change is lost.
`KERIO_REPAIRS`: the number of histories (default 6).
"""

from __future__ import annotations

import os
import random
import time
from pathlib import Path

import pytest

from kerio_resync.cache import queries
from kerio_resync.cache.mutations import Action, DeleteItems
from kerio_resync.cache.store import Store
from kerio_resync.errors import BadSettings, NoCache
from kerio_resync.model import Kind
from simulation.world import Ending, World, kill
from tests.support.offline_changes import Diary, open_cache, small_world

TIMES = int(os.environ.get("KERIO_REPAIRS", "6"))
SHARES = 2  # of the histories, so that several processes can take them
MUTATIONS = ["arrive", "read", "flag", "move", "delete", "edit-draft", "new-folder", "rename-folder", "remove-folder"]

CHANGES: list[tuple[Kind, Action]] = [("mail", "create"), ("mail", "flags"), ("note", "create"), ("mail", "delete")]


class History:
    """Sequence of runs on one profile. `lost`: whether items may have vanished that no run has looked for yet."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.rng = random.Random(seed)
        self.world: World = small_world(folder)
        self.diary = Diary(self.world)
        self.lost = False

    def step(self) -> None:
        rng, world = self.rng, self.world
        for _ in range(rng.randint(0, 2)):
            world.mutate(rng.choice(MUTATIONS), rng.randint(1, 3))  # type: ignore[arg-type]
        for _ in range(rng.randint(0, 2)):
            world.at.setdefault(rng.randint(1, 25), []).append(
                rng.choice((lambda: world.mutate(rng.choice(MUTATIONS)), world.expire_keys))  # type: ignore[arg-type]
            )
        if rng.random() < 0.4:
            world.at.setdefault(rng.randint(1, 30), []).append(kill)
        if rng.random() < 0.15:
            world.expire_keys()
        if world.settings().cache.exists():
            if rng.random() < 0.4:
                self.lose()
            if rng.random() < 0.4:
                kind, action = rng.choice(
                    [("mail", "create"), ("mail", "flags"), ("note", "create"), ("mail", "delete")]
                )
                self.diary.act(kind, action, rng.randrange(30))  # type: ignore[arg-type]
        rng.choice((self.whole, self.part, self.part, self.repair, self.dropped))()
        world.at.clear()
        if world.settings().cache.exists():  # else it was dropped, and the changes are in the unfinished one
            self.diary.check()

    def lose(self) -> None:
        async def forget(store: Store) -> None:
            rows = await store.read(queries.items, limit=500)
            await store.apply(DeleteItems(tuple(self.rng.choice(rows).id for _ in range(3) if rows)))

        open_cache(self.world, forget)
        self.lost = True

    def whole(self) -> None:
        self.ended(self.world.run(), whole=True)

    def dropped(self) -> None:
        self.ended(self.world.run(drop_first=True), whole=True)

    def part(self) -> None:
        names = [each["name"] for each in self.world.store.folders() if each["type"] == "FMail"]
        ending = self.world.run(folders=tuple(self.rng.sample(names, min(2, len(names)))))
        if isinstance(ending, BadSettings | NoCache):  # no cache yet, or two folders of that name
            return
        self.ended(ending, whole=False)

    def repair(self) -> None:
        if not self.world.settings().cache.exists():
            return
        ending = self.world.verify(repair=True, deep=self.rng.random() < 0.3)
        assert ending in ("done", "killed"), ending
        if ending == "done":
            assert self.world.verdict is not None
            assert self.world.verdict.ok, self.world.verdict
            self.lost = False

    def ended(self, ending: Ending, *, whole: bool) -> None:
        assert ending in ("done", "killed"), ending
        self.lost = self.lost and not (whole and ending == "done")
        report = self.world.report
        if ending == "done" and not self.lost and report is not None and not report.unfinished:
            assert self.world.differences() == []

    def finish(self) -> None:
        assert self.world.verify(repair=True) == "done" if self.world.settings().cache.exists() else True
        if self.world.verdict is not None:
            assert self.world.verdict.ok, self.world.verdict
        assert self.world.run() == "done"
        assert self.world.differences() == []
        self.diary.check(settled=True)


@pytest.mark.timeout(200 if TIMES <= 8 else 24 * 3600)
@pytest.mark.parametrize("share", range(SHARES))
def test_runs_in_any_order_equal_server_and_keep_changes(share: int, tmp_path: Path) -> None:
    began = time.monotonic()
    for seed in range(share, TIMES, SHARES):
        history = History(tmp_path / str(seed), seed)
        try:
            for _ in range(6):
                history.step()
            history.finish()
        except BaseException as error:
            error.add_note(f"history {seed}")
            raise
    print(f"\n{TIMES // SHARES} histories in {time.monotonic() - began:,.0f} s; differences: 0")
