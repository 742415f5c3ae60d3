from __future__ import annotations

import pytest
from kerio_resync.server.meter import COMPRESSED, PLAIN, PROBE, Meter, best, worth_compressing


@pytest.mark.parametrize(
    ("rate", "ratio", "decoding", "worth"),
    [
        (0.0, 0.3, 400e6, True),  # nothing known yet
        (1.25e6, 0.3, 400e6, True),  # 10 Mbit/s
        (12.5e6, 0.3, 400e6, True),  # 100 Mbit/s
        (125e6, 0.3, 400e6, False),  # 1 Gbit/s
        (1e9, 0.3, 400e6, False),
        (30e6, 0.3, 50e6, False),  # a slow processor
        (12.5e6, 0.99, 400e6, False),  # nothing to gain
    ],
)
def test_worth_compressing(rate: float, ratio: float, decoding: float, worth: bool) -> None:
    assert worth_compressing(rate, ratio, decoding) is worth


def test_the_rate_is_the_best_of_late() -> None:
    assert best(0.0, 5.0, 0.2) == 5.0
    assert best(9.0, 5.0, 0.2) == pytest.approx(9.0, rel=0.01)
    assert best(9.0, 5.0, 600.0) == 5.0


def steady(meter: Meter, rate: float, seconds: float, start: float = 0.0, piece: int = 16384) -> float:
    now = start
    while now < start + seconds:
        meter.add(piece, now)
        now += piece / rate
    return now


def test_a_steady_stream_gives_the_links_rate_in_spite_of_pauses() -> None:
    meter = Meter()
    now = steady(meter, 1.25e6, 3.0)
    now = steady(meter, 1.25e6, 3.0, now + 5.0)  # nothing to do for five seconds
    assert meter.rate == pytest.approx(1.25e6, rel=0.05)
    assert meter.total == pytest.approx(6.0 * 1.25e6, rel=0.01)


def test_our_own_bytes_explain_a_wait_on_a_busy_link_but_not_on_an_idle_one() -> None:
    meter = Meter()
    now = steady(meter, 1.25e6, 3.0)
    before = meter.total
    now = steady(meter, 1.25e6, 2.0, now)
    assert meter.link_share(before, 2.2) == pytest.approx(2.0, rel=0.05)
    assert meter.link_share(meter.total, 2.2) == 0.0
    assert meter.link_share(0, 0.1) == 0.1  # never more than the wait
    assert Meter().link_share(0, 3.0) == 0.0


def test_compression_is_asked_for_until_the_link_proves_fast() -> None:
    meter = Meter()
    assert {meter.accept() for _ in range(3 * PROBE)} == {COMPRESSED}
    now = steady(meter, 2e6, 3.0)
    assert {meter.accept() for _ in range(3 * PROBE)} == {COMPRESSED}
    meter.decoded(250_000, 1_000_000, 1 / 400)
    now = steady(meter, 20e6, 3.0, now)
    asked = [meter.accept() for _ in range(2 * PROBE)]
    assert asked.count(PLAIN) == 2  # now and then, since packing may hide the rate
    steady(meter, 300e6, 3.0, now)
    assert {meter.accept() for _ in range(9)} == {PLAIN}
