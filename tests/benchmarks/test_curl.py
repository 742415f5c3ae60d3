"""The comparison with curl: its rows, their parts, and the naming of what was left out."""

from __future__ import annotations

import os
import time
from typing import Any
from urllib.request import urlopen

import pytest

from benchmarks import goals
from benchmarks.measure import efficiency
from benchmarks.tools import curl, machine, packets
from benchmarks.tools.curl import Cell, Fetch, Run

CELL = Cell(100, 0.05, 262_000_000, 16, 3)
PARTS = {"start": 0.5, "fetch": 20.0, "verify": 1.0}
ROUNDS = [
    (Run(seconds, 9.0, 2.0, 260_000_000, 270_000_000, most, PARTS), Fetch(22.0, 268_000_000))
    for seconds, most in ((22.0, 9), (44.0, 12), (25.0, 8))
]
FULL = 5, 1  # rounds of a full run: 100 and 10 Mbit/s


def told(*cells: dict[str, Any], skipped: str = "") -> str:
    return curl.report({"packets": list(cells), "packets_skipped": skipped})


def test_ratios_are_taken_within_a_round_and_the_goal_reads_them() -> None:
    found = curl.judged(CELL, ROUNDS)
    assert found["of_curl"] == found["spread"]["median"] == 22 / 25
    assert (found["spread"]["least"], found["spread"]["most"]) == (0.5, 1.0)
    assert (found["bytes"], found["most_in_flight"], found["rounds"]) == (260_000_000, 12, 3)
    assert not found["ok"]
    assert curl.judged(CELL, ROUNDS[:1])["ok"]
    goal = next(one for one in goals.GOALS if one.key == "packets-100")
    assert goal.figure({"packets": [found]}) == 22 / 25


def test_the_report_has_seconds_of_both_and_where_ours_went() -> None:
    text = told(curl.judged(CELL, ROUNDS))
    assert "curl's speed: NO" in text
    assert "| 100 | 50 | 3 | 260.0 | 12 of 16 | 25.00 (22.00–44.00) | 22.00 (22.00–22.00)" in text
    assert "| 0.880 (0.500–1.000) | 270.0 | 268.0 | 9.0 (9.0–9.0) | 2.0 (2.0–2.0) |" in text
    assert "| 100 | 0.50 | 0.00 | 0.00 | 0.00 | 20.00 | 0.00 | 1.00 | 0.00 | 0.00 |" in text
    assert "Left out" not in text


def test_what_is_left_out_is_said() -> None:
    assert "Left out: it needs root." in told(skipped="it needs root")
    both = told(curl.judged(CELL, ROUNDS), skipped="10 Mbit/s × 200 ms: no")
    assert "Left out: 10 Mbit/s × 200 ms: no." in both
    assert "| 100 | 50 |" in both


def test_parts_are_from_one_phase_to_the_next_and_make_up_the_whole() -> None:
    events = [
        (0.5, {"event": "phase", "phase": "session"}),
        (0.7, {"event": "run-started"}),
        (1.0, {"event": "phase", "phase": "fetch"}),
        (5.0, {"event": "progress"}),
        (9.0, {"event": "phase", "phase": "verify"}),
        (9.5, {"event": "run-finished"}),
    ]
    found = curl.parts(events, 10.0)
    assert found == {"start": 0.5, "session": 0.5, "fetch": 8.0, "verify": 0.5, "end": 0.5}
    assert found.keys() <= set(curl.PARTS)


async def test_a_quick_run_and_one_without_a_link_say_why_there_is_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    assert await efficiency._beside(quick=True, full=False) == {
        "packets": [], "packets_skipped": "a quick run has no time for it",
    }  # fmt: skip
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert (await efficiency._beside(quick=False, full=True))["packets_skipped"] == "it needs root"


async def test_curl_that_is_not_there_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    async def nothing() -> str:
        return ""

    monkeypatch.setattr(packets, "missing", nothing)
    monkeypatch.setenv("PATH", "/nowhere")
    assert await curl.missing() == "it needs curl"


async def test_a_cell_that_fails_leaves_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    async def nothing() -> str:
        return ""

    async def compare(cell: Cell) -> dict[str, Any]:
        asked.append(cell)
        if cell.mbit == 10:
            raise OSError("the link went away")
        return curl.judged(cell, ROUNDS)

    monkeypatch.setattr(curl, "missing", nothing)
    monkeypatch.setattr(curl, "compare", compare)
    found = await efficiency._beside(quick=False, full=True)
    assert [one["mbit"] for one in found["packets"]] == [100]
    assert found["packets_skipped"] == "10 Mbit/s × 200 ms: the link went away"
    assert tuple(cell.rounds for cell in asked) == FULL
    assert all(cell.most == 16 for cell in asked if cell.mbit == 100)
    asked.clear()
    await efficiency._beside(quick=False, full=False)
    assert [cell.mbit for cell in asked] == [100]


def test_the_file_that_curl_gets_has_as_many_bytes_as_asked_for() -> None:
    with machine.child("file server", "benchmarks.tools.curl", "127.0.0.1") as (_, port):
        for size in (0, 7, 600_000):
            with urlopen(f"http://127.0.0.1:{int(port)}/{size}", timeout=30) as reply:
                assert len(reply.read()) == size


@pytest.mark.timeout(180)
async def test_both_sides_run_over_packets(monkeypatch: pytest.MonkeyPatch) -> None:
    if reason := await curl.missing():
        pytest.skip(reason)
    monkeypatch.setattr(os, "sync", lambda: None)
    began = time.perf_counter()
    found = await curl.compare(Cell(100, 0.01, 600_000, 4, 1))
    assert 0 < found["of_curl"] < 2
    assert found["curl"]["median"] > 0.01
    assert found["curl"]["median"] + found["seconds"]["median"] < time.perf_counter() - began
    assert 300_000 < found["bytes"] < found["packets"] < 3 * found["bytes"]
    assert 1 <= found["most_in_flight"] <= 4
    assert sum(found["parts"].values()) == pytest.approx(found["seconds"]["median"], abs=0.05)
