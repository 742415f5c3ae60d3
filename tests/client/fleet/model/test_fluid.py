"""The fluid model: how links and a server are shared out."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from unittest.mock import patch
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kerio_resync.fleet.capacity import Capacity, ClientSeconds, MeasuredMailbox, Point
from kerio_resync.fleet.inputs.settings import PlanSettings
from kerio_resync.fleet.model import server as server_module
from kerio_resync.fleet.model.fluid import Rebuilds, water_fill
from kerio_resync.fleet.model.queue import alone_p95, make_table
from kerio_resync.fleet.model.server import MeasuredServer, QueueServer
from kerio_resync.fleet.naive import run_naive

MONDAY = datetime(2026, 12, 7, 7, tzinfo=UTC)


def measured(*points: tuple[int, float, float], alone: float = 0.1) -> MeasuredServer:
    seconds = ClientSeconds(fastest=1, median=1, slowest=1)
    return MeasuredServer(
        Capacity(
            measured=MONDAY, server="x", mailbox=MeasuredMailbox(items=1, bytes=1), users_alone_p95_s=alone,
            points=tuple(
                Point(clients=clients, seconds=seconds, items_per_s=1, bytes_per_s=rate, users_p95_s=p95)
                for clients, rate, p95 in points
            ),
        )
    )  # fmt: skip


def rebuilds(wire: list[float], site: list[int] | None = None, own: float = 1e9) -> Rebuilds:
    ones = np.ones(len(wire))
    return Rebuilds(
        np.array(site or [0] * len(wire)), np.array(wire), ones, ones, own * ones, 0 * ones, 0 * ones, ones, ones, ones
    )


def seconds_of(wire: list[float], links: list[float], curve: Any, **more: Any) -> Any:
    return run_naive(rebuilds(wire, **more), curve, np.array(links), MONDAY, ZoneInfo("UTC"))[1]


def test_link_is_shared_evenly_and_what_one_leaves_goes_to_the_others() -> None:
    fast = measured((1, 1e9, 0.1))
    assert seconds_of([100.0, 300.0], [10.0], fast) == pytest.approx([20.0, 40.0], rel=0.02)


def test_link_of_one_site_does_not_slow_another() -> None:
    fast = measured((1, 1e9, 0.1))
    assert seconds_of([100.0, 100.0], [10.0, 20.0], fast, site=[0, 1]) == pytest.approx([10.0, 5.0], rel=0.02)


def test_server_that_is_slower_than_the_links_decides() -> None:
    slow = measured((1, 4.0, 0.1), (2, 5.0, 0.2))
    assert seconds_of([50.0, 50.0], [1000.0], slow) == pytest.approx([20.0, 20.0], rel=0.02)


def test_client_takes_no_more_than_it_can() -> None:
    fast = measured((1, 1e9, 0.1))
    assert seconds_of([100.0], [1000.0], fast, own=2.0) == pytest.approx([50.0], rel=0.02)


@given(
    st.lists(st.floats(0, 1e6), min_size=1, max_size=20), st.floats(0.1, 10), st.floats(0, 1e7),
)  # fmt: skip
def test_water_fill_is_fair_and_gives_out_the_total(limits: list[float], weight: float, total: float) -> None:
    bounds, weights = np.array(limits), np.full(len(limits), weight)
    filled = water_fill(bounds, weights, total)
    assert (filled <= bounds + 1e-9).all()
    assert (filled * weights).sum() == pytest.approx(min(total, (bounds * weights).sum()), rel=1e-6, abs=1e-6)
    held_back = filled < bounds - 1e-6
    if held_back.any():
        assert filled[held_back] == pytest.approx(filled[held_back][0])
        assert (filled <= filled[held_back][0] + 1e-6).all()


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.floats(1e3, 1e7), min_size=1, max_size=20), st.floats(1e4, 1e7), st.floats(1e4, 1e7), st.floats(1.1, 5)
)
def test_more_capacity_never_ends_later(wire: list[float], link: float, server: float, factor: float) -> None:
    def last(link: float, server: float) -> float:
        return float(seconds_of(wire, [link], measured((1, server, 0.1))).max())

    before = last(link, server)
    assert before >= sum(wire) / min(link, server) * 0.999  # no more is fetched than flows
    assert last(link * factor, server) <= before * 1.001
    assert last(link, server * factor) <= before * 1.001


def test_alone_p95_is_that_of_erlang() -> None:
    assert alone_p95(8, 40, 0.15) == pytest.approx(0.147, abs=0.001)
    assert alone_p95(8, 0, 0.15) == 0
    assert alone_p95(8, 1, 0.15) == 0
    assert alone_p95(1, 10, 0.1) == float("inf")


def test_queue_agrees_with_measured_waits_of_fixed_limits() -> None:
    """`benchmarks --only load` has p95 waits for fixed numbers of requests in flight; the model has no link there."""
    known = {1: 0.196, 2: 0.238, 4: 0.309, 8: 0.432}
    call_s = 0.041  # the mean of its batches and attachments
    table = make_table(8, (40.0,), 0.15, call_s, events=8000)
    for in_flight, p95 in known.items():
        assert table.look_up(0, in_flight, 1e4)[1] == pytest.approx(p95, rel=0.2)
    assert table.look_up(0, 64, 1e4)[0] == pytest.approx((8 - 6) / call_s, rel=0.1)


def test_queue_without_demand_leaves_the_users_alone() -> None:
    with patch.object(server_module, "EVENTS", 1500):
        server = QueueServer(PlanSettings(), 50_000, [3, 10])
    for level in set(server.level_of):
        assert server.serve(level, 3, 0.0) == (0.0, server.alone(level))


def test_measured_server_gives_what_was_measured() -> None:
    server = measured((1, 100.0, 0.2), (4, 250.0, 0.5))
    assert server.serve(0, 1, 1e9) == pytest.approx((100.0, 0.2))
    assert server.serve(0, 4, 1e9) == pytest.approx((250.0, 0.5))
    assert server.serve(0, 8, 1e9) == pytest.approx((250.0, 0.9))  # twice the queue
    assert server.serve(0, 4, 100.0)[1] == pytest.approx(0.2)  # links that hold back load it like fewer clients
