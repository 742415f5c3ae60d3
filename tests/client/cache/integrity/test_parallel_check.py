from __future__ import annotations

import asyncio
import multiprocessing
import sqlite3
from array import array
from collections.abc import Iterator
from multiprocessing import resource_tracker
from pathlib import Path

import pytest

from kerio_resync.cache.integrity import check, parallel_check
from kerio_resync.cache.integrity.parallel_check import CorruptRows, check_file
from kerio_resync.cache.mutations import PutItems
from tests.support.cache import attachment, change, filled, mail, whole

ITEMS = 1200
CORRUPT = CorruptRows(array("q", [1, 700]), array("q", [2, 3]))


@pytest.fixture
async def path(tmp_path: Path) -> Path:
    """A cache with the corrupt rows of `CORRUPT`."""
    mails = tuple(mail(str(n), attached=(attachment("a"),) if n < 4 else ()) for n in range(1, ITEMS + 1))
    contents = [mutation for number in (1, 2, 3) for mutation in whole(number, b"12345")]
    await (await filled(tmp_path / "cache.db", PutItems(mails), *contents)).close()
    change(tmp_path / "cache.db", "UPDATE item SET seen = 1 - seen WHERE number IN (1, 700)")
    change(tmp_path / "cache.db", "UPDATE chunk SET data = x'3132333437' WHERE attachment IN (2, 3)")
    return tmp_path / "cache.db"


@pytest.fixture
def subprocess(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parallel_check, "SUBPROCESS_MIN_BYTES", 1)


@pytest.fixture(params=["/nowhere/python", "/bin/false"])
def no_python(request: pytest.FixtureRequest) -> Iterator[None]:
    """A Python that cannot be started, or ends at once."""
    resource_tracker.ensure_running()
    executable = multiprocessing.spawn.get_executable()
    multiprocessing.set_executable(request.param)
    yield
    multiprocessing.set_executable(executable)


@pytest.mark.usefixtures("subprocess")
async def test_check_file_checks_items_of_large_file_in_subprocess(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check, "corrupt_items", None)  # in this process
    assert await check_file(path) == CORRUPT


async def test_check_file_checks_small_file_without_subprocess(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parallel_check, "worker_process", None)
    assert await check_file(path) == CORRUPT


@pytest.mark.usefixtures("subprocess", "no_python")
async def test_check_file_does_without_subprocess_that_fails(path: Path) -> None:
    assert await check_file(path) == CORRUPT


@pytest.mark.usefixtures("subprocess")
async def test_check_file_ends_its_subprocess_when_cancelled(path: Path) -> None:
    task = asyncio.create_task(check_file(path))
    while not multiprocessing.active_children():  # noqa: ASYNC110  # no event says when the subprocess has started
        await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert multiprocessing.active_children() == []


async def test_check_file_stops_other_checks_at_damaged_structure(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check, "check_structure", lambda db: [check.Defect("a page is lost")])
    monkeypatch.setattr(check, "corrupt_attachments", lambda db, after: ([], 0))  # would never end
    assert await check_file(path) is None


@pytest.mark.parametrize("name", ["check_structure", "content_matches_checksum"])
async def test_check_file_raises_read_errors(path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    def fail(*_: object) -> None:
        raise sqlite3.OperationalError("disk I/O error")

    monkeypatch.setattr(check, name, fail)
    with pytest.raises((sqlite3.OperationalError, ExceptionGroup)) as caught:
        await check_file(path)
    assert name == "check_structure" or caught.group_contains(sqlite3.OperationalError)


@pytest.mark.parametrize("rows", [1, 500])
async def test_check_file_continues_after_each_slice(path: Path, monkeypatch: pytest.MonkeyPatch, rows: int) -> None:
    monkeypatch.setattr(check, "ATTACHMENT_SLICE_BYTES", 1)
    monkeypatch.setattr(check, "ATTACHMENTS_PER_SLICE", rows)
    monkeypatch.setattr(check, "ITEMS_PER_SLICE", 2 * rows)
    assert await check_file(path) == CORRUPT


def test_corrupt_items_of_file_reads_one_slice(path: Path) -> None:
    assert check.corrupt_items_of_file(path, 500) == ([700], 1000)
    assert check.corrupt_items_of_file(path, ITEMS) == ([], None)
