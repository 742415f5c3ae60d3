"""When which byte arrives, as a table."""

from __future__ import annotations

import math
from random import Random

import pytest
from pydantic import ValidationError

from kerio_mockserver.conditions.link import Link, LinkFault, Way

TEN_MBIT = Link(down_bytes_s=1_250_000, up_bytes_s=125_000, rtt_s=0.2)


@pytest.mark.parametrize(
    ("free_at", "arrival", "size", "way", "due"),
    [
        pytest.param(
            -math.inf, 0.0, 1_250_000, "down", 1.1, id="an idle line: half a round trip and the time on the line"
        ),
        pytest.param(
            1.1, 0.0, 1_250_000, "down", 2.1, id="what stands behind pays only its own time, not the way again"
        ),
        pytest.param(1.1, 0.9, 1_250_000, "down", 2.1, id="it came while the line was busy"),
        pytest.param(1.1, 5.0, 1_250_000, "down", 6.1, id="the line had long been idle"),
        pytest.param(-math.inf, 0.0, 12_500, "up", 0.2, id="the other way has its own rate"),
        pytest.param(3.0, 0.0, 0, "down", 3.0, id="the end of a stream comes after its bytes"),
    ],
)
def test_due_adds_transmission_and_delay(free_at: float, arrival: float, size: int, way: Way, due: float) -> None:
    assert TEN_MBIT.due(free_at, arrival, size, way) == pytest.approx(due)


def test_delay_does_not_reduce_the_rate() -> None:
    link = Link(down_bytes_s=12_500_000, rtt_s=0.5)
    at = -math.inf
    for number in range(1000):
        at = link.due(at, number * 1e-6, 12_500)
    assert at == pytest.approx(0.25 + 1.0)


def test_without_a_rate_only_delay_counts() -> None:
    assert Link(rtt_s=0.1).due(-math.inf, 1.0, 10**9) == pytest.approx(1.05)


@pytest.mark.parametrize(
    ("headers", "size", "wire"), [(0, 1448, 1448), (52, 1448, 1500), (52, 1449, 1553), (52, 1, 53), (52, 0, 0)]
)
def test_headers_count_against_the_rate(headers: int, size: int, wire: int) -> None:
    link = Link(down_bytes_s=1500, header_bytes=headers)
    assert link.on_wire(size) == wire
    assert link.due(0.0, 0.0, size) == pytest.approx(wire / 1500)


@pytest.mark.parametrize("rate", [125_000.0, 12_500_000.0])
@pytest.mark.parametrize("rtt", [0.01, 0.5])
def test_queue_holds_the_bandwidth_delay_product(rate: float, rtt: float) -> None:
    assert Link(down_bytes_s=rate, rtt_s=rtt).room("down") >= rate * rtt


def test_portions_are_whole_packets_and_about_a_moment() -> None:
    assert Link(down_bytes_s=125_000).portion("down", 0.001) == 1460
    assert Link(down_bytes_s=12_500_000).portion("down", 0.001) == 8 * 1460
    assert Link(down_bytes_s=12_500_000, header_bytes=52).portion("down", 0.001) == 8 * 1448
    assert Link().portion("down", 0.001) == 44 * 1460


def test_jitter_is_a_function_of_seed_and_time_and_stays_in_its_bounds() -> None:
    link = Link(rtt_s=0.05, jitter_s=0.02)
    shifts = [link.shift(7, "down", age / 10) for age in range(200)]
    assert shifts == [link.shift(7, "down", age / 10) for age in range(200)]
    assert shifts != [link.shift(8, "down", age / 10) for age in range(200)]
    assert max(map(abs, shifts)) <= 0.01
    assert max(shifts) > 0.005 > -0.005 > min(shifts)
    assert Link(rtt_s=0.001, jitter_s=0.5).shift(7, "down", 0.0) >= -0.0005
    assert Link(rtt_s=0.05).shift(7, "down", 0.0) == 0.0


def test_breaks_hit_their_share_at_their_offset() -> None:
    fixed = LinkFault(kind="reset", at=100, chance=0.25)
    offsets = [fixed.offset(Random(number)) for number in range(2000)]
    assert 400 < sum(offset == 100 for offset in offsets) < 600
    assert {None, 100} == set(offsets)
    drawn = LinkFault(kind="stall", mean_bytes=1e6)
    mean = sum(drawn.offset(Random(number)) or 0 for number in range(2000)) / 2000
    assert mean == pytest.approx(1e6, rel=0.1)


@pytest.mark.parametrize("members", [{}, {"at": 1, "mean_bytes": 2.0}])
def test_break_applies_to_one_direction(members: dict[str, float]) -> None:
    with pytest.raises(ValidationError, match="either `at` or `mean_bytes`"):
        LinkFault.model_validate({"kind": "reset", **members})
