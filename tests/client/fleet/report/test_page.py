from __future__ import annotations

import csv
import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest

from kerio_resync.fleet.report.collect import Collector
from kerio_resync.fleet.report.make import make_report
from kerio_resync.fleet.report.metrics import metrics_of
from kerio_resync.fleet.report.page import render
from kerio_resync.fleet.report.result import FleetReport
from kerio_resync.fleet.report.table import machine_table
from kerio_resync.fleet.report.text import lines_of_report
from tests.support.browser import needs_browser, open_browser
from tests.support.fleet_logs import kinds_of_fleet, log_of, write_planned
from tests.support.plans import NIGHT, sample_plan

BAD = "<img src=x onerror=alert(1)>"
NOW = NIGHT + timedelta(hours=10)


def full_report(folder: Path) -> FleetReport:
    """A report with every state, every table and every picture."""
    plan = sample_plan(users=120, unplaced=2)
    write_planned(folder, plan, kinds_of_fleet(111, 24, postponed=4, unsent=3), silent=9)
    slow = plan.waves[0].users[7]
    assert slow.start is not None
    (folder / f"{slow.machine}.log").write_bytes(log_of("rebuilt", 700, slow.user, slow.start, 3600))
    for number in range(3):
        log = log_of("killed", 500 + number, f"guest{number}", NOW - timedelta(seconds=30 * (number + 1)))
        (folder / f"guest-{number}.log").write_bytes(log)
    (folder / "ahead.log").write_bytes(log_of("rebuilt", 600, "ahead", NOW + timedelta(hours=1)))
    estimate = {"time": "2026-11-29T02:00:00Z", "run": "1", "version": "1", "command": "estimate", "event": "notice"}
    (folder / "idle.log").write_bytes(orjson.dumps(estimate))
    (folder / "notes.txt").write_text("milk\n")
    return make_report(Collector([folder]).read(NOW), NOW, folders=[folder], plan=plan, plan_name="plan.json")


def hostile_report(folder: Path) -> FleetReport:
    """All that a log can hold is an attempt to break the page."""
    wicked = [BAD, "</table></details>", "{{ 7*7 }}", "=cmd|' /C calc'!A0", "\u202egnp.exe", "a\nb\tc\0d", "`x`" + BAD]
    for number, text in enumerate(wicked):
        rows: list[dict[str, Any]] = [
            {"event": "run-started", "user": text, "server": text, "profile": text},
            {"event": "phase", "phase": text},
            {"event": "retrying", "reason": text, "method": text, "attempt": 1, "wait": 1},
        ]
        summary = {"error": text, "kind": text, "needed_bytes": 9, "free_bytes": 1, "where": text, "action": text}
        ends: list[dict[str, Any]] = [
            {"event": "run-finished", "ok": False, "exit_code": code, "summary": summary} for code in (3, 99)
        ]
        stamp = {"time": "2026-11-29T02:00:00Z", "version": text, "command": "rebuild"}
        for part, end in enumerate([[], *[[end] for end in ends]]):
            lines = [orjson.dumps({**stamp, "run": f"{number}{part}{text}", **row}) for row in [*rows, *end]]
            name = f"{number}-{part}-<b>&\"'{{}}.log"
            (folder / name).write_bytes(b"\n".join(lines) + b"\n{broken\n")
    return make_report(Collector([folder]).read(NOW), NOW, folders=[folder])


def test_page_has_every_section(tmp_path: Path) -> None:
    report = full_report(tmp_path)
    text = render(report, refresh=30.4)
    sections = re.findall(r"<h2[^>]*>(.*?)</h2>", text)
    for title in (
        "What to do", "Ready over time", "Failed", "No room on the disk", "Rebuilding (3)", "Not reported (9)", "Late",
        "Changes not yet sent", "Not started (1)", "Clocks that are ahead (1)", "How long it took", "The slowest tenth",
        "Logs",
    ):  # fmt: skip
        assert any(section.startswith(title) for section in sections), title
    assert '<meta http-equiv="refresh" content="30">' in text
    assert "refresh" not in render(report)
    assert text.count("<details>") == len(report.causes) == 9


