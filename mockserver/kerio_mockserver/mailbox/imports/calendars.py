"""iCalendar and vCalendar files as Event, Task and Note structs.

Every entry whose BEGIN is found is returned or counted. A broken property costs that property, a broken time zone the
zone of the entries that name it. What the API cannot express is simplified and counted: exceptions of a series, rules
by the hour or by the week of the year. Time is proportional to the size.

Open in the vendor's reference, chosen here: days of the week are 1 (Sunday) to 7, as in libical; an event of whole days
ends on its last day; a time in a zone keeps its offset, since the rule of a series is in local days.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any, Literal

from icalendar.prop import vDuration

from kerio_mockserver.mailbox.api_structs import ENUMS, Struct, blank
from kerio_mockserver.mailbox.imports.charsets import Warnings, cleaned
from kerio_mockserver.mailbox.imports.content_lines import NO_END, Component, Line, divided, read_components, unescaped
from kerio_mockserver.mailbox.imports.recurrence import parse_rule, rule_of
from kerio_mockserver.mailbox.imports.time_zones import Zones

BAD_ENTRY = "calendar entry unreadable"
NO_KIND = "free/busy times"
SIMPLIFIED = "recurrence simplified"
NO_ZONE = "time zone unknown"
BAD_TIME = "time unreadable"

_KINDS: dict[str, Literal["event", "task", "note"]] = {"VEVENT": "event", "VTODO": "task", "VJOURNAL": "note"}
_DATE = re.compile(r"(\d{4})-?(\d\d)-?(\d\d)(?:[T ](\d\d):?(\d\d):?(\d\d)?(?:[.,]\d+)?(Z|[+-]\d\d:?\d\d)?)?", re.ASCII)
_BUSY = {"FREE": "Free", "TENTATIVE": "Tentative", "BUSY": "Busy", "OOF": "OutOfOffice", "WORKINGELSEWHERE": "Busy"}
_PARTS = {
    "ACCEPTED": "PartAccepted",
    "COMPLETED": "PartAccepted",
    "DECLINED": "PartDeclined",
    "DELEGATED": "PartDelegated",
    "TENTATIVE": "PartTentative",
}
_STATUSES = {"COMPLETED": "tsCompleted", "IN-PROCESS": "tsInProgress", "CANCELLED": "tsDeferred"}


@dataclass(frozen=True, slots=True)
class Entry:
    """An entry without ids and watermark; `struct` None: unreadable, see `warnings`."""

    kind: Literal["event", "task", "note"]
    struct: Struct | None
    warnings: Warnings = field(default_factory=Warnings)


@dataclass(frozen=True, slots=True)
class _Source:
    """An entry while it is read."""

    component: Component
    zones: Zones
    warnings: Warnings

    def text(self, name: str) -> str:
        line = self.component.one(name)
        return "" if line is None else cleaned(unescaped(line.value), self.warnings).replace("\r\n", "\n")

    def word(self, name: str) -> str:
        line = self.component.one(name)
        return "" if line is None else line.value.strip().upper()

    def number(self, name: str) -> int:
        word = self.word(name)
        return int(word) if word.isascii() and word.isdigit() and len(word) < 10 else 0

    def time(self, name: str) -> date | timedelta | None:
        """Return the property's date, time or duration, or None."""
        line = self.component.one(name)
        if line is None or not line.value.strip():
            return None
        found = parsed_time(line, self.zones, self.warnings)
        self.warnings[BAD_TIME] += found is None
        return found


def read_calendar(data: bytes, warnings: Warnings) -> Iterator[Entry]:
    """Return the entries of an .ics or .vcs file in order.

    `warnings` counts problems of the file as a whole.
    """
    zones = Zones()
    for outer in read_components(data, warnings):
        inner = outer.parts if outer.name == "VCALENDAR" else [outer]
        warnings[NO_END] += outer.name == "VCALENDAR" and not outer.complete
        zones.define(component for component in inner if component.name == "VTIMEZONE")
        for component in inner:
            if component.name in _KINDS:
                yield _entry(component, zones)
            elif component.name == "VFREEBUSY":
                yield Entry("event", None, Warnings({NO_KIND: 1}))


