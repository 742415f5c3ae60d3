"""Calendar files, read by vobject and dateutil, which share no code with the writer."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import vobject

from kerio_resync.fleet.outputs.calendars import group_calendar, uid, waves_calendar
from tests.support.plans import NIGHT, sample_plan


def events(content: bytes) -> list[Any]:
    return list(vobject.readOne(content.decode("utf-8")).vevent_list)


def test_each_wave_is_an_entry_at_its_time_in_the_zone_of_the_server() -> None:
    plan = sample_plan(60)
    found = events(waves_calendar(plan, "s"))
    assert [event.dtstart.value.astimezone(UTC) for event in found] == [wave.start for wave in plan.waves]
    assert [event.dtend.value.astimezone(UTC) for event in found] == [
        wave.end.replace(microsecond=0) for wave in plan.waves
    ]
    assert found[0].dtstart.value.utcoffset() == timedelta(hours=1)
    assert found[0].summary.value == "Upgrade: wave 1 of 4, 15 users"
    assert "Brno: 7 users" in found[0].description.value


def test_second_plan_updates_entries_and_cancels_those_that_are_gone() -> None:
    first, later = sample_plan(60), sample_plan(60, waves_per_window=2, made=datetime(2026, 11, 21, tzinfo=UTC))
    gone = [(wave.start, wave.end) for wave in first.waves[2:]]
    old, new = events(waves_calendar(first, "s")), events(waves_calendar(later, "s", gone))
    assert [event.uid.value for event in old] == [event.uid.value for event in new]
    assert [event.status.value for event in new] == ["CONFIRMED", "CONFIRMED", "CANCELLED", "CANCELLED"]
    assert all(int(a.sequence.value) < int(b.sequence.value) for a, b in zip(old, new, strict=True))


def test_uids_differ_between_rollouts_waves_and_groups() -> None:
    assert len({uid("a", 1), uid("b", 1), uid("a", 2), uid("a", 1, "rebuild", "de")}) == 4


def test_names_cannot_add_lines_to_an_entry() -> None:
    bad = "X\r\nEND:VEVENT\r\nBEGIN:VEVENT\r\nATTENDEE:mailto:x@example.com"
    plan = sample_plan(8, [(bad, "Europe/Prague")], webmail=f"https://a{bad}")
    for content in (
        waves_calendar(plan, bad),
        group_calendar(plan, uid(bad, 1), NIGHT, NIGHT + timedelta(hours=1), "Asia/Kolkata", bad, f"text {bad}"),
    ):
        assert content.count(b"\r\nBEGIN:VEVENT") == len(events(content))
        assert b"\r\nATTENDEE" not in content


@pytest.mark.parametrize("zone", ["Europe/Prague", "America/New_York", "Asia/Kolkata", "Australia/Sydney"])
def test_files_carry_the_rules_of_their_zone(zone: str) -> None:
    plan = sample_plan(4)
    content = group_calendar(plan, "u", NIGHT, NIGHT + timedelta(hours=1), zone, "Ü", "Zeile 1\nZeile 2")
    assert f"TZID:{zone}".encode() in content
    (event,) = events(content)
    assert event.dtstart.value.astimezone(UTC) == NIGHT
    assert event.description.value == "Zeile 1\nZeile 2"
    assert max(len(line) for line in content.split(b"\r\n")) <= 75
