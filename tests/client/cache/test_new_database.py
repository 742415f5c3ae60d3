"""The database that a migration builds: it is resumed where it can be, and what is wrong with it is found."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from kerio_resync.cache.new_database import Checkpoint, NewDatabase, Row, source_of
from kerio_resync.cache.verify_new import verify
from kerio_resync.cache.write.items import item_row
from kerio_resync.errors import CacheDamaged
from tests.support.cache import FOLDERS, IDENTITY, attachment, change, mail

MAIL = mail("1", attached=(attachment("a", 300_000), attachment("b")))
DATA = bytes(range(250)) * 1200


@contextmanager
def opened(path: Path) -> Iterator[NewDatabase]:
    database = NewDatabase.open(path, IDENTITY, "old.db")
    try:
        yield database
    finally:
        database.close()


def attachment_row(number: int, ordinal: int, data: bytes | None) -> Row:
    file = MAIL.attachments[ordinal]
    state = ("omitted", "", 0, None) if data is None else ("done", "", len(data), hashlib.sha256(data).digest())
    head = (number, 1, ordinal, file.role, file.id, file.url, file.name, file.content_type, file.content_id, file.size)
    return *head, *state


def build(path: Path) -> None:
    with opened(path) as database:
        database.put_folders(FOLDERS.folders, FOLDERS.ranks)
        for offset in (0, 1 << 18):
            database.put_chunk(1, offset, memoryview(DATA[offset : offset + (1 << 18)]))
        folder = database.folder_numbers()[MAIL.folder_id]
        assert database.next_numbers() == (1, 1)
        rows = [attachment_row(1, 0, DATA), attachment_row(2, 1, None)]
        database.put([item_row(1, MAIL)], [(1, folder)], rows, 1000)
        database.commit(Checkpoint("mail", 1, 1000, 1), now=True)


def ignore(share: float) -> None:
    pass


def test_unfinished_database_is_resumed_at_its_checkpoint(tmp_path: Path) -> None:
    build(tmp_path / "new.db")
    with opened(tmp_path / "new.db") as database:
        assert database.resumed
        assert database.checkpoint() == Checkpoint("mail", 1, 1000, 1)
        counts = database.counts()
        assert (counts["mail"], counts["contents"], counts["bytes"]) == (1, 1, len(DATA))
        assert database.next_numbers() == (2, 3)
        database.finish({"sync_key": "key"})
        assert database.checkpoint() == Checkpoint()
    assert source_of(tmp_path / "new.db") is None
    verify(tmp_path / "new.db", ignore)


def test_commit_waits_for_enough_bytes(tmp_path: Path) -> None:
    build(tmp_path / "new.db")
    with opened(tmp_path / "new.db") as database:
        database.commit(Checkpoint("mail", 2))
    with opened(tmp_path / "new.db") as database:
        assert database.checkpoint() == Checkpoint("mail", 1, 1000, 1)


def test_one_sync_at_a_time_runs_beside_the_commits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gate, synced = threading.Event(), list[int]()

    def slow_sync(descriptor: int) -> None:
        synced.append(descriptor)
        gate.wait(60)

    with opened(tmp_path / "new.db") as database:
        monkeypatch.setattr("kerio_resync.cache.new_database.os.fsync", slow_sync)
        for after in range(3):
            database.commit(Checkpoint("mail", after), now=True)
        gate.set()
        assert database.checkpoint() == Checkpoint("mail", 2)
    assert len(synced) == 1


def test_put_refuses_an_item_that_is_there_already(tmp_path: Path) -> None:
    build(tmp_path / "new.db")
    with opened(tmp_path / "new.db") as database, pytest.raises(CacheDamaged, match="two rows have the same id"):
        database.put([item_row(2, MAIL)], [(2, 1)], [], 0)


@pytest.mark.parametrize("content", [b"", b"text" * 5000, b"SQLite format 3\0" + bytes(9000)])
def test_other_file_in_its_place_is_replaced(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "new.db").write_bytes(content)
    assert source_of(tmp_path / "new.db") is None
    with opened(tmp_path / "new.db") as database:
        assert not database.resumed
    assert source_of(tmp_path / "new.db") == "old.db"


@pytest.mark.parametrize("stored", ["{", "[1, 2, 3, 4, 5]", "7"])
def test_invalid_checkpoint_is_damage(tmp_path: Path, stored: str) -> None:
    build(tmp_path / "new.db")
    change(tmp_path / "new.db", f"UPDATE meta SET value = '{stored}' WHERE key = 'upgrade_at'")
    with opened(tmp_path / "new.db") as database, pytest.raises(CacheDamaged, match="its checkpoint is invalid"):
        database.checkpoint()


def test_database_of_another_format_is_not_resumed(tmp_path: Path) -> None:
    build(tmp_path / "new.db")
    change(tmp_path / "new.db", "PRAGMA user_version = 99")
    with pytest.raises(CacheDamaged, match="older format"):
        NewDatabase.open(tmp_path / "new.db", IDENTITY, "old.db")


@pytest.mark.parametrize(
    ("harm", "found"),
    [
        ("UPDATE item SET title = 'other'", "item 1 does not match"),
        ("UPDATE item SET payload = payload || ' '", "item 1 does not match"),
        ('DELETE FROM chunk WHERE "offset" > 0', "attachment 1 does not match"),
        ('DELETE FROM chunk WHERE "offset" = 0', "attachment 1 does not match"),
        ("DELETE FROM chunk", "attachment 1 does not match"),
        ('UPDATE chunk SET crc32 = 0 WHERE "offset" = 0', "attachment 1 does not match"),
        ('UPDATE chunk SET "offset" = "offset" + 1 WHERE "offset" > 0', "attachment 1 does not match"),
        ("UPDATE attachment SET received = received + 1 WHERE number = 1", "attachment 1 does not match"),
        ("UPDATE attachment SET state = 'omitted' WHERE number = 1", "attachment 1 does not match"),
        ("UPDATE attachment SET state = 'done', received = 1 WHERE number = 2", "attachment 2 does not match"),
        ("UPDATE attachment SET name = 'other' WHERE number = 2", "item 1 does not match"),
        ('UPDATE chunk SET attachment = 9 WHERE "offset" = 0', "attachment 1 does not match"),
        ("INSERT INTO chunk VALUES (9, 0, 0, 0, x'')", "chunk 3 has no attachment"),
    ],
)
def test_verify_finds_what_does_not_match(tmp_path: Path, harm: str, found: str) -> None:
    build(tmp_path / "new.db")
    verify(tmp_path / "new.db", ignore)
    change(tmp_path / "new.db", f"PRAGMA foreign_keys = 0; {harm}")
    with pytest.raises(CacheDamaged, match=found):
        verify(tmp_path / "new.db", ignore)


def test_verify_reports_its_progress(tmp_path: Path) -> None:
    build(tmp_path / "new.db")
    shares: list[float] = []
    verify(tmp_path / "new.db", shares.append)
    assert sorted(shares)[-1] == 1
    assert min(shares) > 0


def test_verify_raises_what_report_raises(tmp_path: Path) -> None:
    build(tmp_path / "new.db")

    def stop(share: float) -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        verify(tmp_path / "new.db", stop)
