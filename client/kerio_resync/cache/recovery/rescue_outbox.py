"""Carries what exists nowhere else out of an old cache, damaged or not: pending local changes, and local items.

Each change is named by its uuid, so that rescuing twice never doubles it; a change whose checksum does not hold is not
sent to anybody, but counted. Of a damaged file all that can be read is read: by ranges of row numbers, halved around
errors until a single row is left. Rows of the outbox never go, so a number without a row is a row that can't be read.
If anything could not be read, the raw file is kept aside under a name of its own. No damage raises an error.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Final

from kerio_resync.cache import outbox_rows, queries
from kerio_resync.cache.checksums import item_checksum
from kerio_resync.cache.connection import Connection
from kerio_resync.cache.file_identity import read_owner
from kerio_resync.cache.files import back_up, lexists
from kerio_resync.cache.format71.schema import is_old
from kerio_resync.cache.integrity import check
from kerio_resync.cache.mutations import AddChange, LocalChange, LocalFile, MarkChange, PutLocal
from kerio_resync.cache.queries import chunk
from kerio_resync.cache.recovery.copy_rows import TABLES
from kerio_resync.cache.recovery.readable_rows import UNREADABLE_ERRORS, readable_rows
from kerio_resync.cache.schema import check_header
from kerio_resync.cache.schema_guard import require_tables
from kerio_resync.cache.store import Store
from kerio_resync.cache.write import items
from kerio_resync.errors import BadSettings, CacheDamaged, OtherFormat
from kerio_resync.model import Identity, Item

OUTBOX: Final = ("outbox", "outbox_attachment", "outbox_chunk")
MAX_PLAUSIBLE_ROWID: Final = 1_000_000  # a row number above it is itself a sign of damage
SETTLED_STATES: Final = ("sent", "withdrawn")


@dataclass(frozen=True, slots=True)
class RescueReport:
    """What a rescue came to. `changes`: carried over now; `known`: had been before; `unreadable`: rows known to have
    been there that can't be read or don't hold their checksum; `uncounted`: there may be more that can't be counted."""

    changes: int = 0
    known: int = 0
    items: int = 0
    unreadable: int = 0
    uncounted: bool = False
    aside: Path | None = None
    reasons: tuple[str, ...] = field(default=())
    other_format: bool = False

    def sentences(self) -> tuple[str, ...]:
        """For people; () if there is nothing to say."""
        found = []
        if self.changes:
            found.append(f"Local changes that were not sent yet, taken over: {self.changes:,}.")
        if self.items:
            found.append(f"Items of the local folder Conflicts, taken over: {self.items:,}.")
        if self.unreadable:
            found.append(f"Local changes and items of the old cache that can't be read any more: {self.unreadable:,}.")
        if self.uncounted and self.other_format:
            found.append(f"Local changes in the old cache could not be taken over: {self.why}.")
        elif self.uncounted:
            found.append(f"The old cache is damaged; how many local changes were in it can't be told ({self.why}).")
        if self.aside:
            found.append(f"What is left of the old cache was kept as {self.aside.name}.")
        return tuple(found)

    @property
    def why(self) -> str:
        return self.reasons[0] if self.reasons else "unreadable"


@dataclass(slots=True)
class _RescueCounter:
    """What was met in an old file while it was read."""

    changes: int = 0
    known: int = 0
    items: int = 0
    unreadable: int = 0
    uncounted: bool = False
    reasons: list[str] = field(default_factory=list)
    other_format: bool = False

    def lost(self, error: Exception) -> None:
        self.uncounted, self.other_format = True, isinstance(error, OtherFormat)
        self.reasons.append(str(error) or "unreadable")

    def rescued(self) -> RescueReport:
        return RescueReport(
            self.changes, self.known, self.items, self.unreadable, self.uncounted, None, tuple(self.reasons),
            self.other_format,
        )  # fmt: skip


async def rescue_outbox(path: Path, store: Store, owner: Identity | None = None) -> RescueReport:
    """Carries the pending changes and local items of the cache at `path` into `store`, durably.

    `owner`: whose the file has to be, exactly as it says; None: the caller has seen to that.
    Damage is counted, never raised; CacheInUse, and errors of the new file, are. No file: nothing is rescued."""
    if not lexists(path):
        return RescueReport()
    try:
        line = await Connection.open(path, readonly=True)
    except (CacheDamaged, BadSettings) as error:
        return RescueReport(uncounted=True, aside=back_up(path), reasons=(str(error),))
    try:
        found = await copy_outbox(line, store, owner)
    finally:
        await line.close()
    return replace(found, aside=back_up(path)) if found.unreadable or found.uncounted else found


async def copy_outbox(line: Connection, store: Store, owner: Identity | None = None) -> RescueReport:
    """The same from a file that is open already."""
    tally = _RescueCounter()
    try:
        old = await line.run(is_old)
        if not old:
            await line.run(check_header)
        if owner is not None and (held := await line.run(read_owner)) != owner:
            raise CacheDamaged("it was replaced during the run" if held else "it does not say whose it is")
        if old:
            return await _carry_from_old_format(line, store, tally)
    except (CacheDamaged, *UNREADABLE_ERRORS) as error:
        tally.lost(error)
        return tally.rescued()
    await _carry_changes(line, store, tally)
    await _carry_items(line, store, tally)
    await store.flush()
    return tally.rescued()


async def _carry_from_old_format(line: Connection, store: Store, tally: _RescueCounter) -> RescueReport:
    from kerio_resync.cache.format71.rescue_outbox import carry  # hardly any file is of that format

    carried = await carry(line, store)
    await store.flush()
    tally.changes, tally.known, tally.unreadable = carried.changes, carried.known, carried.unreadable
    for reason in carried.reasons:
        tally.lost(CacheDamaged(reason))
    return tally.rescued()


