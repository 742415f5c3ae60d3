"""The outbox: changes made offline, from the day they are made until the server has them or a person decides.

A change is named by its uuid for ever, also when it is carried to another file. Its states:

    pending → sending → sent                     the server has it
                      → conflict                 the server's item stays, the local one is in "Conflicts"
                      → refused (reason)         stays, named; `again` makes it pending
    pending → withdrawn                          by who made it

`sending` is recorded, with a token, and on the disk, before the call is made: a run that finds it does not know whether
the call was processed, and looks on the server before it creates anything. Every call returns when its word is durable.
"""

from __future__ import annotations

import sqlite3
import uuid
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from kerio_resync.cache.bulk_sql import record
from kerio_resync.cache.mutations import Action, AddChange, ChangeState, LocalChange, LocalFile, MarkChange, PutLocal
from kerio_resync.cache.write.outbox import change_checksum
from kerio_resync.model import Item, Kind

if TYPE_CHECKING:
    from kerio_resync.cache.store import Store

OPEN: Final[tuple[ChangeState, ...]] = ("pending", "sending", "conflict", "refused")
_VERSION: Final = "version "
TO_SEND: Final[tuple[ChangeState, ...]] = ("pending", "sending")


class ChangeFile(NamedTuple):
    """A file of a change; `key` is its number, for `Outbox.file`."""

    key: int
    name: str
    content_type: str
    content_id: str
    size: int
    sha256: bytes


class Change(NamedTuple):
    """A change in the outbox; see `facts.LocalChange` for the first members. `attempt`: the last attempt's token and,
    after a space, its trace."""

    number: int
    uuid: str
    action: Action
    kind: Kind
    item_id: str
    folder_id: str
    target_id: str
    watermark: int
    made: str
    struct: bytes
    state: ChangeState
    attempt: str
    attempts: int
    reason: str
    new_id: str
    files: tuple[ChangeFile, ...] = ()

    @property
    def trace(self) -> str:
        """What the last attempt recorded for whoever has to find out whether it was processed; '' if nothing."""
        return self.attempt.partition(" ")[2]

    @property
    def version(self) -> int:
        """The item's watermark after a change that was sent; 0 if it is not known."""
        told = self.reason.removeprefix(_VERSION) if self.state == "sent" else ""
        return int(told) if told.isascii() and told.isdigit() else 0

    def as_json(self) -> dict[str, Any]:
        """For people and scripts: what it is and how it stands, without its content."""
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


class Outbox:
    """The outbox of an open cache."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def add(
        self,
        action: Action,
        kind: Kind,
        *,
        item_id: str = "",
        folder_id: str = "",
        target_id: str = "",
        watermark: int = 0,
        struct: bytes = b"{}",
        files: Sequence[LocalFile] = (),
    ) -> str:
        """Records a change; its uuid. `struct`: the members to create or set, JSON."""
        name = str(uuid.uuid4())
        made = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        change = LocalChange(
            name, action, kind, item_id, folder_id, target_id, watermark, made, struct, tuple(files)
        )  # fmt: skip
        await self._tell(AddChange(change))
        return name

    async def list(self, states: Sequence[ChangeState] = OPEN) -> tuple[Change, ...]:
        """Oldest first."""
        return await self._store.outbox(states)

    def file(self, key: int) -> AsyncIterator[bytes]:
        """A file's content, in chunks of at most 256 KiB."""
        return self._store.change_file(key)

    async def find_by_message_id(self, message_id: str) -> tuple[str, ...]:
        """Ids of the mails that have this Message-ID, in any folder. Looks at all mails: a second for a gigabyte."""
        return await self._store.mails_with_message_id(message_id)

    async def begin_attempt(self, change: str, trace: str = "") -> str:
        """An attempt begins; its token, recorded before it is returned, and with it what would be needed to find out
        whether the attempt was processed."""
        token = str(uuid.uuid4())
        await self._tell(MarkChange(change, "sending", attempt=f"{token} {trace}" if trace else token))
        return token

    async def mark_sent(self, change: str, new_id: str = "", version: int = 0) -> None:
        """The server has it; the id it is known by there if that is another now, and the item's watermark after it."""
        reason = f"{_VERSION}{version}" if version else ""
        await self._tell(MarkChange(change, "sent", reason=reason, new_id=new_id))

    async def mark_refused(self, change: str, reason: str) -> None:
        await self._tell(MarkChange(change, "refused", reason=reason))

    async def mark_pending(self, change: str) -> None:
        """It is surely not processed, or a person wants it tried again."""
        await self._tell(MarkChange(change, "pending"))

    async def mark_withdrawn(self, change: str) -> None:
        await self._tell(MarkChange(change, "withdrawn"))

    async def record_conflict(self, change: str, item: Item, reason: str, files: Sequence[LocalFile] = ()) -> None:
        """The server's item stays; the local one, as `item`, goes into the local folder "Conflicts" in the same breath.

        Its id there is made of the change's uuid, so that told twice it is there once."""
        await self._tell(PutLocal(item._replace(id=f"local:{change}"), tuple(files), change, reason))

    async def _tell(self, fact: AddChange | MarkChange | PutLocal) -> None:
        await self._store.apply(fact)
        await self._store.flush()


