"""The rows of the outbox as values, and the queries that read them.

Early files of format 7.2 lack the columns `code` and `version`. They hold both in sentences in `reason`, and a token in
front of the record in `attempt`. The queries read such files as they are; `add_columns` converts one that is opened for
writing.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import suppress
from typing import Final, get_args

from kerio_resync.cache.checksums import change_checksum
from kerio_resync.cache.mutations import ChangeFile, ChangeState, LocalChange
from kerio_resync.cache.schema import OUTBOX_ADDED_COLUMNS

ALL_STATES: Final[tuple[ChangeState, ...]] = get_args(ChangeState)
OPEN_STATES: Final[tuple[ChangeState, ...]] = ("pending", "sending", "conflict", "refused")
UNSENT_STATES: Final[tuple[ChangeState, ...]] = ("pending", "sending")

_COLUMNS: Final = tuple(name for name in LocalChange._fields if name != "files")
_VERSION_IN_REASON: Final = "state = 'sent' AND reason GLOB 'version [0-9]*'"
_CODE_IN_REASON: Final = "state = 'refused' AND reason GLOB '*(code [-0-9]*)'"
_EARLY: Final = {  # expressions that give the columns of today in an early file
    "attempt": "CASE instr(attempt, ' ') WHEN 0 THEN '' ELSE substr(attempt, instr(attempt, ' ') + 1) END",
    "reason": f"CASE WHEN {_VERSION_IN_REASON} THEN '' ELSE reason END",
    "code": f"CASE WHEN {_CODE_IN_REASON} THEN CAST(substr(reason, 1 + length(rtrim(rtrim(reason, ')'), '0123456789')))"
    " AS INTEGER) ELSE 0 END",
    "version": f"CASE WHEN {_VERSION_IN_REASON} THEN CAST(substr(reason, 9) AS INTEGER) ELSE 0 END",
}


def changes(db: sqlite3.Connection, states: Sequence[ChangeState] = OPEN_STATES) -> tuple[LocalChange, ...]:
    """Return the changes in these states, oldest first.

    Files come without their contents.
    """
    return _select(db, f"state IN ({', '.join('?' * len(states))})", states)


def change(db: sqlite3.Connection, number: int) -> LocalChange | None:
    """Return the change with this row number, without contents of files."""
    return next(iter(_select(db, "number = ?", (number,))), None)


def state(db: sqlite3.Connection, uuid: str) -> ChangeState | None:
    """Return the state of a change; None if the outbox does not have it."""
    row = db.execute("SELECT state FROM outbox WHERE uuid = ?", (uuid,)).fetchone()
    value: ChangeState | None = row[0] if row else None
    return value


def is_intact(db: sqlite3.Connection, change: LocalChange) -> bool:
    """Return whether row and list of files match the checksum.

    Contents have checksums of their own.
    """
    checksum, count = db.execute("SELECT checksum, files FROM outbox WHERE number = ?", (change.number,)).fetchone()
    return bool(count == len(change.files) and checksum == change_checksum(change))


def ancestors_of_pending(changes: Sequence[LocalChange]) -> frozenset[str]:
    """Return the uuids of sent changes that open changes build on.

    Such a change created or moved the item of an open change, set its version, or created an item in the same folder
    as a creation whose outcome is unknown.
    """
    unsettled = [change for change in changes if change.state in OPEN_STATES]
    names = {change.item_id for change in unsettled} - {""}
    unsure = {
        (change.kind, change.folder_id)
        for change in unsettled
        if change.action == "create" and change.state == "sending"
    }
    ancestors: set[str] = set()
    for sent in reversed([change for change in changes if change.state == "sent"]):
        aliases = {f"local:{sent.uuid}", sent.item_id, sent.new_id} - {""}
        if names & aliases or (sent.action == "create" and (sent.kind, sent.folder_id) in unsure):
            ancestors.add(sent.uuid)
            names |= aliases
    return frozenset(ancestors)


def is_early(db: sqlite3.Connection) -> bool:
    """Return whether the outbox lacks the columns `code` and `version`."""
    return "version" not in {row[1] for row in db.execute("PRAGMA table_info(outbox)")}


def add_columns(db: sqlite3.Connection) -> None:
    """Give an early file the columns `code` and `version`, in one transaction."""
    if not is_early(db):
        return
    db.execute("BEGIN IMMEDIATE")
    try:
        for definition in OUTBOX_ADDED_COLUMNS:
            db.execute(f"ALTER TABLE outbox ADD COLUMN {definition}")
        db.execute("UPDATE outbox SET " + ", ".join(f"{name} = {value}" for name, value in _EARLY.items()))
        db.execute("COMMIT")
    except BaseException:
        with suppress(sqlite3.Error):  # some errors of SQLite have already rolled back
            db.execute("ROLLBACK")
        raise


def _select(db: sqlite3.Connection, condition: str, values: Sequence[object]) -> tuple[LocalChange, ...]:
    expressions = {"struct": "CAST(struct AS BLOB)", **(_EARLY if is_early(db) else {})}
    columns = ", ".join(f"{expressions.get(name, name)} AS {name}" for name in _COLUMNS)
    rows = db.execute(f"SELECT {columns} FROM outbox WHERE {condition} ORDER BY number", tuple(values)).fetchall()
    return tuple(LocalChange._make((*row, _files(db, row[-1]))) for row in rows)


def _files(db: sqlite3.Connection, change: int) -> tuple[ChangeFile, ...]:
    rows = db.execute(
        "SELECT number, name, content_type, content_id, size, sha256 FROM outbox_attachment"
        " WHERE change = ? ORDER BY ordinal",
        (change,),
    )
    return tuple(ChangeFile._make(row) for row in rows)
