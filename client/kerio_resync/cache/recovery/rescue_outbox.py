"""Copies what exists nowhere else out of an old cache, damaged or not.

That is: unsent local changes, and the items of local folders. A change keeps its uuid, so that a second rescue does
not copy it twice. A change that does not match its checksum is counted and not copied. A damaged outbox is read row
by row (`readable_rows`). Its rows are never deleted, so a missing number is a row that cannot be read. If anything is
unreadable the file is backed up. Damage is never raised.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple, TypeVar

from kerio_resync.cache import outbox_rows, queries
from kerio_resync.cache.checksums import item_checksum
from kerio_resync.cache.connection import Connection
from kerio_resync.cache.file_identity import read_owner
from kerio_resync.cache.files import back_up, lexists
from kerio_resync.cache.format71.schema import is_format71
from kerio_resync.cache.format72.schema import is_format72
from kerio_resync.cache.integrity.check import content_matches_checksum
from kerio_resync.cache.mutations import AddChange, LocalChange, LocalFile, MarkChange, PutLocal
from kerio_resync.cache.recovery.copy_rows import TABLES
from kerio_resync.cache.recovery.readable_rows import UNREADABLE_ERRORS, readable_rows
from kerio_resync.cache.schema import check_header
from kerio_resync.cache.schema_guard import require_tables
from kerio_resync.cache.store import Store
from kerio_resync.cache.write.items import read_item_row
from kerio_resync.errors import BadSettings, CacheDamaged, OtherFormat
from kerio_resync.model import Identity, Item

T = TypeVar("T")
OUTBOX_TABLES: Final = ("outbox", "outbox_attachment", "outbox_chunk")
MAX_PLAUSIBLE_ROWID: Final = 1_000_000  # a higher row number is itself a sign of damage
SETTLED_STATES: Final = ("sent", "withdrawn")
Complete = Callable[[Item], Item]
_LAST_ROW_QUERIES: Final = (
    "SELECT coalesce(max(number), 0) FROM outbox",
    "SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'outbox'",
    "SELECT coalesce(max(number), 0) FROM outbox INDEXED BY outbox_by_state WHERE state >= ''",
)


@dataclass(slots=True)
class RescueReport:
    """Result of a rescue.

    `changes`, `items`: copied now. `known`: changes that an earlier rescue copied. `unreadable`: rows that existed and
    cannot be read or do not match their checksums. `uncounted`: there may be more rows, `reasons` say why.
    `backup`: a copy of the damaged file.
    """

    changes: int = 0
    known: int = 0
    items: int = 0
    unreadable: int = 0
    uncounted: bool = False
    backup: Path | None = None
    reasons: list[str] = field(default_factory=list)
    other_format: bool = False

    def add_failure(self, error: Exception) -> None:
        """Record that an unknown number of rows could not be read."""
        self.uncounted, self.other_format = True, isinstance(error, OtherFormat)
        self.reasons.append(str(error) or "unreadable")

    def sentences(self) -> tuple[str, ...]:
        """Return sentences for the user, if there is anything to say."""
        sentences = []
        if self.changes:
            sentences.append(f"Unsent local changes copied from the old cache: {self.changes:,}.")
        if self.items:
            sentences.append(f"Items of the local folder Conflicts copied from the old cache: {self.items:,}.")
        if self.unreadable:
            sentences.append(f"Local changes and items of the old cache that cannot be read: {self.unreadable:,}.")
        if self.uncounted and self.other_format:
            sentences.append(f"Local changes of the old cache could not be copied: {self.reasons[0]}.")
        elif self.uncounted:
            sentences.append(f"The old cache is damaged. It may have had more local changes ({self.reasons[0]}).")
        if self.backup:
            sentences.append(f"The old cache was kept as {self.backup.name}.")
        return tuple(sentences)


class _Rows(NamedTuple):
    """How the rows of a format are read.

    `change` and `local_item` get a row number, and raise one of UNREADABLE_ERRORS; `local_items` returns row numbers.
    """

    change: Callable[[sqlite3.Connection, int], LocalChange]
    local_items: Callable[[sqlite3.Connection], list[int]]
    local_item: Callable[[sqlite3.Connection, int], tuple[Item, tuple[LocalFile, ...]]]


def unchanged(item: Item) -> Item:
    """Return the item."""
    return item


async def rescue_outbox(
    path: Path, store: Store, owner: Identity | None = None, complete: Complete = unchanged
) -> RescueReport:
    """Copy the unsent changes and local items of `path` to `store`, durably.

    `owner`: the identity that the file must have; None if the caller has checked it. `complete` returns a local item of
    an older format with the columns that this format does not have. Damage is counted, never raised; CacheInUse and
    errors of the new file are raised. Nothing is copied if there is no file.
    """
    report = RescueReport()
    if not lexists(path):
        return report
    try:
        connection = await Connection.open(path, readonly=True)
    except (CacheDamaged, BadSettings) as error:
        report.add_failure(error)
    else:
        try:
            report = await copy_outbox(connection, store, owner, complete)
        finally:
            await connection.close()
    if report.unreadable or report.uncounted:
        report.backup = back_up(path)
    return report


async def copy_outbox(
    connection: Connection, store: Store, owner: Identity | None = None, complete: Complete = unchanged
) -> RescueReport:
    """Do the same as `rescue_outbox` with an open file, without a backup."""
    report = RescueReport()
    try:
        format71, format72 = await connection.run(is_format71), await connection.run(is_format72)
        if not (format71 or format72):
            await connection.run(check_header)
        if owner is not None and (stored := await connection.run(read_owner)) != owner:
            raise CacheDamaged("it was replaced during the run" if stored else "it does not say whose it is")
    except (CacheDamaged, *UNREADABLE_ERRORS) as error:
        report.add_failure(error)
        return report
    if format71:
        await _copy_from_format71(connection, store, report)
    else:
        rows = _format72_rows(complete) if format72 else _TODAYS_ROWS
        await _copy_changes(connection, store, report, rows)
        await _copy_local_items(connection, store, report, rows)
    await store.flush()
    return report


def _format72_rows(complete: Complete) -> _Rows:
    from kerio_resync.cache.format72 import rescue_outbox as format72  # few files are of that format

    def local_item(db: sqlite3.Connection, number: int) -> tuple[Item, tuple[LocalFile, ...]]:
        item, files = format72.read_local_item(db, number)
        return complete(item), files

    return _Rows(format72.read_change, format72.local_item_numbers, local_item)


async def _copy_from_format71(connection: Connection, store: Store, report: RescueReport) -> None:
    from kerio_resync.cache.format71.rescue_outbox import rescue_pending_changes  # few files are of that format

    result = await rescue_pending_changes(connection, store)
    report.changes, report.known, report.unreadable = result.changes, result.known, result.unreadable
    for reason in result.reasons:
        report.add_failure(CacheDamaged(reason))


async def _copy_changes(connection: Connection, store: Store, report: RescueReport, rows: _Rows) -> None:
    try:
        await connection.run(lambda db: require_tables(db, OUTBOX_TABLES))
    except CacheDamaged as error:
        report.add_failure(error)
        return
    changes = []
    for number in await connection.run(lambda db: _readable_numbers(db, report)):
        try:
            changes.append(await connection.run(_at(rows.change, number)))
        except UNREADABLE_ERRORS:
            report.unreadable += 1
    needed = outbox_rows.ancestors_of_pending(changes)
    for change in changes:
        state = await store.read(outbox_rows.state, change.uuid)
        if state is not None:
            report.known += 1
            if state != change.state:
                await store.apply(_mark_like(change))
        elif change.state not in SETTLED_STATES or change.uuid in needed:
            await _copy_change(connection, store, change, report)


def _mark_like(change: LocalChange) -> MarkChange:
    return MarkChange(
        change.uuid, change.state, change.attempt, change.reason, change.code, change.sent_version, change.new_id
    )


async def _copy_change(connection: Connection, store: Store, change: LocalChange, report: RescueReport) -> None:
    try:
        files = await connection.run(lambda db: _read_files(db, change))
    except UNREADABLE_ERRORS:
        report.unreadable += change.state not in SETTLED_STATES
        return
    # with an unknown state the change may have been sent; "sending" makes the replay look for it first
    state = change.state if change.state in outbox_rows.ALL_STATES else "sending"
    await store.apply(AddChange(change._replace(state=state), files))
    report.changes += change.state not in SETTLED_STATES


async def _copy_local_items(connection: Connection, store: Store, report: RescueReport, rows: _Rows) -> None:
    try:
        await connection.run(lambda db: require_tables(db, TABLES))
        numbers = await connection.run(rows.local_items)
    except (CacheDamaged, *UNREADABLE_ERRORS) as error:
        report.add_failure(error)
        return
    for number in numbers:
        try:
            item, files = await connection.run(_at(rows.local_item, number))
        except UNREADABLE_ERRORS:
            report.unreadable += 1
            continue
        if not await store.read(queries.versions, [item.id]):
            report.items += 1
            await store.apply(PutLocal(item, files))


def _at(read: Callable[[sqlite3.Connection, int], T], number: int) -> Callable[[sqlite3.Connection], T]:
    return lambda db: read(db, number)


def _readable_numbers(db: sqlite3.Connection, report: RescueReport) -> list[int]:
    """Return the numbers of the outbox's readable rows; the others are counted."""
    last = [_last_row(db, query, report) for query in _LAST_ROW_QUERIES]
    if last[0] is None and last[1] is None:
        report.add_failure(CacheDamaged("the end of the outbox cannot be found"))
    highest = max((number for number in last if number is not None and 0 <= number <= MAX_PLAUSIBLE_ROWID), default=0)
    numbers = [row[0] for row in readable_rows(db, "SELECT number FROM outbox WHERE number", 1, highest)]
    report.unreadable += highest - len(numbers)
    return numbers


