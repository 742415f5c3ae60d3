r"""Statements for many rows at once.

They keep SQLite busy, and Python's threads out of each other's way. Each step of a statement releases the
interpreter's lock, and acquiring it again takes up to 5 ms while the event loop computes. So one statement inserts up
to 128 rows or looks up to 512 ids. Numbers are passed as one JSON array (`json_each`). Ids are not, because
`json_each` cuts text at a NUL character: `a\0b` would match `a`.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Sequence
from typing import Any, Final

_ROWS_PER_INSERT: Final = 128
_IN_LIST_MAX: Final = 512
_MAX_VARIABLES: Final = 30_000  # SQLite allows 32,766 in one statement


def insert_many(db: sqlite3.Connection, head: str, row: str, rows: Sequence[Sequence[Any]], tail: str = "") -> None:
    """Run `head VALUES row, row, … tail`.

    `row` is such as `(?, ?)`; each of `rows` has the values of one.
    """
    per_statement = min(_ROWS_PER_INSERT, _MAX_VARIABLES // len(rows[0])) if rows else 1
    for start in range(0, len(rows), per_statement):
        batch = rows[start : start + per_statement]
        values = [value for columns in batch for value in columns]
        db.execute(f"{head} VALUES {', '.join([row] * len(batch))} {tail}", values)


def select_in(
    db: sqlite3.Connection, sql: str, values: Iterable[str], *, before: Sequence[Any] = (), after: Sequence[Any] = ()
) -> list[Any]:
    """Run `sql`, in which `(...)` stands for the values, as often as needed.

    Return all the rows. `before`, `after`: the values that are bound before and after those of `(...)`.
    """
    pending, rows = list(values), []
    for start in range(0, len(pending), _IN_LIST_MAX):
        batch = pending[start : start + _IN_LIST_MAX]
        marks = ", ".join("?" * len(batch))
        rows += db.execute(sql.replace("(...)", f"({marks})"), (*before, *batch, *after)).fetchall()
    return rows


def json_array(values: Iterable[Any]) -> str:
    """Return the JSON array of numbers that `json_each(?)` takes."""
    return json.dumps(list(values))
