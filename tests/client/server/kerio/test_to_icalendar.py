"""Calendar entries from Kerio's structs."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from icalendar import Component

from kerio_resync.model import Kind
from kerio_resync.server.kerio import to_icalendar
from kerio_resync.server.kerio.to_icalendar import CalendarEntry, calendar_entry

PRAGUE = ZoneInfo("Europe/Prague")
RULE = {"isSet": True, "frequency": "Weekly", "preciseBy": {"byDay": [2, 6], "byInterval": 2}}


def entry(kind: Kind, zone: ZoneInfo | None = None, **struct: Any) -> CalendarEntry:
    return calendar_entry(kind, "id", json.dumps(struct).encode(), zone, datetime(2026, 1, 1, tzinfo=UTC))


def lines(component: Component) -> list[str]:
    return str(component.to_ical().decode()).replace("\r\n ", "").splitlines()


def test_whole_day_event_ends_on_the_day_after_its_last() -> None:
    found: Any = entry("event", isAllDay=True, start="20260301", end="20260302").component
    assert (found["dtstart"].dt, found["dtend"].dt) == (date(2026, 3, 1), date(2026, 3, 3))


@pytest.mark.parametrize(
    ("start", "zone", "written"),
    [
        ("20260105T090000+0100", PRAGUE, "DTSTART;TZID=Europe/Prague:20260105T090000"),
        ("20260705T090000+0100", PRAGUE, "DTSTART;TZID=UTC+0100:20260705T090000"),
        ("20260105T090000-0330", None, "DTSTART;TZID=UTC-0330:20260105T090000"),
        ("20260105T090000Z", PRAGUE, "DTSTART:20260105T090000Z"),
    ],
)
def test_time_gets_the_zone_that_has_its_offset(start: str, zone: ZoneInfo | None, written: str) -> None:
    assert written in lines(entry("event", zone, start=start).component)


def test_series_has_its_rule_and_names_that_exceptions_are_unknown() -> None:
    end = {"endBy": {"type": "ByRecurrenceDate", "date": "20260301"}}
    found = entry("event", start="20260105T090000+0100", rule=RULE | end)
    assert "RRULE:FREQ=WEEKLY;UNTIL=20260301T225959Z;INTERVAL=2;BYDAY=MO,FR" in lines(found.component)
    assert found.lost == [to_icalendar.EXCEPTIONS_LOST]


def test_attendees_keep_role_and_answer() -> None:
    people = [
        {"displayName": "Jö", "emailAddress": "jo@example.com", "role": "RoleOrganizer", "partStatus": "PartAccepted"},
        {"displayName": "", "emailAddress": "room@example.com", "role": "RoleRoom", "isNotified": True},
    ]
    found = lines(entry("event", start="20260105T090000Z", attendees=people).component)
    assert "ORGANIZER;CN=Jö:mailto:jo@example.com" in [line.replace('"', "") for line in found]
    assert "ATTENDEE;CN=Jö;PARTSTAT=ACCEPTED;ROLE=CHAIR:mailto:jo@example.com" in [
        line.replace('"', "") for line in found
    ]
    assert "ATTENDEE;CUTYPE=ROOM;PARTSTAT=NEEDS-ACTION;ROLE=REQ-PARTICIPANT;RSVP=TRUE:mailto:room@example.com" in found


def test_reminders_are_relative_or_absolute() -> None:
    relative = {"isSet": True, "type": "ReminderRelative", "minutesBeforeStart": 15}
    absolute = {"isSet": True, "type": "ReminderAbsolute", "date": "20260104T090000Z"}
    alarms: list[Any] = [
        entry("event", start="20260105T090000Z", reminder=reminder).component.walk("VALARM")[0]
        for reminder in (relative, absolute)
    ]
    assert [alarm["trigger"].dt for alarm in alarms] == [timedelta(minutes=-15), datetime(2026, 1, 4, 9, tzinfo=UTC)]


def test_task_names_a_status_that_calendars_lack() -> None:
    found = entry("task", summary="x", due="20260301", status="tsWaiting", done=40)
    assert (found.component["status"], found.component["percent-complete"]) == ("NEEDS-ACTION", 40)
    assert found.lost == [to_icalendar.STATUS_LOST]


def test_note_has_its_first_line_as_summary() -> None:
    found = entry("note", text="One\nTwo\nThree", color="Yellow", createDate="20260301T090000Z").component
    assert (found["summary"], found["description"], found["color"]) == ("One", "Two\nThree", "yellow")


@pytest.mark.parametrize("struct", [{}, {"start": "2026"}, {"start": 7}, {"start": "20260230"}])
def test_event_without_a_valid_start_is_refused(struct: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="without a valid start"):
        entry("event", **struct)


HOSTILE: dict[str, Any] = {
    "start": "99991231T235959+0000", "end": "00010101T000000Z", "attendees": [None, 3, {"emailAddress": None}],
    "rule": {"isSet": True, "frequency": 7, "preciseBy": [], "endBy": {"type": "ByRecurrenceDate", "date": "x"}},
    "reminder": {"isSet": True, "minutesBeforeStart": 10**30}, "categories": "x", "summary": "a\x00b\r\nc\ud800",
}  # fmt: skip


def test_invalid_members_are_left_out() -> None:
    found = entry("event", **HOSTILE)
    assert found.component["summary"] == "ab\nc?"
    assert to_icalendar.TIME_LOST in found.lost
    found.component.to_ical()
