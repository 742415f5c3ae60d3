"""A mailbox in neutral terms: values that every layer may use.

Times are ISO 8601 text in UTC (`2026-03-01T09:30:00Z`), which sorts and which SQLite's date functions read; an invalid
time of the server is None. Sizes are bytes. Ids are the server's, opaque. `payload` is an item's documented struct as
the server sent it, in canonical JSON (keys sorted, no spaces, UTF-8). `extra` has the members that the API reference
does not know, so nothing is lost.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, NamedTuple

Kind = Literal["mail", "contact", "event", "task", "note"]
KINDS: tuple[Kind, ...] = ("mail", "contact", "event", "task", "note")
Role = Literal["none", "inbox", "drafts", "sent", "trash", "junk", "default", "resources", "people"]
Place = Literal["own", "shared", "public"]


class Identity(NamedTuple):
    """A mailbox: one account on one server. A cache belongs to exactly one."""

    server: str  # origin, such as https://mail.example.com
    account: str  # the server's id of the user
    user: str  # the name used to log in
    address: str  # the preferred mail address, for messages
    login: str = ""  # the primary address, as the server states it; "" if it does not
    protocol: str = "kerio"  # the protocol of the server


class Quota(NamedTuple):
    """The size of the mailbox as the server states it; 0 if it does not."""

    items: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder. `kind` None: it cannot hold items.

    `count`, `unread`, `size`: as the server stated them.
    """

    id: str
    parent_id: str
    name: str
    kind: Kind | None
    role: Role = "none"
    place: Place = "own"
    owner: str = ""
    readable: bool = True
    count: int = 0
    unread: int = 0
    size: int = 0
    payload: bytes = b"{}"
    extra: bytes | None = None


class ListedItem(NamedTuple):
    """A row of a listing. `size` 0 and `date` None if they are unknown."""

    id: str
    watermark: int
    size: int = 0
    date: str | None = None
    has_attachment: bool = False


class Attachment(NamedTuple):
    """An attachment of a mail, or the photo of a contact.

    `size`: as the struct states it, None if it does not.
    """

    id: str
    url: str
    name: str
    content_type: str = ""
    content_id: str = ""
    size: int | None = None
    role: Literal["attachment", "photo"] = "attachment"


class Item(NamedTuple):
    """One item, without the contents of its attachments.

    The members before `payload` are database columns.
    """

    id: str
    folder_id: str
    kind: Kind
    watermark: int
    title: str = ""  # subject, summary, common name, a note's first line
    who: str = ""  # sender, organiser, or a contact's first address
    recipients: str = ""
    date: str | None = None  # received, starts, due, modified
    end: str | None = None
    size: int = 0
    seen: bool = True
    flagged: bool = False
    answered: bool = False
    draft: bool = False
    message_id: str = ""
    payload: bytes = b"{}"
    extra: bytes | None = None
    attachments: tuple[Attachment, ...] = ()


class Page(NamedTuple):
    """A page of a list that may change meanwhile.

    `start`: offset of its first row. `total`: rows of the list as the server states them, which may be wrong. `items`:
    the items of `rows`, if whole items were requested.
    """

    rows: tuple[ListedItem, ...]
    start: int
    total: int
    items: tuple[Item, ...] = ()
    malformed: tuple[MalformedItem, ...] = ()


class MalformedItem(NamedTuple):
    """An item that the server sent in an invalid form; it is skipped.

    `id` may be empty.

    `unanswered`: the server leaves it out of every reply.
    """

    id: str
    reason: str
    unanswered: bool = False


class ItemBatch(NamedTuple):
    """The answer to a batch, and the cost of the request.

    It has items, ids that are gone, and malformed items.
    """

    items: tuple[Item, ...]
    gone: tuple[str, ...] = ()
    malformed: tuple[MalformedItem, ...] = ()
    plain_bytes: int = 0  # of the reply, uncompressed
    wire_bytes: int = 0  # of the reply's body as it travelled
    seconds: float = 0.0  # of the last attempt
    server_seconds: float = 0.0  # the part of them in the server, estimated
    min_latency: float = 0.0  # seconds that any reply takes at least


ChangeType = Literal["created", "modified", "flags", "moved", "deleted"]


class RemoteChange(NamedTuple):
    """One line of the change feed.

    A move has `old_id` and, if the server states it, `old_parent_id`.
    """

    type: ChangeType
    id: str
    parent_id: str
    is_folder: bool = False
    kind: Kind | None = None
    watermark: int = 0
    old_id: str = ""
    old_parent_id: str = ""


class ChangeSet(NamedTuple):
    """Changes since a sync key, and the next key."""

    changes: tuple[RemoteChange, ...]
    key: str  # opaque; for the next call


class ContentChunk(NamedTuple):
    """Consecutive bytes of an attachment.

    A later `offset` 0 means that it starts again: drop earlier bytes.
    """

    offset: int
    data: bytes
    total: int | None = None  # bytes of the whole attachment, if known
    etag: str = ""


@dataclass(frozen=True, slots=True)
class WriteResult:
    """The result of one of several writes: the new id and watermark, or the error."""

    index: int
    id: str = ""
    watermark: int = 0
    error: Exception | None = field(default=None, compare=False)
