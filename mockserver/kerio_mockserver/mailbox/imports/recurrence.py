"""Recurrence rules as RecurrenceRule structs.

The struct has days, months and positions within them, and an end by date: a count becomes the date of the last time.
What it cannot express (by the hour, by the week or day of the year) is left out and reported.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from itertools import islice
from typing import Any

from dateutil.rrule import rrulestr

from kerio_mockserver.mailbox.api_structs import Struct, blank

Parts = dict[str, list[Any]]
"""The parts of an RRULE by name: texts, and for UNTIL dates."""

_FREQUENCIES = {"DAILY": "Daily", "WEEKLY": "Weekly", "MONTHLY": "Monthly", "YEARLY": "Yearly"}
_DAYS = {name: number for number, name in enumerate(("SU", "MO", "TU", "WE", "TH", "FR", "SA"), 1)}
_LARGEST = {"BYMONTHDAY": 31, "BYMONTH": 12, "BYSETPOS": 366, "INTERVAL": 9999, "COUNT": 9_999_999_999}
_KNOWN = frozenset({*_LARGEST, "FREQ", "UNTIL", "BYDAY", "WKST"})
_DAY = re.compile(r"([+-]?\d{0,2})(SU|MO|TU|WE|TH|FR|SA)", re.ASCII)
_HORIZON = timedelta(days=60 * 366)
"""How far a number of times is followed: a rule for the 30th of February would be followed for ever."""
_OLD_RULE = re.compile(r"(D|W|MD|MP|YM|YD)(\d+)((?:[ ][^# ]+)*?)(?:[ ]#(\d+))?(?:[ ](\d{8}T?\d*Z?))?", re.ASCII)


def parse_rule(text: str, parse_time: Callable[[str], Any]) -> tuple[Parts, bool]:
    """Return the parts of an RRULE, and whether all of it was understood."""
    text = text.strip().upper()
    if "=" not in text:
        return _parse_old_rule(" ".join(text.split()), parse_time)
    parts: Parts = {}
    clean = True
    for part in filter(None, text.split(";")):
        name, _, listed = part.partition("=")
        values = [value.strip() for value in listed.split(",")]
        clean = clean and part == f"{name.strip()}={','.join(values)}" and name.strip() not in parts
        parts.setdefault(name.strip(), [value for value in values if value])
    until = [parse_time(value) for value in parts.pop("UNTIL", [])[:1]]
    if until and isinstance(until[0], date):
        parts["UNTIL"] = until
    return parts, clean and (not until or "UNTIL" in parts)


def _parse_old_rule(text: str, parse_time: Callable[[str], Any]) -> tuple[Parts, bool]:
    """Parse a vCalendar 1.0 rule: `W2 MO TU #10` is every second week, ten times."""
    found = _OLD_RULE.fullmatch(text)
    if found is None:
        return {}, False
    words = found[3].split()
    frequency = {"D": "DAILY", "W": "WEEKLY", "M": "MONTHLY", "Y": "YEARLY"}[found[1][0]]
    parts: Parts = {"FREQ": [frequency], "INTERVAL": [found[2]]}
    end = parse_time(found[5]) if found[5] else None
    if isinstance(end, date):
        parts["UNTIL"] = [end]
    elif found[4] != "0":  # "#0" is for ever; the default is twice
        parts["COUNT"] = [found[4] or "2"]
    if found[1] == "W":
        parts["BYDAY"] = words
    elif found[1] == "MD":
        parts["BYMONTHDAY"] = [re.sub(r"(\d+)([+-])", r"\2\1", word) for word in words]  # "1-" is the last day
    elif found[1] == "MP":
        place = ""
        for word in words:
            if re.fullmatch(r"\d[+-]", word):
                place = f"{word[1]}{word[0]}"
            else:
                parts.setdefault("BYDAY", []).append(f"{place}{word}")
    elif found[1] == "YM":
        parts["BYMONTH"] = words
    return parts, not (found[1] == "YD" and words)


def rule_of(parts: Mapping[str, Any], start: date, moment: Callable[[Any], str]) -> tuple[Struct, bool]:
    """Return the struct for an RRULE's parts, and whether it expresses all of them."""
    rule: Struct = blank("RecurrenceRule")
    given = {name.upper(): list(value) if isinstance(value, list | tuple) else [value] for name, value in parts.items()}
    frequency = _FREQUENCIES.get(str(next(iter(given.get("FREQ", [])), "")).upper())
    if frequency is None:
        return rule, False
    known = {name: _numbers(name, given[name]) for name in _LARGEST if name in given}
    days, positions, exact = _days([str(day).upper() for day in given.get("BYDAY", [])])
    exact = exact and all(len(numbers) == len(given[name]) for name, numbers in known.items())
    rule |= {"isSet": True, "frequency": frequency}
    rule["preciseBy"] = {
        "byDay": days,
        "byMonthDay": known.get("BYMONTHDAY", []),
        "byMonth": known.get("BYMONTH", []),
        "byPosition": positions or known.get("BYSETPOS", []),
        "byInterval": max(1, next(iter(known.get("INTERVAL", [])), 1)),
    }
    until, count = next(iter(given.get("UNTIL", [])), None), next(iter(known.get("COUNT", [])), 0)
    end = until if isinstance(until, date) else _last(given, known, start, count) if count > 0 else None
    if end is not None:
        rule["endBy"] = {"type": "ByRecurrenceDate", "date": moment(end)}
    return rule, exact and _KNOWN.issuperset(given)


