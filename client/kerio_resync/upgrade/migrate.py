"""From format 7.1 to 7.2.0: the new database is built beside the old one, proven, and only then takes its place.

Two threads share the work: one reads the old file and makes of its rows what the new one holds, the other adds the
checksums and writes. Between them at most `AHEAD` batches of some megabytes wait, whatever the sizes. The old file is
locked throughout, and not changed. Proven means: every item and content that it says it has is in the new one;
everything read back holds the checksum that was made of it before it was written; SQLite finds the file sound; every
pending change is there. What is not right in the old file is CacheDamaged, naming no mail.
"""

from __future__ import annotations

import asyncio
import itertools
import queue
import threading
import time
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from kerio_resync.cache.changes import change_sum
from kerio_resync.cache.facts import LocalChange
from kerio_resync.cache.files import holders
from kerio_resync.cache.legacy.reading import Old, OldItem, Run
from kerio_resync.cache.legacy.schema import HOMES, LINE
from kerio_resync.cache.legacy.target import Content, Mark, Target, intact, sound
from kerio_resync.cache.schema import CHUNK
from kerio_resync.cache.sums import sha256
from kerio_resync.cache.swap import seal
from kerio_resync.errors import CacheDamaged, CacheInUse
from kerio_resync.model import KINDS, Item, Kind
from kerio_resync.resync.folders import rank
from kerio_resync.server.items import items_of
from kerio_resync.server.wire import canonical
from kerio_resync.upgrade.versions import Moved, Survey, Tell

AHEAD: Final = 4  # batches
BATCH: Final = 2 * 1024 * 1024  # bytes in one, about
ITEMS: Final = 256  # items in one, at most
JOURNAL: Final = 64 * 1024 * 1024  # room for the journal and what a transaction takes more
_BASE64: Final = 4 / 3 * 1.02  # what a content takes in the old file


@dataclass(slots=True)
class Batch:
    """Items, and contents of them; `whole`: nothing of them comes later, so that `mark` is true once it is stored."""

    mark: Mark
    items: list[Item] = field(default_factory=list)
    with_content: list[tuple[str, int]] = field(default_factory=list)
    contents: list[Content] = field(default_factory=list)
    weight: int = 0
    whole: bool = True


def survey(old: Path, new: Path) -> Survey:
    """What carrying `old` over comes to. CacheDamaged, CacheInUse."""
    with Old(old) as source:
        live, contents = source.sizes()
        counts = source.counts()
    items = sum(counts[table] for table in HOMES.values())
    text = max(0, live - contents * _BASE64)
    there = new.stat().st_size if new.exists() else 0  # what is there in part need not be found once more
    needed = int(text * 1.15 + items * 3000 + contents * 1.04) + JOURNAL - there
    return Survey(max(needed, JOURNAL), live, items)


def migrate(old: Path, new: Path, tell: Tell, stop: threading.Event) -> Moved:
    """See `versions.Migration`."""
    started = time.monotonic()
    before = old.stat()
    with Old(old) as source:
        if by := holders(old, own=1):
            raise CacheInUse(f"{old} is open in {by[0]}")
        target = Target.open(new, source.identity, f"{before.st_size} {before.st_mtime_ns} {before.st_ino}")
        try:
            work = _Work(source, target, tell, stop)
            work.carry()
            pending = work.prove()
            target.finish(source.sync_key)
            counts = target.counts()
        finally:
            target.close()
        asyncio.run(seal(new))
        size = new.stat().st_size
        source.replace_by(new)
    return Moved(
        sum(counts.get(kind, 0) for kind in KINDS), counts["contents"], pending, before.st_size, size,
        time.monotonic() - started, target.resumed,
    )  # fmt: skip


def trial(old: Path, new: Path, most: int) -> tuple[int, float]:
    """Carries at most `most` bytes of `old` over to `new`, which nobody needs, and proves them: (bytes, seconds).

    CacheDamaged, CacheInUse, NotEnoughSpace."""
    with Old(old) as source:
        target = Target.open(new, source.identity, "a trial")
        started = time.monotonic()
        try:
            told = source.folders()
            target.put_folders(told, {each.id: rank(each) for each in told})
            mark = Mark()
            with closing(_ahead(lambda: _batches(source, Mark()), threading.Event())) as batches:
                for batch in batches:
                    _store(target, batch)
                    mark = batch.mark if batch.whole else mark
                    target.passed(mark)
                    if mark.bytes >= most:
                        break
            target.commit(mark)
            _wrong(new, lambda _: None)
            return mark.bytes, time.monotonic() - started
        finally:
            target.close()


def _store(target: Target, batch: Batch) -> None:
    if batch.items:
        target.put_items(batch.items, batch.with_content, batch.weight)
    for content in batch.contents:
        target.put_content(content)


def _wrong(path: Path, told: Callable[[int], None]) -> list[str]:
    """What of the new database does not hold; SQLite's own check runs beside ours."""
    with ThreadPoolExecutor(1) as other:
        structure = other.submit(intact, path)
        return sound(path, told) + structure.result()


