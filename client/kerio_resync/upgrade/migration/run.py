"""What all migrations have in common: the way from the old file to the new one.

A new database is built beside the old one, verified, and only then put in its place; the old file is locked throughout
and never changed. Rows are read and written in batches, so memory does not grow with the file.

Verified means: the old file has the rows that it says it has; every item, content, folder and local change is in the
new one; and everything that was written matches its checksum when it is read back. Otherwise CacheDamaged, which quotes
no mail.
"""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, Generic, Protocol, Self, TypeVar

from kerio_resync.cache.files import processes_holding
from kerio_resync.cache.new_database import Checkpoint, NewDatabase
from kerio_resync.cache.verify_new import verify
from kerio_resync.errors import CacheInUse
from kerio_resync.model import KINDS, Identity
from kerio_resync.upgrade.formats import MigrationResult, ProgressCallback, SizeEstimate

PROCESS_MIN_BYTES: Final = 48 * 1024 * 1024  # to copy, from which on a second process is worth its start
JOURNAL_BYTES: Final = 64 * 1024 * 1024  # for the journal and an open transaction
LOCK_TIMEOUT_SECONDS: Final = 2.0
UNLIMITED: Final = 2**63 - 1


class Source(Protocol):
    """An open database of an older format."""

    path: Path

    @classmethod
    def open(cls, path: Path, *, locked_elsewhere: bool = False) -> Self:
        """Open and lock a file; see `open_old_file`."""
        ...

    def __enter__(self) -> Self: ...
    def __exit__(self, *error: object) -> None: ...

    @property
    def identity(self) -> Identity:
        """Return whose cache the file is."""
        ...

    def used_bytes(self) -> int:
        """Return how many bytes of the file are in use."""
        ...

    def item_count(self) -> int:
        """Return the number of items."""
        ...

    def replace_by(self, new: Path) -> None:
        """Give the file `new` this file's name. Only closing may follow."""
        ...


SourceT = TypeVar("SourceT", bound=Source)


class CopyAndVerify(ABC, Generic[SourceT]):
    """One migration from `source` to `target`.

    A subclass copies what its format has. `hashes`: see `verify_new.verify`.
    """

    hashes = False

    def __init__(self, source: SourceT, target: NewDatabase, report: ProgressCallback, stop: threading.Event) -> None:
        self._source, self._target, self._report, self._stop = source, target, report, stop
        self._total_bytes = source.used_bytes()
        self._total_items = source.item_count()
        self._checkpoint = target.checkpoint()

    @abstractmethod
    def copy(self, max_bytes: int = UNLIMITED) -> Checkpoint:
        """Copy everything that is not here yet, or about `max_bytes` of it.

        InterruptedError once the migration is to stop.
        """

    @abstractmethod
    def require_complete(self) -> dict[str, int]:
        """Raise CacheDamaged unless the new database has all of the old one.

        Return its `counts`.
        """

    @abstractmethod
    def final_meta(self) -> Mapping[str, str]:
        """Return entries of the table `meta` that make it a finished cache."""

    def verify(self) -> None:
        """Raise CacheDamaged unless what was written can be read. InterruptedError."""
        total = self._target.path.stat().st_size

        def report(share: float) -> None:
            if self._stop.is_set():
                raise InterruptedError
            self._report("verify", int(share * total), total, self._total_items, self._total_items)

        verify(self._target.path, report, hashes=self.hashes)

    def report_copied(self, more: int = 0) -> None:
        """Report the bytes of the checkpoint and `more`. InterruptedError."""
        if self._stop.is_set():
            raise InterruptedError
        done = min(self._checkpoint.bytes + more, self._total_bytes)
        self._report("upgrade", done, self._total_bytes, self._checkpoint.items, self._total_items)


Make = Callable[[SourceT, NewDatabase, ProgressCallback, threading.Event], CopyAndVerify[SourceT]]


def size_estimate(new: Path, needed: float, live: int, items: int) -> SizeEstimate:
    """Return the estimate for a new file of `needed` bytes, which is there in part."""
    already = new.stat().st_size if new.exists() else 0
    return SizeEstimate(max(int(needed) + JOURNAL_BYTES - already, JOURNAL_BYTES), live, items)


def run_migration(
    old: Path, new: Path, report: ProgressCallback, stop: threading.Event, reader: type[SourceT], make: Make[SourceT]
) -> MigrationResult:
    """Do what `formats.Migration.migrate` says."""
    started, before = time.monotonic(), old.stat()
    with reader.open(old) as source:
        _require_unused(old)
        target = NewDatabase.open(new, source.identity, f"{before.st_size} {before.st_mtime_ns} {before.st_ino}")
        try:
            migration = make(source, target, report, stop)
            migration.copy()
            counts = migration.require_complete()
            migration.verify()
            target.finish(migration.final_meta())
        finally:
            target.close()
        size = new.stat().st_size
        source.replace_by(new)
    return MigrationResult(
        sum(counts.get(kind, 0) for kind in KINDS), counts["contents"], counts["changes"], before.st_size, size,
        time.monotonic() - started, target.resumed,
    )  # fmt: skip


def run_sample(old: Path, new: Path, max_bytes: int, reader: type[SourceT], make: Make[SourceT]) -> tuple[int, float]:
    """Do what `formats.Migration.measure_sample` says.

    The first batch does not count: what it costs to start is not a matter of size.
    """
    first: list[tuple[float, int]] = []

    def report(phase: str, done: int, total: int, items: int, all_items: int) -> None:
        if done and not first:
            first.append((time.monotonic(), done))

    with reader.open(old) as source:
        target = NewDatabase.open(new, source.identity, "a sample")
        try:
            started = time.monotonic(), 0
            migration = make(source, target, report, threading.Event())
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
