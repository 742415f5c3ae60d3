"""The rows of the outbox as values, and the queries that read them."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Final, get_args

from kerio_resync.cache.checksums import change_checksum
from kerio_resync.cache.mutations import ChangeFile, ChangeState, LocalChange

ALL_STATES: Final[tuple[ChangeState, ...]] = get_args(ChangeState)
OPEN_STATES: Final[tuple[ChangeState, ...]] = ("pending", "sending", "conflict", "refused")
UNSENT_STATES: Final[tuple[ChangeState, ...]] = ("pending", "sending")

_COLUMNS: Final = tuple(name for name in LocalChange._fields if name != "files")
_SELECT: Final = ", ".join("CAST(struct AS BLOB)" if name == "struct" else name for name in _COLUMNS)


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


def _select(db: sqlite3.Connection, condition: str, values: Sequence[object]) -> tuple[LocalChange, ...]:
    rows = db.execute(f"SELECT {_SELECT} FROM outbox WHERE {condition} ORDER BY number", tuple(values)).fetchall()
    return tuple(LocalChange._make((*row, _files(db, row[-1]))) for row in rows)


def _files(db: sqlite3.Connection, change: int) -> tuple[ChangeFile, ...]:
    rows = db.execute(
        "SELECT number, name, content_type, content_id, size, sha256 FROM outbox_attachment"
        " WHERE change = ? ORDER BY ordinal",
        (change,),
    )
    return tuple(ChangeFile._make(row) for row in rows)