def test_page_escapes_all_that_logs_hold(tmp_path: Path) -> None:
    report = hostile_report(tmp_path)
    text = render(report)
    assert BAD not in text
    assert "&lt;img src=x" in text
    assert "{{ 7*7 }}" in text  # not evaluated
    assert "<code>x</code>&lt;img" in text
    assert "\u202e" not in text
    assert not re.search(
        r"<(?!/?(html|meta|title|style|body|h1|h2|h3|p|dl|dt|dd|div|ol|ul|li|table|tr|th|td|details|summary|b|br|span|code|figure|svg|rect|path|a|footer|!doctype))",
        text,
    )
    assert text.count("<table>") == text.count("</table>")
    assert not re.search(r"<script|<link|<iframe|<img|url\(|@import| on[a-z]+=[^&]", re.sub("&lt;.*?&gt;", "", text))


def test_table_runs_nothing_in_a_spreadsheet(tmp_path: Path) -> None:
    rows = list(csv.DictReader(machine_table(hostile_report(tmp_path)).decode("utf-8-sig").splitlines()))
    assert {row["user"] for row in rows if "calc" in row["user"]} == {"'=cmd|' /C calc'!A0"}
    for row in rows:
        assert not [cell for cell in row.values() if cell and cell.lstrip().startswith(("=", "+", "@"))]


def test_table_has_the_machines_that_need_something_first(tmp_path: Path) -> None:
    report = full_report(tmp_path)
    rows = list(csv.DictReader(machine_table(report).decode("utf-8-sig").splitlines()))
    assert len(rows) == len(report.machines)
    states = [row["state"] for row in rows]
    assert (states[0], states[-1]) == ("failed", "ready")
    assert len(dict.fromkeys(states)) == sum(count > 0 for count in report.counts.values())
    failed = rows[0]
    assert (failed["advice"], bool(failed["planned_end"])) == ("Check both and run again.", True)


def test_lines_hold_no_control_characters_and_no_markup(tmp_path: Path) -> None:
    for line in lines_of_report(hostile_report(tmp_path)):
        assert "\0" not in line
        assert "\u202e" not in line


def test_metrics_have_states_causes_and_lines(tmp_path: Path) -> None:
    text = metrics_of(full_report(tmp_path))
    for sample in (
        'kerio_resync_fleet_machines{state="working"} 3',
        'kerio_resync_fleet_failed{cause="bad-credentials"} 3',
        "kerio_resync_fleet_unsent_changes 3",
        'kerio_resync_fleet_lines{kind="foreign"} 1',
    ):
        assert sample in text.splitlines()
    for line in text.splitlines():
        assert re.fullmatch(r'# (HELP|TYPE) [a-z_]+ .+|[a-z_]+(\{[a-z]+="[^"]*"\})? [0-9.e+-]+', line), line


def test_report_reads_back_from_its_json(tmp_path: Path) -> None:
    report = full_report(tmp_path)
    assert FleetReport.model_validate_json(report.model_dump_json()) == report


def test_page_stays_small_for_many_machines(tmp_path: Path) -> None:
    report = full_report(tmp_path)
    many = report.model_copy(update={
        "machines": tuple(row.model_copy(update={"machine": f"m-{number}-{row.machine}"})
                          for number in range(40) for row in report.machines)
    })  # fmt: skip
    assert len(render(many)) < 10 * len(render(report))
    assert "more are in report.csv" in render(many)


@pytest.mark.parametrize("mark", [pytest.param(None, marks=needs_browser)])
def test_page_fits_wide_and_narrow_windows(mark: None, tmp_path: Path) -> None:
    logs = tmp_path / "logs"
    logs.mkdir()
    page = tmp_path / "report.html"
    page.write_text(render(full_report(logs)), encoding="utf-8")
    with open_browser() as browser:
        for width, dark in ((1280, False), (390, True)):
            browser.open(page.as_uri(), width, dark=dark)
            browser.run("for (const each of document.querySelectorAll('details')) each.open = true")
            assert browser.overflow() <= 0  # less by a scroll bar
            assert browser.errors() == []
            back = browser.run("return getComputedStyle(document.body).backgroundColor")
            assert back == ("rgb(20, 24, 29)" if dark else "rgb(255, 255, 255)")
        page.write_text(render(hostile_report(logs)), encoding="utf-8")
        browser.open(page.as_uri(), 390)
        assert browser.errors() == []
        assert browser.all("img") == []
