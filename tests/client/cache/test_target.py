"""The database that an upgrade makes: what is wrong with a half-made one is said, not carried on with."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from kerio_resync.cache.legacy.target import Content, Mark, Target, intact, sound, source_of
from kerio_resync.errors import CacheDamaged
from tests.client.cache.world import FOLDERS, IDENTITY, attachment, mail

MAIL = mail("1", attached=(attachment("a", 300_000), attachment("b")))
DATA = bytes(range(250)) * 1200


@contextmanager
def target(path: Path) -> Iterator[Target]:
    found = Target.open(path, IDENTITY, "old.db")
    try:
        yield found
    finally:
        found.close()


def half_made(path: Path) -> None:
    with target(path) as made:
        made.put_folders(FOLDERS.folders, FOLDERS.ranks)
        made.put_items([MAIL], [("1", 0)], 1000)
        made.put_content(Content("1", 0, 0, DATA[: 1 << 18], last=False))
        made.put_content(Content("1", 0, 1 << 18, DATA[1 << 18 :], last=True))
        made.commit(Mark("mail", 1, 1000, 1))


def change(path: Path, sql: str) -> None:
    db = sqlite3.connect(path)
    db.executescript(sql)
    db.close()


def test_what_was_begun_is_gone_on_with(tmp_path: Path) -> None:
    half_made(tmp_path / "new.db")
    with target(tmp_path / "new.db") as made:
        assert made.resumed
        assert made.mark() == Mark("mail", 1, 1000, 1)
        counts = made.counts()
        assert (counts["mail"], counts["contents"], counts["bytes"]) == (1, 1, len(DATA))
        made.finish("key")
        assert made.mark() == Mark()
    assert source_of(tmp_path / "new.db") is None
    assert sound(tmp_path / "new.db", lambda read: None) == intact(tmp_path / "new.db") == []


def test_the_disk_is_urged_on_once_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gate, urged = threading.Event(), list[int]()

    def slowly(handle: int) -> None:
        urged.append(handle)
        gate.wait(10)

    with target(tmp_path / "new.db") as made:
        monkeypatch.setattr("kerio_resync.cache.legacy.target.os.fsync", slowly)
        for after in range(3):  # the disk is still busy with the first when the others come
            made.commit(Mark("mail", after))
        gate.set()
        assert made.mark() == Mark("mail", 2)
    assert len(urged) == 1


def test_a_content_of_no_attachment_is_damage(tmp_path: Path) -> None:
    half_made(tmp_path / "new.db")
    with target(tmp_path / "new.db") as made:
        made.put_items([mail("2")], [], 10)
        with pytest.raises(CacheDamaged, match="no attachment of 2"):
            made.put_content(Content("2", 0, 0, b"x", last=True))


@pytest.mark.parametrize("content", [b"", b"text" * 5000, b"SQLite format 3\0" + bytes(9000)])
def test_what_is_something_else_is_made_from_nothing_and_begun_anew(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "new.db").write_bytes(content)
    assert source_of(tmp_path / "new.db") is None
    with target(tmp_path / "new.db") as made:
        assert not made.resumed
    assert source_of(tmp_path / "new.db") == "old.db"


@pytest.mark.parametrize("said", ["{", "[]", '{"kind":"mail","odd":1}', "7"])
def test_one_that_does_not_say_how_far_it_is(tmp_path: Path, said: str) -> None:
    half_made(tmp_path / "new.db")
    change(tmp_path / "new.db", f"UPDATE meta SET value = '{said}' WHERE key = 'upgrade_at'")
    with target(tmp_path / "new.db") as made, pytest.raises(CacheDamaged, match="how far"):
        made.mark()


def test_one_of_another_format_is_not_gone_on_with(tmp_path: Path) -> None:
    half_made(tmp_path / "new.db")
    change(tmp_path / "new.db", "PRAGMA user_version = 99")
    with pytest.raises(CacheDamaged, match="its format is"):
        Target.open(tmp_path / "new.db", IDENTITY, "old.db")


@pytest.mark.parametrize(
    ("harm", "says"),
    [
        ("UPDATE item SET title = 'other'", ["mail 1"]),
        ('DELETE FROM chunk WHERE "offset" > 0', ["attachment 1 is 262144 bytes long"]),
        ('DELETE FROM chunk WHERE "offset" = 0', ["attachment 1 at 262144"]),
        ("DELETE FROM chunk", ["attachment 1 is 0 bytes long"]),
        ('UPDATE chunk SET crc32 = 0 WHERE "offset" = 0', ["attachment 1 at 0"]),
    ],
)
def test_what_does_not_hold_is_found(tmp_path: Path, harm: str, says: list[str]) -> None:
    half_made(tmp_path / "new.db")
    change(tmp_path / "new.db", harm)
    assert sound(tmp_path / "new.db", lambda read: None) == says
