"""The occurrences that a RecurrenceRule gives within a window.

A series is expanded in the offset of its first event (in days for events of whole days), since a struct names no time
zone: changes to summer time within a series are ignored. The work is proportional to the window, not to the age of the
series, and a window covers at most 50 years. dateutil's rules, which the importer uses, would look for a 30th of
February up to the year 9999.
"""

from __future__ import annotations

from calendar import isleap, monthrange
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

Struct = Mapping[str, Any]
MAX_WINDOW = timedelta(days=50 * 366)
DEFAULT_WINDOW = timedelta(days=366)
_LAST = datetime(9999, 12, 31, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Moment:
    """A documented time: `at` with its offset, and whether it is a whole day."""

    at: datetime
    whole_day: bool

    def __str__(self) -> str:
        at = self.at
        if self.whole_day:
            return f"{at.year:04}{at.month:02}{at.day:02}"
        text = f"{at.year:04}{at.month:02}{at.day:02}T{at.hour:02}{at.minute:02}{at.second:02}"
        return f"{text}{at:%z}" if at.utcoffset() else f"{text}Z"

    @property
    def key(self) -> str:
        """Return the instant in its one canonical spelling."""
        return str(self if self.whole_day else Moment(self.at.astimezone(UTC), False))

    def __add__(self, delta: timedelta) -> Moment:
        return Moment(self.at + delta, self.whole_day)


def moment(text: str) -> Moment | None:
    """Parse a UtcDateTime; return None for an empty or invalid text."""
    try:
        if len(text) == 8 and text.isdigit():
            return Moment(datetime.strptime(text, "%Y%m%d").replace(tzinfo=UTC), True)
        return Moment(datetime.strptime(text, "%Y%m%dT%H%M%S%z"), False)
    except ValueError:
        return None


@dataclass(frozen=True, slots=True)
class Window:
    """A time from `lower` to before `upper`, None if open.

    Events may overlap its ends.
    """

    lower: datetime | None = None
    upper: datetime | None = None

    def bounds(self, first: datetime) -> tuple[datetime, datetime]:
        """Return both ends for a series that starts at `first`.

        Without any, only that event.
        """
        match self.lower, self.upper:
            case None, None:
                return first, _later(first, MAX_WINDOW)
            case lower, None if lower is not None:
                return lower, _later(max(lower, first), DEFAULT_WINDOW)
            case None, upper if upper is not None:
                return max(first, _earlier(upper, MAX_WINDOW)), upper
        assert self.lower is not None
        assert self.upper is not None
        return self.lower, min(self.upper, _later(self.lower, MAX_WINDOW))


def length(event: Struct) -> timedelta:
    """Return how long an event takes; the last of whole days belongs to it."""
    start, end = moment(event["start"]), moment(event["end"])
    if start is None or end is None:
        return timedelta()
    days = timedelta(days=1) if end.whole_day else timedelta()
    return max(end.at + days - start.at, timedelta())


def starts(event: Struct, window: Window) -> Iterator[Moment]:
    """Return the starts of the series' events in the window, in order."""
    first = moment(event["start"])
    if first is None:
        return
    if not event["rule"].get("isSet"):
        yield first
        return
    takes = length(event)
    lower, upper = window.bounds(first.at)
    local = first.at.replace(tzinfo=None)
    offset = first.at.utcoffset() or timedelta()
    since, until = (_local(bound, offset) for bound in (lower, upper))
    since = _earlier(since, takes)
    end = _end(event["rule"], offset)
    zone = timezone(offset) if offset else UTC
    for at in _series(event["rule"], local, since, until if end is None else min(until, end)):
        if at >= until:
            return
        if at > since or (at == since and not takes):
            yield Moment(at.replace(tzinfo=zone), first.whole_day)
            if window == Window():
                return


def _series(rule: Struct, first: datetime, since: datetime, until: datetime) -> Iterator[datetime]:
    """Yield the rule's times from `since` to at most `until`, none before `first`."""
    frequency = rule.get("frequency", "Daily")
    by = rule.get("preciseBy", {})
    interval = min(max(by.get("byInterval", 1), 1), 10_000)
    days = {day for day in by.get("byDay", ()) if 1 <= day <= 7}  # 1 is Sunday
    month_days = {day for day in by.get("byMonthDay", ()) if 0 < abs(day) <= 31}
    months = {month for month in by.get("byMonth", ()) if 1 <= month <= 12}
    places = sorted({place for place in by.get("byPosition", ()) if place})
    if not days and not month_days:
        if frequency == "Weekly":
            days = {_weekday(first.date())}
        elif frequency in ("Monthly", "Yearly"):
            month_days = {first.day}
            months = months or ({first.month} if frequency == "Yearly" else set())
    for period in _periods(frequency, interval, first.date(), max(since, first).date(), until.date()):
        found = [
            day
            for day in period
            if (not months or day.month in months)
            and (not days or _weekday(day) in days)
            and (not month_days or not month_days.isdisjoint((day.day, day.day - _month_length(day) - 1)))
        ]
        if places:
            chosen = {place - 1 if place > 0 else len(found) + place for place in places}
            found = [day for at, day in enumerate(found) if at in chosen]
        for day in found:
            at = datetime.combine(day, first.time())
            if at >= first and since <= at <= until:
                yield at


def _month_length(day: date) -> int:
    return monthrange(day.year, day.month)[1]


def _weekday(day: date) -> int:
    return day.isoweekday() % 7 + 1


def _periods(frequency: str, interval: int, first: date, since: date, until: date) -> Iterator[Iterable[date]]:
    """Yield the days of each day, week (from Monday), month or year of the interval."""
    step = timedelta(days=interval * (7 if frequency == "Weekly" else 1))
    if frequency in ("Daily", "Weekly"):
        begin = first - timedelta(days=min(first.weekday(), first.toordinal() - 1)) if frequency == "Weekly" else first
        number = begin.toordinal() + (since - begin) // step * step.days
        while number <= until.toordinal():
            yield _days(number, 7 if frequency == "Weekly" else 1)
            number += step.days
        return
    months = interval * (12 if frequency == "Yearly" else 1)
    begin_month = first.year * 12 + (0 if frequency == "Yearly" else first.month - 1)
    month = begin_month + (since.year * 12 + since.month - 1 - begin_month) // months * months
    while month <= until.year * 12 + until.month - 1:
        at = date(month // 12, month % 12 + 1, 1)
        yield _days(at.toordinal(), 365 + isleap(at.year) if frequency == "Yearly" else _month_length(at))
        month += months


def _days(number: int, count: int) -> Iterable[date]:
    return map(date.fromordinal, range(number, min(number + count, date.max.toordinal() + 1)))


def _end(rule: Struct, offset: timedelta) -> datetime | None:
    """Return the last instant of the series, in its own offset."""
    end = rule.get("endBy", {})
    last = moment(end.get("date", "")) if end.get("type") == "ByRecurrenceDate" else None
    if last is None:
        return None
    if last.whole_day:
        return last.at.replace(tzinfo=None) + timedelta(hours=23, minutes=59, seconds=59)
    return _local(last.at, offset)


def _local(at: datetime, offset: timedelta) -> datetime:
    try:
        return (at.astimezone(UTC) + offset).replace(tzinfo=None)
    except OverflowError:
        return at.replace(tzinfo=None)


def _later(at: datetime, delta: timedelta) -> datetime:
    return at + delta if _LAST - at > delta else _LAST


def _earlier(at: datetime, delta: timedelta) -> datetime:
    first = datetime.min.replace(tzinfo=at.tzinfo)
    return at - delta if at - first > delta else first
