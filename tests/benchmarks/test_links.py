"""The measuring programs work, and the report says what they found; the full grid is a benchmark and no test."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.measure import links
from benchmarks.tools import packets

TIMES = {"relay": [5.0, 6.0], "packets": [5.0, 5.0], "ratios": [1.0, 1.2], "ok": False}
RESULTS = {
    "cells": [
        {
            "mbit": 10,
            "rtt": 0.05,
            "direct": 0.0004,
            "delay": 0.0503,
            "rates": [1.0, 0.99],
            "off": 0.01,
            "ok": True,
            "tries": 1,
        }
    ],
    "packets": [
        {
            "mbit": 10,
            "rtt": 0.05,
            "size": 1000,
            "relay": [5.0, 6.0],
            "packets": [5.0, 5.0],
            "ratios": [1.0, 1.2],
            "ok": False,
        }
    ],
    "packets_skipped": "",
    "ok": False,
}


async def test_a_cell_is_measured_from_outside() -> None:
    found = await links._try(100, 0.02, 0.2)
    assert 0.019 < found["delay"] < 0.03
    assert all(0.7 < rate < 1.2 for rate in found["rates"])


def test_the_report_names_what_is_off() -> None:
    text = links.report(RESULTS)
    assert "within 3%: yes" in text
    assert "within 10%: NO" in text
    assert "| 10 | 50 ms | 50.30 ms | 0.40 ms | 10.00 (100.0%) | 9.90 (99.0%) |" in text
    assert "| 10 | 50 ms | 1,000 | 8 | 6.00 s | 5.00 s | 1.200 |" in text


def test_the_report_says_when_packets_were_skipped() -> None:
    text = links.report(RESULTS | {"packets": [], "packets_skipped": "it needs root"})
    assert "No comparison with a packet-level link: it needs root." in text


def test_the_picture(tmp_path: Path) -> None:
    links.picture(RESULTS, tmp_path / "links.png")
    assert (tmp_path / "links.png").stat().st_size > 1000


async def test_without_root_there_is_no_packet_level_link(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert await packets.missing() == "it needs root"


async def test_an_emulator_that_is_not_there_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 0)
    monkeypatch.setattr("shutil.which", lambda name: f"/sbin/{name}")
    monkeypatch.setenv("LINK_EMULATOR", "/nowhere/link")
    assert "/nowhere/link" in await packets.missing()
