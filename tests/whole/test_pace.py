"""The client's quirks against the real server in virtual time: pauses, caps, and histories that repeat."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from benchmarks.measure import efficiency, load
from kerio_mockserver.conditions.model import Conditions, Fault, Load, RefusalWindow
from kerio_resync.events import Event, Paused
from simulation.world import World

BUSY = Load(
    workers=2, call_s=0.05, places=1, status=429, retry_after_s=2,
    refusal_windows=(RefusalWindow(first=20, every=40, seconds=3, status=503, retry_after_s=4),),
)  # fmt: skip
FAULTS = (Fault(kind="cut", chance=0.05), Fault(kind="status", status=502, method="Mails.*", chance=0.05))


def test_no_request_leaves_while_the_server_asks_for_a_pause(tmp_path: Path) -> None:
    told: list[Event] = []
    world = World(tmp_path, mails=40)
    world.server.change(Conditions(load=BUSY))
    assert world.run(told.append, max_in_flight=16) == "done"
    tally = world.server.load.tally
    assert tally.refused > 0
    assert any(isinstance(each, Paused) for each in told)
    assert tally.in_pause == 0
    assert world.differences() == []


@pytest.mark.parametrize("most", [1, 3])
def test_no_more_requests_are_in_flight_than_allowed(most: int, tmp_path: Path) -> None:
    world = World(tmp_path, mails=40)
    world.server.change(Conditions(load=Load(workers=64, call_s=0.05)))
    assert world.run(max_in_flight=most) == "done"
    assert world.server.stats.most_in_flight == most


def test_the_same_seed_makes_the_same_history(tmp_path: Path) -> None:
    histories = []
    for name, most in (("a", 6), ("b", 6), ("c", 1)):
        world = World(tmp_path / name, seed=9, mails=40)
        world.server.change(Conditions(faults=FAULTS))
        for moment in (5, 15, 25, 35):
            world.at[moment] = [partial(world.mutate, "arrive", 2), partial(world.mutate, "move")]
        assert world.run(max_in_flight=most) == "done"
        hits = [hit for hit in world.server.faults.history() if hit.method != "Session.logout"]
        histories.append((hits, world.store.journal.history()))
    assert histories[0][0]
    assert histories[0][1]
    assert histories[0] == histories[1]
    assert histories[0][1] == histories[2][1]  # the seed decides what changes, whatever the order of the calls


def test_the_users_of_a_busy_server_are_left_in_peace() -> None:
    fixed, flood = (load.run("server-queues", limit, 100.0) for limit in (4, 64))
    ours = load.run("server-queues", None, 400.0)  # long enough that the beginning doesn't count
    assert ours["p95"] <= 2.0 * ours["p95_alone"]
    assert flood["p95"] > 5 * flood["p95_alone"]
    assert ours["bytes_s"] >= 0.75 * max(fixed["bytes_s"], flood["bytes_s"])


def test_a_long_thin_link_is_filled_and_the_time_left_is_true() -> None:
    """In a model of the link, without the machine: the loss is the few round trips until enough is in flight."""
    found = efficiency.modelled(10, 0.2, 20.0)
    assert found["efficiency"] >= 0.95
    assert found["most_in_flight"] <= 64
    assert found["left"] == pytest.approx(found["left_in_truth"], rel=0.15)
    assert found["early"] <= 2


def test_over_a_very_long_link_nothing_is_foretold_while_the_pace_still_grows() -> None:
    found = efficiency.modelled(20, 0.6, 5.0)
    assert found["early"] <= 2
    assert found["left"] == pytest.approx(found["left_in_truth"], rel=0.2)
