"""plan.csv, read by the csv module, and what a spreadsheet would make of it."""

from __future__ import annotations

import csv
import io
from datetime import datetime, timedelta

import pytest

from kerio_resync.fleet.outputs.cells import write_csv
from kerio_resync.fleet.outputs.table import user_table
from kerio_resync.fleet.plan import Plan
from tests.support.plans import sample_plan


def rows_of(plan: Plan) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(user_table(plan).decode("utf-8-sig"), newline="")))


def test_table_has_each_user_once_with_wave_times_and_reason() -> None:
    plan = sample_plan(40, unplaced=3, no_room=2)
    rows = rows_of(plan)
    assert [row["user"] for row in rows if row["wave"]] == [
        user.user for wave in plan.waves for user in sorted(wave.users, key=lambda user: (user.start, user.user))
    ]
    first = rows[0]
    assert (first["wave"], first["site"], first["action"], first["reason"]) == (
        "1",
        "Praha",
        "rebuild",
        "the cache is damaged",
    )
    assert first["start"] == "2026-11-28T22:00:00+01:00"
    assert datetime.fromisoformat(first["end"]) == plan.waves[0].users[0].end
    assert (first["bwlimit"], first["splay_s"], first["time_zone"]) == ("250000", "900", "Europe/Prague")
    assert [row["problem"] for row in rows[40:]] == [plan.problems[0].sentence] * 3 + [plan.problems[1].sentence] * 2
    assert [row["action"] for row in rows[40:]] == ["rebuild"] * 3 + ["needs-room"] * 2


def test_local_upgrades_have_no_limit_of_the_link() -> None:
    assert {row["bwlimit"] for row in rows_of(sample_plan(40)) if row["action"] == "upgrade"} == {""}


def test_times_are_those_of_the_site() -> None:
    rows = rows_of(sample_plan(4, [("Kolkata", "Asia/Kolkata"), ("New York", "America/New_York")], waves_per_window=1))
    offsets = {row["site"]: datetime.fromisoformat(row["start"]).utcoffset() for row in rows}
    assert offsets == {"Kolkata": timedelta(hours=5.5), "New York": timedelta(hours=-5)}


@pytest.mark.parametrize(
    "text", ["=1+1", "+1", "-1", "@SUM(A1)", " =1", "\t=1", "\r=1", "\n=1", "＝1", "=cmd|' /C calc'!A0"]
)
def test_no_cell_begins_as_a_formula(text: str) -> None:
    (_, (cell, number)) = csv.reader(io.StringIO(write_csv(("a", "b"), [(text, -1)]).decode("utf-8-sig"), newline=""))
    assert cell[0] in ("'", "\N{REPLACEMENT CHARACTER}")
    assert number == "-1"


def test_every_letter_and_line_break_stays_in_its_cell() -> None:
    content = write_csv(("name",), [("Žlutý, „kůň“\r\nx",), ("\ud800",)])
    assert content.startswith(b"\xef\xbb\xbf")
    assert list(csv.reader(io.StringIO(content.decode("utf-8-sig"), newline="")))[1:] == [
        ["Žlutý, „kůň“\N{REPLACEMENT CHARACTER}\N{REPLACEMENT CHARACTER}x"],
        ["\N{REPLACEMENT CHARACTER}"],
    ]
