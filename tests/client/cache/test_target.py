"""The database that an upgrade makes: what is wrong with a half-made one is said, not carried on with."""

from __future__ import annotations

import hashlib
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from kerio_resync.cache.format71.proof import intact, sound, wrong_contents
from kerio_resync.cache.format71.target import Mark, Row, Target, Written, source_of
from kerio_resync.cache.write.items import item_row
from kerio_resync.errors import CacheDamaged
from tests.support.cache import FOLDERS, IDENTITY, attachment, change, mail

MAIL = mail("1", attached=(attachment("a", 300_000), attachment("b")))
DATA = bytes(range(250)) * 1200


@contextmanager
def target(path: Path) -> Iterator[Target]:
    found = Target.open(path, IDENTITY, "old.db")
    try:
        yield found
    finally:
        found.close()


def attachment_row(number: int, ordinal: int, data: bytes | None) -> Row:
    each = MAIL.attachments[ordinal]
    told = ("omitted", "", 0, None) if data is None else ("done", "", len(data), hashlib.sha256(data).digest())
    head = (number, 1, ordinal, each.role, each.id, each.url, each.name, each.content_type, each.content_id, each.size)
    return *head, *told


def placed(row: Row, ordinal: int) -> Row:
    return *row[:2], ordinal, *row[3:]


def half_made(path: Path) -> Written:
    with target(path) as made:
        made.put_folders(FOLDERS.folders, FOLDERS.ranks)
        pieces = ((0, DATA[: 1 << 18]), (1 << 18, DATA[1 << 18 :]))
        made.put_chunks([(1, offset, zlib.crc32(data), data) for offset, data in pieces], len(DATA))
        folder = made.folders()[MAIL.folder_id]
        made.put_items([item_row(1, folder, MAIL)], [attachment_row(1, 0, DATA), attachment_row(2, 1, None)], 1000)
        made.commit(Mark("mail", 1, 1000, 1))
        return made.written


def test_what_was_begun_is_gone_on_with(tmp_path: Path) -> None:
    half_made(tmp_path / "new.db")
    with target(tmp_path / "new.db") as made:
        assert made.resumed
        assert made.mark() == Mark("mail", 1, 1000, 1)
        counts = made.counts()
        assert (counts["mail"], counts["contents"], counts["bytes"]) == (1, 1, len(DATA))
        assert made.next_numbers() == (2, 3)
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
        monkeypatch.setattr("kerio_resync.cache.format71.target.os.fsync", slowly)
        for after in range(3):  # the disk is still busy with the first when the others come
            made.commit(Mark("mail", after))
        gate.set()
        assert made.mark() == Mark("mail", 2)
    assert len(urged) == 1


def test_an_item_that_is_there_twice_is_damage(tmp_path: Path) -> None:
    half_made(tmp_path / "new.db")
    with target(tmp_path / "new.db") as made, pytest.raises(CacheDamaged, match="two rows have the same id"):
        made.put_items([item_row(2, 1, MAIL)], [])


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
    with pytest.raises(CacheDamaged, match="of the older format"):
        Target.open(tmp_path / "new.db", IDENTITY, "old.db")


@pytest.mark.parametrize(
    ("harm", "says"),
    [
        ("UPDATE item SET title = 'other'", ["mail 1"]),
        ('DELETE FROM chunk WHERE "offset" > 0', ["attachment 1 is 262144 bytes long"]),
        ('DELETE FROM chunk WHERE "offset" = 0', ["attachment 1 at 262144"]),
        ("DELETE FROM chunk", ["attachment 1 is 0 bytes long"]),
        ('UPDATE chunk SET crc32 = 0 WHERE "offset" = 0', ["attachment 1 at 0"]),
        ("UPDATE attachment SET state = 'omitted' WHERE number = 1", ["attachment 1 at 0", "attachment 1 at 262144"]),
    ],
)
def test_what_does_not_hold_is_found(tmp_path: Path, harm: str, says: list[str]) -> None:
    half_made(tmp_path / "new.db")
    change(tmp_path / "new.db", harm)
    assert sound(tmp_path / "new.db", lambda read: None) == says


@pytest.mark.parametrize(
    ("harm", "says"),
    [
        ("UPDATE item SET title = 'other'", ["item 1"]),
        ("UPDATE item SET payload = payload || ' '", ["item 1"]),
        ("UPDATE attachment SET sha256 = zeroblob(32) WHERE number = 1", ["attachment 1"]),
        ("UPDATE attachment SET reason = 'x' WHERE number = 2", ["attachment 2"]),
        ("UPDATE attachment SET number = 3 WHERE number = 2", ["attachment 3"]),
        ("DELETE FROM attachment WHERE number = 2", ["1 rows of attachment are here, not 2"]),
        ("DELETE FROM item", ["0 rows of item are here, not 1"]),
    ],
)
def test_rows_are_held_against_what_was_put(tmp_path: Path, harm: str, says: list[str]) -> None:
    written = half_made(tmp_path / "new.db")
    assert sound(tmp_path / "new.db", lambda read: None, written) == []
    change(tmp_path / "new.db", f"PRAGMA foreign_keys = 0; {harm}")
    assert sound(tmp_path / "new.db", lambda read: None, written) == says


def test_parts_of_the_contents_are_all_of_them(tmp_path: Path) -> None:
    with target(tmp_path / "new.db") as made:
        sizes = [0, 300_000, 1, 262_144, 0, 700_000, 5, 0]
        for number, size in enumerate(sizes, 1):
            data = bytes(size)
            pieces = [(start, data[start : start + (1 << 18)]) for start in range(0, size, 1 << 18)]
            made.put_chunks([(number, start, zlib.crc32(piece), piece) for start, piece in pieces])
        made.put_items(
            [], [placed(attachment_row(number, 0, bytes(size)), number) for number, size in enumerate(sizes, 1)]
        )
        made.commit(Mark())
    for parts in (1, 2, 3, 9):
        read: list[int] = []
        assert [wrong_contents(tmp_path / "new.db", read.append, each, parts) for each in range(parts)] == [[]] * parts
        assert sum(read) == sum(sizes)
    change(tmp_path / "new.db", "DELETE FROM chunk WHERE attachment IN (3, 7)")
    assert wrong_contents(tmp_path / "new.db", lambda _: None) == [
        "attachment 3 is 0 bytes long", "attachment 7 is 0 bytes long",
    ]  # fmt: skip
    change(tmp_path / "new.db", "UPDATE chunk SET crc32 = 1")
    for parts in (1, 2, 3, 9):
        found = [wrong_contents(tmp_path / "new.db", lambda _: None, each, parts) for each in range(parts)]
        assert sum(map(len, found)) == 8
