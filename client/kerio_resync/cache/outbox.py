"""The outbox: changes made offline, until the server has them or the user decides.

A change keeps its uuid when it is copied to another file. Its states:

    pending → sending → sent                     the server has it
                      → conflict                 the server's item stays, the local one is in "Conflicts"
                      → refused (reason, code)   stays in the outbox; `mark_pending` sends it again
    pending → withdrawn                          by the user

`sending` is durable before the call is made. A run that finds it does not know whether the server executed the call,
and looks on the server before it repeats it. Every method returns when its change of state is durable.
"""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime

from kerio_resync.cache import outbox_rows, queries
from kerio_resync.cache.mutations import (
    Action,
    AddChange,
    ChangeFile,
    ChangeState,
    LocalChange,
    LocalFile,
    MarkChange,
    Mutation,
    PutLocal,
)
from kerio_resync.cache.outbox_rows import OPEN_STATES
from kerio_resync.cache.store import Store
from kerio_resync.model import Item, Kind


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
        version: str = "",
        struct: bytes = b"{}",
        files: Sequence[LocalFile] = (),
    ) -> str:
        """Record a change and return its uuid.

        `version`: the version that is changed. `struct`: see `LocalChange`.
        """
        name = str(uuid.uuid4())
        made = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        change = LocalChange(name, action, kind, item_id, folder_id, target_id, version, made, struct)
        await self._apply(AddChange(change, tuple(files)))
        return name

    async def list(self, states: Sequence[ChangeState] = OPEN_STATES) -> tuple[LocalChange, ...]:
        """Return the changes in these states, oldest first."""
        return await self._store.read(outbox_rows.changes, states)

    async def content(self, file: ChangeFile) -> AsyncIterator[bytes]:
        """Yield the content of a file in chunks of at most 256 KiB."""
        offset = 0
        while data := await self._store.read(queries.chunk, "outbox_chunk", file.key, offset):
            yield data
            offset += len(data)

    async def find_by_message_id(self, message_id: str) -> tuple[str, ...]:
        """Return the ids of the mails with this Message-ID, in any folder.

        No index: a second per gigabyte of mail.
        """
        return await self._store.read(queries.mails_with_message_id, message_id)

    async def begin_attempt(self, change: str, record: str = "") -> None:
        """Record that the call is about to be made.

        `record`: what is needed to find out later whether it was executed.
        """
        await self._apply(MarkChange(change, "sending", attempt=record))

    async def mark_sent(self, change: str, new_id: str = "", version: str = "") -> None:
        """Record that the server has it.

        `new_id`: the item's id if it is another now; `version`: its version now.
        """
        await self._apply(MarkChange(change, "sent", new_id=new_id, sent_version=version))

    async def mark_refused(self, change: str, reason: str, code: int = 0) -> None:
        """Record that the server refused it.

        `code`: the server's error code, 0 if there is none.
        """
        await self._apply(MarkChange(change, "refused", reason=reason, code=code))

    async def mark_pending(self, change: str) -> None:
        """Record that it is to be sent.

        The server has certainly not executed it, or the user wants it sent again.
        """
        await self._apply(MarkChange(change, "pending"))

    async def mark_withdrawn(self, change: str) -> None:
        """Record that the user withdrew it."""
        await self._apply(MarkChange(change, "withdrawn"))

    async def record_conflict(self, change: str, item: Item, reason: str, files: Sequence[LocalFile] = ()) -> None:
        """Mark a change, and store its item in the folder "Conflicts".

        Both are one transaction; `item` is what the change wanted the item to be. The item's id is `local:` and the
        change's uuid, so that a repeated call does not store it twice.
        """
        await self._apply(PutLocal(item._replace(id=f"local:{change}"), tuple(files), change, reason))

    async def _apply(self, mutation: Mutation) -> None:
        await self._store.apply(mutation)
        await self._store.flush()