def _last_row(db: sqlite3.Connection, query: str, report: RescueReport) -> int | None:
    try:
        return int(db.execute(query).fetchone()[0])
    except UNREADABLE_ERRORS as error:
        report.reasons.append(str(error))
        return None


def _read_change(db: sqlite3.Connection, number: int) -> LocalChange:
    """Return a change. ValueError if it does not match its checksum.

    The checksum does not cover the contents of files.
    """
    change = outbox_rows.change(db, number)
    if change is None or not outbox_rows.is_intact(db, change):
        raise ValueError("wrong checksum")
    return change


def _read_files(db: sqlite3.Connection, change: LocalChange) -> tuple[LocalFile, ...]:
    return tuple(
        LocalFile(
            file.name, file.content_type, _read_content(db, "outbox_chunk", file.key, file.size, file.sha256),
            file.content_id,
        )
        for file in change.files
    )  # fmt: skip


def _local_item_numbers(db: sqlite3.Connection) -> list[int]:
    sql = "SELECT item FROM placement WHERE folder IN (SELECT number FROM folder WHERE standing = 'local')"
    return [row[0] for row in db.execute(sql)]


def _read_local_item(db: sqlite3.Connection, number: int) -> tuple[Item, tuple[LocalFile, ...]]:
    ((_, item, checksum),) = read_item_row(db, "item.number = ?", (number,))
    if item_checksum(item) != checksum:
        raise ValueError("wrong checksum")
    sql = "SELECT number, received, sha256 FROM attachment WHERE item = ? ORDER BY ordinal"
    contents = [_read_content(db, "chunk", *row) for row in db.execute(sql, (number,)).fetchall()]
    return item, tuple(
        LocalFile(attachment.name, attachment.content_type, content, attachment.content_id)
        for attachment, content in zip(item.attachments, contents, strict=True)
    )


def _read_content(db: sqlite3.Connection, table: str, attachment: int, size: int, sha256: bytes | None) -> bytes:
    if not content_matches_checksum(db, table, attachment, size, sha256):
        raise ValueError("wrong checksum")
    content = bytearray()
    while data := queries.chunk(db, table, attachment, len(content)):
        content += data
    return bytes(content)


_TODAYS_ROWS: Final = _Rows(_read_change, _local_item_numbers, _read_local_item)
