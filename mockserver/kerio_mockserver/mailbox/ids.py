"""The form of ids and download addresses.

    keriostorage://folder/<domain>/<user>/<guid>
    keriostorage://mail/<domain>/<user>/<guid>/<number>              (contact, event, task, note likewise)
    keriostorage://attachment/<domain>/<user>/<guid>/<number>/<part>
    /webmail/api/download/attachment/<guid>/<number>/<part>/<name, percent-encoded>
    /webmail/api/download/attachment/tmp/<id of an upload>/<name, percent-encoded>

`<guid>` is the folder's. A number has one spelling only, so that an item has one id.
"""

from __future__ import annotations

from typing import Literal, NamedTuple
from urllib.parse import quote

Kind = Literal["mail", "contact", "event", "task", "note"]
KINDS: tuple[Kind, ...] = ("mail", "contact", "event", "task", "note")

SCHEME = "keriostorage://"
DOWNLOADS = "/webmail/api/download/attachment"
UPLOADED = f"{DOWNLOADS}/tmp/"


class FolderAddress:
    """The prefixes of all ids and addresses in one folder; `kind` None: no items."""

    __slots__ = ("domain", "folder_id", "guid", "item", "kind", "part", "piece", "user")

    def __init__(self, domain: str, user: str, guid: str, kind: Kind | None) -> None:
        self.domain, self.user, self.guid, self.kind = domain, user, guid, kind
        self.folder_id = f"{SCHEME}folder/{domain}/{user}/{guid}"
        self.item = f"{SCHEME}{kind}/{domain}/{user}/{guid}/"
        self.piece = f"{SCHEME}attachment/{domain}/{user}/{guid}/"
        self.part = f"{SCHEME}part/{domain}/{user}/{guid}/"

    def attachment_id(self, number: int, part: str) -> str:
        return f"{self.piece}{number}/{part}"

    def url(self, number: int, part: str, name: str) -> str:
        """Return the download address.

        An empty name is replaced, so that the address does not end in a slash, and so is `..`, which clients would
        resolve.
        """
        word = quote(name, safe="") if name.strip(".") else "attachment"
        return f"{DOWNLOADS}/{self.guid}/{number}/{part}/{word}"


class Parsed(NamedTuple):
    """A parsed id; `number` is 0 for a folder, `part` empty except for an attachment."""

    kind: str
    owner: str
    guid: str
    number: int
    part: str


_LENGTHS: dict[str, int] = {"folder": 4, "attachment": 6, "mail": 5, "contact": 5, "event": 5, "task": 5, "note": 5}


def parse(text: str) -> Parsed | None:
    """Return a parsed id, or None if it is invalid."""
    if not text.startswith(SCHEME):
        return None
    pieces = text[len(SCHEME) :].split("/")
    if _LENGTHS.get(pieces[0]) != len(pieces):
        return None
    kind, domain, user, guid = pieces[:4]
    number = whole(pieces[4]) if len(pieces) > 4 else 0
    if number is None:
        return None
    return Parsed(kind, f"{domain}/{user}", guid, number, pieces[5] if len(pieces) > 5 else "")


def whole(text: str) -> int | None:
    """Return a positive number in decimal digits without leading zeros, or None."""
    if text.isascii() and text.isdigit() and text[0] != "0" and len(text) < 16:
        return int(text)
    return None


def owner(text: str) -> str:
    """Return `<domain>/<user>` of an id; empty for an invalid one."""
    pieces = text.removeprefix(SCHEME).split("/", 3)
    return f"{pieces[1]}/{pieces[2]}" if len(pieces) == 4 else ""


def is_upload(text: str) -> bool:
    """Return whether this is the address of an uploaded file."""
    return text.startswith(UPLOADED)


def upload_id(text: str) -> str:
    """Return the id of an upload, given by id or address."""
    return text.removeprefix(UPLOADED).partition("/")[0] if is_upload(text) else text
