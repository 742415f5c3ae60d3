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
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Final, TypeVar

from kerio_resync.cache.checksums import change_checksum
from kerio_resync.cache.files import processes_holding
from kerio_resync.cache.format71.new_database import Checkpoint, Chunk, NewDatabase, Row, verify
from kerio_resync.cache.format71.reader import PIECES_AHEAD, Format71Reader
from kerio_resync.cache.format71.schema import TABLE_BY_KIND
from kerio_resync.cache.write.outbox import with_described_files
from kerio_resync.errors import CacheDamaged, CacheInUse
from kerio_resync.model import KINDS
from kerio_resync.sync.fetch.folders import rank
from kerio_resync.upgrade.formats import MigrationResult, ProgressCallback, SizeEstimate
from kerio_resync.upgrade.migration.batches import BASE64_RATIO, Batch, Start, read_batches

PROCESS_MIN_BYTES: Final = 48 * 1024 * 1024  # to copy, from which on a second process is worth its start
GROUPS: Final = 4  # that PIECES_AHEAD are divided into
JOURNAL_BYTES: Final = 64 * 1024 * 1024  # for the journal and an open transaction
LOCK_TIMEOUT_SECONDS: Final = 2.0
_Value = TypeVar("_Value")
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
    """Migrate about `max_bytes` of `old` to the scratch file `new`; verify them.

    Return the bytes and the seconds.

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


def _ahead(values: Iterator[_Value]) -> Generator[_Value, None, None]:
    """Yield values that a thread computes, up to PIECES_AHEAD of them ahead.

    They pass from thread to thread in groups, because each pass costs a wait for the interpreter's lock.
    """

    def group() -> list[_Value]:
        return list(islice(values, PIECES_AHEAD // GROUPS))

    with ThreadPoolExecutor(1) as thread:
        ahead = deque(thread.submit(group) for _ in range(GROUPS))
        try:
            while values_ahead := ahead.popleft().result():
                yield from values_ahead
                ahead.append(thread.submit(group))
        finally:
            thread.shutdown(cancel_futures=True)


class _Migration:
    """One migration from `source` to `target`."""

    def __init__(
        self, source: Format71Reader, target: NewDatabase, report: ProgressCallback, stop: threading.Event
    ) -> None:
        self._source, self._target, self._report, self._stop = source, target, report, stop
        self._total_bytes = source.used_bytes()
        self._total_items = sum(map(source.count, TABLE_BY_KIND.values()))
        self._checkpoint = target.checkpoint()

    def copy(self, max_bytes: int = UNLIMITED) -> Checkpoint:
        """Copy everything that is not here yet, or about `max_bytes` of it.

        InterruptedError once `stop` is set.
        """
        if not self._checkpoint.kind:
            folders = self._source.folders()
            self._target.put_folders(folders, {folder.id: rank(folder) for folder in folders})
        start = Start(self._checkpoint, *self._target.next_numbers(), self._target.folder_numbers())
        process = self._total_bytes - self._checkpoint.bytes >= PROCESS_MIN_BYTES
        with (
            closing(read_batches(self._source, start, process=process)) as batches,
            closing(_ahead(self._read_contents(batches))) as parts,
        ):
            copied = 0  # bytes of contents of the batch that is being copied
            for part in parts:
                if isinstance(part, Chunk):
                    self._target.put_chunk(*part)
                    copied += len(part.data)
                else:
                    self._copy_rows(*part)
                    copied = 0
                self._report_copied(int(BASE64_RATIO * copied))
                if self._checkpoint.bytes >= max_bytes:
                    break
        for change in self._source.pending():
            self._target.put_change(change)
        self._target.commit(self._checkpoint, now=True)
        return self._checkpoint

    def _copy_rows(self, batch: Batch, states: dict[int, Row]) -> None:
        attachments = [(*row, *states.get(row[0], NOT_STORED)) for row in batch.attachments]
        self._target.put(batch.items, attachments, batch.bytes)
        self._checkpoint = batch.checkpoint
        self._target.commit(self._checkpoint)

    def _read_contents(self, batches: Iterator[Batch]) -> Iterator[Chunk | tuple[Batch, dict[int, Row]]]:
        """Yield the contents of each batch, then the batch.

        With the batch come its attachments' state, reason, bytes and SHA-256.
        """
        for batch in batches:
            states: dict[int, Row] = {}
            for attachment, extent in batch.contents.items():
                offset, digest = 0, hashlib.sha256()
                for data in self._source.content(extent):
                    digest.update(data)
                    yield Chunk(attachment, offset, data)
                    offset += len(data)
                states[attachment] = ("done", "", offset, digest.digest())
            yield batch, states

    def _report_copied(self, more: int = 0) -> None:
        if self._stop.is_set():
            raise InterruptedError
        done = min(self._checkpoint.bytes + more, self._total_bytes)
        self._report("upgrade", done, self._total_bytes, self._checkpoint.items, self._total_items)

    def require_complete(self) -> dict[str, int]:
        """Raise CacheDamaged unless the new database has all of the old one.

        Return how much that is.
        """
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
        """Raise CacheDamaged unless what was written can be read. InterruptedError."""
        total = self._target.path.stat().st_size

        def report(share: float) -> None:
            if self._stop.is_set():
                raise InterruptedError
            self._report("verify", int(share * total), total, self._total_items, self._total_items)

        verify(self._target.path, report)
