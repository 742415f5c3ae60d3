from __future__ import annotations

import asyncio
import sqlite3
from array import array
from pathlib import Path

import pytest

from kerio_resync.cache.files import processes_holding
from kerio_resync.cache.integrity import check
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


async def test_check_file_names_corrupt_rows(path: Path) -> None:
    assert await check_file(path) == CORRUPT


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="open files are looked up in /proc")
async def test_check_file_closes_file_when_cancelled(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check, "corrupt_items", lambda db, after: ([], 0))  # would never end
    task = asyncio.create_task(check_file(path))
    while not processes_holding(path):  # noqa: ASYNC110  # no event says when it has opened the file
        await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert processes_holding(path) == ()


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
