from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from kerio_resync.cache.integrity import check
from kerio_resync.cache.mutations import (
    AddChange,
    EnqueueItems,
    LocalChange,
    LocalFile,
    Mutation,
    PutAttachmentBytes,
    PutItems,
    PutLocal,
    SetMeta,
    SkipEntry,
)
from kerio_resync.cache.recovery import copy
from kerio_resync.cache.recovery.copy import COPIED_ITEMS_KEY, CopyResult, copy_verified
from kerio_resync.cache.schema import PAGE_SIZE
from kerio_resync.cache.store import Store
from tests.support.cache import IDENTITY, attachment, change, filled, listed, mail, names, rows, whole

DATA = bytes(range(256)) * 3000
MAIL = mail("1", 5, attached=(attachment("a", len(DATA)), attachment("b", 3), attachment("c", 9)), extra=b'{"x":1}')
OTHER = mail("2", 7)


async def old_cache(path: Path, *more: Mutation) -> None:
    """Two mails, of whose contents one is half here and one not at all, and what belongs to this cache alone."""
    made = await filled(
        path, PutItems((MAIL, OTHER)), *whole(1, DATA), *more, PutAttachmentBytes(2, 0, b"12"),
        SkipEntry("item", "9", "no struct"),
        EnqueueItems("inbox", "mail", (listed("8"),)), SetMeta("sync_key", "{}"), SetMeta("finished_at", "2026"),
        AddChange(LocalChange("u", "create", "note")), PutLocal(mail("local:1")),
    )  # fmt: skip
    await made.close()


async def copied(folder: Path) -> Store:
    assert await copy_verified(folder / "old.db", folder / "new.db", IDENTITY)
    return await Store.open(folder / "new.db")


async def test_what_is_proven_comes_along_and_nothing_else(tmp_path: Path) -> None:
    await old_cache(tmp_path / "old.db")
    before = (tmp_path / "old.db").read_bytes()
    new = await copied(tmp_path)
    assert names(tmp_path) == ["new.db", "old.db"]
    assert (tmp_path / "new.db").stat().st_mode & 0o077 == 0
    first, second = await new.items()
    assert (first.payload, first.extra, second.watermark) == (MAIL.payload, MAIL.extra, 7)
    assert [each.state for each in first.attachments] == ["done", "wanted", "wanted"]
    assert [each.received for each in await new.queued_attachments(9)] == [0, 0]
    assert b"".join([piece async for piece in new.content(first.attachments[0].key)]) == DATA
    assert (await new.outbox(), await new.skipped(), await new.queued_items(9)) == ((), (), ())
    assert [await new.meta(key) for key in ("sync_key", "finished_at", COPIED_ITEMS_KEY)] == [None, None, "2"]
    assert not await new.watermarks(["local:1"])
    assert await new.check() == ()
    await new.close()
    assert rows(tmp_path / "new.db", "SELECT count(*) FROM sqlite_sequence WHERE name = 'outbox'") == [(0,)]
    assert (tmp_path / "old.db").read_bytes() == before


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE item SET payload = replace(payload, 'Hello', 'Hallo') WHERE id = '1'",
        "UPDATE item SET seen = 0 WHERE id = '1'",
        "UPDATE attachment SET name = 'x' WHERE ordinal = 1",
        "DELETE FROM attachment WHERE ordinal = 2",
        "UPDATE item SET checksum = zeroblob(32) WHERE id = '1'",
    ],
)
async def test_an_item_whose_sum_does_not_hold_stays_behind(tmp_path: Path, damage: str) -> None:
    await old_cache(tmp_path / "old.db")
    change(tmp_path / "old.db", damage)
    new = await copied(tmp_path)
    assert [each.id for each in await new.items()] == ["2"]
    assert await new.check() == ()
    await new.close()


@pytest.mark.parametrize(
    "damage",
    [
        'UPDATE chunk SET data = zeroblob(length(data)) WHERE attachment = 1 AND "offset" > 0',
        'DELETE FROM chunk WHERE attachment = 1 AND "offset" > 0',
        "UPDATE chunk SET crc32 = 1 WHERE attachment = 1",
        "UPDATE attachment SET sha256 = zeroblob(32) WHERE number = 1",
        "UPDATE attachment SET sha256 = NULL WHERE number = 1",
        "UPDATE attachment SET received = received - 1 WHERE number = 1",
    ],
)
async def test_a_content_whose_sum_does_not_hold_is_wanted(tmp_path: Path, damage: str) -> None:
    await old_cache(tmp_path / "old.db")
    change(tmp_path / "old.db", damage)
    new = await copied(tmp_path)
    first, _ = await new.items()
    assert [each.state for each in first.attachments] == ["wanted"] * 3
    assert await new.check() == ()
    await new.close()


