"""A step: clients start together, and a dying worker loses nothing that was reported."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from kerio_resync.errors import Exit, NotEnoughSpace, Unreachable
from kerio_resync.fleet.measure import step
from kerio_resync.fleet.measure.states import ClientState, Order, Round
from kerio_resync.fleet.measure.step import run_step
from tests.support.fake_cluster import FakeCluster


@pytest.fixture(autouse=True)
def quick_polls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(step, "POLL_SECONDS", 0.005)


def orders(count: int) -> list[Order]:
    return [Order({"user": str(number)}) for number in range(count)]


def once(number: int, polls: int) -> ClientState:
    """Complete one rebuild at the third poll."""
    if polls < 3:
        return ClientState("running", polls * 0.5, polls, polls * 100)
    return ClientState("ended", 1.5, 3, 300, (Round(1.5, 3, 300),))


def again(number: int, polls: int) -> ClientState:
    """Rebuild until stopped, a rebuild for each poll."""
    return ClientState("running", float(polls), polls, polls * 100, (Round(1.0, 1, 100),) * polls)


async def test_all_are_loaded_before_one_starts() -> None:
    cluster = FakeCluster("a", "b", script=once)
    result = await run_step(cluster, orders(3))
    assert cluster.said == ["load 2 a", "load 1 b", "go a", "go b", "close a", "close b"]
    assert [order.settings["user"] for order in cluster.orders] == ["0", "1", "2"]
    assert [client.state.rounds for client in result.clients] == [(Round(1.5, 3, 300),)] * 3
    assert [client.machine.host for client in result.clients] == ["a", "a", "b"]
    assert (result.cut, result.lost) == ("", ())


async def test_no_more_workers_than_clients_are_used() -> None:
    cluster = FakeCluster("a", "b", "c", script=once)
    await run_step(cluster, orders(1))
    assert cluster.said == ["load 1 a", "go a", "close a"]


async def test_on_start_is_called_between_loading_and_the_signal() -> None:
    cluster = FakeCluster("a", script=once)

    async def note() -> None:
        cluster.said.append("start")

    await run_step(cluster, orders(1), on_start=note)
    assert cluster.said == ["load 1 a", "start", "go a", "close a"]


async def test_a_dying_worker_fails_its_clients_and_keeps_the_others() -> None:
    cluster = FakeCluster("a", "b", script=once, dies_at={"b": 2})
    result = await run_step(cluster, orders(4))
    good, lost = result.clients[:2], result.clients[2:]
    assert all(not client.state.failed and client.state.rounds for client in good)
    assert all(client.lost and client.state.exit_code == Exit.UNFINISHED for client in lost)
    assert [client.state.error for client in lost] == ["The Dask worker b was lost."] * 2
    assert [client.samples[-1].bytes for client in lost] == [100, 100]  # what they had reported stays
    assert result.lost == ("b",)
    assert "close b" not in cluster.said


async def test_clients_that_ended_before_their_worker_died_count() -> None:
    def uneven(number: int, polls: int) -> ClientState:
        return once(number, polls + 2) if number == 0 else ClientState("running", polls * 0.5)

    cluster = FakeCluster("a", script=uneven, dies_at={"a": 3})
    result = await run_step(cluster, orders(2))
    assert [client.lost for client in result.clients] == [False, True]
    assert result.clients[0].state.rounds


async def test_a_step_is_over_when_each_client_has_rebuilt_once() -> None:
    def slow_first(number: int, polls: int) -> ClientState:
        return again(number, polls) if polls > 4 else ClientState("running", float(polls))

    cluster = FakeCluster("a", script=slow_first)
    result = await run_step(cluster, orders(2), seconds=0.001)
    assert all(client.state.stage == "ended" and len(client.state.rounds) >= 5 for client in result.clients)
    assert "stop a" in cluster.said
    assert result.cut == ""


async def test_a_step_ends_at_its_longest_time() -> None:
    cluster = FakeCluster("a", script=lambda number, polls: ClientState("running", float(polls)))
    result = await run_step(cluster, orders(1), seconds=0.01, max_seconds=0.05)
    assert result.cut == "its time was over"
    assert not result.clients[0].state.failed


async def test_watch_cuts_a_step() -> None:
    def watch(elapsed: float, states: Sequence[ClientState]) -> str:
        return "too much" if states[0].bytes >= 300 else ""

    result = await run_step(FakeCluster("a", script=again), orders(1), seconds=1e9, watch=watch)
    assert result.cut == "too much"


async def test_clients_are_ended_when_the_step_fails() -> None:
    cluster = FakeCluster("a", script=again)

    def watch(elapsed: float, states: Sequence[ClientState]) -> str:
        raise Unreachable("gone")

    with pytest.raises(Unreachable):
        await run_step(cluster, orders(1), watch=watch)
    assert cluster.said[-1] == "close a"


async def test_too_little_room_is_refused_before_anything_is_loaded() -> None:
    cluster = FakeCluster("a", script=once)
    cluster.free_bytes = 10**9
    with pytest.raises(NotEnoughSpace) as caught:
        await run_step(cluster, orders(4), bytes_each=10**9)
    assert caught.value.sentence.startswith("There is not enough room for caches in /tmp on a: 4 clients need 4,6")
    assert cluster.orders == []


async def test_a_cluster_without_workers_is_unreachable() -> None:
    with pytest.raises(Unreachable, match="no workers any more"):
        await run_step(FakeCluster(script=once), orders(1))
