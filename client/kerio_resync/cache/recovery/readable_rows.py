"""Reads rows of a damaged table around the pages that SQLite cannot read."""

from __future__ import annotations

import sqlite3
from typing import Any, Final

UNREADABLE_ERRORS: Final = (sqlite3.Error, ValueError, TypeError, OverflowError)  # of a damaged row


def readable_rows(db: sqlite3.Connection, select: str, low: int, high: int) -> list[Any]:
    """Return the rows numbered `low` to `high` that can be read.

    `select` is a query that ends in the name of the row number: `SELECT … FROM item WHERE number`. A range that cannot
    be read is halved, down to single rows.
    """
    try:
        return db.execute(f"{select} BETWEEN ? AND ?", (low, high)).fetchall()
    except UNREADABLE_ERRORS:
        if low < high:
            middle = (low + high) // 2
            return readable_rows(db, select, low, middle) + readable_rows(db, select, middle + 1, high)
    try:  # to end a range, SQLite reads the row after it, which may be the damaged one
        return db.execute(f"{select} = ?", (low,)).fetchall()
    except UNREADABLE_ERRORS:
        return []
