"""The mailbox in our own words: values that every layer shares and no layer owns.

Times are ISO 8601 text in UTC (`2026-03-01T09:30:00Z`), which sorts and which SQLite's date functions read; a time the
server gave that is no time is None. Sizes are bytes. Ids are the server's, opaque. `payload` is the item's documented
struct as the server sent it, as canonical JSON (keys sorted, no spaces, UTF-8); members the reference does not know
stand apart in `extra`, so that nothing the server said is lost.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, NamedTuple

Kind = Literal["mail", "contact", "event", "task", "note"]
KINDS: tuple[Kind, ...] = ("mail", "contact", "event", "task", "note")
Role = Literal["none", "inbox", "drafts", "sent", "trash", "junk", "default", "resources", "people"]
Place = Literal["own", "shared", "public"]


class Identity(NamedTuple):
    """Whose mailbox it is, and where. A cache is used for the mailbox it was made for only (`identity`)."""

    server: str  # origin, such as https://mail.example.com
    account: str  # the server's id of the user
    user: str  # the name to log in with
    address: str  # the preferred mail address, for people
    login: str = ""  # the login name that the server states: the primary address; '' if it states none
    protocol: str = "kerio"  # what the server is spoken to in


class Quota(NamedTuple):
    """What the server says the mailbox holds; 0 where it does not say."""

    items: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Folder:
    """`kind` None: a root that holds no items. `count`, `size`: the server's figures when it was asked."""

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
    """One line of a listing: what is known of an item before it is fetched. `size` 0 and `date` None if not told."""

    id: str
    watermark: int
    size: int = 0
    date: str | None = None
    has_attachment: bool = False


class Attachment(NamedTuple):
    """`role`: "attachment" of a mail, "photo" of a contact. `size` as the struct says it, None if it doesn't."""

    id: str
    url: str
    name: str
    content_type: str = ""
    content_id: str = ""
    size: int | None = None
    role: Literal["attachment", "photo"] = "attachment"


class Item(NamedTuple):
    """One item, whole but for its attachments' contents. The members before `payload` are for people's queries."""

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
    """A slice of a living list. `start`: the offset of its first row; `total`: the server's count, which may lie.

    `items` stands beside `rows` when the page was asked for whole (`Mailbox.page(..., whole=True)`).
    """

    rows: tuple[ListedItem, ...]
    start: int
    total: int
    items: tuple[Item, ...] = ()
    malformed: tuple[MalformedItem, ...] = ()


class MalformedItem(NamedTuple):
    """An item the server sent that can't be one: counted, named, skipped. `id` may be empty.

    `unanswered`: the server says nothing about it, however often it is asked.
    """

    id: str
    reason: str
    unanswered: bool = False


class ItemBatch(NamedTuple):
    """The answer to a batch: what came, what is gone, what was refused, and what the trip cost."""

    items: tuple[Item, ...]
    gone: tuple[str, ...] = ()
    malformed: tuple[MalformedItem, ...] = ()
    plain_bytes: int = 0  # of the reply, uncompressed
    wire_bytes: int = 0  # of the reply's body as it travelled
    seconds: float = 0.0  # of the last attempt
    server_seconds: float = 0.0  # of these, as far as can be told, those that the server had the request for
    min_latency: float = 0.0  # seconds that a reply takes at the least


ChangeType = Literal["created", "modified", "flags", "moved", "deleted"]


class RemoteChange(NamedTuple):
    """One line of the change feed. A move has `old_id` (the id before) and, if told, `old_parent_id`."""

    type: ChangeType
    id: str
    parent_id: str
    is_folder: bool = False
    kind: Kind | None = None
    watermark: int = 0
    old_id: str = ""
    old_parent_id: str = ""


class ChangeSet(NamedTuple):
    changes: tuple[RemoteChange, ...]
    key: str  # opaque: where the next call goes on


class ContentChunk(NamedTuple):
    """Consecutive bytes of an attachment. `offset` 0 again means that it starts again: drop what came before."""

    offset: int
    data: bytes
    total: int | None = None  # bytes in all, if the server said
    etag: str = ""


@dataclass(frozen=True, slots=True)
class WriteResult:
    """What became of one of several things asked for at once: the new id and watermark, or why not."""

    index: int
    id: str = ""
    watermark: int = 0
    error: Exception | None = field(default=None, compare=False)
