"""Calendar entries as the API's structs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kerio_mockserver.mailbox.api_structs import complete
from kerio_mockserver.mailbox.imports.calendars import BAD_ENTRY, SIMPLIFIED, Entry, read_calendar
from kerio_mockserver.mailbox.imports.charsets import Warnings

SAMPLE = (Path(__file__).parents[3] / "data" / "sample" / "calendar.ics").read_bytes()
NAMES = {"event": "Event", "task": "Task", "note": "Note"}


def read(*lines: str, kind: str = "VEVENT") -> tuple[dict[str, Any], Warnings]:
    warnings = Warnings()
    text = "\n".join(["BEGIN:VCALENDAR", f"BEGIN:{kind}", *lines, f"END:{kind}", "END:VCALENDAR", ""])
    (entry,) = read_calendar(text.encode(), warnings)
    assert entry.struct is not None
    assert complete(NAMES[entry.kind], entry.struct) == entry.struct
    return entry.struct, entry.warnings + warnings


def sample() -> list[Entry]:
    return list(read_calendar(SAMPLE, Warnings()))


def test_sample_has_all_kinds_and_complete_structs() -> None:
    kinds = [entry.kind for entry in sample()]
    assert (kinds.count("event"), kinds.count("task"), kinds.count("note")) == (12, 3, 2)
    for entry in sample():
        assert entry.struct is not None
        assert complete(NAMES[entry.kind], entry.struct) == entry.struct


def test_meeting_with_people_a_rule_and_a_reminder() -> None:
    struct = sample()[0].struct
    assert struct is not None
    assert (struct["summary"], struct["location"]) == ("Porada konstrukce", "Zasedačka 3")
    assert (struct["start"], struct["end"]) == ("20260105T090000+0100", "20260105T093000+0100")
    assert struct["rule"] == {
        "isSet": True,
        "frequency": "Weekly",
        "endBy": {"type": "ByRecurrenceNever", "date": ""},
        "preciseBy": {"byDay": [2, 4, 6], "byMonthDay": [], "byMonth": [], "byPosition": [], "byInterval": 1},
    }
    assert [(one["emailAddress"], one["role"], one["partStatus"]) for one in struct["attendees"]] == [
        ("jan.novak@example.com", "RoleOrganizer", "PartAccepted"),
        ("anneliese@example.org", "RoleOptionalAttendee", "PartTentative"),
        ("room3@example.com", "RoleRoom", "PartAccepted"),
    ]
    assert struct["attendees"][1]["displayName"] == "Müller-Lüdenscheidt, Anneliese"
    assert struct["reminder"] == {"isSet": True, "type": "ReminderRelative", "minutesBeforeStart": 15, "date": ""}


@pytest.mark.parametrize(
    ("lines", "start", "end", "whole"),
    [
        (["DTSTART;VALUE=DATE:20260706", "DTEND;VALUE=DATE:20260718"], "20260706", "20260717", True),
        (["DTSTART;VALUE=DATE:20260706"], "20260706", "20260706", True),
        (["DTSTART;VALUE=DATE:20260706", "DTEND;VALUE=DATE:20260706"], "20260706", "20260706", True),
        (["DTSTART;VALUE=DATE:20260706", "DURATION:P2D"], "20260706", "20260707", True),
        (["DTSTART:20260706T100000Z", "DURATION:PT90M"], "20260706T100000Z", "20260706T113000Z", False),
        (["DTSTART:20260706T100000Z"], "20260706T100000Z", "20260706T100000Z", False),
        (["DTSTART:20260706T100000", "DTEND:20260706T110000"], "20260706T100000Z", "20260706T110000Z", False),
        (["DTSTART;TZID=Asia/Kolkata:20260706T100000"], "20260706T100000+0530", "20260706T100000+0530", False),
        (["DTSTART;TZID=Nowhere/At All:20260706T100000"], "20260706T100000Z", "20260706T100000Z", False),
        (["DTSTART:20260706T100000Z", "DTEND:soon"], "20260706T100000Z", "20260706T100000Z", False),
    ],
)
def test_parsed_time_reads_every_form(lines: list[str], start: str, end: str, whole: bool) -> None:
    struct, _ = read("UID:1", *lines)
    assert (struct["start"], struct["end"], struct["isAllDay"]) == (start, end, whole)


@pytest.mark.parametrize(
    ("lines", "member", "value"),
    [
        (["CLASS:CONFIDENTIAL"], "isPrivate", True),
        (["STATUS:CANCELLED"], "isCancelled", True),
        (["STATUS:TENTATIVE"], "freeBusy", "Tentative"),
        (["TRANSP:TRANSPARENT"], "freeBusy", "Free"),
        (["X-MICROSOFT-CDO-BUSYSTATUS:OOF"], "freeBusy", "OutOfOffice"),
        (["PRIORITY:1"], "priority", "High"),
        (["PRIORITY:5"], "priority", "Normal"),
        (["PRIORITY:9"], "priority", "Low"),
        (["PRIORITY:most"], "priority", "Normal"),
        (["CATEGORIES:Vacation,Own", "CATEGORIES:Own,Third"], "categories", ["Vacation", "Own", "Third"]),
        (["CATEGORIES:Vacation"], "label", "Vacation"),
        (["X-APPLE-TRAVEL-DURATION;VALUE=DURATION:PT25M"], "travelMinutes", 25),
        (["DESCRIPTION:a\\nb\\, c"], "description", "a\nb, c"),
    ],
)
def test_members_of_an_event(lines: list[str], member: str, value: object) -> None:
    assert read("DTSTART:20260706T100000Z", *lines)[0][member] == value


def test_absolute_reminder_and_one_after_the_start() -> None:
    alarm = ("BEGIN:VALARM", "ACTION:DISPLAY", "TRIGGER;VALUE=DATE-TIME:20260705T100000Z", "END:VALARM")
    late = ("BEGIN:VALARM", "ACTION:DISPLAY", "TRIGGER:PT5M", "END:VALARM")
    assert read("DTSTART:20260706T100000Z", *alarm)[0]["reminder"] == {
        "isSet": True, "type": "ReminderAbsolute", "minutesBeforeStart": 0, "date": "20260705T100000Z",
    }  # fmt: skip
    assert read("DTSTART:20260706T100000Z", *late)[0]["reminder"]["minutesBeforeStart"] == 0


def test_tasks_and_notes() -> None:
    task, _ = read("SUMMARY:x", "DUE;VALUE=DATE:20260731", "STATUS:IN-PROCESS", "PERCENT-COMPLETE:40", kind="VTODO")
    assert (task["due"], task["status"], task["done"]) == ("20260731", "tsInProgress", 40)
    done, _ = read("COMPLETED:20260110T173000Z", kind="VTODO")
    assert (done["end"], done["status"], done["done"]) == ("20260110T173000Z", "tsCompleted", 100)
    note, _ = read("SUMMARY:a", "DESCRIPTION:b", "CREATED:20260101T000000Z", "COLOR:blue", kind="VJOURNAL")
    assert (note["text"], note["color"], note["createDate"]) == ("a\nb", "Blue", "20260101T000000Z")


@pytest.mark.parametrize("line", ["EXDATE:20260707T100000Z", "RECURRENCE-ID:20260707T100000Z", "RRULE:FREQ=HOURLY"])
def test_unsupported_properties_are_counted(line: str) -> None:
    assert read("DTSTART:20260706T100000Z", line)[1] == {SIMPLIFIED: 1}


def test_one_broken_entry_costs_only_itself() -> None:
    broken = b"BEGIN:VEVENT\r\nSUMMARY:no start\r\nEND:VEVENT\r\n"
    worse = b"BEGIN:VEVENT\r\nthis is no line of a calendar\r\nDTSTART:20260101T000000Z\r\nEND:VEVENT\r\n"
    for bad, lost in ((broken, 1), (worse, 0)):
        data = SAMPLE.replace(b"BEGIN:VTODO", bad + b"BEGIN:VTODO", 1)
        found = list(read_calendar(data, Warnings()))
        assert len(found) == 18
        assert [entry.warnings for entry in found if entry.struct is None] == [{BAD_ENTRY: 1}] * lost


def test_calendar_in_another_charset() -> None:
    data = "BEGIN:VCALENDAR\nBEGIN:VEVENT\nDTSTART:20260101T000000Z\nSUMMARY:Grüße\nEND:VEVENT\nEND:VCALENDAR\n"
    warnings = Warnings()
    (entry,) = read_calendar(data.encode("latin-1"), warnings)
    assert entry.struct is not None
    assert entry.struct["summary"] == "Grüße"
    assert warnings["charset wrong"] == 1


@given(st.data())
def test_damaged_calendar_never_raises(data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(SAMPLE)))
    length = data.draw(st.integers(0, 40))
    junk = data.draw(st.binary(max_size=20))
    for entry in read_calendar(SAMPLE[:at] + junk + SAMPLE[at + length :], Warnings()):
        assert entry.struct is None or complete(NAMES[entry.kind], entry.struct) == entry.struct
