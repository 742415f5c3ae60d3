"""iCalendar files as the API's Event, Task and Note structs.

Promises: one broken entry costs that entry, not the file, and is counted; text is read whatever charset it is in. What
the API has no words for is simplified and counted: exceptions of a series, rules by the hour or the week of the year.

What the vendor's reference leaves open is settled so: days of the week are 1 (Sunday) to 7, as in libical; the end of
an event of whole days is its last day; a time in a zone keeps its offset, since the rule of a series is in local days.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any, Literal

from icalendar import Calendar

from kerio_mockserver.mailbox.charsets import Troubles, cleaned, decode
from kerio_mockserver.mailbox.recurrence import rule_of
from kerio_mockserver.mailbox.structs import ENUMS, Struct, blank

BAD_ENTRY = "calendar entry unreadable"
SIMPLIFIED = "recurrence simplified"

Component = Any  # icalendar's classes differ between its releases; properties are reached by name only
_ENTRY = re.compile(
    r"^BEGIN:(VEVENT|VTODO|VJOURNAL)\r?\n.*?^END:\1[ \t]*\r?$", re.MULTILINE | re.DOTALL | re.IGNORECASE
)
_ZONE = re.compile(r"^BEGIN:VTIMEZONE\r?\n.*?^END:VTIMEZONE[ \t]*\r?$", re.MULTILINE | re.DOTALL | re.IGNORECASE)
_KINDS: dict[str, Literal["event", "task", "note"]] = {"VEVENT": "event", "VTODO": "task", "VJOURNAL": "note"}
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
    """`struct` is complete but for ids and watermark."""

    kind: Literal["event", "task", "note"]
    struct: Struct


def read_calendar(data: bytes, troubles: Troubles) -> Iterator[Entry]:
    """The entries of an .ics file, in its order."""
    text = decode(data, "utf-8", (), troubles).removeprefix("\ufeff")
    for component in _components(text, troubles):
        kind = _KINDS[component.name]
        try:
            struct = _READERS[kind](component, troubles)
        except Exception:  # properties of the wrong kind fail in many ways
            troubles[BAD_ENTRY] += 1
            continue
        yield Entry(kind, struct)


def _components(text: str, troubles: Troubles) -> Iterator[Component]:
    try:
        calendars = Calendar.from_ical(text, multiple=True)
    except Exception:  # one bad line spoils a file: take the entries one by one
        yield from _singly(text, troubles)
        return
    for calendar in calendars:
        for component in calendar.walk():
            if component.name in _KINDS:
                yield component


def _singly(text: str, troubles: Troubles) -> Iterator[Component]:
    zones = "\r\n".join(match[0] for match in _ZONE.finditer(text))
    found = False
    for match in _ENTRY.finditer(text):
        found = True
        try:
            calendar = Calendar.from_ical(f"BEGIN:VCALENDAR\r\n{zones}\r\n{match[0]}\r\nEND:VCALENDAR\r\n")
        except Exception:  # as above
            troubles[BAD_ENTRY] += 1
            continue
        yield from (component for component in calendar.walk() if component.name in _KINDS)
    if not found:
        troubles[BAD_ENTRY] += 1


def moment(value: Any) -> str:
    """A date or a time as UtcDateTime; "" for anything else. Times without a zone are taken for UTC."""
    if isinstance(value, datetime):
        offset = value.utcoffset() or timedelta()
        if offset.total_seconds() % 60:  # mean solar time of a place
            value, offset = value.astimezone(UTC), timedelta()
        day = f"{value.year:04}{value.month:02}{value.day:02}T{value.hour:02}{value.minute:02}{value.second:02}"
        return f"{day}{value.strftime('%z')}" if offset else f"{day}Z"
    if isinstance(value, date):
        return f"{value.year:04}{value.month:02}{value.day:02}"
    return ""


def _event(component: Component, troubles: Troubles) -> Struct:
    struct: Struct = blank("Event")
    start, end = _time(component, "DTSTART"), _time(component, "DTEND")
    if start is None:
        raise ValueError("an event without a start")
    whole_days = not isinstance(start, datetime)
    if end is None:
        span = _time(component, "DURATION")
        end = start + span if isinstance(span, timedelta) else start + timedelta(days=1) if whole_days else start
    if whole_days:
        end = max(start, end - timedelta(days=1))
    struct |= {"isAllDay": whole_days, "start": moment(start), "end": moment(end)}
    struct["categories"] = _categories(component, troubles)
    struct["label"] = next((one for one in struct["categories"] if one in ENUMS["EventLabel"]), "None")
    struct["freeBusy"] = _busy(component)
    travel = _time(component, "X-APPLE-TRAVEL-DURATION")
    struct["travelMinutes"] = int(travel.total_seconds() // 60) if isinstance(travel, timedelta) else 0
    return _shared(struct, component, start, troubles)


def _task(component: Component, troubles: Troubles) -> Struct:
    struct: Struct = blank("Task")
    start, due = _time(component, "DTSTART"), _time(component, "DUE")
    struct |= {"start": moment(start), "due": moment(due), "end": moment(_time(component, "COMPLETED"))}
    struct["done"] = min(100, max(0, _number(component, "PERCENT-COMPLETE")))
    struct["status"] = _STATUSES.get(_word(component, "STATUS"), "tsNotStarted")
    if struct["end"]:
        struct["status"] = "tsCompleted"
    if struct["status"] == "tsCompleted":
        struct["done"] = 100
    return _shared(struct, component, start or due, troubles)


def _note(component: Component, troubles: Troubles) -> Struct:
    struct: Struct = blank("Note")
    texts = [_text(component, "SUMMARY", troubles), _text(component, "DESCRIPTION", troubles)]
    struct["text"] = "\n".join(text for text in texts if text)
    color = _word(component, "COLOR").capitalize()
    struct["color"] = color if color in ENUMS["NoteColor"] else "Yellow"
    written = [moment(_time(component, name)) for name in ("CREATED", "DTSTART", "DTSTAMP", "LAST-MODIFIED")]
    struct["createDate"] = next(filter(None, written), "")
    struct["modifyDate"] = written[3] or struct["createDate"]
    return struct


_READERS = {"event": _event, "task": _task, "note": _note}


def _shared(struct: Struct, component: Component, start: Any, troubles: Troubles) -> Struct:
    """What events and tasks have in common."""
    for member, name in (("summary", "SUMMARY"), ("location", "LOCATION"), ("description", "DESCRIPTION")):
        struct[member] = _text(component, name, troubles)
    struct["isPrivate"] = _word(component, "CLASS") in ("PRIVATE", "CONFIDENTIAL")
    struct["isCancelled"] = _word(component, "STATUS") == "CANCELLED"
    priority = _number(component, "PRIORITY")
    struct["priority"] = "High" if 1 <= priority <= 4 else "Low" if priority >= 6 else "Normal"
    struct["attendees"] = _attendees(component, troubles)
    struct["reminder"] = _reminder(component)
    recurrence = _one(component, "RRULE")
    if recurrence is not None and start is not None:
        rule, whole = rule_of(dict(recurrence), start, moment)
        struct["rule"] = rule
        troubles[SIMPLIFIED] += not whole
    if any(_one(component, name) is not None for name in ("EXDATE", "RDATE", "RECURRENCE-ID")):
        troubles[SIMPLIFIED] += 1
    return struct


def _attendees(component: Component, troubles: Troubles) -> list[Struct]:
    found: dict[str, Struct] = {}
    for name in ("ORGANIZER", "ATTENDEE"):
        for value in _all(component, name):
            address = re.sub(r"(?i)^mailto:", "", str(value)).strip()
            said = {key.upper(): str(text) for key, text in getattr(value, "params", {}).items()}
            role = _role(name, said)
            struct: Struct = {
                "displayName": cleaned(said.get("CN", ""), troubles),
                "emailAddress": cleaned(address, troubles),
                "role": role,
                "isNotified": said.get("RSVP", "").upper() == "TRUE",
                "partStatus": _PARTS.get(said.get("PARTSTAT", "").upper(), "PartNotResponded"),
            }
            before = found.get(address.lower())
            if before is not None and before["role"] == "RoleOrganizer":  # who invites also takes part
                struct |= {"role": "RoleOrganizer", "displayName": before["displayName"] or struct["displayName"]}
            found[address.lower()] = struct
    return list(found.values())


def _role(name: str, said: dict[str, str]) -> str:
    if name == "ORGANIZER" or said.get("ROLE", "").upper() == "CHAIR":
        return "RoleOrganizer"
    by_type = {"ROOM": "RoleRoom", "RESOURCE": "RoleEquipment"}.get(said.get("CUTYPE", "").upper())
    optional = said.get("ROLE", "").upper() in ("OPT-PARTICIPANT", "NON-PARTICIPANT")
    return by_type or ("RoleOptionalAttendee" if optional else "RoleRequiredAttendee")


def _reminder(component: Component) -> Struct:
    struct: Struct = blank("Reminder")
    for alarm in component.walk("VALARM"):
        trigger = _time(alarm, "TRIGGER")
        if isinstance(trigger, timedelta):
            return struct | {"isSet": True, "minutesBeforeStart": max(0, int(-trigger.total_seconds() // 60))}
        if isinstance(trigger, datetime):
            return struct | {"isSet": True, "type": "ReminderAbsolute", "date": moment(trigger)}
    return struct


def _busy(component: Component) -> str:
    said = _BUSY.get(_word(component, "X-MICROSOFT-CDO-BUSYSTATUS"))
    if said is None and _word(component, "TRANSP") == "TRANSPARENT":
        return "Free"
    return said or ("Tentative" if _word(component, "STATUS") == "TENTATIVE" else "Busy")


def _categories(component: Component, troubles: Troubles) -> list[str]:
    found = (str(one) for value in _all(component, "CATEGORIES") for one in getattr(value, "cats", [value]))
    return [cleaned(one, troubles) for one in dict.fromkeys(found) if one]


def _all(component: Component, name: str) -> list[Any]:
    value = component.get(name)
    if value is None:
        return []
    return list(value) if isinstance(value, list) else [value]


def _one(component: Component, name: str) -> Any:
    return next(iter(_all(component, name)), None)


def _text(component: Component, name: str, troubles: Troubles) -> str:
    value = _one(component, name)
    return "" if value is None else cleaned(str(value), troubles).replace("\r\n", "\n")


def _word(component: Component, name: str) -> str:
    return str(_one(component, name) or "").strip().upper()


def _number(component: Component, name: str) -> int:
    word = _word(component, name)
    return int(word) if word.isascii() and word.isdigit() and len(word) < 10 else 0


def _time(component: Component, name: str) -> Any:
    """A date, a time or a span, or None."""
    value = _one(component, name)
    try:
        found = getattr(value, "dt", None)
    except ValueError:  # icalendar's word for what it could not parse
        found = None
    return found if isinstance(found, date | timedelta) else None
