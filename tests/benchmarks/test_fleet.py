"""The measurement `fleet`: a plan compared with real clients."""

from __future__ import annotations

from unittest.mock import patch

import pytest

from benchmarks.measure import fleet
from kerio_resync.fleet.model import server


def test_plan_foretells_when_clients_end_on_a_shared_link() -> None:
    with patch.object(server, "EVENTS", 3000):
        found = fleet.compare(3, 60, 3_000_000, sockets=False)
    assert found["foretold_end"] == pytest.approx(found["end"], rel=0.25)  # so short a run is no more exact
    assert found["users"] > 50
    assert found["p95"] > 0


def test_report_shows_each_run_and_the_verdict() -> None:
    run = {
        "clients": 16, "time": "real", "bytes": 40e6, "users": 9000, "end": 100.0, "foretold_end": 110.0,
        "end_error": 0.1, "median": 90.0, "foretold_median": 95.0, "p95": 0.3, "foretold_p95": 0.33,
        "p95_error": 0.1, "alone": 0.14, "foretold_alone": 0.147, "scaled_error": 0.05, "ok": True,
    }  # fmt: skip
    text = fleet.report({"runs": [run], "ok": False})
    assert "| 16 | real | 40 | 100 | 110 | +10% | 90 | 95 | 300 | 330 | +10% | +5% | 140 | 147 |" in text
    assert ": NO." in text
