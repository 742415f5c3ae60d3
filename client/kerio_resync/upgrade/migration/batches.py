"""What of a 7.1 file goes over next: items as the rows that the new database holds, and which contents they have.

That is computing, in Python, while contents are decoding, hashing and copying, which is not. So for large files it is
done in a process of its own (`main`: a `Start` comes in on standard input, batches go out on standard output,
pickled), which reads the file that its parent holds the lock on. Where no process can be started, or
it dies, it is done here.
"""

from __future__ import annotations

import itertools
import pickle
import subprocess
import sys
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Final

from kerio_resync.cache.format71.reader import Old, OldItem, Run
from kerio_resync.cache.format71.target import Mark, Row
from kerio_resync.cache.write.items import item_row
from kerio_resync.errors import CacheDamaged
from kerio_resync.model import KINDS, Kind
from kerio_resync.server.kerio.items import parse_items
from kerio_resync.server.kerio.wire import canonical_json

BATCH: Final = 512 * 1024  # bytes of texts in one, about
ITEMS: Final = 64  # in one, at most
BASE64: Final = 4 / 3 * 1.02  # what a content takes in the old file
NOT_HERE: Final = "not in the database that this one was made from"
_OMITTED: Final = ("omitted", NOT_HERE, 0, None)
_PIPE: Final = 1024 * 1024
_PROGRAM: Final = """
import gc, sys
from kerio_resync.upgrade.migration.batches import main
gc.disable()  # nothing here goes round in circles
main(sys.stdin.buffer, sys.stdout.buffer)
"""


@dataclass(frozen=True, slots=True)
class Start:
    """Where to begin: after `mark`, with these numbers of the next item and attachment, in these folders (by id)."""

    mark: Mark
    item: int
    attachment: int
    folders: dict[str, int]


@dataclass(slots=True)
class Batch:
    """Rows of items and of their attachments. `contents`: by the place in `attachments`, which end with the size.

    Once all of it is stored, `mark` is true. `weight`: bytes."""

    mark: Mark
    items: list[Row] = field(default_factory=list)
    attachments: list[Row] = field(default_factory=list)
    contents: list[tuple[int, Run]] = field(default_factory=list)
    weight: int = 0

    def settled(self, arrived: dict[int, tuple[int, bytes]]) -> list[Row]:
        """The whole rows of the attachments; `arrived`: length and SHA-256 of the contents, by their number."""
        return [
            (*row, "done", "", *arrived[row[0]]) if row[0] in arrived else (*row, *_OMITTED) for row in self.attachments
        ]


def batches(source: Old, path: Path, start: Start, *, apart: bool) -> Generator[Batch, None, None]:
    """All there is from `start` on; `apart`: in a process of its own, if it can be. CacheDamaged."""
    if apart:
        with suppress(EOFError, OSError, pickle.UnpicklingError), closing(_apart(path, start)) as found:
            for batch in found:
                yield batch
                start = _after(batch, start)
            return
    yield from made(source, start)


def made(source: Old, start: Start) -> Iterator[Batch]:
    """The same, made here."""
    numbers = itertools.count(start.item), itertools.count(start.attachment)
    mark = start.mark
    for kind in KINDS[KINDS.index(mark.kind) :] if mark.kind in KINDS else KINDS:
        mark = Mark(kind, mark.after if kind == mark.kind else 0, mark.bytes, mark.items)
        found: list[OldItem] = []
        weight = 0
        for one in source.items(kind, mark.after):
            found.append(one)
            weight += one.room
            if weight >= BATCH or len(found) == ITEMS:
                batch = _batch(kind, found, mark, numbers, start.folders)
                mark, found, weight = batch.mark, [], 0
                yield batch
        if found:
            batch = _batch(kind, found, mark, numbers, start.folders)
            mark = batch.mark
            yield batch


def _batch(
    kind: Kind, found: Sequence[OldItem], mark: Mark, numbers: tuple[Iterator[int], Iterator[int]],
    folders: dict[str, int],
) -> Batch:  # fmt: skip
    items, malformed = parse_items(kind, [one.struct for one in found], canonical_json)
    if malformed or [item.id for item in items] != [one.id for one in found]:
        raise CacheDamaged("an item is none")
    room = 0
    batch = Batch(mark)
    for one, item in zip(found, items, strict=True):
        number = next(numbers[0])
        if item.folder_id not in folders:
            raise CacheDamaged("an item is in no folder")
        batch.items.append(item_row(number, folders[item.folder_id], item))
        first = len(batch.attachments)
        batch.attachments += [
            (next(numbers[1]), number, ordinal, each.role, each.id, each.url, each.name, each.content_type,
             each.content_id, each.size)
            for ordinal, each in enumerate(item.attachments)
        ]  # fmt: skip
        batch.weight += len(item.payload)
        room += one.room
        for run in one.contents:
            if run.place >= len(item.attachments):
                raise CacheDamaged("a content belongs to no attachment")
            batch.contents.append((batch.attachments[first + run.place][0], run))
            room += int(BASE64 * run.bytes)
    batch.mark = Mark(kind, found[-1].number, mark.bytes + room, mark.items + len(found))
    return batch


def _after(batch: Batch, start: Start) -> Start:
    return Start(batch.mark, start.item + len(batch.items), start.attachment + len(batch.attachments), start.folders)


# In a process of its own


def _apart(path: Path, start: Start) -> Generator[Batch, None, None]:
    """EOFError, OSError, UnpicklingError if the process can't be started, or dies."""
    if not sys.executable:
        raise OSError("it is not known what Python this is")
    child = subprocess.Popen(
        [sys.executable, "-P", "-c", _PROGRAM],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    assert child.stdin is not None and child.stdout is not None  # noqa: PT018
    try:
        _widen(child.stdout)
        with child.stdin:
            pickle.dump((str(path.absolute()), start), child.stdin, protocol=5)
        while (found := pickle.load(child.stdout)) is not None:
            if isinstance(found, str):
                raise CacheDamaged(found)
            yield found
    finally:
        child.stdout.close()
        child.kill()
        child.wait()


def _widen(pipe: IO[bytes]) -> None:
    """So that the process can be some batches ahead."""
    with suppress(ImportError, AttributeError, OSError):
        import fcntl

        fcntl.fcntl(pipe.fileno(), fcntl.F_SETPIPE_SZ, _PIPE)


def main(come: IO[bytes], go: IO[bytes]) -> None:
    """What the process does. If its parent dies, writing fails, and it ends."""
    path, start = pickle.load(come)
    end: Any = None
    try:
        with Old(Path(path), held=True) as source:
            for batch in made(source, start):
                pickle.dump(batch, go, protocol=5)
                go.flush()
    except CacheDamaged as error:
        end = error.detail
    pickle.dump(end, go, protocol=5)
    go.flush()
