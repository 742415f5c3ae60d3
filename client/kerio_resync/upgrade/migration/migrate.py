"""From format 7.1 to 7.2.0: the new database is built beside the old one, proven, and only then takes its place.

Three share the work: a process makes of the old file's rows what the new one holds (`batches`), a thread reads, decodes
and hashes contents (`stream`), and this writes. Between them wait some megabytes, whatever the sizes. The old file is
locked throughout, and not changed. Proven means: every item and content that it says it has is in the new one;
everything read back holds the checksum that was made of it before it was written; SQLite finds the file sound; every
pending change is there. What is not right in the old file is CacheDamaged, naming no mail.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Final

from kerio_resync.cache.checksums import change_checksum
from kerio_resync.cache.files import processes_holding
from kerio_resync.cache.format71 import proof
from kerio_resync.cache.format71.reader import Old
from kerio_resync.cache.format71.schema import HOMES
from kerio_resync.cache.format71.target import Mark, Target
from kerio_resync.cache.swap import seal
from kerio_resync.cache.write.outbox import with_described_files
from kerio_resync.errors import CacheDamaged, CacheInUse
from kerio_resync.model import KINDS
from kerio_resync.sync.fetch.folders import rank
from kerio_resync.upgrade.formats import MigrationResult, ProgressCallback, SizeEstimate
from kerio_resync.upgrade.migration.batches import BASE64, Start, batches
from kerio_resync.upgrade.migration.stream import Parcel, ahead

APART: Final = 48 * 1024 * 1024  # bytes in use from which on a process of its own is worth its start
JOURNAL: Final = 64 * 1024 * 1024  # room for the journal and what a transaction takes more
PATIENCE: Final = 2.0  # seconds in which the process of a run that was killed has to end


def survey(old: Path, new: Path) -> SizeEstimate:
    """What carrying `old` over comes to. CacheDamaged, CacheInUse."""
    with Old(old) as source:
        live, contents = source.sizes()
        counts = source.counts()
    items = sum(counts[table] for table in HOMES.values())
    text = max(0, live - contents * BASE64)
    there = new.stat().st_size if new.exists() else 0  # what is there in part need not be found once more
    needed = int(text * 1.15 + items * 3000 + contents * 1.04) + JOURNAL - there
    return SizeEstimate(max(needed, JOURNAL), live, items)


def migrate(old: Path, new: Path, tell: ProgressCallback, stop: threading.Event) -> MigrationResult:
    """See `versions.Migration`."""
    started = time.monotonic()
    before = old.stat()
    with Old(old) as source:
        _refuse_if_open(old)
        target = Target.open(new, source.identity, f"{before.st_size} {before.st_mtime_ns} {before.st_ino}")
        try:
            work = _Work(old, source, target, tell, stop)
            work.carry()
            pending = work.prove()
            target.finish(source.sync_key)
            counts = target.counts()
        finally:
            target.close()
        asyncio.run(seal(new))
        size = new.stat().st_size
        source.replace_by(new)
    return MigrationResult(
        sum(counts.get(kind, 0) for kind in KINDS), counts["contents"], pending, before.st_size, size,
        time.monotonic() - started, target.resumed,
    )  # fmt: skip


def trial(old: Path, new: Path, most: int) -> tuple[int, float]:
    """Carries at most `most` bytes of `old` over to `new`, which nobody needs, and proves them: (bytes, seconds), from
    the first batch on, so that starting up does not count as often as the sample is contained in the file.

    CacheDamaged, CacheInUse, NotEnoughSpace."""
    begun: list[tuple[float, int]] = []

    def tell(phase: str, done: int, total: int, items: int, all_items: int) -> None:
        if done and not begun:
            begun.append((time.monotonic(), done))

    with Old(old) as source:
        target = Target.open(new, source.identity, "a trial")
        started = time.monotonic(), 0
        try:
            work = _Work(old, source, target, tell, threading.Event())
            mark = work.carry(most)
            work.read_back()
            when, before = begun[0] if begun and begun[0][1] < mark.bytes else started
            return mark.bytes - before, time.monotonic() - when
        finally:
            target.close()


def _refuse_if_open(old: Path) -> None:
    """CacheInUse if another has it open, and keeps it open."""
    last = time.monotonic() + PATIENCE
    while by := processes_holding(old, own=1):
        if time.monotonic() > last:
            raise CacheInUse(f"{old} is open in {by[0]}")
        time.sleep(0.05)


def wrong(target: Target, told: Callable[[int], None]) -> list[str]:
    """What of the new database does not hold. SQLite's own check and ours run side by side."""
    path, halves = target.path, 2
    with ThreadPoolExecutor(halves) as others:
        contents = [others.submit(proof.wrong_contents, path, told, part, halves) for part in range(halves)]
        found = proof.wrong_items(path, told, target.written) + proof.intact(path)
        return found + [line for each in contents for line in each.result()]


