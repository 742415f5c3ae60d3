"""Makes the rows of the new database from the items of a 7.1 file, batch by batch.

That is work in Python, which holds the interpreter's lock, while contents are decoded, hashed and written outside of
it. So for a large file a process of its own makes the batches. It reads the file that the migration has locked, and
writes pickled batches to its standard output. Until it has started, and if it cannot or dies, this process makes them.
"""

from __future__ import annotations

import pickle
import subprocess
import sys
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path
from typing import IO, Final, NamedTuple

from kerio_resync.cache.format71.new_database import Checkpoint, Row
from kerio_resync.cache.format71.reader import ContentExtent, Format71Item, Format71Reader
from kerio_resync.cache.write.items import item_row
from kerio_resync.errors import CacheDamaged
from kerio_resync.model import KINDS, Item, Kind
from kerio_resync.server.kerio.items import parse_items
from kerio_resync.server.kerio.json_codec import canonical_json

ITEMS_PER_BATCH: Final = 64
BASE64_RATIO: Final = 4 / 3 * 1.02  # what a content takes in the old file
PIPE_BYTES: Final = 1024 * 1024  # lets the process be some batches ahead
_PROGRAM: Final = """
import sys
from kerio_resync.upgrade.migration.batches import main
main(sys.stdin.buffer, sys.stdout.buffer)
"""


class Batch(NamedTuple):
    """Rows of items and of their attachments, the latter without their state.

    `contents`: by the numbers of their attachments. `bytes`: of the items. Once all is stored, `checkpoint` is reached.
    """

    items: list[Row]
    attachments: list[Row]
    contents: dict[int, ContentExtent]
    bytes: int
    checkpoint: Checkpoint


class Start(NamedTuple):
    """Where batches begin.

    They follow `checkpoint`, with these row numbers, in these folders (row number by id).
    """

    checkpoint: Checkpoint
    next_item: int
    next_attachment: int
    folders: dict[str, int]

    def after(self, batch: Batch) -> Start:
        """Return where the batches after `batch` begin."""
        items, attachments = len(batch.items), len(batch.attachments)
        return Start(batch.checkpoint, self.next_item + items, self.next_attachment + attachments, self.folders)


def read_batches(source: Format71Reader, start: Start, *, process: bool) -> Generator[Batch, None, None]:
    """Yield all items after `start`. CacheDamaged.

    `process`: another process makes the batches as soon as it has started.
    """
    if process:
        with suppress(EOFError, OSError, pickle.UnpicklingError), _child() as child:
            for batch in _batches(source, start):
                yield batch
                start = start.after(batch)
                if child.ready():
                    break
            else:
                return
            for batch in child.batches(source.path, start):
                yield batch
                start = start.after(batch)
            return
    yield from _batches(source, start)


def _batches(source: Format71Reader, start: Start) -> Iterator[Batch]:
    first, after, *_ = start.checkpoint
    for kind in KINDS[KINDS.index(first) if first else 0 :]:
        items = source.items(kind, after if kind == first else 0)
        while old_items := list(islice(items, ITEMS_PER_BATCH)):
            batch = _batch(kind, old_items, start)
            start = start.after(batch)
            yield batch


def _batch(kind: Kind, old_items: Sequence[Format71Item], start: Start) -> Batch:
    items, malformed = parse_items(kind, [old.struct for old in old_items], canonical_json)
    if malformed or [item.id for item in items] != [old.id for old in old_items]:
        raise CacheDamaged("an item has no valid id or version")
    done, number, first, folders = start
    rows: list[Row] = []
    attachments: list[Row] = []
    contents: dict[int, ContentExtent] = {}
    for old, item in zip(old_items, items, strict=True):
        if item.folder_id not in folders:
            raise CacheDamaged("an item is in no folder")
        rows.append(item_row(number, folders[item.folder_id], item))
        attachments += _attachment_rows(number, first, item)
        for extent in old.contents:
            if extent.ordinal >= len(item.attachments):
                raise CacheDamaged("a content belongs to no attachment")
            contents[first + extent.ordinal] = extent
        number, first = number + 1, first + len(item.attachments)
    size = sum(len(item.payload) for item in items)
    read = size + sum(int(BASE64_RATIO * extent.bytes) for extent in contents.values())
    checkpoint = Checkpoint(kind, old_items[-1].number, done.bytes + read, done.items + len(items))
    return Batch(rows, attachments, contents, size, checkpoint)


def _attachment_rows(item_number: int, first: int, item: Item) -> Iterator[Row]:
    """Yield the rows of an item's attachments, without their state.

    They are numbered from `first`.
    """
    for ordinal, attachment in enumerate(item.attachments):
        yield (
            first + ordinal, item_number, ordinal, attachment.role, attachment.id, attachment.url, attachment.name,
            attachment.content_type, attachment.content_id, attachment.size,
        )  # fmt: skip


class _Child:
    """The process. EOFError, OSError or UnpicklingError once it has died."""

    def __init__(self, request: IO[bytes], reply: IO[bytes], greeting: Future[bytes]) -> None:
        self._request, self._reply, self._greeting = request, reply, greeting

    def ready(self) -> bool:
        """Tell whether it has started, or died."""
        return self._greeting.done()

    def batches(self, path: Path, start: Start) -> Iterator[Batch]:
        """Yield the batches after `start`; CacheDamaged if it finds damage."""
        if not self._greeting.result():
            raise EOFError
        with self._request:
            pickle.dump((path.absolute(), start), self._request)
        while isinstance(batch := pickle.load(self._reply), Batch):
            yield batch
        if batch:
            raise CacheDamaged(batch)


@contextmanager
def _child() -> Iterator[_Child]:
    """Start the process; kill it at the end. OSError."""
    child = subprocess.Popen(
        [sys.executable or "", "-P", "-c", _PROGRAM],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    assert child.stdin is not None
    assert child.stdout is not None
    with ThreadPoolExecutor(1) as thread, child.stdout, suppress(BrokenPipeError), child.stdin:
        try:
            _widen(child.stdout)
            yield _Child(child.stdin, child.stdout, thread.submit(child.stdout.read, 1))
        finally:
            child.kill()
            child.wait()


def _widen(pipe: IO[bytes]) -> None:
    with suppress(ImportError, AttributeError, OSError):  # only Linux can
        import fcntl

        fcntl.fcntl(pipe.fileno(), fcntl.F_SETPIPE_SZ, PIPE_BYTES)


def main(request: IO[bytes], reply: IO[bytes]) -> None:
    """Run the process.

    It writes a byte, reads a path and a Start, and writes batches, then what is damaged or nothing.

    If the parent dies, writing fails, and this process ends.
    """
    reply.write(b"+")
    reply.flush()
    path, start = pickle.load(request)
    damage = ""
    try:
        with Format71Reader.open(path, locked_elsewhere=True) as source:
            for batch in _batches(source, start):
                pickle.dump(batch, reply, protocol=5)
                reply.flush()
    except CacheDamaged as error:
        damage = error.detail
    pickle.dump(damage, reply)
    reply.flush()
