"""Write operations on a cache, one immutable value each.

A mutation is stored entirely or not at all. Mutations are idempotent: applied twice in the same order, they leave the
same state, so that a run that does not know whether one was stored applies it again. Offsets count bytes from 0.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final, Literal, NamedTuple, Protocol

from kerio_resync.model import Folder, Item, ItemPatch, Kind, ListedItem

AttachmentState = Literal["wanted", "done", "omitted", "failed", "source"]
Action = Literal["create", "edit", "flags", "move", "delete"]
ChangeState = Literal["pending", "sending", "sent", "conflict", "refused", "withdrawn"]
FLAGS: Final = frozenset({"seen", "flagged", "answered", "draft"})
OMITTED_BY_POLICY: Final = "policy"
_ROW_BYTES: Final = 256  # memory of a row besides its texts


class Mutation(Protocol):
    """A value for `Store.apply`.

    `write/dispatch.py` names the function that applies it.
    """

    def byte_size(self) -> int:
        """Return about how much memory it takes. The writer's queue is bounded by bytes."""
        ...


@dataclass(frozen=True, slots=True)
class SetFolders:
    """All folders of the server, with their `ranks` by id.

    Folders of a lower rank are fetched earlier; the default is 100. A stored folder of the server that is missing here
    is deleted with its items. Local folders stay, and a folder with the id of a local one is skipped. A placeholder
    folder, which items named before the server did, becomes known; if it is missing here it is deleted and skipped.
    """

    folders: tuple[Folder, ...]
    ranks: dict[str, int] = field(default_factory=dict)

    def byte_size(self) -> int:
        return sum(len(folder.payload) + len(folder.name) + _ROW_BYTES for folder in self.folders)


class PutPage(NamedTuple):
    """A page of a listing of the folders `folder_ids`.

    `rows` are queued, unless they are stored in that version, or queued already; `items` are stored. A row without
    folders of its own is in the first folder. `position` is where the listing resumes, `listed` the number of rows up
    to there. `done`: the listing is complete.
    """

    folder_ids: tuple[str, ...]
    rows: tuple[ListedItem, ...] = ()
    items: tuple[Item, ...] = ()
    omit_attachments: bool = False
    position: bytes | None = None
    listed: int = 0
    done: bool = False

    def byte_size(self) -> int:
        return len(self.rows) * _ROW_BYTES * 2 + _items_byte_size(self.items)


class ResetListing(NamedTuple):
    """Lets the listing of folders begin again."""

    folder_ids: tuple[str, ...]

    def byte_size(self) -> int:
        return _ROW_BYTES * len(self.folder_ids)


class PutItems(NamedTuple):
    """Items as the server sent them.

    If an id comes twice, the last one counts. An item leaves the queue, unless another known version is queued. It
    stays queued for that reason once only: a server that lists versions which it does not have must not keep the run
    going for ever. Attachments that came with the item are stored; others are queued, omitted, or left in the source.
    A stored one is kept if `keep_contents` has the item's id and id and size of the attachment agree, or if the item
    was moved (`ApplyChanges.moved`) and ordinal, name, type and size agree. An item of an unknown folder waits for
    `SetFolders`. The item is no longer skipped.
    """

    items: tuple[Item, ...]
    omit_attachments: bool = False
    keep_contents: frozenset[str] = frozenset()

    def byte_size(self) -> int:
        return _items_byte_size(self.items)


class PutAttachmentBytes(NamedTuple):
    """Bytes of the attachment with the row number `attachment`.

    They begin within what is stored or right behind it. Bytes beyond a gap are ignored, and so are those of an
    attachment that is complete or no longer stored.
    """

    attachment: int
    offset: int
    data: bytes
    etag: str = ""

    def byte_size(self) -> int:
        return len(self.data) + _ROW_BYTES


class FinishAttachment(NamedTuple):
    """An attachment is complete.

    If not exactly `size` bytes are stored, it is queued again from its start.
    """

    attachment: int
    sha256: bytes
    size: int

    def byte_size(self) -> int:
        return _ROW_BYTES


class PutWholeAttachment(NamedTuple):
    """An attachment that came in one piece.

    It is `PutAttachmentBytes` and `FinishAttachment` in one.
    """

    attachment: int
    data: bytes
    sha256: bytes
    etag: str = ""

    def byte_size(self) -> int:
        return len(self.data) + _ROW_BYTES


class RestartAttachment(NamedTuple):
    """Drops the bytes of an attachment and queues it."""

    attachment: int

    def byte_size(self) -> int:
        return _ROW_BYTES


class OmitAttachment(NamedTuple):
    """An attachment is not downloaded.

    It is `omitted` if the reason is `OMITTED_BY_POLICY`, else `failed`.
    """

    attachment: int
    reason: str

    def byte_size(self) -> int:
        return _ROW_BYTES


