"""Times as the API writes them (`20260301T093000Z`), without the machine's clock."""

from __future__ import annotations

from datetime import datetime
from functools import lru_cache
from time import gmtime, strftime

NOW = 1_772_323_200
"""2026-03-01T00:00:00Z, up to which a seeded mailbox has been used. What happens to it later is later than this."""
_MINUTES = [f"{minute // 60:02}{minute % 60:02}" for minute in range(1440)]
_SECONDS = [f"{second:02}" for second in range(60)]


def utc(at: int) -> str:
    """Return seconds since 1970 as UTC."""
    days, rest = divmod(at, 86_400)
    return f"{_day(days)}T{_MINUTES[rest // 60]}{_SECONDS[rest % 60]}Z"


def with_offset(at: int, hours: int) -> str:
    """Return the instant as local time with an offset: `20200806T180000-0700`."""
    return f"{utc(at + hours * 3600)[:-1]}{'-' if hours < 0 else '+'}{abs(hours):02}00"


def day(at: int) -> str:
    """Return a whole day, such as `20251217`."""
    return _day(at // 86_400)


@lru_cache(maxsize=16_384)
def _day(days: int) -> str:
    return strftime("%Y%m%d", gmtime(days * 86_400))


def instant(text: str) -> str:
    """Return a documented time as text that sorts.

    It is in UTC; a whole day is its midnight.

    Other text is returned unchanged.
    """
    if len(text) == 8 and text.isdigit():
        return f"{text}T000000Z"
    if len(text) == 20 and text[15] in "+-":
        try:
            at = datetime.strptime(text, "%Y%m%dT%H%M%S%z")
        except ValueError:
            return text
        return utc(int(at.timestamp()))
    return text