def _entry(component: Component, zones: Zones) -> Entry:
    kind, warnings = _KINDS[component.name], Warnings()
    warnings[NO_END] += not component.complete
    try:
        struct = _READERS[kind](_Source(component, zones, warnings))
    except (ValueError, OverflowError, ArithmeticError, LookupError, TypeError):
        return Entry(kind, None, Warnings({BAD_ENTRY: 1}))
    return Entry(kind, struct, +warnings)


def parsed_time(line: Line, zones: Zones, warnings: Warnings) -> date | timedelta | None:
    """Parse a date, a time or a duration; return None for anything else."""
    zone, value = ",".join(line.parameters.get("TZID", ())), line.value.strip()
    found = _DATE.fullmatch(value.upper())
    if found is None and ":" in value:  # a zone such as "(UTC+01:00) Berlin" may be unquoted
        rest, _, value = value.rpartition(":")
        zone, found = f"{zone}:{rest}", _DATE.fullmatch(value.upper())
    try:
        if found is None:
            span: timedelta = vDuration.from_ical(value.upper())  # type: ignore[no-untyped-call, unused-ignore]
            return span
        year, month, day, hour, minute, second = (int(number or 0) for number in found.groups()[:6])
        if found[4] is None:
            return date(year, month, day)
        local = datetime(year, month, day, hour, minute, min(second, 59))  # noqa: DTZ001 - its zone follows
        if found[7] is not None:
            return local.replace(tzinfo=datetime.strptime(found[7], "%z").tzinfo)
    except (ValueError, OverflowError):
        return None
    if not zone:
        return local
    known = zones.find(zone)
    warnings[NO_ZONE] += known is None
    return local.replace(tzinfo=known)


def moment(value: Any) -> str:
    """Return a date or a time as UtcDateTime; "" otherwise.

    Times without a zone are taken as UTC.
    """
    if isinstance(value, datetime):
        offset = value.utcoffset() or timedelta()
        if offset.total_seconds() % 60:  # mean solar time of a place
            value, offset = value.astimezone(UTC), timedelta()
        day = f"{value.year:04}{value.month:02}{value.day:02}T{value.hour:02}{value.minute:02}{value.second:02}"
        return f"{day}{value.strftime('%z')}" if offset else f"{day}Z"
    if isinstance(value, date):
        return f"{value.year:04}{value.month:02}{value.day:02}"
    return ""


