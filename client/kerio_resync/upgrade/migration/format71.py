"""The migration from format 7.1 to the current one.

An item passes through the same code as one that the server sent, so both ways lead to the same row.
"""

from __future__ import annotations

import hashlib
import threading
from collections import deque
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Final, TypeVar

from kerio_resync.cache.checksums import change_checksum
from kerio_resync.cache.format71.reader import PIECES_AHEAD, Format71Reader
from kerio_resync.cache.format71.schema import TABLE_BY_KIND
from kerio_resync.cache.new_database import Checkpoint, Chunk, Row
from kerio_resync.cache.write.outbox import with_described_files
from kerio_resync.errors import CacheDamaged
from kerio_resync.sync.fetch.folders import rank
from kerio_resync.upgrade.formats import MigrationResult, ProgressCallback, SizeEstimate
from kerio_resync.upgrade.migration.batch_process import read_batches
from kerio_resync.upgrade.migration.format71_batches import BASE64_RATIO, Batch, Start, make_batches
from kerio_resync.upgrade.migration.run import (
    PROCESS_MIN_BYTES,
    UNLIMITED,
    CopyAndVerify,
    run_migration,
    run_sample,
    size_estimate,
)

GROUPS: Final = 4  # that PIECES_AHEAD are divided into
_Value = TypeVar("_Value")
NOT_STORED: Final = ("omitted", "not in the database that this one was made from", 0, None)


def survey(old: Path, new: Path) -> SizeEstimate:
    """See `formats.Migration`."""
    with Format71Reader.open(old) as source:
        live, (_, contents), items = source.used_bytes(), source.contents(), source.item_count()
    text = max(0, live - contents * BASE64_RATIO)
    return size_estimate(new, text * 1.15 + items * 3000 + contents * 1.04, live, items)


def migrate(old: Path, new: Path, report: ProgressCallback, stop: threading.Event) -> MigrationResult:
    """See `formats.Migration`."""
    return run_migration(old, new, report, stop, Format71Reader, _Migration)


def measure_sample(old: Path, new: Path, max_bytes: int) -> tuple[int, float]:
    """See `formats.Migration`."""
    return run_sample(old, new, max_bytes, Format71Reader, _Migration)


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


class _Migration(CopyAndVerify[Format71Reader]):
    def copy(self, max_bytes: int = UNLIMITED) -> Checkpoint:
        if not self._checkpoint.kind:
            folders = self._source.folders()
            self._target.put_folders(folders, {folder.id: rank(folder) for folder in folders})
        start = Start(self._checkpoint, *self._target.next_numbers(), self._target.folder_numbers())
        process = self._total_bytes - self._checkpoint.bytes >= PROCESS_MIN_BYTES
        with (
            closing(read_batches(self._source, start, make_batches, process=process)) as batches,
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
                self.report_copied(int(BASE64_RATIO * copied))
                if self._checkpoint.bytes >= max_bytes:
                    break
        for change in self._source.pending():
            self._target.put_change(change)
        self._target.commit(self._checkpoint, now=True)
        return self._checkpoint

    def _copy_rows(self, batch: Batch, states: dict[int, Row]) -> None:
        attachments = [(*row, *states.get(row[0], NOT_STORED)) for row in batch.attachments]
        self._target.put(batch.items, batch.placements, attachments, batch.bytes)
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

    def require_complete(self) -> dict[str, int]:
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

    def final_meta(self) -> dict[str, str]:
        sync_key = self._source.sync_key
        finished = {"finished_at": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"}
        return finished if sync_key is None else {**finished, "sync_key": sync_key}