@pytest.mark.parametrize(
    "spoil",
    [
        lambda path: path.unlink(),
        lambda path: path.write_bytes(b"text" * 5000),
        lambda path: path.write_bytes(path.read_bytes()[:40_000]),
        lambda path: change(path, "UPDATE meta SET value = 'other' WHERE key = 'account'"),
        lambda path: change(path, "CREATE INDEX more ON item (size)"),
        lambda path: change(path, "DROP INDEX item_by_date"),
        lambda path: change(path, "PRAGMA foreign_keys = 0; DELETE FROM folder"),
        lambda path: change(path, "DELETE FROM item"),
    ],
)
async def test_what_is_not_fit_is_not_copied(tmp_path: Path, spoil: object) -> None:
    await old_cache(tmp_path / "old.db")
    spoil(tmp_path / "old.db")  # type: ignore[operator]  # a function of a path
    assert await copy_verified(tmp_path / "old.db", tmp_path / "new.db", IDENTITY) is None
    assert set(names(tmp_path)) <= {"old.db"}


def spoil(path: Path, name: str) -> None:
    """Overwrites the first page of a table or an index."""
    (page,) = rows(path, f"SELECT rootpage FROM sqlite_master WHERE name = '{name}'")[0]
    assert isinstance(page, int)
    with path.open("r+b") as file:
        file.seek((page - 1) * PAGE_SIZE)
        file.write(b"\xff" * 512)


MANY = [mail(str(number), number, text="much " * 900, attached=(attachment("a", 4),)) for number in range(10, 90)]


@pytest.mark.parametrize(
    "spoilt",
    [
        "item_by_folder", "sqlite_autoindex_item_1", "item", "chunk", "folder", "sqlite_autoindex_folder_1", "outbox",
    ],
)  # fmt: skip
async def test_of_a_spoilt_structure_is_taken_what_still_stands(tmp_path: Path, spoilt: str) -> None:
    """The rows of `item` are on pages of their own below the first one; those of `folder` are lost, their ids not."""
    more = [fact for number in range(4, 84) for fact in whole(number, b"text")]
    await old_cache(tmp_path / "old.db", PutItems(tuple(MANY)), *more)
    spoil(tmp_path / "old.db", spoilt)
    assert await copy_verified(tmp_path / "old.db", tmp_path / "new.db", IDENTITY) == CopyResult(82, damaged=True)
    assert names(tmp_path) == ["new.db", "old.db"]
    new = await Store.open(tmp_path / "new.db")
    assert await new.check() == ()
    first, second, *rest = sorted(await new.items(limit=100), key=lambda each: int(each.id))
    assert (first.payload, first.extra, second.watermark) == (MAIL.payload, MAIL.extra, 7)
    assert [each.payload for each in rest] == [each.payload for each in MANY]
    assert [each.attachments[0].state for each in (first, *rest)] == ["done"] * 81
    assert b"".join([piece async for piece in new.content(first.attachments[0].key)]) == DATA
    assert (await new.outbox(), await new.queued_items(9)) == ((), ())
    await new.close()


async def test_what_is_lost_with_its_page_is_left_out(tmp_path: Path) -> None:
    """Without its attachments the one mail does not hold its checksum."""
    await old_cache(tmp_path / "old.db")
    spoil(tmp_path / "old.db", "attachment")
    found = await copy_verified(tmp_path / "old.db", tmp_path / "new.db", IDENTITY)
    assert found is not None
    assert found.damaged
    new = await Store.open(tmp_path / "new.db")
    assert await new.check() == ()
    assert [each.id for each in await new.items()] == ["2"]
    await new.close()


async def test_where_no_folder_is_known_nothing_is_taken(tmp_path: Path) -> None:
    await old_cache(tmp_path / "old.db")
    spoil(tmp_path / "old.db", "folder")
    spoil(tmp_path / "old.db", "sqlite_autoindex_folder_1")
    assert await copy_verified(tmp_path / "old.db", tmp_path / "new.db", IDENTITY) is None
    assert names(tmp_path) == ["old.db"]


async def test_chunks_of_local_changes_are_none_of_contents(tmp_path: Path) -> None:
    """Both tables have the same columns, and numbers of their own from 1 on."""
    files = (LocalFile("f", "text/plain", DATA[::-1]),)
    await old_cache(tmp_path / "old.db", AddChange(LocalChange("v", "create", "mail", files=files)))
    spoil(tmp_path / "old.db", "item_by_folder")
    new = await copied(tmp_path)
    first, _ = await new.items()
    assert b"".join([piece async for piece in new.content(first.attachments[0].key)]) == DATA
    await new.close()


