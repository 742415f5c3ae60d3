"""The formula against known values, the simulation against the formula, the report against both."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.measure import queues


@pytest.mark.parametrize(
    ("workers", "offered", "share"),
    [(1, 0.5, 0.5), (1, 0.95, 0.95), (2, 1.0, 1 / 3), (4, 2.0, 0.17391), (8, 6.4, 0.45764)],
)
def test_erlang_c(workers: int, offered: float, share: float) -> None:
    assert queues.erlang_c(workers, offered) == pytest.approx(share, rel=1e-4)


def test_a_busy_single_worker_waits_as_in_the_textbook() -> None:
    assert queues.mean_wait(1, 0.8) == pytest.approx(0.8 / 0.2 * queues.SERVICE_S)


def test_the_simulation_comes_near_the_formula(tmp_path: Path) -> None:
    one = queues.cell(2, 0.5, 8000)
    assert one["users"] == pytest.approx(one["expected"], rel=0.25)
    results = {"cells": [one], "ok": True}
    text = queues.report(results)
    assert "| 2 | 0.5 | 8,000 | 33.33 |" in text
    assert "within 10%: yes" in text
    queues.picture(results, tmp_path / "queues.png")
    assert (tmp_path / "queues.png").stat().st_size > 1000


def test_what_is_off_is_said() -> None:
    one = {"workers": 1, "load": 0.5, "arrivals": 10, "expected": 0.1, "users": 0.15, "calls": 0.15}
    text = queues.report({"cells": [one], "ok": False})
    assert "NO" in text
    assert "50.0%" in text
