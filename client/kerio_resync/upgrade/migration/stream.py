"""Contents of a 7.1 file on their way into the new database: read, decoded and hashed ahead by a thread.

They travel in parcels, a few buffers of 2 MiB that go round; so memory is bounded, and no memory is asked for anew.
A batch goes with the parcel that has the last of its contents.
"""

from __future__ import annotations

import hashlib
import queue
import threading
from collections.abc import Callable, Generator, Iterator
from typing import Any, Final

from kerio_resync.cache.checksums import plain_crc32
from kerio_resync.cache.format71.reader import Old, Run
from kerio_resync.cache.format71.target import Chunk
from kerio_resync.cache.schema import CHUNK_BYTES
from kerio_resync.errors import CacheDamaged
from kerio_resync.upgrade.migration.batches import Batch

PARCEL: Final = 8 * CHUNK_BYTES
ROUND: Final = 4  # parcels in use
Make = Callable[[], Generator[Batch, None, None]]


class Parcel:
    """Chunks in one buffer. `arrived`: length and SHA-256 of contents that end here, by their attachment's number;
    `batch`: one that is complete with this."""

    def __init__(self) -> None:
        self._view = memoryview(bytearray(PARCEL))
        self._chunks: list[tuple[int, int, int, int, int]] = []
        self.arrived: dict[int, tuple[int, bytes]] = {}
        self.batch: Batch | None = None
        self.size = 0

    def clear(self) -> None:
        self._chunks.clear()
        self.arrived.clear()
        self.batch, self.size = None, 0

    def chunks(self) -> Iterator[Chunk]:
        for number, offset, crc, first, last in self._chunks:
            yield number, offset, crc, self._view[first:last]

    def fits(self) -> bool:
        """Whether there is room for another chunk."""
        return self.size + CHUNK_BYTES <= PARCEL

    def take(self, number: int, offset: int, lines: Iterator[bytes], digest: Any) -> int:
        """The next chunk of a content; how many bytes it has. CacheDamaged."""
        first = last = self.size
        for line in lines:
            end = last + len(line)
            if end - first > CHUNK_BYTES:
                raise CacheDamaged("the lines of a content are not as long as they should be")
            self._view[last:end] = line
            last = end
            if last - first == CHUNK_BYTES:
                break
        if last > first:
            data = self._view[first:last]
            digest.update(data)
            self._chunks.append((number, offset, plain_crc32(data), first, last))
            self.size = last
        return last - first


def ahead(source: Old, make: Make, stop: threading.Event) -> Generator[Parcel, None, None]:
    """What `make` yields, with the contents. Each parcel is good until the next one is asked for.

    InterruptedError once `stop` is set; what goes wrong in the thread is raised here."""
    stream = _Stream(source, make)
    stream.start()
    try:
        while not isinstance(found := stream.full.get(), _End):
            if stop.is_set():
                raise InterruptedError
            yield found
            found.clear()
            stream.empty.put(found)
        if found.error is not None:
            raise found.error
    finally:
        stream.empty.put(None)
        stream.join()


class _End:
    def __init__(self, error: BaseException | None = None) -> None:
        self.error = error


class _Stream(threading.Thread):
    def __init__(self, source: Old, make: Make) -> None:
        super().__init__(name="reads the old database", daemon=True)
        self._source, self._make = source, make
        self.full: queue.SimpleQueue[Parcel | _End] = queue.SimpleQueue()
        self.empty: queue.SimpleQueue[Parcel | None] = queue.SimpleQueue()
        for _ in range(ROUND):
            self.empty.put(Parcel())

    def run(self) -> None:
        batches = self._make()
        try:
            self._fill(batches)
        except _Left:
            pass
        except BaseException as error:
            self.full.put(_End(error))
        else:
            self.full.put(_End())
        finally:
            batches.close()  # it may have a process to end

    def _fill(self, batches: Iterator[Batch]) -> None:
        for batch in batches:
            parcel = self._take()
            for number, run in batch.contents:
                parcel = self._content(parcel, number, run)
            parcel.batch = batch
            self.full.put(parcel)

    def _content(self, parcel: Parcel, number: int, run: Run) -> Parcel:
        """Puts a content into parcels; the one that is under way then."""
        lines, size, digest = self._source.content(run), 0, hashlib.sha256()
        while True:
            if not parcel.fits():
                self.full.put(parcel)
                parcel = self._take()
            length = parcel.take(number, size, lines, digest)
            size += length
            if length < CHUNK_BYTES:
                break
        parcel.arrived[number] = (size, digest.digest())
        return parcel

    def _take(self) -> Parcel:
        found = self.empty.get()
        if found is None:
            raise _Left
        return found


class _Left(Exception):
    """Nobody wants more."""
