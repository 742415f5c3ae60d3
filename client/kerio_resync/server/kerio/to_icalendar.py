"""Turns the stored structs of events, tasks and notes into iCalendar components.

The API has no exceptions of a series in its events, only the rule; each series is named for that. Days of the week are
1 (Sunday) to 7. A time has an offset but no zone: it gets the given zone if that has the same offset then, so that a
series keeps its hour in summer and winter, else a zone of that offset alone.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta, timezone
from typing import Any, Final
from uuid import NAMESPACE_URL, uuid5
from zoneinfo import ZoneInfo

from icalendar import Alarm, Component, Event, Journal, Todo, vCalAddress, vDDDTypes, vRecur, vText

from kerio_resync.model import Kind
from kerio_resync.server.json_codec import parse_json

EXCEPTIONS_LOST: Final = "exceptions of a series, which the server's API does not give"
STATUS_LOST: Final = "the status of a task: waiting or deferred"
BUSY_LOST: Final = "that the user is not available"
TIME_LOST: Final = "a time that is invalid"
_DAYS: Final = ("SU", "MO", "TU", "WE", "TH", "FR", "SA")
_FREQUENCIES: Final = {"Daily": "DAILY", "Weekly": "WEEKLY", "Monthly": "MONTHLY", "Yearly": "YEARLY"}
_PRIORITIES: Final = {"High": 1, "Low": 9}
_BUSY: Final = {"Free": "FREE", "Tentative": "TENTATIVE", "OutOfOffice": "OOF"}
_PARTS: Final = {
    "PartAccepted": "ACCEPTED",
    "PartDeclined": "DECLINED",
    "PartDelegated": "DELEGATED",
    "PartTentative": "TENTATIVE",
}
_ROLES: Final = {
    "RoleOrganizer": ("CHAIR", ""),
    "RoleOptionalAttendee": ("OPT-PARTICIPANT", ""),
    "RoleRoom": ("REQ-PARTICIPANT", "ROOM"),
    "RoleEquipment": ("REQ-PARTICIPANT", "RESOURCE"),
}
_STATUSES: Final = {"tsCompleted": "COMPLETED", "tsInProgress": "IN-PROCESS"}
_TIME: Final = re.compile(r"(\d{4})(\d\d)(\d\d)(?:T(\d\d)(\d\d)(\d\d)(Z|[+-]\d{4})?)?", re.ASCII)
_CLASSES: Final[Mapping[Kind, type[Component]]] = {"event": Event, "task": Todo, "note": Journal}


@dataclass(slots=True)
class CalendarEntry:
    """A component; `zones`: names of the zones that its times are in.

    `lost` names what the struct has and the component lacks.
    """

    component: Component
    zones: set[str] = field(default_factory=set)
    lost: list[str] = field(default_factory=list)


def calendar_entry(kind: Kind, item_id: str, payload: bytes, zone: ZoneInfo | None, stamp: datetime) -> CalendarEntry:
    """Return the component of an event, a task or a note.

    `stamp`: when the cache was completed. ValueError if the struct cannot be one: an event needs a start.
    """
    struct, _ = parse_json(payload)
    if not isinstance(struct, dict):
        raise ValueError("not an object")
    build = _Build(struct, zone, CalendarEntry(_CLASSES[kind]()))
    build.add("uid", str(uuid5(NAMESPACE_URL, item_id)))
    build.component.add("dtstamp", stamp)
    {"event": build.event, "task": build.task, "note": build.note}[kind]()
    return build.entry


@dataclass(slots=True)
class _Build:
    """A component while it is built."""

    struct: Mapping[str, Any]
    zone: ZoneInfo | None
    entry: CalendarEntry

    @property
    def component(self) -> Component:
        return self.entry.component

    def text(self, name: str) -> str:
        value = self.struct.get(name)
        return _clean(value) if isinstance(value, str) else ""

    def add(self, name: str, text: str) -> None:
        if text:
            self.component.add(name, vText(text), encode=False)

    def event(self) -> None:
        whole_days = self.struct.get("isAllDay") is True
        start, end = self.when("start"), self.when("end")
        if start is None:
            raise ValueError("an event without a valid start")
        if whole_days:
            first = _day(start)
            last = max(first, _day(end)) if end is not None else first
            self.component.add("dtstart", first)
            if last < date.max:
                self.component.add("dtend", last + timedelta(days=1))
            start = first
        else:
            self.put_time("dtstart", start)
            if end is not None and type(end) is type(start) and end >= start:
                self.put_time("dtend", end)
        busy = self.text("freeBusy")
        self.add("transp", "TRANSPARENT" if busy == "Free" else "OPAQUE")
        self.add("x-microsoft-cdo-busystatus", _BUSY.get(busy, "BUSY"))
        self.entry.lost += [BUSY_LOST] * (busy == "NotAvailable")
        if self.struct.get("isCancelled") is True:
            self.add("status", "CANCELLED")
        if 0 < (travel := self.number("travelMinutes")) < 10**6:
            duration = vDDDTypes(timedelta(minutes=travel))
            duration.params["VALUE"] = "DURATION"
            self.component.add("x-apple-travel-duration", duration, encode=False)
        self.categories()
        self.shared(start)

    def task(self) -> None:
        start, due = self.when("start"), self.when("due")
        if start is not None and due is not None and type(start) is not type(due):
            start, due = _day(start), _day(due)
        if start is not None and (due is None or start <= due):
            self.put_time("dtstart", start)
        elif start is not None:
            start = None
            self.entry.lost.append(TIME_LOST)
        if due is not None:
            self.put_time("due", due)
        status = self.text("status")
        self.entry.lost += [STATUS_LOST] * (status in ("tsWaiting", "tsDeferred"))
        cancelled = self.struct.get("isCancelled") is True
        self.add("status", "CANCELLED" if cancelled else _STATUSES.get(status, "NEEDS-ACTION"))
        if (done := min(self.number("done"), 100)) > 0:
            self.component.add("percent-complete", done)
        end = self.when("end")
        if isinstance(end, datetime):
            self.component.add("completed", end.astimezone(UTC))
        self.shared(start or due)

    def note(self) -> None:
        first, _, rest = self.text("text").partition("\n")
        self.add("summary", first)
        self.add("description", rest)
        self.add("color", self.text("color").lower())
        for name, member in (("created", "createDate"), ("last-modified", "modifyDate")):
            moment = self.when(member)
            if isinstance(moment, datetime):
                self.component.add(name, moment.astimezone(UTC))

    def shared(self, start: date | None) -> None:
        """Add what events and tasks have in common."""
        for name in ("summary", "location", "description"):
            self.add(name, self.text(name))
        if self.struct.get("isPrivate") is True:
            self.add("class", "PRIVATE")
        if (priority := _PRIORITIES.get(self.text("priority"))) is not None:
            self.component.add("priority", priority)
        self.attendees()
        self.reminder()
        rule = self.struct.get("rule")
        if isinstance(rule, dict) and rule.get("isSet") is True and start is not None:
            self.rule(rule, start)
            self.entry.lost.append(EXCEPTIONS_LOST)

    def categories(self) -> None:
        values = self.struct.get("categories")
        names = [_clean(name) for name in values if isinstance(name, str)] if isinstance(values, list) else []
        label = self.text("label")
        names += [label] * (label not in ("", "None", *names))
        if names := [name for name in names if name]:
            self.component.add("categories", names)

    def attendees(self) -> None:
        values = self.struct.get("attendees")
        for value in values if isinstance(values, list) else ():
            if not isinstance(value, dict):
                continue
            address = _clean(str(value.get("emailAddress") or ""))
            name, role = _clean(str(value.get("displayName") or "")), str(value.get("role"))
            person = vCalAddress(f"mailto:{address}")
            if name:
                person.params["CN"] = name
            if role == "RoleOrganizer" and "ORGANIZER" not in self.component:
                organizer = vCalAddress(f"mailto:{address}")
                organizer.params.update(person.params)
                self.component.add("organizer", organizer, encode=False)
            person.params["ROLE"], kind = _ROLES.get(role, ("REQ-PARTICIPANT", ""))
            if kind:
                person.params["CUTYPE"] = kind
            person.params["PARTSTAT"] = _PARTS.get(str(value.get("partStatus")), "NEEDS-ACTION")
            if value.get("isNotified") is True:
                person.params["RSVP"] = "TRUE"
            self.component.add("attendee", person, encode=False)

    def reminder(self) -> None:
        reminder = self.struct.get("reminder")
        if not isinstance(reminder, dict) or reminder.get("isSet") is not True:
            return
        alarm = Alarm()
        alarm.add("action", "DISPLAY")
        alarm.add("description", vText(self.text("summary") or "Reminder"), encode=False)
        if reminder.get("type") == "ReminderAbsolute":
            at = _parsed(reminder.get("date"))
            if not isinstance(at, datetime):
                self.entry.lost.append(TIME_LOST)
                return
            alarm.add("trigger", at.astimezone(UTC), parameters={"VALUE": "DATE-TIME"})
        else:
            minutes = reminder.get("minutesBeforeStart")
            alarm.add("trigger", timedelta(minutes=-minutes if isinstance(minutes, int) and minutes < 10**6 else 0))
        self.component.add_component(alarm)

    def rule(self, rule: Mapping[str, Any], start: date) -> None:
        by = rule.get("preciseBy")
        by = by if isinstance(by, dict) else {}
        parts: dict[str, Any] = {"FREQ": _FREQUENCIES.get(str(rule.get("frequency")), "DAILY")}
        if (interval := _numbers([by.get("byInterval")], 1, 9999)) and interval[0] > 1:
            parts["INTERVAL"] = interval[0]
        if days := _numbers(by.get("byDay"), 1, 7):
            parts["BYDAY"] = [_DAYS[day - 1] for day in days]
        for name, member, limit in (
            ("BYMONTHDAY", "byMonthDay", 31),
            ("BYMONTH", "byMonth", 12),
            ("BYSETPOS", "byPosition", 366),
        ):
            if values := _numbers(by.get(member), -limit if name != "BYMONTH" else 1, limit):
                parts[name] = values
        if "BYSETPOS" in parts and not parts.keys() & {"BYDAY", "BYMONTHDAY", "BYMONTH"}:
            del parts["BYSETPOS"]  # a position needs days to count
        end_by = rule.get("endBy")
        if isinstance(end_by, dict) and end_by.get("type") == "ByRecurrenceDate":
            until = _parsed(end_by.get("date"))
            if until is None:
                self.entry.lost.append(TIME_LOST)
            else:
                parts["UNTIL"] = _until(until, start)
        self.component.add("rrule", vRecur(parts))

    def when(self, name: str) -> date | None:
        found = _parsed(self.struct.get(name))
        self.entry.lost += [TIME_LOST] * (found is None and bool(self.struct.get(name)))
        return found

    def number(self, name: str) -> int:
        value = self.struct.get(name)
        return value if isinstance(value, int) and not isinstance(value, bool) else 0

    def put_time(self, name: str, at: date) -> None:
        offset = at.utcoffset() if isinstance(at, datetime) else None
        if not isinstance(at, datetime) or not offset:
            self.component.add(name, at)
            return
        local = at.replace(tzinfo=None)
        if self.zone is not None and local.replace(tzinfo=self.zone).utcoffset() == offset:
            zone = self.zone.key
        else:
            zone = f"UTC{at:%z}"
        value = vDDDTypes(local)
        value.params["TZID"] = zone
        self.component.add(name, value, encode=False)
        self.entry.zones.add(zone)


def _parsed(value: Any) -> date | None:
    """Return a date, or a time with its offset; None if it is invalid."""
    match = _TIME.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        return None
    year, month, day, hour, minute, second, zone = match.groups()
    try:
        if hour is None:
            return date(int(year), int(month), int(day))
        moment = datetime(int(year), int(month), int(day), int(hour), int(minute), int(second), tzinfo=UTC)
        if zone and zone != "Z":
            offset = timedelta(hours=int(zone[1:3]), minutes=int(zone[3:]))
            moment = moment.replace(tzinfo=timezone(-offset if zone[0] == "-" else offset))
            moment.astimezone(UTC)  # refuses what leaves the calendar
    except (ValueError, OverflowError):
        return None
    return moment


def _until(until: date, start: date) -> date:
    """Return the end of a series in the form that its start requires."""
    if not isinstance(start, datetime):
        return _day(until)
    if isinstance(until, datetime):
        return until.astimezone(UTC)
    return datetime.combine(until, time(23, 59, 59), start.tzinfo).astimezone(UTC)


def _day(value: date) -> date:
    return value.date() if isinstance(value, datetime) else value


def _numbers(values: Any, least: int, most: int) -> list[int]:
    if not isinstance(values, list):
        return []
    numbers = [value for value in values if isinstance(value, int) and not isinstance(value, bool)]
    return [value for value in numbers if value and least <= value <= most]


def _clean(text: str) -> str:
    """Return a text without characters that iCalendar forbids."""
    text = text.replace("\r\n", "\n").replace("\r", "\n").encode("utf-8", "replace").decode()
    return "".join(letter for letter in text if letter >= " " or letter in "\n\t")
