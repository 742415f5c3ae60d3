"""Dates, times, durations and sizes in a user's language, by Babel.

Durations are in the nominative case, for use after a colon. What is not known of a language is English.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from functools import lru_cache
from math import ceil
from typing import Final
from zoneinfo import ZoneInfo

from babel import Locale, UnknownLocaleError
from babel.core import parse_locale
from babel.dates import format_date, format_time, get_timezone_name
from babel.numbers import format_decimal
from babel.units import format_unit

ENGLISH: Final = "en_GB"  # unambiguous for all who read English: the month in letters, 24 hours
_SAME_NIGHT: Final = timedelta(hours=12)
_GIBIBYTE: Final = 2**30


@lru_cache
def locale_of(language: str) -> Locale:
    """Return the locale of a tag such as `de` or `pt-BR`.

    An unknown tag gives that of its language, or English.
    """
    parts = language.replace("_", "-").split("-")
    for tag in ("-".join(parts), parts[0]):
        try:
            parse_locale(tag, sep="-")
            found = Locale.parse(tag, sep="-")
        except (ValueError, UnknownLocaleError):
            continue
        return found if str(found) != "en" else Locale.parse(ENGLISH)
    return Locale.parse(ENGLISH)


def date_text(instant: datetime, zone: str, language: str) -> str:
    """Return a date with its day of the week: `Saturday, 28 November 2026`."""
    return _date(instant.astimezone(ZoneInfo(zone)).replace(hour=0, minute=0, second=0, microsecond=0), language)


@lru_cache(maxsize=4096)
def _date(day: datetime, language: str) -> str:
    return format_date(day, "full", locale_of(language))


@lru_cache(maxsize=65536)
def time_text(instant: datetime, zone: str, language: str) -> str:
    """Return a time without its zone: `22:00`, or `4:00 PM` where that is usual."""
    return format_time(instant, "short", ZoneInfo(zone), locale_of(language))


@lru_cache(maxsize=4096)
def zone_text(instant: datetime, zone: str, language: str) -> str:
    """Return the name of a time zone.

    `Central European Time`, or such as `GMT+05:30` where it has none.

    In the night of a change to or from summer time it says which of the two is meant.
    """
    if zone in ("UTC", "Etc/UTC", "Z"):
        return "UTC"
    place, locale = ZoneInfo(zone), locale_of(language)
    local = instant.astimezone(place)
    offsets = {(instant + difference).astimezone(place).utcoffset() for difference in (-_SAME_NIGHT, _SAME_NIGHT)}
    if len(offsets) > 1:
        return str(get_timezone_name(local, "long", locale=locale))
    return str(get_timezone_name(local, "long", locale=locale, zone_variant="generic"))


def duration_text(seconds: float, language: str) -> str:
    """Return a duration, rounded up to what a user cares for.

    `25 minutes`, `1 hour 20 minutes`.
    """
    return _duration(_rounded_minutes(seconds), language)


def duration_range(low: float, high: float, language: str) -> tuple[str, str]:
    """Return two durations to stand before and after a word such as "to".

    `15` and `30 minutes`.

    They are equal if the rounded durations are.
    """
    first, last = _rounded_minutes(low), _rounded_minutes(high)
    same_unit = (first < 60 and last < 60) or first % 60 == last % 60 == 0
    if first == last or not same_unit:
        return _duration(first, language), _duration(last, language)
    return count_text(first if first < 60 else first // 60, language), _duration(last, language)


def _rounded_minutes(seconds: float) -> int:
    minutes = max(1, ceil(seconds / 60))
    step = 1 if minutes <= 10 else 5 if minutes <= 120 else 15
    return ceil(minutes / step) * step


@lru_cache(maxsize=4096)
def _duration(minutes: int, language: str) -> str:
    counts = ((minutes // 60, "duration-hour"), (minutes % 60, "duration-minute"))
    texts = (format_unit(count, unit, "long", locale=locale_of(language)) for count, unit in counts if count)
    return " ".join(str(text) for text in texts)


def round_up_room(count: int) -> int:
    """Return a round number of gibibytes, at least 1, that holds `count` bytes."""
    gibibytes = max(1, ceil(count / _GIBIBYTE))
    steps = (1, 2, 3, 5, 10, 15, 20, 30, 50, 100)
    return next((step for step in steps if gibibytes <= step), ceil(gibibytes / 100) * 100)


def room_text(gibibytes: int, language: str) -> str:
    """Return a size on the disk: `5 GB`, as the file manager of a user says it."""
    return str(format_unit(gibibytes, "digital-gigabyte", "short", locale=locale_of(language)))


def count_text(count: int, language: str) -> str:
    """Return a count with the separators of the language."""
    return str(format_decimal(count, locale=locale_of(language)))
