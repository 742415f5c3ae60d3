"""Takes values out of untrusted JSON.

Of the right type, finite and of bounded length, or the default.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

MAX_TEXT: Final = 600
_MAX_NUMBER: Final = 1e15


def text(entry: Mapping[str, Any], name: str) -> str:
    """Return a text of at most MAX_TEXT characters, "" for anything else."""
    value = entry.get(name)
    return value[:MAX_TEXT] if isinstance(value, str) else ""


def number(entry: Mapping[str, Any], name: str) -> float | None:
    """Return a number that is finite and not negative, else None."""
    value = entry.get(name)
    if (
        not isinstance(value, int | float)
        or isinstance(value, bool)
        or not math.isfinite(value)
        or not 0 <= value < _MAX_NUMBER
    ):
        return None
    return float(value)


def count(entry: Mapping[str, Any], name: str) -> int:
    """Return a whole number that is not negative, else 0."""
    return int(number(entry, name) or 0)


def mapping(entry: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """Return an object, an empty one for anything else."""
    value = entry.get(name)
    return value if isinstance(value, dict) else {}


def instant(value: str) -> datetime | None:
    """Return an ISO 8601 time in UTC; None if it is none. Without an offset it is UTC."""
    try:
        found = datetime.fromisoformat(value)
        return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
    except (ValueError, OverflowError):
        return None
