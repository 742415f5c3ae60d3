"""Contents on their way: whole, whatever order they lie in; lines that are not as they should be are damage."""

from __future__ import annotations

import base64
import hashlib
import sqlite3
import threading
import zlib
from collections.abc import Generator
from pathlib import Path
from random import Random

import pytest

from benchmarks.legacy import write
from kerio_resync.cache.format71.reader import Old, Run
from kerio_resync.cache.format71.schema import LINE
from kerio_resync.cache.format71.target import Mark
from kerio_resync.cache.schema import CHUNK_BYTES
from kerio_resync.errors import CacheDamaged
from kerio_resync.upgrade.migration.batches import Batch
from kerio_resync.upgrade.migration.stream import PARCEL, ROUND, ahead

SIZES = (0, 1, LINE, LINE + 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 2 * PARCEL + 5, 3)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    write(tmp_path / "old.db", 1, 100)
    return tmp_path / "old.db"


def put(path: Path, lines: list[bytes], first: int = 1000) -> None:
    db = sqlite3.connect(path)
    rows = [(first + place, base64.b64encode(line).decode()) for place, line in enumerate(lines)]
    db.executemany("INSERT INTO CONTENT_LINES VALUES (?, ?)", rows)
    db.commit()
    db.close()


def in_lines(data: bytes) -> list[bytes]:
    return [data[start : start + LINE] for start in range(0, len(data), LINE)]


def arrived(path: Path, runs: list[Run], batches: int = 1) -> dict[int, bytes]:
    """Contents by number, as they come out."""
    found: dict[int, bytearray] = {}
    sums: dict[int, tuple[int, bytes]] = {}
    marks: list[int] = []

    def make() -> Generator[Batch, None, None]:
        for each in range(batches):
            mine = [(number, run) for number, run in enumerate(runs) if number % batches == each]
            yield Batch(Mark("mail", each), contents=mine)

    with Old(path) as source:
        for parcel in ahead(source, make, threading.Event()):
            for number, offset, crc, data in parcel.chunks():
                assert zlib.crc32(data) == crc
                assert len(data) <= CHUNK_BYTES
                assert offset == len(found.setdefault(number, bytearray()))
                found[number] += data
            sums |= parcel.arrived
            if parcel.batch:
                marks.append(parcel.batch.mark.after)
    assert marks == list(range(batches))
    whole = {number: bytes(found.get(number, b"")) for number in sums}
    assert sums == {number: (len(data), hashlib.sha256(data).digest()) for number, data in whole.items()}
    return whole


@pytest.mark.parametrize("batches", [1, 3])
@pytest.mark.parametrize("order", ["as they lie", "backwards", "any"])
def test_contents_arrive_in_any_order(order: str, batches: int, path: Path) -> None:
    datas = [Random(size).randbytes(size) for size in SIZES]
    runs, first = [], 1000
    for data in datas:
        lines = in_lines(data)
        put(path, lines, first)
        runs.append(Run(0, len(data), first, len(lines)))
        first += len(lines) + 2  # what was deleted leaves holes
    places = list(range(len(SIZES)))
    if order == "backwards":
        places.reverse()
    elif order == "any":
        Random(1).shuffle(places)
    found = arrived(path, [runs[place] for place in places], batches)
    assert found == {number: datas[place] for number, place in enumerate(places)}


@pytest.mark.parametrize(
    ("lines", "run"),
    [
        ([LINE, LINE], Run(0, 3 * LINE, 1000, 3)),  # one is missing
        ([LINE, LINE], Run(0, 2 * LINE, 999, 3)),
        ([LINE, LINE], Run(0, LINE, 1000, 2)),  # longer than it says
        ([LINE, 5], Run(0, LINE + 6, 1000, 2)),
        ([LINE + 3], Run(0, LINE + 3, 1000, 1)),
        ([LINE, LINE, LINE, 9, LINE], Run(0, 4 * LINE + 9, 1000, 5)),  # a short one in between
        ([LINE], Run(0, LINE, 1000, -1)),
    ],
)
def test_lines_that_are_not_as_they_should_be(lines: list[int], run: Run, path: Path) -> None:
    put(path, [bytes(length) for length in lines])
    with pytest.raises(CacheDamaged):
        arrived(path, [run])


def test_memory_is_bounded_while_nobody_takes(path: Path) -> None:
    made: list[int] = []

    def make() -> Generator[Batch, None, None]:
        for each in range(100):
            made.append(each)
            yield Batch(Mark("mail", each))

    with Old(path) as source:
        parcels = ahead(source, make, threading.Event())
        next(parcels)
        assert len(made) <= ROUND + 2
        parcels.close()
    assert len(made) <= 2 * ROUND + 2


def test_stopped_it_ends(path: Path) -> None:
    stop = threading.Event()

    def make() -> Generator[Batch, None, None]:
        for each in range(100):
            stop.set()
            yield Batch(Mark("mail", each))

    with Old(path) as source, pytest.raises(InterruptedError):
        list(ahead(source, make, stop))
