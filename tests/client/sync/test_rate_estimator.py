from __future__ import annotations

from collections.abc import Iterable

import pytest

from kerio_resync.sync.rate_estimator import MAX_WINDOW_SECONDS, RateEstimator


def fed(rates: Iterable[float], *, step: float = 0.25) -> RateEstimator:
    """An estimator of a counter that grew at each of these rates for `step` seconds."""
    estimator, now, value = RateEstimator(0.0), 0.0, 0.0
    estimator.add(now, value)
    for rate in rates:
        now += step
        value += rate * step
        estimator.add(now, value)
    return estimator


def test_rate_is_zero_before_the_second_sample() -> None:
    assert RateEstimator(0.0).rate == 0.0
    assert fed([]).rate == 0.0
    assert fed([]).seconds_left(1) is None


def test_two_samples_at_one_instant_have_no_rate() -> None:
    estimator = fed([])
    estimator.add(0.0, 100)
    assert estimator.rate == 0.0


def test_rate_of_a_constant_stream_is_its_rate() -> None:
    estimator = fed([500.0] * 20)
    assert estimator.rate == pytest.approx(500)
    assert estimator.seconds_left(1000) == pytest.approx(2)


def test_rate_drops_a_slow_start_at_once_when_the_rate_has_risen() -> None:
    assert fed([10.0] * 40 + [1000.0] * 12).rate == pytest.approx(1000, rel=0.15)


def test_rate_follows_a_fall_within_the_window() -> None:
    falling = fed([1000.0] * 400 + [100.0] * int(MAX_WINDOW_SECONDS * 4))
    assert falling.rate == pytest.approx(100, rel=0.05)


def test_a_short_pause_does_not_make_the_rate_zero() -> None:
    assert fed([1000.0] * 40 + [0.0] * 4).rate > 500


@pytest.mark.parametrize(
    ("rates", "steady"),
    [
        ([100.0] * 8, True),
        ([100.0] * 2, False),  # less than a second
        ([0.0] * 8, False),
        ([10.0, 20.0, 40.0, 80.0, 160.0, 320.0], False),
        ([10.0, 1000.0] + [100.0] * 6, True),
    ],
)
def test_is_steady_needs_a_second_without_a_rise(rates: list[float], steady: bool) -> None:
    assert fed(rates).is_steady() is steady


def test_reset_drops_all_samples() -> None:
    estimator = fed([100.0] * 8)
    estimator.reset()
    assert (estimator.rate, estimator.is_steady()) == (0.0, False)
