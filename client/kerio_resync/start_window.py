"""When a run may begin and must end: two bounds, and a delay of its own.

A bound has a date (`2026-12-01T22:00`) or is a time of day (`22:00`); without an offset it is local time. A time of day
is that of today, with three refinements:

    both are times of day    → they bound one window; one that closes at or before its opening time closes on the next
                               day, and a window of yesterday that is still open counts before that of today
    --not-before has a date  → a time of day in --not-after is the first one after it
    the clocks change        → a local time that is left out lies as much later as is left out; of a local time that
                               comes twice the first counts
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Final

Bound = datetime | time | None

_UNITS: Final = {
    "s": 1, "sec": 1, "second": 1, "seconds": 1, "": 1, "m": 60, "min": 60, "minute": 60, "minutes": 60,
    "h": 3600, "hr": 3600, "hour": 3600, "hours": 3600, "d": 86_400, "day": 86_400, "days": 86_400,
}  # fmt: skip
_PART: Final = re.compile(r"(\d+(?:\.\d+)?)\s*([a-z]*)\s*", re.ASCII)
_CLOCK: Final = re.compile(r"(\d{1,2}:\d{2}(?::\d{2})?)\s*(z|[+-]\d{2}:?\d{2})?", re.ASCII | re.IGNORECASE)
_DATED: Final = re.compile(r"\d{4}-\d{2}-\d{2}[t ]\d{2}:\d{2}.*", re.ASCII | re.IGNORECASE)
MAX_SPLAY_SECONDS: Final = 31 * 86_400.0


@dataclass(frozen=True, slots=True)
class Turn:
    """When a run begins, and when its window closes (None: never)."""

    begins: datetime
    closes: datetime | None


@dataclass(frozen=True, slots=True)
class StartWindow:
    """The bounds of a run as they were written ("": none), and its delay in seconds."""

    not_before: str = ""
    not_after: str = ""
    delay: float = 0.0

    def turn(self, now: datetime, started: datetime) -> Turn:
        """Return the turn of a command that was started at `started`.

        The delay counts from the opening of the window. If that turn is past, or if there is no opening, it counts from
        the start of the command. `now` and `started` have a time zone.
        """
        opens, closes = _bounds(parse_bound(self.not_before), parse_bound(self.not_after), now)
        delay = timedelta(seconds=self.delay)
        begins = started + delay if opens is None or opens + delay < started else opens + delay
        return Turn(begins, closes)

    def seconds(self) -> float | None:
        """Return the length of the window, as far as its bounds alone tell it.

        None if there is only one bound, or only one with a date.
        """
        match parse_bound(self.not_before), parse_bound(self.not_after):
            case datetime() as opens, datetime() as closes:
                return (_instant(closes) - _instant(opens)).total_seconds()
            case time() as opening, time() as closing if opening.tzinfo == closing.tzinfo:
                midday = date(2000, 1, 1)
                between = datetime.combine(midday, closing) - datetime.combine(midday, opening)
                return between.total_seconds() % 86_400.0 or 86_400.0
        return None


def parse_duration(text: str) -> float:
    """Return seconds: `90`, `30m`, `2h`, `1h 30min`; a bare number is seconds.

    ValueError.
    """
    rest, total = text.strip().lower(), 0.0
    found = list(_PART.finditer(rest))
    if not found or "".join(part[0] for part in found) != rest or any(part[2] not in _UNITS for part in found):
        raise ValueError("must be a duration such as 90s, 30m, 2h or 1h30m")
    if len(found) > 1 and not all(part[2] for part in found):
        raise ValueError("must be a duration such as 90s, 30m, 2h or 1h30m")
    total = sum(float(part[1]) * _UNITS[part[2]] for part in found)
    if total > MAX_SPLAY_SECONDS:
        raise ValueError("must be at most 31 days")
    return total


def parse_bound(text: str) -> Bound:
    """Return a moment, a time of day, or None for an empty text. ValueError."""
    text = text.strip()
    if not text:
        return None
    try:
        if clock := _CLOCK.fullmatch(text):
            return time.fromisoformat(f"{clock[1]:0>{8 if clock[1].count(':') == 2 else 5}}{(clock[2] or '').upper()}")
        if _DATED.fullmatch(text):
            moment = datetime.fromisoformat(text.upper())
            _instant(moment)
            return moment
    except (ValueError, OverflowError, OSError):
        pass
    raise ValueError(
        "must be a time such as 22:00 or 2026-12-01T22:00, with an offset such as +01:00 if it is not local"
    )


def _bounds(opening: Bound, closing: Bound, now: datetime) -> tuple[datetime | None, datetime | None]:
    """Return when the window opens and closes that counts at `now`."""
    match opening, closing:
        case time() as clock, time() as end:
            yesterdays = _on_day(clock, now, -1)
            opens = yesterdays if now < _first_after(end, yesterdays) else _on_day(clock, now)
            return opens, _first_after(end, opens)
        case datetime() as start, time() as end:
            opens = _instant(start)
            return opens, _first_after(end, opens)
    return _resolved(opening, now), _resolved(closing, now)


def _resolved(bound: Bound, now: datetime) -> datetime | None:
    match bound:
        case time():
            return _on_day(bound, now)
        case datetime():
            return _instant(bound)
    return None


def _first_after(clock: time, moment: datetime) -> datetime:
    same_day = _on_day(clock, moment)
    return same_day if same_day > moment else _on_day(clock, moment, 1)


def _on_day(clock: time, moment: datetime, days: int = 0) -> datetime:
    """Return a time of day on the day of `moment`, or so many days later."""
    day = moment.astimezone(clock.tzinfo).date() + timedelta(days=days)
    return _instant(datetime.combine(day, clock))


def _instant(moment: datetime) -> datetime:
    """Return the moment in local time; one without an offset is local.

    `astimezone` alone would take a local time that is left out for an earlier one.
    """
    return datetime.fromtimestamp(moment.timestamp(), UTC).astimezone()
