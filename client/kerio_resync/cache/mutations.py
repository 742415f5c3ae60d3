"""What can be told to a cache, and what it tells: values without behaviour.

A fact is stored whole or not at all. Facts are idempotent: told twice in the same order, they leave the same state, so
that a run that does not know whether a fact was stored tells it again. Bytes are plain bytes, offsets count from 0.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final, Literal, NamedTuple

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
    """A file of a local change or of an item in "Conflicts", with its content."""

    name: str
    content_type: str
    data: bytes
    content_id: str = ""


class ChangeFile(NamedTuple):
    """A file of a recorded change, without its content. `key`: its row number, for `Outbox.content`."""

    key: int
    name: str
    content_type: str
    content_id: str
    size: int
    sha256: bytes


class LocalChange(NamedTuple):
    """A change made offline, and its state.

    `uuid` names it in every file. `struct` is a JSON object of the vendor's reference with the members to create or
    set, `watermark` the version that was changed, `made` the time (ISO 8601, UTC). `attempt` is what the last attempt
    recorded before its call, so that its outcome can be found out later; `code` the server's error code of a refusal
    (0: none), `version` the item's watermark after the change was sent (0: unknown), `new_id` the item's id if it was
    created or moved. `number` is the row in the outbox, 0 before it is recorded.
    """

    uuid: str
    action: Action
    kind: Kind
    item_id: str = ""
    folder_id: str = ""
    target_id: str = ""
    watermark: int = 0
    made: str = ""
    struct: bytes = b"{}"
    state: ChangeState = "pending"
    attempt: str = ""
    attempts: int = 0
    reason: str = ""
    code: int = 0
    version: int = 0
    new_id: str = ""
    number: int = 0
    files: tuple[ChangeFile, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """Return what `status` shows of it: no content."""
        return {
            "id": self.uuid,
            "action": self.action,
            "kind": self.kind,
            "item": self.item_id,
            "folder": self.folder_id,
            "made": self.made,
            "state": self.state,
            "attempts": self.attempts,
            "reason": self.reason,
            "files": len(self.files),
        }


class AddChange(NamedTuple):
    """Records a local change with its files. If the outbox has its uuid already, nothing changes.

    `change.number` and `change.files` are ignored: both are of the file that the change was read from.
    """

    change: LocalChange
    files: tuple[LocalFile, ...] = ()

    def byte_size(self) -> int:
        return len(self.change.struct) + sum(len(file.data) for file in self.files) + _ROW_BYTES


class MarkChange(NamedTuple):
    """Sets the state of a change. `sending` counts an attempt and sets `attempt`; an empty `new_id` changes nothing."""

    uuid: str
    state: ChangeState
    attempt: str = ""
    reason: str = ""
    code: int = 0
    version: int = 0
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