class _Work:
    """One migration under way."""

    def __init__(self, old: Path, source: Old, target: Target, tell: ProgressCallback, stop: threading.Event) -> None:
        self._old, self._source, self._target, self._tell, self._stop = old, source, target, tell, stop
        self._live, _ = source.sizes()
        self._counts = source.counts()
        self._items = sum(self._counts[table] for table in HOMES.values())

    def carry(self, most: int | None = None) -> Mark:
        """Carries over what is not there yet, or about `most` bytes; how far it is."""
        target, source = self._target, self._source
        mark = target.mark()
        if not mark.kind:
            told = source.folders()
            target.put_folders(told, {each.id: rank(each) for each in told})
        start = Start(mark, *target.next_numbers(), target.folders())
        apart = min(self._live - mark.bytes, most or self._live) >= APART
        with closing(ahead(source, lambda: batches(source, self._old, start, apart=apart), self._stop)) as parcels:
            arrived: dict[int, tuple[int, bytes]] = {}
            for parcel in parcels:
                mark = self._store(parcel, arrived, mark)
                if most is not None and mark.bytes >= most:
                    break
        if most is None:
            for change in source.pending():
                target.put_change(change)
        target.commit(mark)
        return mark

    def _store(self, parcel: Parcel, arrived: dict[int, tuple[int, bytes]], mark: Mark) -> Mark:
        """`arrived`: contents of the batch that is under way."""
        target, batch = self._target, parcel.batch
        target.put_chunks(parcel.chunks(), parcel.size)
        arrived |= parcel.arrived
        if batch is not None:
            target.put_items(batch.items, batch.settled(arrived), batch.weight)
            arrived.clear()
            mark = batch.mark
            target.passed(mark)
        self._tell("upgrade", min(mark.bytes, self._live), self._live, mark.items, self._items)
        return mark

    def prove(self) -> int:
        """CacheDamaged unless all is there and holds; how many pending changes there are."""
        source, target = self._source, self._target
        found = target.counts()
        expected: dict[str, int] = {kind: self._counts[table] for kind, table in HOMES.items() if self._counts[table]}
        expected["contents"], expected["bytes"] = source.proven()
        expected |= {"folders": self._counts["FOLDERS"], "unknown": 0, "wanted": 0}
        for name, count in expected.items():
            if found.get(name, 0) != count:
                raise CacheDamaged(f"{found.get(name, 0):,} {name} were carried over, not {count:,}")
        changes = {each.change.uuid: change_checksum(with_described_files(each)) for each in source.pending()}
        if target.changes() != changes:
            raise CacheDamaged("not every pending change was carried over")
        self.read_back()
        return len(changes)

    def read_back(self) -> None:
        """CacheDamaged unless everything that was written holds. InterruptedError."""
        total = self._target.path.stat().st_size
        done, lock = 0, threading.Lock()

        def told(count: int) -> None:
            nonlocal done
            with lock:
                done += count
            if self._stop.is_set():
                raise InterruptedError
            self._tell("verify", min(done, total), total, self._items, self._items)

        if found := wrong(self._target, told):
            raise CacheDamaged(f"the new database does not hold: {found[0]}")
