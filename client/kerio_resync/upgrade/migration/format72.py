"""The migration from format 7.2 to the current one.

Each item is compared with its old checksum. Its columns stay as they are, and those that format 7.2 does not have are
filled from its struct as if the server had sent it. Contents, queue, outbox and all local state are carried over as
they are.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Final, NamedTuple

from kerio_resync.cache.checksums import change_checksum
from kerio_resync.cache.format72.copy import Format72Copy
from kerio_resync.cache.format72.reader import Format72Reader
from kerio_resync.cache.format72.rows import StoredContent
from kerio_resync.cache.new_database import Checkpoint, NewDatabase, Row
from kerio_resync.cache.write.items import item_row
from kerio_resync.errors import CacheDamaged
from kerio_resync.model import Item
from kerio_resync.server.json_codec import exact_json, parse_json
from kerio_resync.server.kerio.items import parse_items
from kerio_resync.upgrade.formats import MigrationResult, ProgressCallback, SizeEstimate
from kerio_resync.upgrade.migration.batch_process import read_batches
from kerio_resync.upgrade.migration.run import (
    PROCESS_MIN_BYTES,
    UNLIMITED,
    CopyAndVerify,
    run_migration,
    run_sample,
    size_estimate,
)

ITEMS_PER_BATCH: Final = 64
_ITEMS, _ALL = "item", "all"  # `Checkpoint.kind`: folders and some items are here, or everything


class Batch(NamedTuple):
    """Rows of consecutive items, and their contents.

    `placements`: (item, folder). `bytes`: of the items. Once all is stored, `checkpoint` is reached.
    """

    items: list[Row]
    placements: list[Row]
    contents: list[StoredContent]
    first: int
    bytes: int
    checkpoint: Checkpoint


class Start(NamedTuple):
    """Batches begin after `checkpoint`."""

    checkpoint: Checkpoint

    def after(self, batch: Batch) -> Start:
        """Return where the batches after `batch` begin."""
        return Start(batch.checkpoint)


def survey(old: Path, new: Path) -> SizeEstimate:
    """See `formats.Migration`."""
    with Format72Reader.open(old) as source:
        live, items = source.used_bytes(), source.item_count()
    return size_estimate(new, live * 1.1 + items * 200, live, items)


def migrate(old: Path, new: Path, report: ProgressCallback, stop: threading.Event) -> MigrationResult:
    """See `formats.Migration`."""
    return run_migration(old, new, report, stop, Format72Reader, _Migration)


def measure_sample(old: Path, new: Path, max_bytes: int) -> tuple[int, float]:
    """See `formats.Migration`."""
    return run_sample(old, new, max_bytes, Format72Reader, _Migration)


def make_batches(source: Format72Reader, start: Start) -> Iterator[Batch]:
    """Yield all items after `start`. CacheDamaged."""
    done = start.checkpoint
    while old_items := source.items(done.after, ITEMS_PER_BATCH):
        rows, placements, contents, size = list[Row](), list[Row](), list[StoredContent](), 0
        for old in old_items:
            rows.append(item_row(old.number, with_columns(old.item)))
            placements.append((old.number, old.folder))
            contents += old.contents
            size += len(old.item.payload)
        read = size + sum(content.received for content in contents)
        done = Checkpoint(_ITEMS, old_items[-1].number, done.bytes + read, done.items + len(rows))
        yield Batch(rows, placements, contents, old_items[0].number, size, done)


def with_columns(item: Item) -> Item:
    """Return the item with text, html and details.

    They stay empty if the struct is not one of the server's.
    """
    try:
        struct, write = parse_json(item.payload)
    except ValueError:
        return item
    if item.kind == "mail" and type(struct) is dict:  # all else that a mail has is in its columns already
        struct = {"id": item.id, "watermark": 0, "displayableParts": struct.get("displayableParts")}
    parsed, _ = parse_items(item.kind, [struct], exact_json if write is exact_json else _nothing)
    return item._replace(text=parsed[0].text, html=parsed[0].html, details=parsed[0].details) if parsed else item


def _nothing(value: object) -> bytes:
    """Take the place of the function that writes the payload, which is there already."""
    return b""


class _Migration(CopyAndVerify[Format72Reader]):
    hashes = True

    def __init__(
        self, source: Format72Reader, target: NewDatabase, report: ProgressCallback, stop: threading.Event
    ) -> None:
        super().__init__(source, target, report, stop)
        target.attach(source.path)
        self._copy = Format72Copy(target)

    def copy(self, max_bytes: int = UNLIMITED) -> Checkpoint:
        if self._checkpoint.kind == _ALL:
            return self._checkpoint
        if not self._checkpoint.kind:
            self._copy.folders()
            self._commit(Checkpoint(_ITEMS), now=True)
        process = self._total_bytes - self._checkpoint.bytes >= PROCESS_MIN_BYTES
        with closing(read_batches(self._source, Start(self._checkpoint), make_batches, process=process)) as batches:
            for batch in batches:
                self._copy_batch(batch)
                if self._checkpoint.bytes >= max_bytes:
                    break
            else:
                self._copy.rest(self._source.changes())
                self._checkpoint = self._checkpoint._replace(kind=_ALL, bytes=self._total_bytes)
        self._commit(self._checkpoint, now=True)
        self.report_copied()
        return self._checkpoint

    def _copy_batch(self, batch: Batch) -> None:
        self._target.put(batch.items, batch.placements, (), batch.bytes)
        self._copy.attachments(batch.first, batch.checkpoint.after)
        copied = batch.bytes
        for size in self._copy.contents(batch.contents):
            copied += size
            self.report_copied(copied)
        self._commit(batch.checkpoint)
        self.report_copied()

    def _commit(self, checkpoint: Checkpoint, *, now: bool = False) -> None:
        self._checkpoint = checkpoint
        self._target.commit(checkpoint, now=now)

    def require_complete(self) -> dict[str, int]:
        self._source.require_counts()
        self._copy.require_equal_counts()
        if self._target.change_checksums() != {each.uuid: change_checksum(each) for each in self._source.changes()}:
            raise CacheDamaged("not every local change was copied")
        return self._target.counts()

    def final_meta(self) -> dict[str, str]:
        return {}  # all of it is copied
