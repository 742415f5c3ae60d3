"""RRULE as the API's RecurrenceRule struct. Pure.

The struct knows days, months and places within them, and an end by date: a number of times becomes the date of the last
one. What it has no words for (by the hour, by the week of the year, by the day of the year) is left out, and said.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from itertools import islice
from typing import Any

from dateutil.rrule import rrulestr  # type: ignore[import-untyped]

from kerio_mockserver.mailbox.structs import Struct, blank

_FREQUENCIES = {"DAILY": "Daily", "WEEKLY": "Weekly", "MONTHLY": "Monthly", "YEARLY": "Yearly"}
_DAYS = {name: number for number, name in enumerate(("SU", "MO", "TU", "WE", "TH", "FR", "SA"), 1)}
_KNOWN = frozenset({"FREQ", "INTERVAL", "COUNT", "UNTIL", "BYDAY", "BYMONTHDAY", "BYMONTH", "BYSETPOS", "WKST"})
_HORIZON = timedelta(days=60 * 366)
"""How far a number of times is followed: a rule for the 30th of February would be followed for ever."""


def rule_of(parts: Mapping[str, Any], start: date, moment: Callable[[Any], str]) -> tuple[Struct, bool]:
    """The struct for an RRULE's parts (icalendar's vRecur: lists by name), and whether it says all that they do."""
    rule: Struct = blank("RecurrenceRule")
    said = {name.upper(): list(value) if isinstance(value, list | tuple) else [value] for name, value in parts.items()}
    frequency = _FREQUENCIES.get(str(next(iter(said.get("FREQ", [])), "")).upper())
    if frequency is None:
        return rule, False
    days, positions, exact = _days([str(day).upper() for day in said.get("BYDAY", [])])
    rule |= {"isSet": True, "frequency": frequency}
    rule["preciseBy"] = {
        "byDay": days,
        "byMonthDay": _numbers(said.get("BYMONTHDAY", [])),
        "byMonth": _numbers(said.get("BYMONTH", [])),
        "byPosition": positions or _numbers(said.get("BYSETPOS", [])),
        "byInterval": max(1, next(iter(_numbers(said.get("INTERVAL", []))), 1)),
    }
    end = _end(said, start)
    if end is not None:
        rule["endBy"] = {"type": "ByRecurrenceDate", "date": moment(end)}
    return rule, exact and _KNOWN.issuperset(said)


def _days(names: Sequence[str]) -> tuple[list[int], list[int], bool]:
    """Days of the week, their places ("2MO": the second Monday), and whether one place for all says it all."""
    days = [_DAYS[name[-2:]] for name in names if name[-2:] in _DAYS]
    places = [int(name[:-2]) if name[:-2] else 0 for name in names if name[-2:] in _DAYS]
    found = [place for place in dict.fromkeys(places) if place]
    return list(dict.fromkeys(days)), found, len(set(places)) <= 1


def _numbers(values: Sequence[Any]) -> list[int]:
    return [int(value) for value in values if str(value).lstrip("+-").isdigit()]


def _end(said: Mapping[str, list[Any]], start: date) -> date | None:
    until = next(iter(said.get("UNTIL", [])), None)
    if isinstance(until, date):
        return until
    count = next(iter(_numbers(said.get("COUNT", []))), 0)
    return _last(said, start, count) if count > 0 else None


def _last(said: Mapping[str, list[Any]], start: date, count: int) -> date:
    """The start of the last one of `count` times."""
    text = ";".join(
        f"{name}={','.join(map(str, values))}"
        for name, values in said.items()
        if name in _KNOWN and name not in ("COUNT", "UNTIL")
    )
    zone = start.tzinfo if isinstance(start, datetime) else None
    first = start.replace(tzinfo=None) if isinstance(start, datetime) else datetime(start.year, start.month, start.day)  # noqa: DTZ001 - a day
    last = first
    for one in islice(rrulestr(f"{text};UNTIL={first + _HORIZON:%Y%m%dT%H%M%S}", dtstart=first), count):
        last = one
    if not isinstance(start, datetime):
        return last.date()
    return last.replace(tzinfo=zone or UTC)
