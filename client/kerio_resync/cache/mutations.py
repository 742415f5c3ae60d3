"""What can be told to a cache, and what it tells: values without behaviour.

A fact is stored whole or not at all. Facts are idempotent: told twice in the same order, they leave the same state, so
that a run that does not know whether a fact was stored tells it again. Bytes are plain bytes, offsets count from 0.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, Literal, NamedTuple

from kerio_resync.model import Folder, Item, Kind, ListedItem

AttachmentState = Literal["wanted", "done", "omitted", "failed"]
Action = Literal["create", "edit", "flags", "move", "delete"]
ChangeState = Literal["pending", "sending", "sent", "conflict", "refused", "withdrawn"]
OMITTED_BY_POLICY: Final = "policy"
_ROW_BYTES: Final = 256  # what a row costs beside its texts, for the bound on the queue


@dataclass(frozen=True, slots=True)
class SetFolders:
    """All folders of the server. `ranks` by folder id; lower is fetched earlier, 100 if not named.

    A stored server folder that is not among them goes, with its items. Local folders stay, and a server folder that
    bears a local folder's id is skipped. A folder that items named before the server did is now known; if the server
    does not name it either, it goes and is counted in `skipped`.
    """

    folders: tuple[Folder, ...]
    ranks: dict[str, int] = field(default_factory=dict)

    def byte_size(self) -> int:
        return sum(len(each.payload) + len(each.name) + _ROW_BYTES for each in self.folders)


class PutPage(NamedTuple):
    """One page of a listing: `rows` become wanted unless stored in that version or a newer one, or wanted already;
    `items` are stored at once. `position` is where the listing goes on; `done`: the folder's listing is complete."""

    folder_id: str
    rows: tuple[ListedItem, ...]
    items: tuple[Item, ...] = ()
    omit_attachments: bool = False
    position: bytes | None = None
    done: bool = False

    def byte_size(self) -> int:
        return len(self.rows) * _ROW_BYTES * 2 + _byte_size(self.items)


class ResetListing(NamedTuple):
    """The folder's listing starts again."""

    folder_id: str

    def byte_size(self) -> int:
        return _ROW_BYTES


class PutItems(NamedTuple):
    """Items as the server sent them. One older than what is stored changes nothing.

    Each is no longer wanted, unless a newer version than this is: then it stays wanted, but only once, so that a server
    that promises versions it does not have can't keep us running for ever. Attachments become wanted (or omitted);
    contents that are here stay if `keep_contents` names the item and id and size agree, or if the item was moved
    (`Apply.moved`) and place, name, type and size agree. An item of an unknown folder waits for `SetFolders` to name
    it. One that had been skipped no longer is.
    """

    items: tuple[Item, ...]
    omit_attachments: bool = False
    keep_contents: frozenset[str] = frozenset()

    def byte_size(self) -> int:
        return _byte_size(self.items)


class PutAttachmentBytes(NamedTuple):
    """Bytes of an attachment (`attachment` is its number). They begin at or before what is stored without a gap;
    bytes beyond a gap, or of an attachment that is no longer there or is done, are let go."""

    attachment: int
    offset: int
    data: bytes
    etag: str = ""

    def byte_size(self) -> int:
        return len(self.data) + _ROW_BYTES


class FinishAttachment(NamedTuple):
    """The content is whole. If `size` bytes are not stored, it is not, and is wanted again from its start."""

    attachment: int
    sha256: bytes
    size: int

    def byte_size(self) -> int:
        return _ROW_BYTES


class PutWholeAttachment(NamedTuple):
    """A content that came in one piece: `PutAttachmentBytes` from the start and `FinishAttachment` in one."""

    attachment: int
    data: bytes
    sha256: bytes
    etag: str = ""

    def byte_size(self) -> int:
        return len(self.data) + _ROW_BYTES


class RestartAttachment(NamedTuple):
    """Lets go of the bytes of an attachment; it is wanted."""

    attachment: int

    def byte_size(self) -> int:
        return _ROW_BYTES


class OmitAttachment(NamedTuple):
    """The attachment is not fetched, and why: its state is `failed`, or `omitted` if the reason is POLICY."""

    attachment: int
    reason: str

    def byte_size(self) -> int:
        return _ROW_BYTES