class EnqueueItems(NamedTuple):
    """Items to fetch, whatever is stored of them."""

    folder_id: str
    kind: Kind
    rows: tuple[ListedItem, ...]

    def byte_size(self) -> int:
        return len(self.rows) * _ROW_BYTES * 2


class DeleteItems(NamedTuple):
    """Items that are no longer on the server. They are deleted, and leave the queue."""

    ids: tuple[str, ...]

    def byte_size(self) -> int:
        return len(self.ids) * _ROW_BYTES


class ApplyChanges(NamedTuple):
    """The server's changes up to a sync key, and the key.

    They are applied in the order `deleted`, `moved`, `patched`, `queued`. A moved item (old id, new id, new folder)
    keeps its row and its attachments under the new id, and is queued. A patch of an item that is not stored queues it,
    as does a patch of one that is queued already.
    """

    key: str
    deleted: tuple[str, ...] = ()
    queued: tuple[tuple[str, Kind, ListedItem], ...] = ()
    moved: tuple[tuple[str, str, str], ...] = ()
    patched: tuple[ItemPatch, ...] = ()

    def byte_size(self) -> int:
        rows = len(self.deleted) + 2 * len(self.queued) + 4 * len(self.moved) + 8 * len(self.patched) + 1
        return rows * _ROW_BYTES


class PatchItems(NamedTuple):
    """New flags and folders of stored items.

    An item that is not stored is queued, as is one that is queued already.
    """

    patches: tuple[ItemPatch, ...]

    def byte_size(self) -> int:
        return 8 * len(self.patches) * _ROW_BYTES


class SkipEntry(NamedTuple):
    """Something is left out, with the reason. A skipped item leaves the queue."""

    scope: str
    id: str
    reason: str

    def byte_size(self) -> int:
        return _ROW_BYTES


class UnskipEntry(NamedTuple):
    """Something is no longer left out."""

    scope: str
    id: str

    def byte_size(self) -> int:
        return _ROW_BYTES


class SetMeta(NamedTuple):
    """A value of the table `meta`."""

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
    """A file of a recorded change, without its content.

    `key`: its row number, for `Outbox.content`.
    """

    key: int
    name: str
    content_type: str
    content_id: str
    size: int
    sha256: bytes


class LocalChange(NamedTuple):
    """A change made offline, and its state.

    `uuid` names it in every file. `struct` of `create` and `edit` is a JSON object in the server's dialect with the
    members to create or set; that of `flags` has some of the members in `FLAGS`. A creation whose struct has no others,
    with one file of the type message/rfc822, creates that mail. `version` is the version that was changed,
    `made` the time (ISO 8601, UTC). `attempt` is what the last attempt recorded before its call, so that its outcome
    can be found out later; `code` the server's error code of a refusal (0: none), `sent_version` the item's version
    after the change was sent ("": unknown), `new_id` the item's id if it was created or moved. `number` is the row in
    the outbox, 0 before it is recorded.
    """

    uuid: str
    action: Action
    kind: Kind
    item_id: str = ""
    folder_id: str = ""
    target_id: str = ""
    version: str = ""
    made: str = ""
    struct: bytes = b"{}"
    state: ChangeState = "pending"
    attempt: str = ""
    attempts: int = 0
    reason: str = ""
    code: int = 0
    sent_version: str = ""
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
    """A local change to record, with its files.

    A change whose uuid is known changes nothing. `change.number` and `change.files` are ignored: both are of the file
    that the change was read from.
    """

    change: LocalChange
    files: tuple[LocalFile, ...] = ()

    def byte_size(self) -> int:
        return len(self.change.struct) + sum(len(file.data) for file in self.files) + _ROW_BYTES


class MarkChange(NamedTuple):
    """The new state of a change.

    `sending` counts an attempt and sets `attempt`. An empty `new_id` leaves the column as it is.
    """

    uuid: str
    state: ChangeState
    attempt: str = ""
    reason: str = ""
    code: int = 0
    sent_version: str = ""
    new_id: str = ""

    def byte_size(self) -> int:
        return len(self.attempt) + _ROW_BYTES


class PutLocal(NamedTuple):
    """An item that exists only here, for the local folder "Conflicts", with its files.

    `uuid` names the change that lost, if there is one: its state becomes `conflict` in the same transaction.
    """

    item: Item
    files: tuple[LocalFile, ...] = ()
    uuid: str = ""
    reason: str = ""

    def byte_size(self) -> int:
        return _items_byte_size((self.item,)) + sum(len(file.data) for file in self.files)


def _items_byte_size(items: Iterable[Item]) -> int:
    return sum(
        len(item.payload)
        + len(item.text or "")
        + len(item.html or "")
        + sum(len(content.data or b"") + _ROW_BYTES for content in item.attachments)
        + 4 * _ROW_BYTES
        for item in items
    )
