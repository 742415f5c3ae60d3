"""When a measurement ends by itself."""

from __future__ import annotations

from typing import Any

import pytest

from kerio_resync.fleet.capacity import Point
from kerio_resync.fleet.measure.stopping import has_grown, must_cut, reason_to_stop


def point(clients: int = 4, **values: Any) -> Point:
    return Point(clients=clients, items_per_s=1.0, bytes_per_s=1.0, **values)


@pytest.mark.parametrize(
    ("wait", "alone", "grown"),
    [
        (0.21, 0.1, True), (0.2, 0.1, False), (None, 0.1, False), (0.2, None, False),
        (0.019, 0.001, False), (0.021, 0.001, True), (0.021, 0.0, True),
    ],
)  # fmt: skip
def test_has_grown_ignores_what_users_do_not_notice(wait: float | None, alone: float | None, grown: bool) -> None:
    assert has_grown(wait, alone, 2.0) is grown


@pytest.mark.parametrize(
    ("wait", "alone", "cut"), [(1.01, 0.25, True), (1.01, 0.26, False), (0.99, 0.01, False), (None, 0.1, False)]
)
def test_a_step_is_cut_when_users_wait_very_long(wait: float | None, alone: float, cut: bool) -> None:
    assert must_cut(wait, alone, 2.0) is cut


def test_a_step_without_trouble_does_not_stop() -> None:
    assert reason_to_stop([point(users_p95_s=0.1, probe_p95_s=0.1)], 0.09, 0.06, ()) == ""


def test_the_users_doubled_wait_stops() -> None:
    reason = reason_to_stop([point(users_p95_s=0.2)], 0.09, None, ())
    assert reason == "The webmail users' p95 wait more than doubled with 4 clients: 200 ms instead of 90 ms."


def test_the_wait_of_the_same_users_without_clients_counts() -> None:
    assert reason_to_stop([point(users_p95_s=0.2, users_alone_p95_s=0.15)], 0.09, None, ()) == ""


def test_the_probes_doubled_wait_stops() -> None:
    reason = reason_to_stop([point(1, probe_p95_s=0.2)], None, 0.09, ())
    assert reason == "The probe's p95 wait more than doubled with 1 client: 200 ms instead of 90 ms."


def test_another_limit_of_the_wait_is_told() -> None:
    points = [point(1, probe_p95_s=0.2)]
    assert reason_to_stop(points, None, 0.09, (), max_wait=3.0) == ""
    reason = reason_to_stop(points, None, 0.06, (), max_wait=3.0)
    assert reason == "The probe's p95 wait grew more than 3 times with 1 client: 200 ms instead of 60 ms."


def test_a_failure_of_the_server_stops() -> None:
    reason = reason_to_stop([point()], None, None, ["The server is too busy: 503.", "Another."])
    assert reason == "2 of 4 clients failed: The server is too busy: 503."


@pytest.mark.parametrize(
    ("before", "now", "stops"), [(0, 11, False), (0, 12, True), (8, 31, False), (8, 32, True), (None, 12, True)]
)
def test_growing_refusals_stop(before: int | None, now: int, stops: bool) -> None:
    points = [point(2, refused=before)] if before is not None else []
    assert bool(reason_to_stop([*points, point(4, refused=now)], None, None, ())) is stops
