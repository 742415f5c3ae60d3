"""Rescues the pending changes of a database of format 7.1, damaged or not.

Each change is rescued on its own.

A change that cannot be read, or is incomplete, is counted and never sent.
"""

from __future__ import annotations

import sqlite3
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from kerio_resync.cache import outbox_rows
from kerio_resync.cache.format71.reader import Format71Reader
from kerio_resync.cache.format71.schema import TABLE_NAMES
from kerio_resync.cache.mutations import AddChange
from kerio_resync.cache.schema_guard import require_tables
from kerio_resync.errors import CacheDamaged

if TYPE_CHECKING:
    from kerio_resync.cache.connection import Connection
    from kerio_resync.cache.store import Store

_MAX_ROWID: Final = 2**63 - 1
_REACH: Final = 2048  # row numbers around a readable row among which others are looked for
_MAX_PROBES: Final = 20_000  # take about a second


@dataclass(slots=True)
class RescueCounts:
    """Changes that were copied, were known already, or are unreadable.

    `reasons`: why there may be more that cannot be counted.
    """

    changes: int = 0
    known: int = 0
    unreadable: int = 0
    reasons: list[str] = field(default_factory=list)


async def rescue_pending_changes(connection: Connection, store: Store) -> RescueCounts:
    """Copy the changes of an open file into `store`. Damage is counted, not raised."""
    counts = RescueCounts()
    try:
        await connection.run(lambda db: require_tables(db, TABLE_NAMES))
    except CacheDamaged as error:
        counts.reasons.append(str(error))
        return counts
    numbers, missing = await connection.run(_row_numbers)
    counts.unreadable += missing
    if missing:
        counts.reasons.append("a page of the table of pending changes cannot be read")
    for number in numbers:
        change = await connection.run(lambda db, number=number: _change(db, connection.path, number))  # type: ignore[misc]
        if change is None:
            counts.unreadable += 1
        elif await store.read(outbox_rows.state, change.change.uuid) is not None:
            counts.known += 1
        else:
            await store.apply(change)
            counts.changes += 1
    return counts


def _change(db: sqlite3.Connection, path: Path, number: int) -> AddChange | None:
    try:
        return Format71Reader(db, path).change(number)
    except CacheDamaged:
        return None


def _row_numbers(db: sqlite3.Connection) -> tuple[list[int], int]:
    """Return the numbers of the readable changes, and the count of missing ones."""
    try:
        row = db.execute("SELECT VALUE FROM INFO WHERE NAME = 'COUNT_PENDING'").fetchone()
        expected = int(row[0])
    except (sqlite3.Error, TypeError, ValueError):
        expected = 1  # unknown: none at all would be counted as nothing lost
    readable = _readable_numbers(db)
    return sorted(readable), max(0, expected - len(readable))


def _readable_numbers(db: sqlite3.Connection) -> set[int]:
    """Read each gap from both ends up to its first error, then halve the rest."""
    found = set[int]()
    gaps, probes = deque([(0, _MAX_ROWID)]), 0
    while gaps and probes < _MAX_PROBES:
        low, high = gaps.popleft()
        upwards, broken = _walk(db, low, high, descending=False)
        found.update(upwards)
        if not broken:
            continue
        downwards, _ = _walk(db, low, high, descending=True)
        found.update(downwards)
        probes += len(upwards) + len(downwards) + 2
        low = max(upwards, default=max(low, min(downwards, default=0) - _REACH))
        high = min(downwards, default=min(high, low + _REACH))
        if high - low > 2:
            middle = (low + high) // 2
            gaps += [(low, middle + 1), (middle, high)]
    return found


def _walk(db: sqlite3.Connection, low: int, high: int, *, descending: bool) -> tuple[list[int], bool]:
    """Return the row numbers between `low` and `high` up to the first error.

    The second value tells whether there was an error.

    Each is read by a query of its own: an error in a longer query would lose the rows before it, too.
    """
    order = "DESC" if descending else "ASC"
    sql = f"SELECT ID FROM PENDING WHERE ID > ? AND ID < ? ORDER BY ID {order} LIMIT 1"
    numbers: list[int] = []
    try:
        while row := db.execute(sql, (low, high)).fetchone():
            if not low < row[0] < high:  # the links of damaged pages may form a circle
                break
            numbers.append(row[0])
            low, high = (low, row[0]) if descending else (row[0], high)
    except sqlite3.Error:
        return numbers, True
    return numbers, False
