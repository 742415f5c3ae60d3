"""Finds what turns structs into mails, calendar entries and cards.

It depends on the cache's protocol.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from importlib.util import find_spec
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from kerio_resync.errors import BadSettings
from kerio_resync.model import Attachment, Kind
from kerio_resync.server.mime import MailMessage

if TYPE_CHECKING:
    from kerio_resync.server.kerio.to_icalendar import CalendarEntry
    from kerio_resync.server.kerio.to_vcard import Card

MailMaker = Callable[[bytes, Sequence[Attachment]], MailMessage]
ForwardedReader = Callable[[bytes], bool]
EntryMaker = Callable[[Kind, str, bytes, ZoneInfo | None, datetime], "CalendarEntry"]
CardMaker = Callable[[str, bytes], "Card"]


@dataclass(frozen=True, slots=True)
class Dialect:
    """Converters of a protocol; None where it has none, or a package is missing.

    `is_forwarded`: for mails that are exported as their source.
    """

    mail: MailMaker | None = None
    entry: EntryMaker | None = None
    card: CardMaker | None = None
    is_forwarded: ForwardedReader | None = None


def require_icalendar() -> None:
    """Raise BadSettings if what .ics and .vcf files need is not installed."""
    if find_spec("icalendar") is None:
        raise BadSettings(
            "--ics and --vcf need the package icalendar, which is missing: run `pip install 'kerio-resync[export]'`"
        )


def dialect_of(protocol: str, *, calendars: bool) -> Dialect:
    """Return the converters of a protocol.

    `calendars`: also for .ics and .vcf files; BadSettings if icalendar is missing.
    """
    if calendars:
        require_icalendar()
    if protocol == "jmap":
        from kerio_resync.server.jmap.emails import is_forwarded

        return Dialect(is_forwarded=is_forwarded)
    if protocol != "kerio":
        return Dialect()
    from kerio_resync.server.kerio.to_mime import mail_message

    if not calendars:
        return Dialect(mail_message)
    from kerio_resync.server.kerio.to_icalendar import calendar_entry
    from kerio_resync.server.kerio.to_vcard import contact_card

    return Dialect(mail_message, calendar_entry, contact_card)
