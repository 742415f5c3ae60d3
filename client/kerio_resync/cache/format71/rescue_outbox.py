"""Carries the pending changes out of a file of format 7.1, damaged or not, each for itself.

A change that can't be read, or is not whole, is counted and not sent to anybody.
"""

from __future__ import annotations

import sqlite3
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from kerio_resync.cache import outbox_rows
from kerio_resync.cache.format71.reader import Old
from kerio_resync.cache.format71.schema import NAMES
from kerio_resync.cache.mutations import AddChange
from kerio_resync.cache.schema_guard import require_tables
from kerio_resync.errors import CacheDamaged

if TYPE_CHECKING:
    from kerio_resync.cache.connection import Connection
    from kerio_resync.cache.store import Store

_BROKEN = (sqlite3.Error, CacheDamaged)
_HIGHEST: Final = 2**63 - 1
_REACH: Final = 2048  # numbers beyond the last one that can be read among which more are looked for
_PROBES: Final = 20_000  # a second, about


@dataclass(slots=True)
class Carried:
    """`changes` went over, `known` had before, `unreadable` can't be read; `reasons`: why it can't be told how many."""

    changes: int = 0
    known: int = 0
    unreadable: int = 0
    reasons: list[str] = field(default_factory=list)


async def carry(line: Connection, store: Store) -> Carried:
    """From the open file into `store`; no damage is raised."""
    told = Carried()
    try:
        await line.run(lambda db: require_tables(db, NAMES))
    except CacheDamaged as error:
        told.reasons.append(str(error))
        return told
    numbers, lost = await line.run(_numbers)
    told.unreadable += lost
    if lost:
        told.reasons.append("a page of the table of pending changes can't be read")
    for number in numbers:
        found = await line.run(lambda db, number=number: _change(db, line.path, number))  # type: ignore[misc]
        if found is None:
            told.unreadable += 1
        elif await store.read(outbox_rows.state, found.change.uuid) is not None:
            told.known += 1
        else:
            await store.apply(found)
            told.changes += 1
    return told


def _change(db: sqlite3.Connection, path: Path, number: int) -> AddChange | None:
    try:
        return Old.over(db, path).change(number)
    except _BROKEN:
        return None


def _numbers(db: sqlite3.Connection) -> tuple[list[int], int]:
    """(the numbers of the changes that can be read, how many more there must be)."""
    try:
        row = db.execute("SELECT VALUE FROM INFO WHERE NAME = 'COUNT_PENDING'").fetchone()
        expected = int(row[0])
    except (sqlite3.Error, TypeError, ValueError):
        expected = 1  # at least it can't be told that there was none
    found = _readable(db)
    return sorted(found), max(0, expected - len(found))


def _readable(db: sqlite3.Connection) -> set[int]:
    """Around what is spoilt: each stretch is read from both ends up to where it breaks, then cut in two."""
    found = set[int]()
    gaps, probes = deque([(0, _HIGHEST)]), 0
    while gaps and probes < _PROBES:
        low, high = gaps.popleft()
        up = _walk(db, ">", low, low, high)
        found.update(up)
        if not up.broken:
            continue
        down = _walk(db, "<", high, low, high)
        found.update(down)
        probes += len(up) + len(down) + 2
        low = max(up, default=max(low, min(down, default=0) - _REACH))
        high = min(down, default=min(high, low + _REACH))
        if high - low > 2:
            middle = (low + high) // 2
            gaps += [(low, middle + 1), (middle, high)]
    return found


class _Stretch(list[int]):
    """Numbers that were read one after the other; `broken`: the next one could not be."""

    broken = False


def _walk(db: sqlite3.Connection, beyond: str, at: int, low: int, high: int) -> _Stretch:
    """The numbers between `low` and `high`, from `at` on in one direction, each by itself, so that none goes with what
    is spoilt behind it."""
    found = _Stretch()
    order = "ASC" if beyond == ">" else "DESC"
    sql = f"SELECT ID FROM PENDING WHERE ID {beyond} ? AND ID > ? AND ID < ? ORDER BY ID {order} LIMIT 1"
    try:
        while row := db.execute(sql, (at, low, high)).fetchone():
            if (row[0] <= at) if beyond == ">" else (row[0] >= at):  # what is spoilt may go round in a circle
                break
            at = row[0]
            found.append(at)
    except sqlite3.Error:
        found.broken = True
    return found
