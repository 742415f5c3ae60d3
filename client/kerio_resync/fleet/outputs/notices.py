"""Writes the notices to users.

Each wave, action, language and time zone has a text, a mail, a calendar entry and a list of recipients.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import parseaddr
from typing import Any, Final, NamedTuple
from zoneinfo import ZoneInfo

from kerio_resync.errors import BadSettings
from kerio_resync.fleet.outputs import wording
from kerio_resync.fleet.outputs.calendars import group_calendar, uid
from kerio_resync.fleet.outputs.cells import Cell, write_csv
from kerio_resync.fleet.outputs.templates import NoticeTemplates
from kerio_resync.fleet.plan import Plan, PlannedUser, Wave
from kerio_resync.plain_text import pluralize, printable

MAX_BCC: Final = 500  # recipients of one mail; many servers refuse more
HEADS: Final = (
    "email", "user", "site", "machine", "start_date", "start_time", "end_date", "end_time", "time_zone", "duration",
    "room", "subject",
)  # fmt: skip
_LOCAL_PART: Final = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*")
_DOMAIN: Final = re.compile(r"[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*")
_ROUND_UP: Final = 300  # seconds, of the time when a user is ready
_SPARE_BYTES: Final = 2**29  # more than the action needs, so that the disk is not full afterwards


class Group(NamedTuple):
    """Users who get the same text.

    `wave`: its number, 0 without; `room`: in gibibytes, to be freed, else 0.
    """

    wave: int
    action: str
    language: str
    zone: str
    room: int


class NoticeWriter:
    """Makes the notices of a plan.

    `sender`: the address that mails come from, and that users turn to; "" if unknown. `series`: the name of the rollout
    in calendar entries.
    """

    def __init__(self, plan: Plan, templates: NoticeTemplates, series: str, sender: str = "") -> None:
        self._plan, self._templates, self._series = plan, templates, series
        self._sender, self._from = printable(sender.strip()), _sender(sender)
        self._waves = {wave.number: wave for wave in plan.waves}
        self._zones = {site.name: site.time_zone for site in plan.sites}
        self._webmail = printable(plan.server.webmail_url)
        self._same_zones = dict[tuple[str, int], str]()
        self._without_address = 0

    def files(self) -> Iterator[tuple[str, bytes]]:
        """Yield name and content of each file."""
        groups = defaultdict[Group, list[PlannedUser]](list)
        for wave in self._plan.waves:
            for user in wave.users:
                groups[self._group(user, wave.number)].append(user)
        for user in self._plan.others:
            if user.action == "needs-room":
                groups[self._group(user, 0)].append(user)
        several_zones = len({group.zone for group in groups if group.wave}) > 1
        for group, users in groups.items():
            zone = f".{re.sub(r'[^A-Za-z0-9+_-]', '-', group.zone)}" if several_zones and group.wave else ""
            yield from self._files_of(f"{_folder(group)}.{group.language}{zone}", group, users)

    def notices(self) -> list[str]:
        """Return what the administrator must know about the notices, one sentence each."""
        found = self._templates.notices()
        if not self._webmail:
            found.append(
                "No address of the webmail is given, so the notices do not say where users can work meanwhile. Set"
                " webmail_url of the server."
            )
        if self._without_address and self._plan.inputs.seed is None:  # made-up users have none
            found.append(
                f"{pluralize(self._without_address, 'user has', 'users have')} no usable e-mail address; the tables of"
                " recipients list them, the mails do not."
            )
        return found

    def _group(self, user: PlannedUser, wave: int) -> Group:
        room = 0
        if not wave:
            room = wording.round_up_room(max(0, user.needed_bytes - (user.free_bytes or 0)) + _SPARE_BYTES)
        action = user.action if wave else "room"
        zone = self._plan.server.time_zone
        if wave:
            zone = self._zone(self._zones.get(user.site, zone), wave)
        return Group(wave, action, self._templates.choose(user.language), zone, room)

    def _zone(self, zone: str, wave: int) -> str:
        """Return the first zone with the same clock and name during a wave.

        Users in Prague and in Lyon need no texts of their own.
        """
        if (zone, wave) not in self._same_zones:
            span = self._waves[wave].start, self._waves[wave].end_high
            self._same_zones[zone, wave] = next(
                (other for other in self._zones.values() if _clock_of(other, *span) == _clock_of(zone, *span)),
                zone,
            )
        return self._same_zones[zone, wave]

    def _files_of(self, name: str, group: Group, users: Sequence[PlannedUser]) -> Iterator[tuple[str, bytes]]:
        users = sorted(users, key=lambda user: (user.site, user.user))
        subject, text = self._templates.render(group.language, self._values(group, users))
        yield f"{name}.txt", f"{subject}\n\n{text}".encode()
        yield f"{name}.recipients.csv", write_csv(HEADS, self._rows(group, users, subject))
        entry = None
        if wave := self._waves.get(group.wave):
            key = uid(self._series, group.wave, group.action, group.language, group.zone.replace("/", "-"))
            end = max(_end(user, wave) for user in users)
            entry = group_calendar(self._plan, key, wave.start, end, group.zone, subject, text)
            yield f"{name}.ics", entry
        addresses = [found for user in users if (found := mail_address(user.email or user.user))]
        self._without_address += len(users) - len(addresses)
        parts = [addresses[place : place + MAX_BCC] for place in range(0, len(addresses), MAX_BCC)]
        for number, part in enumerate(parts, 1):
            suffix = f"-{number}" if len(parts) > 1 else ""
            yield f"{name}{suffix}.eml", self._mail(subject, text, part, entry)

    def _values(self, group: Group, users: Sequence[PlannedUser]) -> dict[str, Any]:
        """Return the variables of a template, all of them texts of one line."""
        language, zone, wave = group.language, group.zone, self._waves.get(group.wave)
        values: dict[str, Any] = {
            "action": group.action,
            "webmail": self._webmail,
            "contact": self._sender,
            "users": wording.count_text(len(users), language),
            "sites": [printable(site) for site in sorted({user.site for user in users})],
            "wave": group.wave,
            "room": wording.room_text(group.room, language) if group.room else "",
        }
        if wave is None:
            return values | dict.fromkeys(("start_date", "start_time", "end_date", "end_time", "zone"), "") | {
                "duration_low": "", "duration_high": "",
            }  # fmt: skip
        end = max(_end(user, wave) for user in users)
        seconds = [_seconds(user, wave) for user in users]
        low, high = wording.duration_range(min(seconds), max(seconds), language)
        return values | {
            "start_date": wording.date_text(wave.start, zone, language),
            "start_time": wording.time_text(wave.start, zone, language),
            "end_date": wording.date_text(end, zone, language),
            "end_time": wording.time_text(end, zone, language),
            "zone": wording.zone_text(wave.start, zone, language),
            "duration_low": low,
            "duration_high": high,
        }

    def _rows(self, group: Group, users: Sequence[PlannedUser], subject: str) -> Iterator[tuple[Cell, ...]]:
        """Yield a line of the recipients per user.

        The variables of the text, for this user alone.
        """
        language, zone, wave = group.language, group.zone, self._waves.get(group.wave)
        start: tuple[str, ...] = ("", "")
        zone_text = room = ""
        if wave is None:
            room = wording.room_text(group.room, language)
        else:
            start = _clock_texts(wave.start, zone, language)
            zone_text = wording.zone_text(wave.start, zone, language)
        for user in users:
            end: tuple[str, ...] = ("", "")
            duration = ""
            if wave is not None:
                end = _clock_texts(_end(user, wave), zone, language)
                duration = wording.duration_text(_seconds(user, wave), language)
            address = user.email or (user.user if mail_address(user.user) else "")
            person = (address, user.user, user.site, user.machine)
            yield (*person, *start, *end, zone_text, duration, room, subject)

    def _mail(self, subject: str, text: str, recipients: Sequence[str], entry: bytes | None) -> bytes:
        mail = EmailMessage(policy=SMTP)
        mail["Subject"] = subject
        if self._from is not None:
            mail["From"] = self._from
        mail["To"] = "undisclosed-recipients:;"
        mail["X-Unsent"] = "1"  # Outlook opens the file as a draft
        mail["Auto-Submitted"] = "auto-generated"  # no replies of absent users
        mail.set_content(text, cte="quoted-printable")
        if entry is not None:
            mail.add_attachment(entry, "text", "calendar", filename="upgrade.ics", params={"method": "PUBLISH"})
        # The parser of the email package takes seconds for thousands of addresses; these have no special characters.
        return b"Bcc: " + ",\r\n ".join(recipients).encode("ascii") + b"\r\n" + mail.as_bytes()


def _folder(group: Group) -> str:
    if not group.wave:
        return f"notices/no-room/free-{group.room}-GB"
    return f"notices/wave-{group.wave:03}/{group.action}"


def _clock_of(zone: str, *instants: datetime) -> tuple[object, ...]:
    offsets = (instant.astimezone(ZoneInfo(zone)).utcoffset() for instant in instants)
    return (*offsets, *(wording.zone_text(instant, zone, "en") for instant in instants))


def _clock_texts(instant: datetime, zone: str, language: str) -> tuple[str, str]:
    return wording.date_text(instant, zone, language), wording.time_text(instant, zone, language)


def _end(user: PlannedUser, wave: Wave) -> datetime:
    """Return when a user is ready at the latest, rounded up."""
    end = user.end_high or wave.end_high
    return end + timedelta(seconds=-end.timestamp() % _ROUND_UP)


def _seconds(user: PlannedUser, wave: Wave) -> float:
    start, end = user.start or wave.start, user.end or wave.end
    return (end - start).total_seconds()


def check_sender(text: str) -> None:
    """Raise BadSettings unless a sender is "" or an address, with or without a name."""
    if text.strip() and _sender(text) is None:
        raise BadSettings(
            f"{printable(text)!r} is no e-mail address; give one such as helpdesk@example.com or"
            " 'IT Helpdesk <helpdesk@example.com>'"
        )


def mail_address(text: str) -> str:
    """Return an address for a header, "" if the text is none.

    An international domain in its ASCII form.
    """
    local, _, domain = text.strip().rpartition("@")
    try:
        domain = domain if domain.isascii() else domain.encode("idna").decode("ascii")
    except UnicodeError:
        return ""
    return f"{local}@{domain}" if _LOCAL_PART.fullmatch(local) and _DOMAIN.fullmatch(domain) else ""


def _sender(text: str) -> Address | None:
    name, bare = parseaddr(text.strip())
    local, at, domain = mail_address(bare).rpartition("@")
    return Address(display_name=name, username=local, domain=domain) if at and text.strip().isprintable() else None
