"""Converts RFC 2445 times, as the API has them, to ISO 8601."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta, timezone
from functools import lru_cache

_TIME = re.compile(r"(\d{4})(\d\d)(\d\d)(?:T(\d\d)(\d\d)(\d\d)(Z|[+-]\d{4})?)?", re.ASCII)


def iso(text: str) -> str | None:
    """Return a time in ISO 8601; None if it is invalid.

    An instant is in UTC; a whole day is a date.

    A time without a zone is taken for UTC.
    """
    # Fast path: nearly all times have this form, and each of a million mails has three.
    if len(text) == 16 and text[8] == "T" and text[15] == "Z" and text.isascii() and (text[:8] + text[9:15]).isdigit():
        try:
            datetime.fromisoformat(text)
        except ValueError:
            return None
        return f"{text[:4]}-{text[4:6]}-{text[6:11]}:{text[11:13]}:{text[13:]}" if text[9:11] < "24" else None
    return _iso(text)


@lru_cache(maxsize=4096)
def _iso(text: str) -> str | None:
    match = _TIME.fullmatch(text)
    if not match:
        return None
    year, month, day, hour, minute, second, zone = match.groups()
    try:
        if hour is None:
            return date(int(year), int(month), int(day)).isoformat()
        moment = datetime(int(year), int(month), int(day), int(hour), int(minute), int(second), tzinfo=UTC)
        if zone and zone != "Z":
            offset = timedelta(hours=int(zone[1:3]), minutes=int(zone[3:5]))
            moment = moment.replace(tzinfo=timezone(-offset if zone[0] == "-" else offset)).astimezone(UTC)
    except (ValueError, OverflowError):
        return None
    return moment.isoformat()[:19] + "Z"
