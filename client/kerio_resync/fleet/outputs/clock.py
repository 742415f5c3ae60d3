"""Instants and waits as the page shows them."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple
from zoneinfo import ZoneInfo

from kerio_resync.plain_text import format_duration


class Clock(NamedTuple):
    """Formats instants in one time zone, which each text names."""

    zone: ZoneInfo

    def full(self, instant: datetime) -> str:
        """Return `Sat 28 Nov 2026 22:00 CET`."""
        return f"{instant.astimezone(self.zone):%a %d %b %Y %H:%M %Z}"

    def short(self, instant: datetime) -> str:
        """Return `Sat 28 Nov 22:00 CET`."""
        return f"{instant.astimezone(self.zone):%a %d %b %H:%M %Z}"

    def time(self, instant: datetime) -> str:
        """Return `22:00 CET`."""
        return f"{instant.astimezone(self.zone):%H:%M %Z}"


def format_wait(seconds: float) -> str:
    """Format a wait: `0 ms`, `250 ms`, `1.5 s`, `2 min 30 s`."""
    if seconds < 0.9995:
        return f"{seconds * 1000:.0f} ms"
    return f"{seconds:.2g} s" if seconds < 9.95 else format_duration(seconds)
