"""The histogram against sorting."""

from __future__ import annotations

from random import Random

import pytest

from kerio_mockserver.conditions.histogram import LatencyHistogram


def test_percentiles_agree_with_sorted_times() -> None:
    rng = Random(1)
    times = [0.0] * 300 + [rng.expovariate(10) for _ in range(5000)]
    waits = LatencyHistogram()
    for one in times:
        waits.add(one)
    times.sort()
    assert waits.mean == pytest.approx(sum(times) / len(times))
    assert waits.longest == times[-1]
    for share in (0.5, 0.95, 0.99):
        assert waits.percentile(share) == pytest.approx(times[int(share * len(times))], rel=0.03)
    shown = waits.as_json()
    assert shown["count"] == shown["at_most"]["inf"] == 5300
    assert shown["at_most"]["0.1"] == pytest.approx(sum(one <= 0.1 for one in times), rel=0.03)


def test_empty_histogram_is_zero() -> None:
    waits = LatencyHistogram()
    assert waits.percentile(0.95) == waits.mean == 0.0
    waits.add(0.0)
    assert waits.percentile(0.95) == 0.0
