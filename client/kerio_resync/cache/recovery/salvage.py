"""Reads an old cache of this format for what can be taken over instead of being fetched again.

Only what is proven is given: id, version, kind and folder are those asked for, and the item's checksum holds; contents
are proven while they are copied (`contents.py`). Whatever can't be read is not there, and is counted; no damage raises.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Final, Self

from kerio_resync.cache.checksums import item_checksum
from kerio_resync.cache.connection import Connection
from kerio_resync.cache.mutations import SalvagedAttachment, SalvagedItem
from kerio_resync.cache.queries import QueuedItem
from kerio_resync.cache.schema import check_header
from kerio_resync.cache.schema_guard import require_tables
from kerio_resync.cache.write.items import read_item_row
from kerio_resync.errors import CacheDamaged, ResyncError
from kerio_resync.model import Identity, Item

UNREADABLE_ERRORS = (sqlite3.Error, ValueError, TypeError, OverflowError)
Found = tuple[int, Item, bytes]
READ: Final = ("item", "folder", "attachment", "chunk")
IDS_PER_QUERY: Final = 512  # ids asked for at once


class OldCache:
    """An old cache to take from: `owner`'s, exactly as it says (None: whoever's it is). `unreadable` counts items that
    are there and can't be read or don't hold."""

    def __init__(self, path: Path, owner: Identity | None = None) -> None:
        self.path = path
        self._owner = owner
        self.unreadable = 0
        self._line: Connection | None = None
        self._useless = False
        self._opening = asyncio.Lock()

    @classmethod
    def open(cls, path: Path, owner: Identity | None = None) -> Self | None:
        """None if there is no file. Whether it is of any use shows when it is read."""
        return cls(path, owner) if path.is_file() else None

    async def close(self) -> None:
        """Lets go of the file; afterwards it gives nothing more."""
        line, self._line, self._useless = self._line, None, True
        if line is not None:
            await line.close()

    async def read_items(self, rows: Sequence[QueuedItem]) -> tuple[SalvagedItem, ...]:
        """What the old cache holds of these rows in just the version that is wanted; the contents are only named."""
        asked = {row.id: row for row in rows if row.watermark}
        line = await self._opened()
        if line is None or not asked:
            return ()
        found: list[SalvagedItem] = []
        for number, item, told in await line.run(lambda db: self._read_all(db, list(asked))):
            row = asked.pop(item.id, None)
            if row is None or (item.watermark, item.kind, item.folder_id) != (row.watermark, row.kind, row.folder_id):
                continue
            contents = await line.run(partial(self._contents, item=number)) if told == item_checksum(item) else None
            if contents is None:
                self.unreadable += 1
            else:
                found.append(SalvagedItem(item, self.path, contents))
        return tuple(found)

    async def _opened(self) -> Connection | None:
        async with self._opening:
            if self._line is None and not self._useless:
                self._useless = True
                try:
                    self._line = await Connection.open(self.path, readonly=True)
                    held = await self._line.run(check_header)
                    if self._owner not in (None, held):
                        raise CacheDamaged("it was replaced during the run")
                    await self._line.run(lambda db: require_tables(db, READ))
                    self._useless = False
                except (ResyncError, *UNREADABLE_ERRORS):
                    if self._line is not None:
                        await self._line.close()
                        self._line = None
        return self._line

    def _read_all(self, db: sqlite3.Connection, ids: list[str]) -> list[Found]:
        return [
            found
            for start in range(0, len(ids), IDS_PER_QUERY)
            for found in self._read(db, ids[start : start + IDS_PER_QUERY])
        ]

    def _read(self, db: sqlite3.Connection, ids: list[str]) -> list[Found]:
        """All at once, or, if that fails, halved around what can't be read."""
        try:
            return read_item_row(db, f"item.id IN ({', '.join('?' * len(ids))})", ids)
        except UNREADABLE_ERRORS:
            if len(ids) == 1:
                self.unreadable += 1
                return []
        middle = len(ids) // 2
        return self._read(db, ids[:middle]) + self._read(db, ids[middle:])

    def _contents(self, db: sqlite3.Connection, item: int) -> tuple[SalvagedAttachment, ...] | None:
        try:
            rows = db.execute(
                "SELECT ordinal, number, sha256, received FROM attachment"
                " WHERE item = ? AND state = 'done' AND sha256 IS NOT NULL ORDER BY ordinal",
                (item,),
            ).fetchall()
        except UNREADABLE_ERRORS:
            return None
        return tuple(SalvagedAttachment(*row) for row in rows)