_READ: Final = (
    "SELECT number, uuid, action, kind, item_id, folder_id, target_id, watermark, made, CAST(struct AS BLOB), state,"
    " attempt, attempts, reason, new_id FROM outbox WHERE "
)


def changes(db: sqlite3.Connection, states: Sequence[str]) -> tuple[Change, ...]:
    """Oldest first, without the files' contents."""
    rows = db.execute(_READ + f"state IN ({', '.join('?' * len(states))}) ORDER BY number", tuple(states)).fetchall()
    return tuple(record(Change, *row, files(db, row[0])) for row in rows)


def change(db: sqlite3.Connection, number: int) -> Change | None:
    row = db.execute(_READ + "number = ?", (number,)).fetchone()
    return record(Change, *row, files(db, number)) if row else None


def state(db: sqlite3.Connection, name: str) -> ChangeState | None:
    row = db.execute("SELECT state FROM outbox WHERE uuid = ?", (name,)).fetchone()
    found: ChangeState | None = row[0] if row else None
    return found


def is_intact(db: sqlite3.Connection, change: Change) -> bool:
    """Whether it is as it was recorded, and has all its files; their contents have sums of their own."""
    told, count = db.execute("SELECT checksum, files FROM outbox WHERE number = ?", (change.number,)).fetchone()
    return bool(count == len(change.files) and told == checksum(change))


def checksum(change: Change) -> bytes:
    """What its row's checksum must be."""
    described = [(each.name, each.content_type, each.content_id, each.size, each.sha256.hex()) for each in change.files]
    return change_checksum(local_item_of(change), described)


def ancestors_of_pending(changes: Sequence[Change]) -> frozenset[str]:
    """The uuids of those that were sent and that changes still to be settled build on: they created or moved the item,
    gave it its version, or created one alike."""
    left = [each for each in changes if each.state in OPEN]
    names = {each.item_id for each in left} - {""}
    unsure = {(each.kind, each.folder_id) for each in left if each.action == "create" and each.state == "sending"}
    found: set[str] = set()
    for each in reversed([each for each in changes if each.state == "sent"]):
        known_as = {f"local:{each.uuid}", each.item_id, each.new_id} - {""}
        if names & known_as or (each.action == "create" and (each.kind, each.folder_id) in unsure):
            found.add(each.uuid)
            names |= known_as
    return frozenset(found)


def local_item_of(change: Change, files: tuple[LocalFile, ...] = ()) -> LocalChange:
    return LocalChange(
        change.uuid, change.action, change.kind, change.item_id, change.folder_id, change.target_id, change.watermark,
        change.made, change.struct, files,
    )  # fmt: skip


def files(db: sqlite3.Connection, change: int) -> tuple[ChangeFile, ...]:
    rows = db.execute(
        "SELECT number, name, content_type, content_id, size, sha256 FROM outbox_attachment"
        " WHERE change = ? ORDER BY ordinal",
        (change,),
    )
    return tuple(ChangeFile(*row) for row in rows)
