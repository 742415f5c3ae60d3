"""Time zones of calendars: defined in the same file, else known by name.

An unreadable definition affects only the entries that name it. dateutil evaluates definitions, after everything
unbounded in them was refused: a zone changes at most twice a year.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import tzinfo
from functools import lru_cache
from io import StringIO
from zoneinfo import ZoneInfo

from dateutil.tz import tzical
from icalendar.timezone.windows_to_olson import WINDOWS_TO_OLSON

from kerio_mockserver.mailbox.imports.content_lines import Component

_OFFSET = re.compile(r"[+-]\d{4}(?:\d\d)?", re.ASCII)
_START = re.compile(r"(\d{4})(\d{4}T\d{6})Z?", re.ASCII)
_DAYS = re.compile(r"[+-]?[1-5]?(?:MO|TU|WE|TH|FR|SA|SU)", re.ASCII)
_EARLIEST = 1970  # rules are followed year by year; from 1601 on, as Outlook writes, takes eight times as long
_LONGEST_NAME = 200


class Zones:
    """The zones of one file.

    `define` a calendar's components before reading its entries.
    """

    def __init__(self) -> None:
        self._first: dict[str, Component] = {}
        self._current: dict[str, Component] = {}
        self._parsed: dict[str, tzinfo | None] = {}

    def define(self, components: Iterable[Component]) -> None:
        """Add the VTIMEZONEs of the next calendar; earlier ones stay as a fallback."""
        self._current = {}
        for component in components:
            name = component.one("TZID")
            if name is not None:
                self._current[_key(name.value)] = component
                self._first.setdefault(_key(name.value), component)

    def find(self, name: str) -> tzinfo | None:
        """Return the zone of a name, or None if there is no usable one."""
        component = self._current.get(_key(name)) or self._first.get(_key(name))
        if component is None:
            return well_known(name.strip())
        source = _source(component)
        if source not in self._parsed:
            self._parsed[source] = _parsed(source)
        return self._parsed[source]


def _key(name: str) -> str:
    """Return a name without blanks and quotation marks, which parameters may lose."""
    return "".join(name.replace('"', "").split())


@lru_cache(maxsize=4096)
def well_known(name: str) -> tzinfo | None:
    """Return a zone by its IANA or Windows name; a vendor's prefix is ignored."""
    if len(name) > _LONGEST_NAME:
        return None
    steps = WINDOWS_TO_OLSON.get(name, name).strip("/").split("/")
    for start in range(max(0, len(steps) - 3), len(steps)):
        try:
            return ZoneInfo("/".join(steps[start:]))
        except (ValueError, OSError, LookupError):  # not a name, a folder, or unknown
            continue
    return None


def _source(component: Component) -> str:
    """Return the definition in the few lines that count; "" if it is not one."""
    lines = ["BEGIN:VTIMEZONE", "TZID:zone"]
    for part in component.parts:
        if part.name not in ("STANDARD", "DAYLIGHT"):
            continue
        lines.append(f"BEGIN:{part.name}")
        for line in part.lines:
            value = line.value.strip().upper()
            if line.name in ("TZOFFSETFROM", "TZOFFSETTO"):
                if not _OFFSET.fullmatch(value):
                    return ""
            elif line.name == "DTSTART":
                start = _START.fullmatch(value)
                if start is None:
                    return ""
                value = f"{max(int(start[1]), _EARLIEST)}{start[2]}"
            elif line.name == "RRULE":
                if not _bounded(value):
                    return ""
            elif line.name != "RDATE":
                continue
            lines.append(f"{line.name}:{value}")
        lines.append(f"END:{part.name}")
    return "\n".join([*lines, "END:VTIMEZONE", ""])


def _bounded(rule: str) -> bool:
    """Return whether a rule gives one date in nearly every year."""
    members = dict(part.partition("=")[::2] for part in rule.split(";"))
    days = members.get("BYMONTHDAY", "1").split(",")
    return (
        members.pop("FREQ", "") == "YEARLY"
        and members.keys() <= {"INTERVAL", "UNTIL", "COUNT", "BYMONTH", "BYDAY", "BYMONTHDAY", "WKST"}
        and members.get("INTERVAL", "1") == "1"
        and members.get("BYMONTH", "1").isdigit()
        and all(_DAYS.fullmatch(day) for day in members.get("BYDAY", "MO").split(","))
        and any(day.lstrip("+-").isdigit() and 1 <= int(day.lstrip("+-")) <= 28 for day in days)
    )


def _parsed(source: str) -> tzinfo | None:
    if not source:
        return None
    try:
        zone: tzinfo | None = tzical(StringIO(source)).get("zone")
    except Exception:  # the text is from outside, and dateutil raises whatever its parts raise
        return None
    return zone
