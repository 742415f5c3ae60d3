"""A mailbox in neutral terms: values that every layer may use.

Times are ISO 8601 text in UTC (`2026-03-01T09:30:00Z`), which sorts and which SQLite's date functions read; an invalid
time of the server is None. Sizes are bytes. Ids are the server's, opaque. Versions are opaque, too: an item has another
version exactly if it has changed; "" is an unknown version. `payload` is what the server sent of an item, in the
server's dialect, as canonical JSON (keys sorted, no spaces, UTF-8). `extra` has the members that the API reference does
not know, so nothing is lost.
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


class Traits(NamedTuple):
    """How a mailbox differs from others.

    `ordered_versions`: versions are decimal numbers, and a greater one is newer. `several_folders`: an item may be in
    several folders. `immutable_contents`: only flags and folders of an item can change, so an item that is stored needs
    no content again. `sources`: items come with their source, the raw RFC 5322 text. `inline_bytes`: sources up to
    this size come in the same reply as the item. `lists_whole_items`: a list of folders that hold no mails can come
    with the items. `max_batch_items`: items per `items_by_id`.
    """

    ordered_versions: bool = False
    several_folders: bool = False
    immutable_contents: bool = False
    sources: bool = False
    inline_bytes: int = 0
    lists_whole_items: bool = False
    max_batch_items: int = 1_000


def is_newer(version: str, other: str) -> bool:
    """Return whether one of two known ordered versions is newer than the other."""
    return int(version) > int(other)


class ListedItem(NamedTuple):
    """A row of a listing. `size` 0 and `date` None if they are unknown.

    `folder_ids` is () if the list is that of a single folder: then the item is in that folder.
    """

    id: str
    version: str
    size: int = 0
    date: str | None = None
    has_attachment: bool = False
    folder_ids: tuple[str, ...] = ()


class Attachment(NamedTuple):
    """A content of an item: an attachment, a contact's photo, or a mail's source.

    `size`: as the server states it, None if it does not. `data`: the content, if it came with the item. `in_source`:
    its bytes are part of the item's source, and are not stored apart.
    """

    id: str
    url: str
    name: str
    content_type: str = ""
    content_id: str = ""
    size: int | None = None
    role: Literal["attachment", "photo", "source"] = "attachment"
    data: bytes | None = None
    in_source: bool = False


class Item(NamedTuple):
    """One item, without the contents of its attachments.

    `folder_ids` has at least one folder. The members from `kind` to `details` are database columns. `details`: a JSON
    object in neutral words with what the views of contacts, events, tasks and notes show (docs/database.md).
    """

    id: str
    folder_ids: tuple[str, ...]
    kind: Kind
    version: str
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
    text: str | None = None  # plain text of a mail, a contact's comment, a description, a note
    html: str | None = None  # of a mail
    details: bytes | None = None
    payload: bytes = b"{}"
    extra: bytes | None = None
    attachments: tuple[Attachment, ...] = ()

    @property
    def folder_id(self) -> str:
        """Return the first of its folders, "" if the server names none."""
        return self.folder_ids[0] if self.folder_ids else ""


@dataclass(frozen=True, slots=True)
class Listing:
    """Folders whose items the server lists together: one folder, or a whole account."""

    folders: tuple[Folder, ...]

    @property
    def id(self) -> str:
        """Return the id of its first folder, which names it."""
        return self.folders[0].id

    @property
    def folder_ids(self) -> tuple[str, ...]:
        """Return the ids of its folders."""
        return tuple(folder.id for folder in self.folders)

    @property
    def count(self) -> int:
        """Return how many items its folders have, as the server states it."""
        return sum(folder.count for folder in self.folders)


class ListingPage(NamedTuple):
    """A page of a listing that may change meanwhile.

    `rows`: all of its rows; `fresh`: those that were on no page before. `position`: opaque; the listing can resume
    after this page with it. `listed`: rows up to here. `done`: it is the last page. `items`: the items of `rows`, if
    whole items were requested.
    """

    rows: tuple[ListedItem, ...]
    fresh: tuple[ListedItem, ...]
    position: bytes
    listed: int
    done: bool = False
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
    version: str = ""
    old_id: str = ""
    old_parent_id: str = ""
    folder_ids: tuple[str, ...] = ()  # of a created item, if it may be in several folders


class ItemPatch(NamedTuple):
    """New flags and folders of an item whose contents are immutable.

    `members`: a JSON object whose members replace those of the payload. `same`: a JSON object with members that the
    payload has; if it has others, the server gave the id to another item, which has to be fetched.
    """

    id: str
    folder_ids: tuple[str, ...]
    version: str
    seen: bool
    flagged: bool
    answered: bool
    draft: bool
    members: bytes
    same: bytes = b"{}"


class ChangeSet(NamedTuple):
    """Changes since a sync key, and the next key.

    `patches`: items of which only flags and folders changed; none of them is in `changes`.
    """

    changes: tuple[RemoteChange, ...]
    key: str  # opaque; for the next call
    patches: tuple[ItemPatch, ...] = ()


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
    """The result of one of several writes: the new id and version, or the error."""

    index: int
    id: str = ""
    version: str = ""
    error: Exception | None = field(default=None, compare=False)
