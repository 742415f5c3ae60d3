"""Calendar files: all waves for administrators, one upgrade for its users.

The UIDs depend on `series`, the name of a rollout, and on the wave. A later plan of the same rollout has higher
sequence numbers, so a calendar that imports it updates the entries. Waves that are gone are cancelled.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from datetime import date, datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Final
from zoneinfo import ZoneInfo

from kerio_resync.fleet.plan import Plan, Wave
from kerio_resync.plain_text import format_duration, format_size, pluralize, printable
from kerio_resync.version import VERSION

if TYPE_CHECKING:
    from icalendar import Calendar, Event, Timezone

_MAX_SITES: Final = 30  # named in an entry
_ZONE_MARGIN: Final = timedelta(days=400)  # around a plan, that the rules of its zones cover


def waves_calendar(plan: Plan, series: str, gone: Iterable[tuple[datetime, datetime]] = ()) -> bytes:
    """Return one entry per wave, in the time zone of the server.

    `gone`: start and end of the waves that an earlier plan had after the last one of this plan.
    """
    calendar, zone = _calendar(), ZoneInfo(plan.server.time_zone)
    for wave in plan.waves:
        entry = _entry(plan, uid(series, wave.number), wave.start, wave.end, zone)
        users = sum(site.users for site in wave.sites)
        entry.add("summary", f"Upgrade: wave {wave.number} of {len(plan.waves)}, {pluralize(users, 'user')}")
        entry.add("description", "\n".join(_wave_lines(plan, wave, zone)))
        entry.add("status", "CONFIRMED")
        calendar.add_component(entry)
    for number, (start, end) in enumerate(gone, len(plan.waves) + 1):
        entry = _entry(plan, uid(series, number), start, end, zone)
        entry.add("summary", f"Upgrade: wave {number} (cancelled)")
        entry.add("status", "CANCELLED")
        calendar.add_component(entry)
    return _text(plan, calendar)


def group_calendar(plan: Plan, key: str, start: datetime, end: datetime, zone: str, subject: str, text: str) -> bytes:
    """Return the entry of one group of users; `key` names the group in its UID."""
    calendar = _calendar()
    entry = _entry(plan, key, start, end, ZoneInfo(zone))
    entry.add("summary", subject)
    entry.add("description", text)
    entry.add("transp", "TRANSPARENT")  # the user is not busy
    if plan.server.webmail_url:
        entry.add("location", printable(plan.server.webmail_url))
    calendar.add_component(entry)
    return _text(plan, calendar)


def uid(series: str, *names: object) -> str:
    """Return the UID of an entry of a rollout."""
    name = "-".join(str(name) for name in names)
    return f"wave-{name}.{hashlib.sha256(series.encode()).hexdigest()[:20]}@kerio-resync"


def _wave_lines(plan: Plan, wave: Wave, zone: ZoneInfo) -> list[str]:
    low, high = (f"{instant.astimezone(zone):%a %H:%M %Z}" for instant in (wave.end_low, wave.end_high))
    lines = [
        f"Expected end: {wave.end.astimezone(zone):%a %d %b %H:%M %Z} ({low} to {high}).",
        f"The clients start within {format_duration(wave.splay_s)} and fetch {format_size(wave.bytes)}.",
    ]
    for site in wave.sites[:_MAX_SITES]:
        limit = f", --bwlimit {format_size(site.bwlimit)}/s each" if site.bwlimit else ""
        lines.append(f"{printable(site.site)}: {pluralize(site.users, 'user')}, {format_size(site.bytes)}{limit}")
    more = len(wave.sites) - _MAX_SITES
    return [*lines, *([f"and {pluralize(more, 'more site')}"] if more > 0 else [])]


def _calendar() -> Calendar:
    from icalendar import Calendar

    calendar = Calendar()
    calendar.add("prodid", f"-//kerio-resync//fleet plan {VERSION}//EN")
    calendar.add("version", "2.0")
    calendar.add("method", "PUBLISH")
    return calendar


def _entry(plan: Plan, name: str, start: datetime, end: datetime, zone: ZoneInfo) -> Event:
    from icalendar import Event

    entry = Event()
    entry.add("uid", name)
    entry.add("dtstamp", plan.made)
    entry.add("last-modified", plan.made)
    entry.add("sequence", int(plan.made.timestamp()) // 60)  # grows with each plan
    entry.add("dtstart", start.astimezone(zone).replace(microsecond=0))
    entry.add("dtend", max(end, start + timedelta(minutes=1)).astimezone(zone).replace(microsecond=0))
    return entry


def _text(plan: Plan, calendar: Calendar) -> bytes:
    days = [wave.start.date() for wave in plan.waves] or [plan.made.date()]
    for name in sorted(calendar.get_missing_tzids()):
        calendar.add_component(_zone(name, min(days) - _ZONE_MARGIN, max(days) + _ZONE_MARGIN))
    return bytes(calendar.to_ical())


@lru_cache
def _zone(name: str, first: date, last: date) -> Timezone:
    from icalendar import Timezone

    return Timezone.from_tzid(name, first_date=first, last_date=last)