def _event(source: _Source) -> Struct:
    struct: Struct = blank("Event")
    start, end = source.time("DTSTART"), source.time("DTEND")
    if not isinstance(start, date):
        raise ValueError("an event without a start")
    whole_days = not isinstance(start, datetime)
    if not isinstance(end, date):
        span = source.time("DURATION")
        default = timedelta(days=1) if whole_days else timedelta()
        end = start + (span if isinstance(span, timedelta) else default)
    if whole_days:
        end = max(start, _day(end) - timedelta(days=1))
    struct |= {"isAllDay": whole_days, "start": moment(start), "end": moment(end)}
    struct["categories"] = _categories(source)
    struct["label"] = next((category for category in struct["categories"] if category in ENUMS["EventLabel"]), "None")
    struct["freeBusy"] = _busy(source)
    travel = source.time("X-APPLE-TRAVEL-DURATION")
    struct["travelMinutes"] = int(travel.total_seconds() // 60) if isinstance(travel, timedelta) else 0
    return _shared(struct, source, start)


def _day(value: date) -> date:
    return value.date() if isinstance(value, datetime) else value


def _task(source: _Source) -> Struct:
    struct: Struct = blank("Task")
    start, due = source.time("DTSTART"), source.time("DUE")
    struct |= {"start": moment(start), "due": moment(due), "end": moment(source.time("COMPLETED"))}
    struct["done"] = min(100, source.number("PERCENT-COMPLETE"))
    struct["status"] = _STATUSES.get(source.word("STATUS"), "tsNotStarted")
    if struct["end"]:
        struct["status"] = "tsCompleted"
    if struct["status"] == "tsCompleted":
        struct["done"] = 100
    return _shared(struct, source, next((day for day in (start, due) if isinstance(day, date)), None))


def _note(source: _Source) -> Struct:
    struct: Struct = blank("Note")
    struct["text"] = "\n".join(filter(None, [source.text("SUMMARY"), source.text("DESCRIPTION")]))
    color = source.word("COLOR").capitalize()
    struct["color"] = color if color in ENUMS["NoteColor"] else "Yellow"
    written = [moment(source.time(name)) for name in ("CREATED", "DTSTART", "DTSTAMP", "LAST-MODIFIED")]
    struct["createDate"] = next(filter(None, written), "")
    struct["modifyDate"] = written[3] or struct["createDate"]
    return struct


_READERS = {"event": _event, "task": _task, "note": _note}


def _shared(struct: Struct, source: _Source, start: date | None) -> Struct:
    """Fill what events and tasks have in common."""
    for member, name in (("summary", "SUMMARY"), ("location", "LOCATION"), ("description", "DESCRIPTION")):
        struct[member] = source.text(name)
    struct["isPrivate"] = source.word("CLASS") in ("PRIVATE", "CONFIDENTIAL")
    struct["isCancelled"] = source.word("STATUS") == "CANCELLED"
    priority = source.number("PRIORITY")
    struct["priority"] = "High" if 1 <= priority <= 4 else "Low" if priority >= 6 else "Normal"
    struct["attendees"] = _attendees(source)
    struct["reminder"] = _reminder(source)
    whole = not any(source.component.one(name) for name in ("EXDATE", "RDATE", "EXRULE", "RECURRENCE-ID"))
    rules = source.component.all("RRULE")
    if rules and start is not None:
        parts, clean = parse_rule(rules[0].value, _until)
        struct["rule"], exact = rule_of(parts, start, moment)
        whole = whole and clean and exact and len(rules) == 1
    if not whole:
        source.warnings[SIMPLIFIED] += 1
    return struct


def _until(text: str) -> date | timedelta | None:
    return parsed_time(Line("UNTIL", text), Zones(), Warnings())


def _attendees(source: _Source) -> list[Struct]:
    found: dict[str, Struct] = {}
    for name in ("ORGANIZER", "ATTENDEE"):
        for line in source.component.all(name):
            address = cleaned(re.sub(r"(?i)^mailto:", "", line.value.strip()).strip(), source.warnings)
            struct: Struct = {
                "displayName": cleaned(line.parameter("CN"), source.warnings),
                "emailAddress": address,
                "role": _role(line),
                "isNotified": line.parameter("RSVP").upper() == "TRUE",
                "partStatus": _PARTS.get(line.parameter("PARTSTAT").upper(), "PartNotResponded"),
            }
            before = found.get(address.lower())
            if before is not None and before["role"] == "RoleOrganizer":  # the organizer takes part too
                struct |= {"role": "RoleOrganizer", "displayName": before["displayName"] or struct["displayName"]}
            found[address.lower()] = struct
    return list(found.values())


def _role(line: Line) -> str:
    role = line.parameter("ROLE").upper()
    if line.name == "ORGANIZER" or role == "CHAIR":
        return "RoleOrganizer"
    by_type = {"ROOM": "RoleRoom", "RESOURCE": "RoleEquipment"}.get(line.parameter("CUTYPE").upper())
    optional = role in ("OPT-PARTICIPANT", "NON-PARTICIPANT")
    return by_type or ("RoleOptionalAttendee" if optional else "RoleRequiredAttendee")


def _reminder(source: _Source) -> Struct:
    struct: Struct = blank("Reminder")
    for alarm in source.component.parts:
        line = alarm.one("TRIGGER") if alarm.name == "VALARM" else None
        trigger = parsed_time(line, source.zones, source.warnings) if line else None
        if isinstance(trigger, timedelta):
            return struct | {"isSet": True, "minutesBeforeStart": max(0, int(-trigger.total_seconds() // 60))}
        if isinstance(trigger, datetime):
            return struct | {"isSet": True, "type": "ReminderAbsolute", "date": moment(trigger)}
    return struct


def _busy(source: _Source) -> str:
    status = _BUSY.get(source.word("X-MICROSOFT-CDO-BUSYSTATUS"))
    if status is None and source.word("TRANSP") in ("TRANSPARENT", "1"):
        return "Free"
    return status or ("Tentative" if source.word("STATUS") == "TENTATIVE" else "Busy")


def _categories(source: _Source) -> list[str]:
    found = (category.strip() for line in source.component.all("CATEGORIES") for category in divided(line.value, ","))
    return [cleaned(category, source.warnings) for category in dict.fromkeys(found) if category]
