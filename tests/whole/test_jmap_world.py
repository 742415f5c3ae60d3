"""Whatever changes, breaks or dies on the way: in the end the cache equals the JMAP server.

Versions are not ordered here, and mails are in several folders.
"""

from __future__ import annotations

import os
import random
import time
from pathlib import Path

import pytest

from kerio_resync.errors import UnknownServer
from simulation.world import kill
from tests.support.jmap_double.choices import LIKE_CYRUS, Choices
from tests.support.jmap_double.server import Fault
from tests.support.jmap_double.store import MUTATIONS
from tests.support.jmap_double.world import JmapWorld

RUNS = int(os.environ.get("KERIO_SIMULATIONS", "16"))
SHARES = max(2, RUNS // 250)
FAULTS = ("lost", "refused", "cut", "html", "429", "503", "serverFail", "serverUnavailable")
PLACES = ("", "Email/query", "Email/get", "Email/changes", "Mailbox/get", "Blob/get", "blobs")
ALL_CHOICES = (
    Choices(),
    LIKE_CYRUS,
    Choices(objects_in_get=17, blobs="urn:ietf:params:jmap:blob", digests=True, numeric_states=True, query_rows=7),
    Choices(objects_in_get=50, one_per_content=True, two_hosts=False, ranges=False, well_known="here"),
)


def live(world: JmapWorld, rng: random.Random) -> None:
    """Plan happenings at numbered requests, and run the client into them, several times."""
    backup = world.double.store.snapshot()

    def forget() -> None:
        world.double.store.forget()

    for _ in range(rng.randrange(1, 4)):
        for _ in range(rng.randrange(6)):
            action, times = rng.choice(MUTATIONS), rng.randrange(1, 5)
            if rng.random() < 0.3:
                world.double.store.mutate(action, times)
            else:
                plan(world, rng, lambda action=action, times=times: world.double.store.mutate(action, times))
        if rng.random() < 0.15:
            plan(world, rng, forget)
        if rng.random() < 0.1:
            world.double.stores["a1"] = backup.snapshot()  # restored between two runs
        for _ in range(rng.choice((0, 0, 1, 3))):
            world.double.faults.append(Fault(rng.choice(FAULTS), rng.choice(PLACES), rng.randrange(1, 6)))  # type: ignore[arg-type]
        if rng.random() < 0.3:
            plan(world, rng, kill)
        ending = world.run()
        if not isinstance(ending, UnknownServer):  # a page in place of the first reply of a run
            assert ending in ("done", "killed"), ending
        if ending == "done" and world.report is not None and not world.report.unfinished and not world.report.skipped:
            assert world.differences() == []


def plan(world: JmapWorld, rng: random.Random, action: object) -> None:
    world.at.setdefault(rng.randrange(1, 40), []).append(action)  # type: ignore[arg-type]


@pytest.mark.timeout(24 * 3600 if RUNS > 200 else 280)
@pytest.mark.parametrize("share", range(SHARES))
def test_cache_equals_jmap_server_in_the_end(share: int, tmp_path: Path) -> None:
    """`KERIO_SIMULATIONS` histories in all; each share goes its own way, the same each time unless there are many."""
    began = time.monotonic()
    for number in range(RUNS // SHARES):
        seed = share * 1_000_000 + number
        rng = random.Random(seed)
        world = JmapWorld(tmp_path / str(seed), rng.choice(ALL_CHOICES), seed, rng.choice((0, 5, 15, 30)))
        world.profile.mkdir()
        try:
            live(world, rng)
            world.heal()
            assert world.run() == "done"
            assert world.differences() == []
        except BaseException:
            print(f"history {seed}, with {world.choices}")
            raise
    print(f"\n{RUNS // SHARES} simulated histories in {time.monotonic() - began:,.0f} s; differences: 0")