def _days(names: Sequence[str]) -> tuple[list[int], list[int], bool]:
    """Return days of the week, their positions ("2MO"), and whether that is all of it."""
    found = [match for name in names if (match := _DAY.fullmatch(name)) is not None]
    days = [_DAYS[match[2]] for match in found]
    places = [int(match[1]) if match[1].strip("+-") else 0 for match in found]
    different = [place for place in dict.fromkeys(places) if place]
    return list(dict.fromkeys(days)), different, len(set(places)) <= 1 and len(found) == len(names)


def _numbers(name: str, values: Sequence[Any]) -> list[int]:
    texts = [str(value) for value in values]
    numbers = [int(text) for text in texts if re.fullmatch(r"[+-]?\d{1,10}", text, re.ASCII)]
    counted = name in ("INTERVAL", "COUNT")
    return [number for number in numbers if abs(number) <= _LARGEST[name] and (number >= 0 if counted else number != 0)]


def _last_of_weeks(first: datetime, days: Sequence[int], week_start: int, interval: int, count: int) -> datetime:
    """Return the last of `count` times on days of the week, computed directly."""
    offsets = sorted((day - week_start) % 7 for day in days)
    own = (first.isoweekday() % 7 + 1 - week_start) % 7
    left = [offset for offset in offsets if offset >= own]
    if count <= len(left):
        return first + timedelta(days=left[count - 1] - own)
    weeks, place = divmod(count - len(left) - 1, len(offsets))
    return first + timedelta(days=min((weeks + 1) * interval * 7, _HORIZON.days) + offsets[place] - own)


def _last(given: Mapping[str, list[Any]], known: Mapping[str, list[int]], start: date, count: int) -> date | None:
    """Return the start of the last of `count` times; None if unknown."""
    zone = start.tzinfo if isinstance(start, datetime) else None
    first = start.replace(tzinfo=None) if isinstance(start, datetime) else datetime(start.year, start.month, start.day)  # noqa: DTZ001 - a day
    frequency, interval = str(given["FREQ"][0]).upper(), max(1, next(iter(known.get("INTERVAL", [])), 1))
    try:
        horizon = first + _HORIZON
        by = {name for name in given if name.startswith("BY")}
        plain_days = sorted({_DAYS[str(day).upper()] for day in given.get("BYDAY", []) if str(day).upper() in _DAYS})
        if frequency in ("DAILY", "WEEKLY") and not by:
            step = timedelta(days=interval * (7 if frequency == "WEEKLY" else 1))
            last = first + step * min(count - 1, _HORIZON // step)
        elif frequency == "WEEKLY" and by == {"BYDAY"} and plain_days and len(plain_days) == len(given["BYDAY"]):
            wkst = str(next(iter(given.get("WKST", [])), "MO")).upper()
            last = min(_last_of_weeks(first, plain_days, _DAYS.get(wkst, 2), interval, count), horizon)
        else:
            parts = [f"FREQ={frequency}", f"INTERVAL={interval}", f"UNTIL={horizon:%Y%m%dT%H%M%S}"]
            parts += [f"{name}={','.join(map(str, known[name]))}" for name in known if name.startswith("BY")]
            days = [str(day).upper() for day in given.get("BYDAY", []) if _DAY.fullmatch(str(day).upper())]
            parts += [f"BYDAY={','.join(days)}"] if days else []
            parts += [f"WKST={day}" for day in map(str, given.get("WKST", [])) if day in _DAYS]
            last = first
            for time in islice(rrulestr(";".join(parts), dtstart=first), count):
                last = time
    except (ValueError, OverflowError):  # dateutil refuses combinations, and dates beyond the year 9999
        return None
    if not isinstance(start, datetime):
        return last.date()
    return last.replace(tzinfo=zone or UTC)
