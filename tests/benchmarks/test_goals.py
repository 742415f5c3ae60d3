"""Every goal finds its figure in its measurement, and a missed goal is reported with its cause."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from benchmarks import __main__, goals
from benchmarks.goals import GOALS, causes, judged, report

MIDDLE = {"median": 1.0, "least": 1.0, "most": 1.0}
LINES = {"efficiency": 0.99, "most_in_flight": 12}
PROGRAMS = {name: {"times": {"median": 40.0}} for name in ("mbsync", "mbsync, no fsync", "offlineimap3")}
RESULTS: dict[str, Any] = {
    "limits": {"mailboxes": [{"name": "made", "slower": MIDDLE, "peak": {"median": 130.0}}]},
    "rivals": {"cells": [{"name": "loopback", "programs": PROGRAMS},
                         {"name": "real text, 100 Mbit/s × 50 ms", "programs": PROGRAMS}]},
    "jmap": {"cells": [{"name": name, "programs": PROGRAMS} for name in ("loopback", "100 Mbit/s × 50 ms")]},
    "efficiency": {
        "cells": [{"mbit": 100, "rtt": 0.05, **LINES}, {"mbit": 10, "rtt": 0.2, **LINES}],
        "packets": [{"mbit": 100, "rtt": 0.05, "of_curl": 1.0}, {"mbit": 10, "rtt": 0.2, "of_curl": 1.0}],
    },
    "startup": {name: {"seconds": {"median": 0.04}} for name in ("help", "upgrade", "check")},
    "upgrade": {
        "sizes": [{"old_bytes": 2e9, "ratio": 0.5, "rate": 3e8, "memory": 1e8, "foretold_error": 0}],
        "exponent": 1.0,
    },
    "scale": {"spread": 3.0, "exponent": 1.01, "steady": 1.0},
    "large": {"more": {"median": 5.0}},
    "salvage": {"time": 0.04},
    "export": {f"{kind} mails": {"ratio": 0.6, "peak": 60.0, "peak_of_tenth": 58.0} for kind in ("usual", "small")},
    "many": {"kept": 0.95, "unfair": 1.5, "servers": [{"cells": [{"clients": 1}, {"clients": 64}]}]},
    "fleet": {"runs": [{"end_error": -0.1, "scaled_error": 0.1}, {"end_error": 0.05, "scaled_error": -0.2}]},
}  # fmt: skip


def entries(quick: bool = False) -> dict[str, dict[str, Any]]:
    return {name: {"results": results, "quick": quick} for name, results in RESULTS.items()}


def test_every_goal_is_of_a_measurement_and_has_a_name_of_its_own() -> None:
    assert {goal.of for goal in GOALS} <= set(__main__.NAMES)
    assert len({goal.key for goal in GOALS}) == len(GOALS)


@pytest.mark.parametrize("goal", GOALS, ids=lambda goal: goal.key)
def test_a_goal_finds_its_figure(goal: goals.Goal) -> None:
    (one,) = (verdict for verdict in judged(entries(), {}) if verdict.goal == goal)
    assert one.figure is not None
    assert one.reached is (goal.key != "peak")


def test_four_clients_say_nothing_of_64() -> None:
    few = {"kept": 0.95, "unfair": 1.5, "servers": [{"cells": [{"clients": 4}]}]}
    found = {one.goal.key: one.figure for one in judged({"many": {"results": few, "quick": True}}, {})}
    assert (found["many-total"], found["many-fair"]) == (None, None)


def test_what_was_not_measured_is_said_and_not_left_out() -> None:
    found = {one.goal.key: one for one in judged({"scale": {"results": {"exponent": None}, "quick": True}}, {})}
    assert len(found) == len(GOALS)
    assert all(one.figure is None and one.reached is None for one in found.values())
    assert report(found.values()).count("not measured |") == len(GOALS)


def test_a_missed_goal_has_its_cause_beside_it() -> None:
    text = report(judged(entries(quick=True), {"peak": "the texts"}))
    assert "| at most 120 | 130 | **NO**, quick |" in text
    assert "- peak memory, 10,000 mails, MB: the texts" in text
    assert "the cause is not known yet" not in text
    assert "the cause is not known yet" in report(judged(entries(), {}))


def test_causes_are_of_goals(tmp_path: Path) -> None:
    causes()
    (tmp_path / "causes.toml").write_text('typo = "x"')
    with pytest.raises(ValueError, match="unknown goals: typo"):
        causes(tmp_path / "causes.toml")
