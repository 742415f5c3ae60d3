"""Carries the pending changes out of a file of format 7.1, damaged or not, each for itself.

A change that can't be read, or is not whole, is counted and not sent to anybody.
"""

from __future__ import annotations

import sqlite3
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from kerio_resync.cache.facts import AddChange, LocalChange
from kerio_resync.cache.legacy.reading import Old
from kerio_resync.cache.legacy.schema import APPLICATION_ID, USER_VERSION
from kerio_resync.errors import CacheDamaged

if TYPE_CHECKING:
    from kerio_resync.cache.line import Line
    from kerio_resync.cache.store import Store

_BROKEN = (sqlite3.Error, CacheDamaged)


@dataclass(slots=True)
class Carried:
    """`changes` went over, `known` had before, `unreadable` can't be read; `reasons`: why it can't be told how many."""

    changes: int = 0
    known: int = 0
    unreadable: int = 0
    reasons: list[str] = field(default_factory=list)


def is_old(db: sqlite3.Connection) -> bool:
    """Whether the open file is of format 7.1."""
    marks = [db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version")]
    return marks == [APPLICATION_ID, USER_VERSION]


async def carry(line: Line, store: Store) -> Carried:
    """From the open file into `store`; no damage is raised."""
    told = Carried()
    numbers, lost = await line.run(_numbers)
    told.unreadable += lost
    if lost:
        told.reasons.append("a page of the table of pending changes can't be read")
    for number in numbers:
        found = await line.run(lambda db, number=number: _change(db, line.path, number))  # type: ignore[misc]
        if found is None:
            told.unreadable += 1
        elif await store.change_state(found.uuid) is not None:
            told.known += 1
        else:
            await store.put(AddChange(found))
            told.changes += 1
    return told


def _change(db: sqlite3.Connection, path: Path, number: int) -> LocalChange | None:
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
    found = set[int]()
    for beyond, order, start in ((">", "ASC", -(2**63)), ("<", "DESC", 2**63 - 1)):
        at = start
        with suppress(sqlite3.Error):  # from both ends up to where it breaks, each by itself, so that none goes with it
            sql = f"SELECT ID FROM PENDING WHERE ID {beyond} ? ORDER BY ID {order} LIMIT 1"
            while (row := db.execute(sql, (at,)).fetchone()) and row[0] not in found:
                at = row[0]
                found.add(at)
    return sorted(found), max(0, expected - len(found))