class _Work:
    """One migration under way."""

    def __init__(self, source: Old, target: Target, tell: Tell, stop: threading.Event) -> None:
        self._source, self._target, self._tell, self._stop = source, target, tell, stop
        self._live, _ = source.sizes()
        self._counts = source.counts()
        self._items = sum(self._counts[table] for table in HOMES.values())

    def carry(self) -> None:
        """Carries over what is not there yet."""
        target, source = self._target, self._source
        mark = target.mark()
        if not mark.kind:
            told = source.folders()
            target.put_folders(told, {each.id: rank(each) for each in told})
        start = mark
        for batch in _ahead(lambda: _batches(source, start), self._stop):
            _store(target, batch)
            if batch.whole:
                mark = batch.mark
                target.passed(mark)
            self._tell("upgrade", min(mark.bytes, self._live), self._live, mark.items, self._items)
        for change in source.pending():
            target.put_change(change)
        target.commit(mark)

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
        changes = {each.uuid: _sum_of(each) for each in source.pending()}
        if target.changes() != changes:
            raise CacheDamaged("not every pending change was carried over")
        self._read_back(target)
        return len(changes)

    def _read_back(self, target: Target) -> None:
        total = target.path.stat().st_size
        done = 0

        def told(count: int) -> None:
            nonlocal done
            done += count
            if self._stop.is_set():
                raise InterruptedError
            self._tell("verify", min(done, total), total, self._items, self._items)

        wrong = _wrong(target.path, told)
        if wrong:
            raise CacheDamaged(f"the new database does not hold: {wrong[0]}")


def _batches(source: Old, mark: Mark) -> Iterator[Batch]:
    """What is to be stored, from `mark` on."""
    todo = KINDS[KINDS.index(mark.kind) :] if mark.kind in KINDS else KINDS
    for kind in todo:
        after = mark.after if kind == mark.kind else 0
        mark = Mark(kind, after, mark.bytes, mark.items)
        found: list[OldItem] = []
        weight = 0
        for one in source.items(kind, after):
            size = one.room + sum(run.bytes for run in one.contents)
            if found and (weight + size > BATCH or len(found) == ITEMS):
                yield from _made(source, kind, found, mark)
                mark = _after(found, mark)
                found, weight = [], 0
            found.append(one)
            weight += size
        if found:
            yield from _made(source, kind, found, mark)
            mark = _after(found, mark)


def _after(found: list[OldItem], mark: Mark) -> Mark:
    room = sum(one.room + int(_BASE64 * sum(run.bytes for run in one.contents)) for one in found)
    return Mark(mark.kind, found[-1].number, mark.bytes + room, mark.items + len(found))


def _made(source: Old, kind: Kind, found: list[OldItem], mark: Mark) -> Iterator[Batch]:
    """The batches of `found`: one, or several if a content is large."""
    items, malformed = items_of(kind, [one.struct for one in found], canonical)
    if malformed or [item.id for item in items] != [one.id for one in found]:
        raise CacheDamaged("an item is none")
    batch = Batch(mark, list(items), whole=False)
    batch.weight = sum(len(item.payload) for item in items)
    batch.with_content = [(one.id, run.place) for one in found for run in one.contents]
    held = 0
    for one in found:
        for run in one.contents:
            for content in _content(source, one.id, run):
                if held and held + BATCH // 8 > BATCH:
                    yield batch
                    batch, held = Batch(mark, whole=False), 0
                batch.contents.append(content)
                held += len(content.data)
    batch.mark, batch.whole = _after(found, mark), True
    yield batch


def _content(source: Old, item: str, run: Run) -> Iterator[Content]:
    size = 0
    lines = source.content(run)
    while True:
        data = b"".join(itertools.islice(lines, CHUNK // LINE))
        last = len(data) < CHUNK or size + len(data) == run.bytes
        if last and next(lines, None) is not None:
            raise CacheDamaged("a content is longer than it says")
        yield Content(item, run.place, size, data, last)
        size += len(data)
        if last:
            return


def _ahead(make: Callable[[], Iterator[Batch]], stop: threading.Event) -> Generator[Batch, None, None]:
    """What `make` yields, made ahead by another thread. InterruptedError once `stop` is set."""
    waiting: queue.Queue[Batch | BaseException | None] = queue.Queue(AHEAD)
    left = threading.Event()

    def work() -> None:
        end: BaseException | None = None
        try:
            for batch in make():
                waiting.put(batch)
                if left.is_set():
                    return
        except BaseException as error:
            end = error
        waiting.put(end)

    thread = threading.Thread(target=work, name="reads the old database", daemon=True)
    thread.start()
    try:
        while (found := waiting.get()) is not None:
            if isinstance(found, BaseException):
                raise found
            if stop.is_set():
                raise InterruptedError
            yield found
    finally:
        left.set()
        while thread.is_alive():
            with_room(waiting)
            thread.join(0.01)


def with_room(waiting: queue.Queue[Batch | BaseException | None]) -> None:
    """Empties the queue, so that who waits to put something into it can end."""
    while not waiting.empty():
        waiting.get_nowait()


def _sum_of(change: LocalChange) -> bytes:
    described = [
        (each.name, each.content_type, each.content_id, len(each.data), sha256(each.data).hex())
        for each in change.files
    ]
    return change_sum(change, described)
