"""Many rows in one step: what keeps SQLite busy and Python's threads out of each other's way.

Each step of a statement lets the other threads run, and coming back can cost 5 ms while the event loop is computing.
So rows go in by statements of up to 128 rows, and questions about many ids go in by statements of up to 512. Numbers go
in as one JSON array that SQLite takes apart (`json_each`); ids do not, because it cuts text at a NUL, and a server may
send one: then `a\\0b` would be taken for `a`.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, TypeVar

T = TypeVar("T")
_ROWS_PER_INSERT: Final = 128
_IN_LIST_MAX: Final = 512
_MAX_VARIABLES: Final = 30_000  # SQLite allows 32,766 in one statement


def insert_many(db: sqlite3.Connection, head: str, row: str, rows: Sequence[Sequence[Any]], tail: str = "") -> None:
    """Runs `head VALUES row, row, … tail`; `row` is such as `(?, ?)`, each of `rows` the values of one."""
    most = min(_ROWS_PER_INSERT, _MAX_VARIABLES // len(rows[0])) if rows else 1
    for start in range(0, len(rows), most):
        some = rows[start : start + most]
        values = [value for each in some for value in each]
        db.execute(f"{head} VALUES {', '.join([row] * len(some))} {tail}", values)


def select_in(
    db: sqlite3.Connection, sql: str, values: Iterable[str], *, before: Sequence[Any] = (), after: Sequence[Any] = ()
) -> list[Any]:
    """Runs `sql`, in which `(...)` stands for the values, as often as it takes; all the rows. `before`, `after`: what
    is bound on either side of them."""
    every, found = list(values), []
    for start in range(0, len(every), _IN_LIST_MAX):
        some = every[start : start + _IN_LIST_MAX]
        marks = ", ".join("?" * len(some))
        found += db.execute(sql.replace("(...)", f"({marks})"), (*before, *some, *after)).fetchall()
    return found


def json_array(values: Iterable[Any]) -> str:
    """The JSON array of numbers that `json_each(?)` takes."""
    return json.dumps(list(values))


def record(kind: Callable[..., T], *values: Any) -> T:
    """A value from a row's columns; STRICT tables have seen to their types."""
    return kind(*values)
