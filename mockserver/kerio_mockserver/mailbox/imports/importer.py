"""Import of mails, calendars and cards from files, folders and archives.

Everything found is either in the mailbox or counted with its reason in `Imported`, and named; no content of a file
raises. Mails are added by date of arrival, so that their numbers rise with it. A folder on disk becomes a mail folder;
"Inbox", "Sent", "Trash" and the like become the special ones. A missing path raises `CannotImport`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from kerio_mockserver.mailbox.imports.archives import Limits, Skipped
from kerio_mockserver.mailbox.imports.calendars import read_calendar
from kerio_mockserver.mailbox.imports.charsets import Warnings
from kerio_mockserver.mailbox.imports.contacts import read_cards
from kerio_mockserver.mailbox.imports.mail_to_struct import Origin, ReadMail, read_mail
from kerio_mockserver.mailbox.imports.sources import File, Piece, pieces
from kerio_mockserver.mailbox.imports.target_folders import Folders
from kerio_mockserver.mailbox.store import Kind, MailboxStore

_DEFAULT = Limits()
EMPTY = "no entry in it"
DELETED = "deleted, but not yet removed by the mail program"
_NAMED = 50
"""How many things are named for each of the two lists; all are counted."""
_NAMED_EACH = 10
"""How many are named for one reason, so that a common one does not hide the others."""
_LONGEST_NAME = 160


class CannotImport(Exception):
    """A path is missing or unreadable; the text is a sentence for the user."""


@dataclass(slots=True)
class Imported:
    """The result of an import.

    `skipped` counts what is not in the mailbox by reason, and `names` has the first of those as "name: reason".
    `undecodable` counts by reason where text or structure was broken or simplified; the item is in the mailbox
    nevertheless. `simplified` has the first of those as "name: reason".
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
    simplified: list[str] = field(default_factory=list)

    @property
    def items(self) -> int:
        """The number of imported items."""
        return self.mails + self.contacts + self.events + self.tasks + self.notes

    def skip(self, name: str, reason: str) -> None:
        """Count and name something that is not imported."""
        self.skipped[reason] = self.skipped.get(reason, 0) + 1
        _name(self.names, name, reason, self.skipped[reason])

    def doubt(self, name: str, warnings: Warnings) -> None:
        """Count and name a problem of an imported item."""
        for reason, count in warnings.items():
            if count > 0:
                self.undecodable[reason] = self.undecodable.get(reason, 0) + count
                _name(self.simplified, name, reason, sum(line.endswith(f": {reason}") for line in self.simplified) + 1)

    def as_json(self) -> dict[str, Any]:
        """Return the result as JSON values."""
        return asdict(self)


def _name(names: list[str], name: str, reason: str, count: int) -> None:
    if count <= _NAMED_EACH and len(names) < _NAMED:
        shown = "".join(letter if letter.isprintable() else "?" for letter in name)
        names.append(f"{shown[-_LONGEST_NAME:]}: {reason}")


@dataclass(slots=True)
class _Tally:
    """Imported mails before they are sorted: (date, sequence, folder id, mail)."""

    report: Imported = field(default_factory=Imported)
    held: list[tuple[str, int, str, ReadMail]] = field(default_factory=list)


def load(store: MailboxStore, paths: Sequence[Path], limits: Limits = _DEFAULT) -> Imported:
    """Import `paths` into the own mailbox, with its standard folders.

    Raise CannotImport.
    """
    for path in paths:
        if not path.exists():
            raise CannotImport(f"{path} is not there")
    tally = _Tally()
    folders = Folders(store)
    before = len(store.folders())
    for path in paths:
        for piece in pieces(path, limits):
            _take(store, folders, piece, tally)
    for _, _, folder_id, mail in sorted(tally.held, key=lambda held: held[:2]):
        store.add("mail", folder_id, mail.struct, mail.blobs)
    report = tally.report
    report.mails = len(tally.held)
    report.folders = len(store.folders()) - before
    report.undecodable = dict(Counter(report.undecodable).most_common())
    return report


def _take(store: MailboxStore, folders: Folders, found: Piece | Skipped | File, tally: _Tally) -> None:
    report = tally.report
    match found:
        case File():
            report.files += 1
        case Skipped(name, reason):
            report.skip(name, reason)
        case Piece(kind="mail"):
            mail = read_mail(found.data, Origin(found.flags, found.modified))
            if mail.deleted:
                report.skip(found.name, DELETED)
                return
            report.doubt(found.name, mail.warnings)
            report.attachments += len(mail.blobs)
            tally.held.append((mail.struct["receiveDate"], len(tally.held), folders.mail(found.folder), mail))
        case Piece(kind="calendar"):
            _take_calendar(store, folders, found, report)
        case Piece():
            _take_cards(store, folders, found, report)


def _take_calendar(store: MailboxStore, folders: Folders, found: Piece, report: Imported) -> None:
    of_file = Warnings()
    count = 0
    for count, entry in enumerate(read_calendar(found.data, of_file), 1):
        name = f"{found.name}, entry {count}"
        if entry.struct is None:
            report.skip(name, next(iter(entry.warnings)))
            continue
        store.add(entry.kind, folders.default(entry.kind), entry.struct)
        _count(report, entry.kind)
        report.doubt(name, entry.warnings)
    report.doubt(found.name, of_file)
    if not count:
        report.skip(found.name, EMPTY)


def _take_cards(store: MailboxStore, folders: Folders, found: Piece, report: Imported) -> None:
    of_file = Warnings()
    count = 0
    for count, card in enumerate(read_cards(found.data, of_file), 1):
        store.add("contact", folders.default("contact"), card.struct, card.blobs)
        report.attachments += len(card.blobs)
        _count(report, "contact")
        report.doubt(f"{found.name}, card {count}", card.warnings)
    report.doubt(found.name, of_file)
    if not count:
        report.skip(found.name, EMPTY)


def _count(report: Imported, kind: Kind) -> None:
    name = f"{kind}s"
    setattr(report, name, getattr(report, name) + 1)
