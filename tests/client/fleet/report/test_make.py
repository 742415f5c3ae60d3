from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import orjson
import pytest

from kerio_resync.errors import advice_of
from kerio_resync.fleet.report.causes import _ABOUT, advice_for, title_of
from kerio_resync.fleet.report.collect import Collector, Reading
from kerio_resync.fleet.report.make import make_report, slowest_tenth
from kerio_resync.fleet.report.result import FleetReport, Machine
from kerio_resync.fleet.report.text import headline, lines_of_report
from kerio_resync.plain_text import format_duration
from tests.support.fleet_logs import NIGHT, kinds_of_fleet, log_of, write_fleet, write_planned
from tests.support.plans import NIGHT as PLANNED
from tests.support.plans import sample_plan

NOW = datetime(2026, 11, 28, 7, tzinfo=UTC)


def report_of(folder: Path, now: datetime = NOW) -> FleetReport:
    return make_report(Collector([folder]).read(now), now, folders=[folder])


def done(name: str, seconds: float | None, state: str = "ready") -> Machine:
    return Machine.model_validate({"machine": name, "state": state, "seconds": seconds})


@pytest.mark.parametrize(("count", "slow"), [(0, 0), (1, 1), (10, 1), (11, 2), (100, 10)])
def test_slowest_tenth_has_the_slowest_first(count: int, slow: int) -> None:
    rows = [done(f"m{number}", number * 7 % 101) for number in range(count)]
    found = slowest_tenth([*rows, done("idle", None), done("broken", 999.0, "failed")])
    assert [row.machine for row in found] == [
        row.machine for row in sorted(rows, key=lambda row: -(row.seconds or 0))[:slow]
    ]


def test_machines_are_in_the_order_in_which_people_count(tmp_path: Path) -> None:
    names = ["pc-2", "pc-10", "PC-11", "vienna/pc-1", "0", "9" * 30, "²", "٣", "pc", "pc-x"]
    for number, name in enumerate(names):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / f"{name}.log").write_bytes(log_of("rebuilt", number, "a@example.com", NIGHT))
    found = [row.machine for row in report_of(tmp_path).machines]
    assert sorted(found) == sorted(names)
    assert [name for name in found if name.lower().startswith("pc-") and name[-1].isdigit()] == [
        "pc-2",
        "pc-10",
        "PC-11",
    ]


def test_report_is_ok_only_if_every_machine_is_ready(tmp_path: Path) -> None:
    write_fleet(tmp_path, ["rebuilt", "upgraded"])
    assert report_of(tmp_path).ok
    assert report_of(tmp_path).next_steps == ()
    write_fleet(tmp_path, ["rebuilt", "unsent"])
    assert not report_of(tmp_path).ok
    assert not make_report(Reading(), NOW).ok


def test_next_steps_name_what_helps_most_machines_first(tmp_path: Path) -> None:
    write_fleet(
        tmp_path, ["rebuilt", *["wrong-password"] * 3, *["unreachable"] * 2, "interrupted", "killed", "postponed"]
    )
    steps = report_of(tmp_path).next_steps
    assert steps[0] == (
        "Run the same command again on 4 machines: server unreachable (2), no end recorded (1), interrupted (1)."
    )
    assert steps[1] == "Wrong user name or password on 3 machines: Check both and run again."
    assert steps[2].startswith("Free 64.5 MiB more on 1 machine, or run `kerio-resync rebuild --drop-first` there;")


def test_next_steps_tell_apart_why_a_run_was_postponed(tmp_path: Path) -> None:
    write_fleet(tmp_path, ["postponed", "postponed"])
    late = orjson.loads(log_of("unreachable", 9, "x@example.com", NIGHT).splitlines()[-1])
    late |= {"exit_code": 3, "summary": {"error": "It is too late to begin.", "kind": "postponed"}}
    (tmp_path / "late.log").write_bytes(orjson.dumps(late))
    report = report_of(tmp_path)
    assert report.counts["postponed"] == 3
    assert [step.partition(",")[0] for step in report.next_steps] == [
        "Free 64.5 MiB more on 2 machines",
        "Start the command earlier on 1 machine that came too late for the window.",
    ]
    assert "  late: It is too late to begin." in lines_of_report(report)


def test_documentation_has_every_cause_with_its_title() -> None:
    page = (Path(__file__).parents[4] / "docs" / "fleet.md").read_text(encoding="utf-8")
    rows = re.findall(
        r"^\| `([a-z-]+)` \| ([^|]+) \|$", page[page.index("| `kind` |") :].split("\n\n")[0], re.MULTILINE
    )
    assert dict(rows[1:]) == {kind: about.title for kind, about in sorted(_ABOUT.items())}


def test_steps_for_machines_at_work_say_when_the_last_ends(tmp_path: Path) -> None:
    (tmp_path / "a.log").write_bytes(log_of("killed", 1, "a@example.com", NOW - timedelta(seconds=10)))
    report = report_of(tmp_path)
    assert report.counts["working"] == 1
    assert report.last_end_s is not None
    assert 120 < report.last_end_s < 142  # the log's last line said 142 s
    left = format_duration(report.last_end_s)
    assert report.next_steps == (f"Wait for 1 machine at work; the last is expected to end in {left}.",)
    assert f"The last of those rebuilding is expected to end in {left}." in lines_of_report(report)


def test_each_cause_has_a_title_and_the_advice_of_the_program() -> None:
    for kind in _ABOUT:
        assert title_of(kind)
        advice = advice_for(kind, "what it said")
        assert advice
        assert advice_of(kind) in ("", advice, "Run `kerio-resync rebuild`.")
    assert title_of("not-yet-known") == "Not yet known"
    assert advice_for("not-yet-known", "Do that.") == "Do that."


def test_text_tells_counts_causes_advice_and_what_was_read(tmp_path: Path) -> None:
    write_fleet(tmp_path, kinds_of_fleet(30, 9, postponed=1, unsent=1))
    (tmp_path / "x.txt").write_text("hello\n")
    report = report_of(tmp_path)
    lines = lines_of_report(report)
    assert lines[0] == headline(report) == "30 machines: 19 ready, 1 with changes not sent, 1 postponed, 9 failed."
    assert "Failed (9):" in lines
    place = lines.index("      1  Wrong user name or password: pc-001")
    assert lines[place + 1] == "         Check both and run again."
    assert "Not yet sent: 1 local change on pc-011." in lines
    assert lines[-2:] == [
        f"Read {report.inputs.lines} lines in 31 files; 1 foreign line, 1 file of something else.",
        "  x.txt: it has no line of kerio-resync; 1 foreign",
    ]


def test_plan_sets_since_when_runs_count(tmp_path: Path) -> None:
    plan = sample_plan(users=20)
    write_planned(tmp_path, plan, ["rebuilt"], silent=5)
    (tmp_path / "pc-19.log").write_bytes(log_of("rebuilt", 99, "user00019", plan.made - timedelta(days=3)))
    now = PLANNED + timedelta(hours=12)
    reading = Collector([tmp_path]).read(now)
    report = make_report(reading, now, plan=plan, plan_name="plan.json")
    assert (report.counts["ready"], report.counts["not-reported"], report.counts["not-started"]) == (15, 4, 1)
    assert report.inputs.since == plan.made
    assert report.against_plan is not None
    assert report.against_plan.time_ratio == pytest.approx(1.0, abs=0.1)
    older = make_report(reading, now, plan=plan, since=NIGHT - timedelta(days=30))
    assert older.counts["ready"] == 16
    expected = "Of 20 planned users, 20 should have begun and reported by now; 16 have reported"
    assert expected in "\n".join(lines_of_report(report))
