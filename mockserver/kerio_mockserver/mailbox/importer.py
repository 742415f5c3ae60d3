"""Fills a mailbox from files: mails, calendars, cards; from folders, Maildirs, mboxes and archives of them.

Promises: everything found is either in the mailbox or counted with its reason in `Imported`; no bytes of a file make it
raise. Mails go in by the date they arrived, so that their numbers rise with it. A folder on disk becomes a mail folder;
"Inbox", "Sent", "Trash" and the like become the special ones. Refuses with `CannotImport` a path that is not there.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from kerio_mockserver.mailbox.archives import Limits, Skipped
from kerio_mockserver.mailbox.calendars import read_calendar
from kerio_mockserver.mailbox.cards import read_cards
from kerio_mockserver.mailbox.charsets import Troubles
from kerio_mockserver.mailbox.folders import Folders
from kerio_mockserver.mailbox.mime import Origin, ReadMail, read_mail
from kerio_mockserver.mailbox.model import Kind, Store
from kerio_mockserver.mailbox.sources import File, Piece, pieces

_DEFAULT = Limits()
_NAMED = 100
"""How many skipped things are named; all are counted."""


class CannotImport(Exception):
    """A path is not there or can't be read. The text is for people."""


@dataclass(slots=True)
class Imported:
    """What came in. `undecodable`: how often text or structure was broken, by reason (the item is in nevertheless);
    `skipped`: what is not in, by reason; `names`: the first of those, as "name: reason".
    """

    files: int = 0
    folders: int = 0
    mails: int = 0
    contacts: int = 0
    events: int = 0
    tasks: int = 0
    notes: int = 0
    attachments: int = 0
    undecodable: dict[str, int] = field(default_factory=dict)
    skipped: dict[str, int] = field(default_factory=dict)
    names: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """The same as a value for JSON."""
        return asdict(self)


@dataclass(slots=True)
class _Tally:
    """`held`: (date, place in the sequence, folder id, mail), until all are read."""

    report: Imported = field(default_factory=Imported)
    troubles: Troubles = field(default_factory=Counter)
    held: list[tuple[str, int, str, ReadMail]] = field(default_factory=list)


def load(store: Store, paths: Sequence[Path], limits: Limits = _DEFAULT) -> Imported:
    """Imports what is in `paths` into the own mailbox, which gets its standard folders if it has none. CannotImport."""
    for path in paths:
        if not path.exists():
            raise CannotImport(f"{path} is not there")
    tally = _Tally()
    folders = Folders(store)
    before = len(store.folders())
    for path in paths:
        for found in pieces(path, limits):
            _take(store, folders, found, tally)
    for _, _, folder_id, mail in sorted(tally.held, key=lambda held: held[:2]):
        store.add("mail", folder_id, mail.struct, mail.blobs)
    report = tally.report
    report.mails = len(tally.held)
    report.folders = len(store.folders()) - before
    report.undecodable = dict(tally.troubles.most_common())
    return report


def _take(store: Store, folders: Folders, found: Piece | Skipped | File, tally: _Tally) -> None:
    report = tally.report
    match found:
        case File():
            report.files += 1
        case Skipped(name, reason):
            report.skipped[reason] = report.skipped.get(reason, 0) + 1
            if len(report.names) < _NAMED:
                report.names.append(f"{name}: {reason}")
        case Piece(kind="mail"):
            mail = read_mail(found.data, Origin(found.flags, found.modified))
            tally.troubles.update(mail.troubles)
            report.attachments += len(mail.blobs)
            tally.held.append((mail.struct["receiveDate"], len(tally.held), folders.mail(found.folder), mail))
        case Piece(kind="calendar"):
            for entry in read_calendar(found.data, tally.troubles):
                store.add(entry.kind, folders.default(entry.kind), entry.struct)
                _count(report, entry.kind)
        case Piece():
            for card in read_cards(found.data, tally.troubles):
                store.add("contact", folders.default("contact"), card.struct, card.blobs)
                report.attachments += len(card.blobs)
                _count(report, "contact")


def _count(report: Imported, kind: Kind) -> None:
    name = f"{kind}s"
    setattr(report, name, getattr(report, name) + 1)
