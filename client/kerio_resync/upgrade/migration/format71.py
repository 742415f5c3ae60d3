"""The migration from format 7.1 to 7.2.0.

A new database is built beside the old one, verified, and only then put in its place; the old file is locked throughout
and never changed. Rows are read and written in batches, so memory does not grow with the file. An item passes through
the same code as one that the server sent, so both ways lead to the same row.

Verified means: the old file has the rows that it says it has; every item, content, folder and pending change is in the
new one; and everything that was written matches its checksum when it is read back. Otherwise CacheDamaged, which quotes
no mail.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Final

from kerio_resync.cache.checksums import change_checksum
from kerio_resync.cache.files import processes_holding
from kerio_resync.cache.format71.new_database import Checkpoint, NewDatabase, Row, verify
from kerio_resync.cache.format71.reader import PIECES_AHEAD, ContentExtent, Format71Item, Format71Reader
from kerio_resync.cache.format71.schema import TABLE_BY_KIND
from kerio_resync.cache.write.items import item_row
from kerio_resync.cache.write.outbox import with_described_files
from kerio_resync.errors import CacheDamaged, CacheInUse
from kerio_resync.model import KINDS, Item, Kind
from kerio_resync.server.kerio.items import parse_items
from kerio_resync.server.kerio.json_codec import canonical_json
from kerio_resync.sync.fetch.folders import rank
from kerio_resync.upgrade.formats import MigrationResult, ProgressCallback, SizeEstimate

ITEMS_PER_BATCH: Final = 64
BATCH_BYTES: Final = 512 * 1024  # of texts, about
BASE64_RATIO: Final = 4 / 3 * 1.02  # what a content takes in the old file
JOURNAL_BYTES: Final = 64 * 1024 * 1024  # for the journal and an open transaction
LOCK_TIMEOUT_SECONDS: Final = 2.0
UNLIMITED: Final = 2**63 - 1
NOT_STORED: Final = ("omitted", "not in the database that this one was made from", 0, None)


def survey(old: Path, new: Path) -> SizeEstimate:
    """See `formats.Migration`."""
    with Format71Reader.open(old) as source:
        live, (_, contents) = source.used_bytes(), source.contents()
        items = sum(map(source.count, TABLE_BY_KIND.values()))
    text = max(0, live - contents * BASE64_RATIO)
    already = new.stat().st_size if new.exists() else 0
    needed = int(text * 1.15 + items * 3000 + contents * 1.04) + JOURNAL_BYTES - already
    return SizeEstimate(max(needed, JOURNAL_BYTES), live, items)


def migrate(old: Path, new: Path, report: ProgressCallback, stop: threading.Event) -> MigrationResult:
    """See `formats.Migration`."""
    started, before = time.monotonic(), old.stat()
    with Format71Reader.open(old) as source:
        _require_unused(old)
        target = NewDatabase.open(new, source.identity, f"{before.st_size} {before.st_mtime_ns} {before.st_ino}")
        try:
            migration = _Migration(source, target, report, stop)
            migration.copy()
            counts = migration.require_complete()
            migration.verify()
            target.finish(source.sync_key)
        finally:
            target.close()
        size = new.stat().st_size
        source.replace_by(new)
    return MigrationResult(
        sum(counts.get(kind, 0) for kind in KINDS), counts["contents"], counts["changes"], before.st_size, size,
        time.monotonic() - started, target.resumed,
    )  # fmt: skip


def measure_sample(old: Path, new: Path, max_bytes: int) -> tuple[int, float]:
    """Migrate about `max_bytes` of `old` to the scratch file `new`, and verify them: (bytes, seconds).

    The first batch does not count: what it costs to start is not a matter of size.
    """
    first: list[tuple[float, int]] = []

    def report(phase: str, done: int, total: int, items: int, all_items: int) -> None:
        if done and not first:
            first.append((time.monotonic(), done))

    with Format71Reader.open(old) as source:
        target = NewDatabase.open(new, source.identity, "a sample")
        try:
            started = time.monotonic(), 0
            migration = _Migration(source, target, report, threading.Event())
            copied = migration.copy(max_bytes).bytes
            migration.verify()
            moment, before = first[0] if first and first[0][1] < copied else started
            return copied - before, time.monotonic() - moment
        finally:
            target.close()


def _require_unused(old: Path) -> None:
    """Raise CacheInUse if another program keeps the file open."""
    deadline = time.monotonic() + LOCK_TIMEOUT_SECONDS
    while programs := processes_holding(old, own=1):
        if time.monotonic() > deadline:
            raise CacheInUse(f"{old} is open in {programs[0]}")
        time.sleep(0.05)


class _Migration:
    """One migration from `source` to `target`."""

    def __init__(
        self, source: Format71Reader, target: NewDatabase, report: ProgressCallback, stop: threading.Event
    ) -> None:
        self._source, self._target, self._report, self._stop = source, target, report, stop
        self._total_bytes = source.used_bytes()
        self._total_items = sum(map(source.count, TABLE_BY_KIND.values()))
        self._checkpoint = target.checkpoint()
        self._folders: dict[str, int] = {}

    def copy(self, max_bytes: int = UNLIMITED) -> Checkpoint:
        """Copy everything that is not here yet, or about `max_bytes` of it. InterruptedError once `stop` is set."""
        resumed = self._checkpoint
        if not resumed.kind:
            folders = self._source.folders()
            self._target.put_folders(folders, {folder.id: rank(folder) for folder in folders})
        self._folders = self._target.folder_numbers()
        with ThreadPoolExecutor(1) as self._reader:
            for kind in KINDS[KINDS.index(resumed.kind) if resumed.kind else 0 :]:
                items = self._source.items(kind, resumed.after if kind == resumed.kind else 0)
                while self._checkpoint.bytes < max_bytes and (batch := list(islice(items, ITEMS_PER_BATCH))):
                    self._copy_batch(kind, batch)
        for change in self._source.pending():
            self._target.put_change(change)
        self._target.commit(self._checkpoint, now=True)
        return self._checkpoint

    def _copy_batch(self, kind: Kind, batch: Sequence[Format71Item]) -> None:
        items, malformed = parse_items(kind, [old.struct for old in batch], canonical_json)
        if malformed or [item.id for item in items] != [old.id for old in batch]:
            raise CacheDamaged("an item has no valid id or version")
        rows: list[Row] = []
        attachments: list[Row] = []
        extents: dict[int, ContentExtent] = {}  # by the number of the attachment
        size = 0
        for old, item in zip(batch, items, strict=True):
            if item.folder_id not in self._folders:
                raise CacheDamaged("an item is in no folder")
            number, first = self._target.next_numbers(len(item.attachments))
            rows.append(item_row(number, self._folders[item.folder_id], item))
            attachments += _attachment_rows(number, first, item)
            for extent in old.contents:
                if extent.ordinal >= len(item.attachments):
                    raise CacheDamaged("a content belongs to no attachment")
                extents[first + extent.ordinal] = extent
            size += len(item.payload)
        states = self._copy_contents(extents)
        self._target.put(rows, [(*row, *states.get(row[0], NOT_STORED)) for row in attachments], size)
        done = size + sum(int(BASE64_RATIO * extent.bytes) for extent in extents.values())
        _, _, bytes_done, items_done = self._checkpoint
        self._checkpoint = Checkpoint(kind, batch[-1].number, bytes_done + done, items_done + len(batch))
        self._target.commit(self._checkpoint)
        self._report_copied()

    def _copy_contents(self, extents: dict[int, ContentExtent]) -> dict[int, Row]:
        """Copy contents; their attachments' state, reason, bytes and SHA-256.

        A thread reads, decodes and hashes the next pieces while this one writes.
        """
        states: dict[int, Row] = {}
        pieces, copied = self._read_contents(extents, states), 0
        ahead = deque(self._reader.submit(next, pieces, None) for _ in range(PIECES_AHEAD))
        while (piece := ahead.popleft().result()) is not None:
            self._target.put_chunk(*piece)
            ahead.append(self._reader.submit(next, pieces, None))
            copied += len(piece[2])
            self._report_copied(int(BASE64_RATIO * copied))
        return states

    def _read_contents(
        self, extents: dict[int, ContentExtent], states: dict[int, Row]
    ) -> Iterator[tuple[int, int, memoryview]]:
        """Yield (attachment, offset, data) of contents, and record their attachments' states."""
        for attachment, extent in extents.items():
            offset, digest = 0, hashlib.sha256()
            for data in self._source.content(extent):
                digest.update(data)
                yield attachment, offset, data
                offset += len(data)
            states[attachment] = ("done", "", offset, digest.digest())

    def _report_copied(self, more: int = 0) -> None:
        if self._stop.is_set():
            raise InterruptedError
        done = min(self._checkpoint.bytes + more, self._total_bytes)
        self._report("upgrade", done, self._total_bytes, self._checkpoint.items, self._total_items)

    def require_complete(self) -> dict[str, int]:
        """Raise CacheDamaged unless the new database has all that the old one says it has; how much that is."""
        source, target = self._source, self._target
        source.require_counts()
        counts, (contents, size) = target.counts(), source.contents(("ATTACHMENTS", "CONTACT_PHOTOS"))
        expected: dict[str, int] = {kind: source.count(table) for kind, table in TABLE_BY_KIND.items()}
        expected |= {"contents": contents, "bytes": size, "folders": source.count("FOLDERS")}
        for name, count in expected.items():
            if counts.get(name, 0) != count:
                raise CacheDamaged(f"{counts.get(name, 0):,} {name} were copied, not {count:,}")
        changes = {added.change.uuid: change_checksum(with_described_files(added)) for added in source.pending()}
        if target.change_checksums() != changes:
            raise CacheDamaged("not every pending change was copied")
        return counts

    def verify(self) -> None:
        """Raise CacheDamaged unless everything that was written can be read back. InterruptedError."""
        total = self._target.path.stat().st_size

        def report(share: float) -> None:
            if self._stop.is_set():
                raise InterruptedError
            self._report("verify", int(share * total), total, self._total_items, self._total_items)

        verify(self._target.path, report)


def _attachment_rows(item_number: int, first: int, item: Item) -> Iterator[Row]:
    """Yield the rows of an item's attachments, numbered from `first`, without their state."""
    for ordinal, attachment in enumerate(item.attachments):
        yield (
            first + ordinal, item_number, ordinal, attachment.role, attachment.id, attachment.url, attachment.name,
            attachment.content_type, attachment.content_id, attachment.size,
        )  # fmt: skip
