"""The journal: the changes of folders and items in order.

Each mutation raises the watermark by one and adds one documented Change. A client with the state of watermark w that
replays `since(w)` in order (fetching the items that were created or modified) reaches the present state:
- the items of a removed folder have no lines; the folder's chtDeleted removes them too;
- a move has the old id in `origId` and the old folder in `origParentId`; folders keep their ids when they move.
Lines are not merged. Keys older than the journal, and keys from the future (as after a restore from a backup), are
refused with KeyTooOld.
"""

from __future__ import annotations

import asyncio
from typing import Any

from kerio_mockserver.mailbox.ids import owner

Struct = dict[str, Any]


class KeyTooOld(Exception):
    """A watermark outside `oldest`..`newest`, those that the journal can answer."""

    def __init__(self, watermark: int, oldest: int, newest: int) -> None:
        super().__init__(f"no record since {watermark}; there is one since {oldest}, up to {newest}")
        self.watermark, self.oldest, self.newest = watermark, oldest, newest


class Journal:
    """Changes by watermark; `oldest` is the oldest valid key."""

    def __init__(self, watermark: int = 0) -> None:
        self.watermark = watermark
        self.oldest = watermark
        self.waiters: set[asyncio.Future[None]] = set()
        self._changes: list[Struct] = []
        self._first = watermark  # the watermark before that of _changes[0]

    def advance(self, by: int = 1) -> int:
        """Raise the watermark without a change, while the mailbox is filled.

        Older keys expire.
        """
        self.watermark += by
        self._changes.extend({} for _ in range(by if self._changes else 0))
        if not self._changes:
            self._first = self.watermark
        self.expire(self.watermark)
        return self.watermark

    def record(self, change: Struct) -> int:
        """Raise the watermark, add `change` with it, and wake the long polls."""
        self.watermark += 1
        change["watermark"] = self.watermark
        self._changes.append(change)
        for waiter in self.waiters:
            if not waiter.done():
                waiter.set_result(None)
        return self.watermark

    @property
    def changes(self) -> int:
        """The number of changes."""
        return len(self._changes)

    def since(self, watermark: int, folder_id: str | None = None, owner: str | None = None) -> list[Struct]:
        """Return copies of the changes after `watermark`, oldest first; raise KeyTooOld.

        With `folder_id`, only those of that folder and of items that entered it, left it or changed in it. With
        `owner`, only those of ids of `<domain>/<user>` (see `ids.owner`), such as the public folders'.
        """
        if not self.oldest <= watermark <= self.watermark:
            raise KeyTooOld(watermark, self.oldest, self.watermark)
        changes = self._changes[watermark - self._first :]
        return [dict(change) for change in changes if _in_folder(change, folder_id) and _of_owner(change, owner)]

    def expire(self, before: int) -> None:
        """Make keys below `before` too old."""
        self.oldest = max(self.oldest, min(before, self.watermark))

    def history(self) -> list[Struct]:
        """Return all changes there ever were, to compare two runs."""
        return [dict(change) for change in self._changes if change]

    async def wait(self, watermark: int, timeout: float) -> bool:
        """Wait for a change after `watermark`, at most `timeout` seconds.

        Return whether one came.
        """
        if self.watermark <= watermark and timeout > 0:
            loop = asyncio.get_running_loop()
            waiter: asyncio.Future[None] = loop.create_future()
            self.waiters.add(waiter)
            alarm = loop.call_later(timeout, _settle, waiter)
            try:
                await waiter
            finally:
                alarm.cancel()
                self.waiters.discard(waiter)
        return self.watermark > watermark


def _settle(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)


def _in_folder(change: Struct, folder_id: str | None) -> bool:
    if folder_id is None:
        return True
    if change["isFolder"]:
        return bool(change["itemId"] == folder_id)
    left = change["type"] == "chtMoved" and change["origParentId"] == folder_id
    return bool(left or change["parentId"] == folder_id)


def _of_owner(change: Struct, whose: str | None) -> bool:
    if whose is None:
        return True
    left = change["type"] == "chtMoved" and owner(change["origId"]) == whose
    return left or owner(change["itemId"]) == whose
