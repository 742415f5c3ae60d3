"""What is proven side by side: the same is found wherever it is done, and damage ends it."""

from __future__ import annotations

import asyncio
import io
import sqlite3
import sys
import threading
from array import array
from collections.abc import Callable
from pathlib import Path

import pytest

from kerio_resync.cache.integrity import check, item_check_process, parallel_check
from kerio_resync.cache.integrity.parallel_check import CorruptRows, check_file
from kerio_resync.cache.mutations import PutItems
from tests.support.cache import attachment, change, filled, mail, whole

COUNT = 1200
ALL = range(1, COUNT + 1)


@pytest.fixture
async def path(tmp_path: Path) -> Path:
    """A cache in which two items and two contents are not as they were."""
    mails = tuple(mail(str(n), attached=(attachment("a"),) if n < 4 else ()) for n in ALL)
    contents = [fact for number in (1, 2, 3) for fact in whole(number, b"12345")]
    await (await filled(tmp_path / "cache.db", PutItems(mails), *contents)).close()
    change(tmp_path / "cache.db", "UPDATE item SET seen = 1 - seen WHERE number IN (1, 700)")
    change(tmp_path / "cache.db", "UPDATE chunk SET data = x'3132333437' WHERE attachment IN (2, 3)")
    return tmp_path / "cache.db"


FOUND = CorruptRows(array("q", [1, 700]), array("q", [2, 3]))


async def test_a_large_file_is_proven_by_two_processes(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parallel_check, "SUBPROCESS_MIN_BYTES", 1)
    found = []

    def bad_items(*given: object) -> array[int] | None:
        found.append(process(*given))  # type: ignore[arg-type]  # as they came
        return found[-1]

    process = item_check_process.find_corrupt_items
    monkeypatch.setattr(item_check_process, "find_corrupt_items", bad_items)
    assert await check_file(path) == FOUND
    assert found == [FOUND.items]


async def test_a_small_one_is_proven_here(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(item_check_process, "find_corrupt_items", None)
    assert await check_file(path) == FOUND


@pytest.mark.parametrize("python", ["", "/nowhere/python", "/bin/false", "/bin/echo"])
async def test_where_there_is_no_process_it_is_done_here(
    path: Path, monkeypatch: pytest.MonkeyPatch, python: str
) -> None:
    """There is no Python, or what is started ends, or says something else."""
    monkeypatch.setattr(parallel_check, "SUBPROCESS_MIN_BYTES", 1)
    monkeypatch.setattr(sys, "executable", python)
    assert item_check_process.find_corrupt_items(path, threading.Event()) is None
    assert await check_file(path) == FOUND


async def test_what_nobody_waits_for_ends(path: Path) -> None:
    stop = threading.Event()
    stop.set()
    assert item_check_process.find_corrupt_items(path, stop) is None


def test_what_the_process_says(path: Path) -> None:
    out = io.StringIO()
    item_check_process.main(str(path), out)
    assert out.getvalue().splitlines() == ["[1]", "[700]", "[]", "[]", '"whole"']


async def test_damage_to_the_structure_ends_it(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other proofs are given up: this one would never end."""
    monkeypatch.setattr(check, "check_structure", lambda db: [check.Defect("a page is lost")])
    monkeypatch.setattr(parallel_check, "check_contents", lambda db, after: ([], 0))
    assert await check_file(path) is None


@pytest.mark.parametrize("name", ["check_structure", "content_matches_checksum"])
async def test_what_can_not_be_read_is_raised(path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    def fails(*_: object) -> None:
        raise sqlite3.OperationalError("disk I/O error")

    monkeypatch.setattr(check, name, fails)
    with pytest.raises((sqlite3.OperationalError, ExceptionGroup)) as caught:
        await check_file(path)
    assert name == "check_structure" or caught.group_contains(sqlite3.OperationalError)


async def test_who_is_cancelled_leaves_nothing_running(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun, ended = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def items(_: Path, stop: threading.Event) -> None:
        loop.call_soon_threadsafe(begun.set)
        stop.wait()
        ended.set()

    monkeypatch.setattr(parallel_check, "SUBPROCESS_MIN_BYTES", 1)
    monkeypatch.setattr(item_check_process, "find_corrupt_items", items)
    task = asyncio.create_task(check_file(path))
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended.is_set()


@pytest.mark.parametrize("damage", [lambda path: path.write_bytes(b"no database" * 1000), Path.unlink])
async def test_a_file_that_is_none_is_an_error_to_the_process(path: Path, damage: Callable[[Path], object]) -> None:
    damage(path)
    assert item_check_process.find_corrupt_items(path, threading.Event()) is None
