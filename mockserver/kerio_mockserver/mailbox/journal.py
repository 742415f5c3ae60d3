"""The one journal: what happened to folders and items, in the order in which it happened.

Each mutation raises the watermark by one and leaves one documented Change. A client that has the state of watermark w
and replays `since(w)` in order (looking up what became of items that were created or modified) has the present state:
- an item in a removed folder has no line of its own: the folder's chtDeleted takes its items with it;
- a move says the old id in `origId`, the old folder in `origParentId`; folders keep their ids when they move.
Lines are not coalesced. Keys older than the journal reaches, and keys from the future (as after a restore from a
backup), are refused with KeyTooOld.
"""

from __future__ import annotations

import asyncio
from typing import Any

from kerio_mockserver.mailbox.ids import owner

Struct = dict[str, Any]


class KeyTooOld(Exception):
    """A watermark for which the journal can't tell what happened since: `oldest`..`newest` are those it can."""

    def __init__(self, watermark: int, oldest: int, newest: int) -> None:
        super().__init__(f"no record since {watermark}; there is one since {oldest}, up to {newest}")
        self.watermark, self.oldest, self.newest = watermark, oldest, newest


class Journal:
    """Changes by watermark. `watermark`: that of the newest mutation; `oldest`: the oldest key that is still good."""

    def __init__(self, watermark: int = 0) -> None:
        self.watermark = watermark
        self.oldest = watermark
        self.waiters: set[asyncio.Future[None]] = set()
        self._changes: list[Struct] = []
        self._first = watermark  # the watermark before that of _changes[0]

    def advance(self, by: int = 1) -> int:
        """Raises the watermark without a line, for what is put into the mailbox before anyone looks; older keys end."""
        self.watermark += by
        self._changes.extend({} for _ in range(by if self._changes else 0))
        if not self._changes:
            self._first = self.watermark
        self.expire(self.watermark)
        return self.watermark

    def record(self, change: Struct) -> int:
        """Raises the watermark by one, writes it into `change` and keeps that. Wakes the long polls."""
        self.watermark += 1
        change["watermark"] = self.watermark
        self._changes.append(change)
        for waiter in self.waiters:
            if not waiter.done():
                waiter.set_result(None)
        return self.watermark

    @property
    def changes(self) -> int:
        """How many lines there are."""
        return len(self._changes)

    def since(self, watermark: int, folder_id: str | None = None, owner: str | None = None) -> list[Struct]:
        """Fresh Change structs after `watermark`, oldest first. KeyTooOld.

        `folder_id`: only of that folder itself and of items that came into it, left it or changed in it.
        `owner`: only what concerns ids of `<domain>/<user>` (see `ids.owner`), such as the public folders' own.
        """
        if not self.oldest <= watermark <= self.watermark:
            raise KeyTooOld(watermark, self.oldest, self.watermark)
        changes = self._changes[watermark - self._first :]
        return [dict(one) for one in changes if _in_folder(one, folder_id) and _of_owner(one, owner)]

    def expire(self, before: int) -> None:
        """From now on keys below `before` are too old."""
        self.oldest = max(self.oldest, min(before, self.watermark))

    def history(self) -> list[Struct]:
        """Every line there ever was, for comparing two runs."""
        return [dict(one) for one in self._changes if one]

    async def wait(self, watermark: int, timeout: float) -> bool:
        """Until something happens after `watermark`, or `timeout` seconds of the loop's time: whether it did."""
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