async def test_what_stands_in_a_log_comes_along(tmp_path: Path) -> None:
    """The file alone would not have it."""
    await old_cache(tmp_path / "old.db")
    with closing(sqlite3.connect(tmp_path / "old.db", isolation_level=None)) as reader:
        reader.execute("PRAGMA journal_mode = WAL").fetchone()
        reader.execute("DELETE FROM item WHERE id = '2'")
        assert (tmp_path / "old.db-wal").stat().st_size
        new = await copied(tmp_path)
        assert [each.id for each in await new.items()] == ["1"]
        assert await new.check() == ()
        await new.close()


async def test_what_the_kernel_does_not_copy_is_copied_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    await old_cache(tmp_path / "old.db")
    does = os.copy_file_range

    def half(source: int, target: int, count: int) -> int:
        if os.fstat(target).st_size:
            raise OSError("not any more")
        return does(source, target, 50_000)

    monkeypatch.setattr(os, "copy_file_range", half)
    new = await copied(tmp_path)
    assert len(await new.items()) == 2
    assert await new.check() == ()
    await new.close()


async def test_nobody_writes_to_the_old_file_while_it_is_copied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A handle on the file must not be closed as long as the lock is needed."""
    await old_cache(tmp_path / "old.db")
    write = "import sqlite3, sys; sqlite3.connect(sys.argv[1], timeout=0).execute('BEGIN EXCLUSIVE')"
    refused: list[str] = []

    def structure(db: sqlite3.Connection) -> list[check.Defect]:
        command = [sys.executable, "-c", write, str(tmp_path / "old.db")]
        tried = subprocess.run(command, check=False, capture_output=True, text=True)
        refused.append(tried.stderr.strip().splitlines()[-1])
        return []

    monkeypatch.setattr(check, "check_structure", structure)
    await (await copied(tmp_path)).close()
    assert refused == ["sqlite3.OperationalError: database is locked"]


async def test_it_is_told_whether_anything_was_taken_out(tmp_path: Path) -> None:
    await old_cache(tmp_path / "old.db")
    assert await copy_verified(tmp_path / "old.db", tmp_path / "a.db", IDENTITY) == CopyResult(2)
    change(tmp_path / "old.db", "UPDATE chunk SET crc32 = 1 WHERE attachment = 1")
    assert await copy_verified(tmp_path / "old.db", tmp_path / "b.db", IDENTITY) == CopyResult(2, as_checked=False)
    change(tmp_path / "old.db", "UPDATE item SET seen = 0 WHERE id = '1'")
    assert await copy_verified(tmp_path / "old.db", tmp_path / "c.db", IDENTITY) == CopyResult(1, as_checked=False)


async def test_what_is_made_anew_is_proven_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    await old_cache(tmp_path / "old.db")
    monkeypatch.setattr(check, "check_structure", lambda db: [check.Defect("a page is lost")])
    assert await copy_verified(tmp_path / "old.db", tmp_path / "new.db", IDENTITY) is None
    assert names(tmp_path) == ["old.db"]


async def test_without_room_for_two_nothing_is_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    await old_cache(tmp_path / "old.db")
    monkeypatch.setattr(copy, "available_bytes", lambda path: 1_000_000)
    assert await copy_verified(tmp_path / "old.db", tmp_path / "new.db", IDENTITY) is None
    assert names(tmp_path) == ["old.db"]


async def test_a_copy_that_was_ended_half_way_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    await old_cache(tmp_path / "old.db")
    (tmp_path / "new.db.new").write_bytes(b"half a copy")
    (tmp_path / "new.db.new-journal").write_bytes(b"of another file")

    def ends(*_: object) -> None:
        assert names(tmp_path) == ["new.db.new", "old.db"]
        raise sqlite3.OperationalError("disk full")

    with monkeypatch.context() as patch:
        patch.setattr(check, "check_structure", ends)
        assert await copy_verified(tmp_path / "old.db", tmp_path / "new.db", IDENTITY) is None
    assert names(tmp_path) == ["old.db"]
    await (await copied(tmp_path)).close()


async def test_the_file_bears_its_name_once_it_is_on_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    await old_cache(tmp_path / "old.db")
    done: list[str] = []
    monkeypatch.setattr(copy, "sync_file", lambda path: done.append(f"{path.name} {(tmp_path / 'new.db').exists()}"))
    await (await copied(tmp_path)).close()
    assert done == ["new.db.new False"]


async def test_contents_can_be_left_out_by_folder(tmp_path: Path) -> None:
    at_work = mail("3", folder="work", attached=(attachment("d", 3),))
    made = await filled(tmp_path / "a.db", PutItems((MAIL, at_work)), *whole(1, DATA), *whole(4, b"123"))
    await made.omit_contents([])
    assert [item.attachments[0].state for item in await made.items()] == ["done", "done"]
    await made.omit_contents(["inbox"])
    assert [[each.state for each in item.attachments] for item in await made.items()] == [["omitted"] * 3, ["done"]]
    assert await made.check() == ()
    await made.close()
