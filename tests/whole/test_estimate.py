"""`estimate` agrees with the rebuild that follows, in virtual time; `python -m benchmarks --only forecast` has more."""

from __future__ import annotations

import pytest

from benchmarks.measure.forecast import ALLOWED, compare
from kerio_resync.upgrade.estimation import MAX_SECONDS


@pytest.mark.parametrize(
    ("preset", "mails", "size"), [("mobile-3g", 300, 6_000_000), ("server-queues", 1200, 60_000_000)]
)
def test_estimate_of_rebuild_is_within_a_quarter(preset: str, mails: int, size: int) -> None:
    found = compare(preset, mails, size)
    assert found["took"] > found["probed"]
    assert abs(found["error"]) <= ALLOWED
    assert found["within"]
    assert found["probed"] <= MAX_SECONDS