class EnqueueItems(NamedTuple):
    """These are to be fetched, whatever is stored."""

    folder_id: str
    kind: Kind
    rows: tuple[ListedItem, ...]

    def byte_size(self) -> int:
        return len(self.rows) * _ROW_BYTES * 2


class DeleteItems(NamedTuple):
    """These are no longer on the server: items, their contents, and the wish for them go."""

    ids: tuple[str, ...]

    def byte_size(self) -> int:
        return len(self.ids) * _ROW_BYTES


class ApplyChanges(NamedTuple):
    """What the change feed said up to `key`, and the key, together. In this order: forget, moved, want.

    A moved item (old id, new id, new folder) keeps its row and contents under the new id, and is wanted anew.
    """

    key: str
    forget: tuple[str, ...] = ()
    want: tuple[tuple[str, Kind, ListedItem], ...] = ()
    moved: tuple[tuple[str, str, str], ...] = ()

    def byte_size(self) -> int:
        return (len(self.forget) + 2 * len(self.want) + 4 * len(self.moved) + 1) * _ROW_BYTES


class SkipEntry(NamedTuple):
    """Something was left out; the same scope and id again replaces the reason. A skipped "item" is no longer wanted."""

    scope: str
    id: str
    reason: str

    def byte_size(self) -> int:
        return _ROW_BYTES


class UnskipEntry(NamedTuple):
    """What was skipped came after all."""

    scope: str
    id: str

    def byte_size(self) -> int:
        return _ROW_BYTES


class SetMeta(NamedTuple):
    key: str
    value: str

    def byte_size(self) -> int:
        return len(self.value) + _ROW_BYTES


class LocalFile(NamedTuple):
    """A file that belongs to a local change."""

    name: str
    content_type: str
    data: bytes
    content_id: str = ""


class LocalChange(NamedTuple):
    """A change made offline. `uuid` names it for ever; `struct` is a documented struct (JSON) with the members to
    create or set, `watermark` the version that was changed, `made` when (ISO 8601, UTC)."""

    uuid: str
    action: Action
    kind: Kind
    item_id: str = ""
    folder_id: str = ""
    target_id: str = ""
    watermark: int = 0
    made: str = ""
    struct: bytes = b"{}"
    files: tuple[LocalFile, ...] = ()


class AddChange(NamedTuple):
    """A local change is to be sent; one whose uuid is known already changes nothing. `attempt`, `attempts`, `state`,
    `reason`, `new_id` come along when it is carried over from another file."""

    change: LocalChange
    state: ChangeState = "pending"
    attempt: str = ""
    attempts: int = 0
    reason: str = ""
    new_id: str = ""

    def byte_size(self) -> int:
        return len(self.change.struct) + sum(len(each.data) for each in self.change.files) + _ROW_BYTES


class MarkChange(NamedTuple):
    """What became of a change. `attempt` non-empty counts one attempt more; `new_id` '' leaves it as it is."""

    uuid: str
    state: ChangeState
    attempt: str = ""
    reason: str = ""
    new_id: str = ""

    def byte_size(self) -> int:
        return len(self.attempt) + _ROW_BYTES


class PutLocal(NamedTuple):
    """An item that exists here alone goes into the local folder "Conflicts", with its files; `uuid`, if given, names
    the change that lost, whose state becomes `conflict` in the same transaction."""

    item: Item
    files: tuple[LocalFile, ...] = ()
    uuid: str = ""
    reason: str = ""

    def byte_size(self) -> int:
        return _byte_size((self.item,)) + sum(len(each.data) for each in self.files)


Mutation = (
    SetFolders
    | PutPage
    | ResetListing
    | PutItems
    | PutAttachmentBytes
    | PutWholeAttachment
    | FinishAttachment
    | RestartAttachment
    | OmitAttachment
    | EnqueueItems
    | DeleteItems
    | ApplyChanges
    | SkipEntry
    | UnskipEntry
    | SetMeta
    | AddChange
    | MarkChange
    | PutLocal
)


def _byte_size(items: Iterable[Item]) -> int:
    return sum(len(each.payload) + len(each.attachments) * _ROW_BYTES + 4 * _ROW_BYTES for each in items)
