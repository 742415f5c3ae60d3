"""Time windows, from texts and settings to instants.

Days on which clocks change have fewer or more hours.

A window is written in local time, such as `2026-12-04 22:00-06:00`. An end that is not after the start is on the next
day. In the night in which clocks go forward or back a window is an hour shorter or longer, as on the wall. A time that
does not exist in that night, because clocks skip it, is taken as the instant of the change.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime, time, timedelta
from itertools import pairwise
from typing import Final
from zoneinfo import ZoneInfo

from kerio_resync.errors import BadSettings
from kerio_resync.fleet.inputs.settings import WindowSettings
from kerio_resync.fleet.plan import Window

DEFAULT_START: Final = "22:00"
DEFAULT_END: Final = "06:00"
_WINDOW: Final = re.compile(r"(\d{4}-\d\d-\d\d)[ T]+(\d\d?:\d\d)\s*(?:-|–|to)\s*(\d\d?:\d\d)")
_EXAMPLE: Final = '"2026-12-04 22:00-06:00"'


def parse_window(text: str) -> WindowSettings:
    """Parse `2026-12-04 22:00-06:00`; BadSettings if it is something else."""
    found = _WINDOW.fullmatch(text.strip())
    if found is None:
        raise BadSettings(f'--window "{text}" cannot be understood; write it as {_EXAMPLE}')
    return WindowSettings.model_validate({"date": found[1], "from": found[2], "to": found[3]})


def next_night(now: datetime, zone: str) -> WindowSettings:
    """Return the window from 22:00 to 06:00 that begins next."""
    local = now.astimezone(ZoneInfo(zone))
    day = local.date() if local.time() < time(22) else local.date() + timedelta(days=1)
    return WindowSettings.model_validate({"date": day.isoformat(), "from": DEFAULT_START, "to": DEFAULT_END})


def resolve_windows(settings: Iterable[WindowSettings], zone: str, now: datetime) -> tuple[Window, ...]:
    """Return the windows as instants, in order; BadSettings names each that is wrong.

    `zone`: of windows without their own. A window that is over is wrong, and so are two that overlap.
    """
    windows, problems = [], []
    for number, given in enumerate(settings, 1):
        name = f"{given.date} {given.start}-{given.end}"
        try:
            window = _resolve(given, name, given.time_zone or zone)
        except ValueError as error:
            problems.append(f"window {number} ({name}): {error}")
            continue
        if window.end <= now:
            problems.append(f"window {number} ({name}) is over; give one that is still to come")
        windows.append(window)
    windows.sort(key=lambda window: window.start)
    for one, other in pairwise(windows):
        if other.start < one.end:
            problems.append(f"the windows {one.name} and {other.name} overlap; make one of them")
    if problems:
        raise BadSettings("; ".join(problems))
    return tuple(windows)


def another(window: Window, hours: float, zone: str, after: Sequence[Window]) -> Window:
    """Return a window of `hours` at the same time of day, on a later day.

    The day is the first one that is free after all of `after`.
    """
    local = window.start.astimezone(ZoneInfo(zone))
    day, last = local.date(), max(known.end for known in after)
    while (start := _instant(day, local.time(), ZoneInfo(zone))) < last:
        day += timedelta(days=1)
    end = start + timedelta(hours=hours)
    return Window(name=f"{day.isoformat()} {local:%H:%M}, {hours:g} h", start=start, end=end)


def working_morning(after: datetime, zone: str) -> datetime:
    """Return the next 08:00 of a day from Monday to Friday after an instant."""
    day = after.astimezone(ZoneInfo(zone)).date()
    while (start := _instant(day, time(8), ZoneInfo(zone))) <= after or day.weekday() > 4:
        day += timedelta(days=1)
    return start


def _resolve(given: WindowSettings, name: str, zone: str) -> Window:
    try:
        day = date.fromisoformat(given.date)
    except ValueError:
        raise ValueError(f'"{given.date}" is no date; write it as 2026-12-04') from None
    begin, end = _time(given.start), _time(given.end)
    last = day if end > begin else day + timedelta(days=1)
    start, stop = _instant(day, begin, ZoneInfo(zone)), _instant(last, end, ZoneInfo(zone))
    if stop <= start:
        raise ValueError("nothing is left of it, because clocks go forward in that night")
    return Window(name=name, start=start, end=stop)


def _time(text: str) -> time:
    try:
        hour, minute = (int(part) for part in text.split(":"))
        return time(0 if (hour, minute) == (24, 0) else hour, minute)
    except ValueError:
        raise ValueError(f'"{text}" is no time of day; write it as 22:00') from None


def _instant(day: date, clock: time, zone: ZoneInfo) -> datetime:
    """Return a local time in UTC.

    Of a repeated time it is the first. A time that clocks skip is as much later as they skip.
    """
    return datetime.combine(day, clock, zone).astimezone(UTC)