async def _carry_changes(line: Connection, store: Store, tally: _RescueCounter) -> None:
    try:
        await line.run(lambda db: require_tables(db, OUTBOX))
    except CacheDamaged as error:
        tally.lost(error)
        return
    numbers, missing = await line.run(lambda db: _numbers(db, tally))
    tally.unreadable += missing
    changes = []
    for number in numbers:
        try:
            changes.append(await line.run(partial(_change, number=number)))
        except UNREADABLE_ERRORS:
            tally.unreadable += 1
    followed = outbox_rows.ancestors_of_pending(changes)
    for change in changes:
        if (
            change.state not in SETTLED_STATES
            or change.uuid in followed
            or await store.read(outbox_rows.state, change.uuid) is not None
        ):
            await _carry_change(line, store, change, tally)


async def _carry_change(line: Connection, store: Store, change: LocalChange, tally: _RescueCounter) -> None:
    """A change that is not known yet goes over as it is; one that is known takes the old state."""
    held = await store.read(outbox_rows.state, change.uuid)
    if held is not None:
        tally.known += 1
        if held != change.state:
            await store.apply(
                MarkChange(
                    change.uuid, change.state, change.attempt, change.reason, change.code, change.version, change.new_id
                )
            )
        return
    try:
        files = await line.run(lambda db: _files(db, change))
    except UNREADABLE_ERRORS:
        tally.unreadable += change.state not in SETTLED_STATES
        return
    # an unknown state: the change may have been sent, so it has to be looked for first
    state = change.state if change.state in outbox_rows.ALL_STATES else "sending"
    await store.apply(AddChange(change._replace(state=state), files))
    tally.changes += change.state not in SETTLED_STATES


async def _carry_items(line: Connection, store: Store, tally: _RescueCounter) -> None:
    try:
        await line.run(lambda db: require_tables(db, TABLES))
        numbers = await line.run(_local_items)
    except (CacheDamaged, *UNREADABLE_ERRORS) as error:
        tally.lost(error)
        return
    for number in numbers:
        try:
            item, files = await line.run(partial(_local_item, number=number))
        except UNREADABLE_ERRORS:
            tally.unreadable += 1
            continue
        if not await store.read(queries.watermarks, [item.id]):
            tally.items += 1
            await store.apply(PutLocal(item, files))


def _numbers(db: sqlite3.Connection, tally: _RescueCounter) -> tuple[list[int], int]:
    """(the numbers of the outbox's rows that can be read, how many more there must be)."""
    found = [_ask(db, sql, tally) for sql in _HIGHEST]
    if found[0] is None and found[1] is None:
        tally.lost(CacheDamaged("the end of the outbox can't be found"))
    highest = max((each for each in found if each is not None and 0 <= each <= MAX_PLAUSIBLE_ROWID), default=0)
    numbers = [row[0] for row in readable_rows(db, "SELECT number FROM outbox WHERE number", 1, highest)]
    return numbers, highest - len(numbers)


_HIGHEST: Final = (
    "SELECT coalesce(max(number), 0) FROM outbox",
    "SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'outbox'",
    "SELECT coalesce(max(number), 0) FROM outbox INDEXED BY outbox_by_state WHERE state >= ''",
)


def _ask(db: sqlite3.Connection, sql: str, tally: _RescueCounter) -> int | None:
    try:
        return int(db.execute(sql).fetchone()[0])
    except UNREADABLE_ERRORS as error:
        tally.reasons.append(str(error))
        return None


def _change(db: sqlite3.Connection, number: int) -> LocalChange:
    """ValueError if it does not hold its checksum, but for the files' contents."""
    change = outbox_rows.change(db, number)
    if change is None or not outbox_rows.is_intact(db, change):
        raise ValueError(f"local change {number} does not hold its checksum")
    return change


def _files(db: sqlite3.Connection, change: LocalChange) -> tuple[LocalFile, ...]:
    found = []
    for each in change.files:
        if not check.content_matches_checksum(db, "outbox_chunk", each.key, each.size, each.sha256):
            raise ValueError(f"a file of local change {change.number} does not hold its checksum")
        found.append(LocalFile(each.name, each.content_type, _content(db, "outbox_chunk", each.key), each.content_id))
    return tuple(found)


def _local_items(db: sqlite3.Connection) -> list[int]:
    rows = db.execute("SELECT number FROM item WHERE folder IN (SELECT number FROM folder WHERE standing = 'local')")
    return [row[0] for row in rows]


def _local_item(db: sqlite3.Connection, number: int) -> tuple[Item, tuple[LocalFile, ...]]:
    ((_, item, told),) = items.read_item_row(db, "item.number = ?", (number,))
    if item_checksum(item) != told:
        raise ValueError(f"local item {number} does not hold its checksum")
    files = []
    rows = db.execute("SELECT number, received, sha256 FROM attachment WHERE item = ? ORDER BY ordinal", (number,))
    for each, (key, received, content) in zip(item.attachments, rows.fetchall(), strict=True):
        if not check.content_matches_checksum(db, "chunk", key, received, content):
            raise ValueError(f"a file of local item {number} does not hold its checksum")
        files.append(LocalFile(each.name, each.content_type, _content(db, "chunk", key), each.content_id))
    return item, tuple(files)


def _content(db: sqlite3.Connection, table: str, attachment: int) -> bytes:
    found = bytearray()
    while data := chunk(db, table, attachment, len(found)):
        found += data
    return bytes(found)
