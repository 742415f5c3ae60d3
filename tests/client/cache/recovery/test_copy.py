from __future__ import annotations

import errno
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from kerio_resync.cache import outbox_rows, queries
from kerio_resync.cache.integrity import check
from kerio_resync.cache.mutations import (
    AddChange,
    EnqueueItems,
    LocalChange,
    Mutation,
    PutAttachmentBytes,
    PutItems,
    PutLocal,
    SetMeta,
    SkipEntry,
)
from kerio_resync.cache.recovery import copy
from kerio_resync.cache.recovery.copy import COPIED_ITEMS_KEY, CopyResult, copy_verified
from kerio_resync.cache.recovery.copy_rows import copy_rows
from kerio_resync.cache.recovery.rescue_outbox import rescue_outbox
from kerio_resync.cache.schema import PAGE_SIZE
from kerio_resync.cache.store import Store
from kerio_resync.errors import CacheDamaged
from tests.support.cache import IDENTITY, attachment, change, filled, listed, mail, names, rows, whole

VIEW_NAMES = "SELECT name FROM sqlite_master WHERE type = 'view'"
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


async def test_copy_holds_verified_rows_and_nothing_else(tmp_path: Path) -> None:
    await old_cache(tmp_path / "old.db")
    before = (tmp_path / "old.db").read_bytes()
    new = await copied(tmp_path)
    assert names(tmp_path) == ["new.db", "old.db"]
    assert (tmp_path / "new.db").stat().st_mode & 0o077 == 0
    first, second = await new.read(queries.items)
    assert (first.payload, first.extra, second.version) == (MAIL.payload, MAIL.extra, "7")
    assert [each.state for each in first.attachments] == ["done", "wanted", "wanted"]
    assert [each.received for each in await new.read(queries.queued_attachments, 9)] == [0, 0]
    assert b"".join([piece async for piece in new.content(first.attachments[0].key)]) == DATA
    assert (
        await new.read(outbox_rows.changes),
        await new.read(queries.skipped),
        await new.read(queries.queued_items, 9),
    ) == ((), (), ())
    assert [await new.read(queries.meta, key) for key in ("sync_key", "finished_at", COPIED_ITEMS_KEY)] == [
        None,
        None,
        "2",
    ]
    assert not await new.read(queries.versions, ["local:1"])
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
        "UPDATE item SET text = 'Hallo' WHERE id = '1'",
        "UPDATE item SET text = CAST(x'ff' AS TEXT) WHERE id = '1'",
        "UPDATE item SET version = '8' WHERE id = '1'",
        "UPDATE placement SET folder = (SELECT number FROM folder WHERE id = 'work') WHERE item = 1",
        "INSERT INTO placement SELECT 1, number FROM folder WHERE id = 'work'",
        "DELETE FROM placement WHERE item = 1",
        "UPDATE item SET checksum = zeroblob(32) WHERE id = '1'",
    ],
)
async def test_copy_leaves_out_item_with_wrong_checksum(tmp_path: Path, damage: str) -> None:
    await old_cache(tmp_path / "old.db")
    change(tmp_path / "old.db", damage)
    new = await copied(tmp_path)
    assert [each.id for each in await new.read(queries.items)] == ["2"]
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
async def test_copy_queues_attachment_with_wrong_checksum(tmp_path: Path, damage: str) -> None:
    await old_cache(tmp_path / "old.db")
    change(tmp_path / "old.db", damage)
    new = await copied(tmp_path)
    first, _ = await new.read(queries.items)
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
        lambda path: change(path, "ALTER TABLE chunk RENAME TO pieces; CREATE VIEW chunk AS SELECT * FROM pieces"),
        lambda path: change(path, "PRAGMA foreign_keys = 0; DELETE FROM folder"),
        lambda path: change(path, "DELETE FROM item"),
    ],
)
async def test_copy_returns_none_for_unusable_file(tmp_path: Path, spoil: object) -> None:
    await old_cache(tmp_path / "old.db")
    spoil(tmp_path / "old.db")  # type: ignore[operator]  # a function of a path
    assert await copy_verified(tmp_path / "old.db", tmp_path / "new.db", IDENTITY) is None
    assert set(names(tmp_path)) <= {"old.db"}


@pytest.mark.parametrize(("table", "column"), [("folder", "owner"), ("item", "end"), ("attachment", "etag")])
async def test_table_that_lacks_a_column_is_not_copied_and_its_changes_are_rescued(
    tmp_path: Path, table: str, column: str
) -> None:
    """SQLite reads an unknown name in double quotes as a text: each row would get the column's name as its value."""
    await old_cache(tmp_path / "old.db")
    views = "".join(f"DROP VIEW {name};" for (name,) in rows(tmp_path / "old.db", VIEW_NAMES))
    change(tmp_path / "old.db", f'{views} ALTER TABLE {table} DROP COLUMN "{column}"')
    assert await copy_verified(tmp_path / "old.db", tmp_path / "new.db", IDENTITY) is None
    assert names(tmp_path) == ["old.db"]
    new = await filled(tmp_path / "new.db")
    report = await rescue_outbox(tmp_path / "old.db", new)
    assert (report.changes, [each.uuid for each in await new.read(outbox_rows.changes)]) == (1, ["u"])
    await new.close()


async def test_copy_replaces_other_views(tmp_path: Path) -> None:
    await old_cache(tmp_path / "old.db")
    change(tmp_path / "old.db", 'DROP VIEW mail; CREATE VIEW mail AS SELECT 1; CREATE VIEW "a""b" AS SELECT 2')
    assert await copy_verified(tmp_path / "old.db", tmp_path / "new.db", IDENTITY) == CopyResult(2)
    assert rows(tmp_path / "new.db", "SELECT count(DISTINCT subject) > 0 FROM mail") == [(1,)]
    assert len(rows(tmp_path / "new.db", VIEW_NAMES)) == 7


def test_copy_rows_names_the_missing_column(tmp_path: Path, db: sqlite3.Connection) -> None:
    db.execute("CREATE TABLE folder (number INTEGER PRIMARY KEY, id TEXT)")
    with pytest.raises(CacheDamaged, match="folder has no column parent_id in it"):
        copy_rows(db, tmp_path / "new.db", IDENTITY)


def spoil(path: Path, name: str) -> None:
    """Overwrites the first page of a table or an index."""
    (page,) = rows(path, f"SELECT rootpage FROM sqlite_master WHERE name = '{name}'")[0]
    assert isinstance(page, int)
    with path.open("r+b") as file:
        file.seek((page - 1) * PAGE_SIZE)
        file.write(b"\xff" * 512)


MANY = [mail(str(number), number, text="much " * 900, attached=(attachment("a", 4),)) for number in range(10, 90)]


async def old_cache_of_many(path: Path) -> None:
    """82 mails, whose rows are on pages of their own below the first page of the table."""
    more = [mutation for number in range(4, 84) for mutation in whole(number, b"text")]
    await old_cache(path, PutItems(tuple(MANY)), *more)


@pytest.mark.parametrize(
    "spoilt",
    [
        "placement",
        "placement_by_folder",
        "item_by_kind",
        "item_unread",
        "sqlite_autoindex_item_1",
        "folder",
        "sqlite_autoindex_folder_1",
        "outbox",
    ],
)
async def test_copy_of_damaged_file_holds_all_rows_that_are_readable(tmp_path: Path, spoilt: str) -> None:
    await old_cache_of_many(tmp_path / "old.db")
    spoil(tmp_path / "old.db", spoilt)
    assert await copy_verified(tmp_path / "old.db", tmp_path / "new.db", IDENTITY) == CopyResult(82, damaged=True)
    assert names(tmp_path) == ["new.db", "old.db"]
    new = await Store.open(tmp_path / "new.db")
    assert await new.check() == ()
    first, second, *rest = sorted(await new.read(queries.items, limit=100), key=lambda each: int(each.id))
    assert (first.payload, first.extra, second.version) == (MAIL.payload, MAIL.extra, "7")
    assert [each.payload for each in rest] == [each.payload for each in MANY]
    assert [each.attachments[0].state for each in (first, *rest)] == ["done"] * 81
    assert b"".join([piece async for piece in new.content(first.attachments[0].key)]) == DATA
    assert (await new.read(outbox_rows.changes), await new.read(queries.queued_items, 9)) == ((), ())
    await new.close()


async def test_copy_of_file_with_other_indexes_is_made_row_by_row(tmp_path: Path) -> None:
    await old_cache(tmp_path / "old.db")
    change(tmp_path / "old.db", "CREATE INDEX more ON item (size); DROP INDEX item_by_date")
    assert await copy_verified(tmp_path / "old.db", tmp_path / "new.db", IDENTITY) == CopyResult(2, damaged=True)
    await (await Store.open(tmp_path / "new.db")).close()


async def test_copy_reads_rows_around_damaged_page(tmp_path: Path) -> None:
    await old_cache_of_many(tmp_path / "old.db")
    data = bytearray((tmp_path / "old.db").read_bytes())
    pages = [at for at in range(0, len(data), PAGE_SIZE) if data[at : at + PAGE_SIZE].count(b"much ") > 500]
    lost = data[pages[2] : pages[2] + PAGE_SIZE].count(b'"content": "much ')
    data[pages[2] : pages[2] + PAGE_SIZE] = b"\xff" * PAGE_SIZE
    (tmp_path / "old.db").write_bytes(data)
    assert await copy_verified(tmp_path / "old.db", tmp_path / "new.db", IDENTITY) == CopyResult(
        82 - lost, damaged=True
    )
    assert lost > 0


async def test_copy_finds_last_row_by_index_if_last_page_is_damaged(tmp_path: Path) -> None:
    await old_cache_of_many(tmp_path / "old.db")
    data = bytearray((tmp_path / "old.db").read_bytes())
    last = data.rindex(b"much ") // PAGE_SIZE * PAGE_SIZE
    lost = data[last : last + PAGE_SIZE].count(b'"content": "much ')
    data[last : last + PAGE_SIZE] = b"\xff" * PAGE_SIZE
    (tmp_path / "old.db").write_bytes(data)
    assert await copy_verified(tmp_path / "old.db", tmp_path / "new.db", IDENTITY) == CopyResult(
        82 - lost, damaged=True
    )
    assert 0 < lost < 10


async def test_copy_queues_attachments_whose_chunks_cannot_be_read(tmp_path: Path) -> None:
    await old_cache_of_many(tmp_path / "old.db")
    spoil(tmp_path / "old.db", "chunk")
    spoil(tmp_path / "old.db", "sqlite_autoindex_chunk_1")
    found = await copy_verified(tmp_path / "old.db", tmp_path / "new.db", IDENTITY)
    assert found == CopyResult(82, damaged=True, as_checked=False)
    new = await Store.open(tmp_path / "new.db")
    assert await new.check() == ()
    assert len(await new.read(queries.queued_attachments, 100)) == 83
    await new.close()


async def test_copy_leaves_out_item_whose_attachments_cannot_be_read(tmp_path: Path) -> None:
    await old_cache(tmp_path / "old.db")
    spoil(tmp_path / "old.db", "attachment")
    found = await copy_verified(tmp_path / "old.db", tmp_path / "new.db", IDENTITY)
    assert found is not None
    assert found.damaged
    new = await Store.open(tmp_path / "new.db")
    assert await new.check() == ()
    assert [each.id for each in await new.read(queries.items)] == ["2"]
    await new.close()


@pytest.mark.parametrize("spoilt", [["item"], ["folder", "sqlite_autoindex_folder_1"]])
async def test_copy_returns_none_if_no_item_or_no_folder_can_be_read(tmp_path: Path, spoilt: list[str]) -> None:
    await old_cache_of_many(tmp_path / "old.db")
    for name in spoilt:
        spoil(tmp_path / "old.db", name)
    assert await copy_verified(tmp_path / "old.db", tmp_path / "new.db", IDENTITY) is None
    assert names(tmp_path) == ["old.db"]


async def test_copy_includes_pages_in_write_ahead_log(tmp_path: Path) -> None:
    """The file alone would not have it."""
    await old_cache(tmp_path / "old.db")
    with closing(sqlite3.connect(tmp_path / "old.db", isolation_level=None)) as reader:
        reader.execute("PRAGMA journal_mode = WAL").fetchone()
        reader.execute("DELETE FROM item WHERE id = '2'")
        assert (tmp_path / "old.db-wal").stat().st_size
        new = await copied(tmp_path)
        assert [each.id for each in await new.read(queries.items)] == ["1"]
        assert await new.check() == ()
        await new.close()


async def test_copy_reads_rows_if_file_cannot_be_read_to_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await old_cache(tmp_path / "old.db")

    def fail(old: Path, new: Path) -> None:
        raise OSError(errno.EIO, "a bad sector")

    monkeypatch.setattr(shutil, "copyfile", fail)
    assert await copy_verified(tmp_path / "old.db", tmp_path / "new.db", IDENTITY) == CopyResult(2, damaged=True)


async def test_copy_locks_old_file_against_writers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    await old_cache(tmp_path / "old.db")
    write = "import sqlite3, sys; sqlite3.connect(sys.argv[1], timeout=0).execute('BEGIN EXCLUSIVE')"
    refused: list[str] = []
    copyfile = shutil.copyfile

    def copy_while_other_writes(old: Path, new: Path) -> None:
        other = subprocess.run([sys.executable, "-c", write, str(old)], check=False, capture_output=True, text=True)
        refused.append(other.stderr.strip().splitlines()[-1])
        copyfile(old, new)

    monkeypatch.setattr(shutil, "copyfile", copy_while_other_writes)
    await (await copied(tmp_path)).close()
    assert refused == ["sqlite3.OperationalError: database is locked"]


async def test_result_says_whether_corrupt_rows_were_removed(tmp_path: Path) -> None:
    await old_cache(tmp_path / "old.db")
    assert await copy_verified(tmp_path / "old.db", tmp_path / "a.db", IDENTITY) == CopyResult(2)
    change(tmp_path / "old.db", "UPDATE chunk SET crc32 = 1 WHERE attachment = 1")
    assert await copy_verified(tmp_path / "old.db", tmp_path / "b.db", IDENTITY) == CopyResult(2, as_checked=False)
    change(tmp_path / "old.db", "UPDATE item SET seen = 0 WHERE id = '1'")
    assert await copy_verified(tmp_path / "old.db", tmp_path / "c.db", IDENTITY) == CopyResult(1, as_checked=False)


async def test_copy_made_row_by_row_is_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    await old_cache(tmp_path / "old.db")
    monkeypatch.setattr(check, "check_structure", lambda db: [check.Defect("a page is lost")])
    assert await copy_verified(tmp_path / "old.db", tmp_path / "new.db", IDENTITY) is None
    assert names(tmp_path) == ["old.db"]


async def test_copy_returns_none_without_space_for_two_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    await old_cache(tmp_path / "old.db")
    monkeypatch.setattr(copy, "available_bytes", lambda path: 1_000_000)
    assert await copy_verified(tmp_path / "old.db", tmp_path / "new.db", IDENTITY) is None
    assert names(tmp_path) == ["old.db"]


async def test_copy_replaces_unfinished_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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


async def test_copy_is_synced_before_it_gets_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    await old_cache(tmp_path / "old.db")
    done: list[str] = []
    monkeypatch.setattr(copy, "sync_file", lambda path: done.append(f"{path.name} {(tmp_path / 'new.db').exists()}"))
    await (await copied(tmp_path)).close()
    assert done == ["new.db.new False"]


async def test_omit_contents_drops_attachments_of_folders(tmp_path: Path) -> None:
    at_work = mail("3", folder="work", attached=(attachment("d", 3),))
    made = await filled(tmp_path / "a.db", PutItems((MAIL, at_work)), *whole(1, DATA), *whole(4, b"123"))
    await made.omit_contents([])
    assert [item.attachments[0].state for item in await made.read(queries.items)] == ["done", "done"]
    await made.omit_contents(["inbox"])
    assert [[each.state for each in item.attachments] for item in await made.read(queries.items)] == [
        ["omitted"] * 3,
        ["done"],
    ]
    assert await made.check() == ()
    await made.close()


async def test_copy_of_file_with_wrong_count_of_free_pages_is_made_row_by_row(tmp_path: Path) -> None:
    """SQLite's own check does not compare the count with the list."""
    await old_cache(tmp_path / "old.db")
    data = bytearray((tmp_path / "old.db").read_bytes())
    data[39] ^= 1
    (tmp_path / "old.db").write_bytes(data)
    assert await copy_verified(tmp_path / "old.db", tmp_path / "new.db", IDENTITY) == CopyResult(2, damaged=True)
    new = await Store.open(tmp_path / "new.db")
    assert await new.check() == ()
    await new.close()


async def test_copy_leaves_out_row_with_value_of_other_type(tmp_path: Path) -> None:
    await old_cache(tmp_path / "old.db")
    ((sql,),) = rows(tmp_path / "old.db", "SELECT sql FROM sqlite_master WHERE name = 'chunk'")
    loose = str(sql).replace("INTEGER", "").replace("BLOB", "").replace("STRICT", "").rstrip()
    with closing(sqlite3.connect(tmp_path / "old.db", isolation_level=None)) as db:
        db.execute("PRAGMA writable_schema = 1")
        db.execute("UPDATE sqlite_master SET sql = ? WHERE name = 'chunk'", (loose,))
    change(tmp_path / "old.db", "UPDATE chunk SET crc32 = 'text' WHERE \"offset\" = 0")
    found = await copy_verified(tmp_path / "old.db", tmp_path / "new.db", IDENTITY)
    assert found == CopyResult(2, damaged=True, as_checked=False)


@pytest.mark.timeout(60)
async def test_copy_ends_soon_if_index_has_implausible_row_number(tmp_path: Path) -> None:
    await old_cache_of_many(tmp_path / "old.db")
    change(tmp_path / "old.db", 'UPDATE chunk SET rowid = 1 << 50 WHERE attachment = 1 AND "offset" = 262144')
    spoil(tmp_path / "old.db", "item_by_date")
    found = await copy_verified(tmp_path / "old.db", tmp_path / "new.db", IDENTITY)
    assert found == CopyResult(82, damaged=True, as_checked=False)


async def test_copy_leaves_no_file_if_its_name_cannot_be_synced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await old_cache(tmp_path / "old.db")

    def fail(folder: Path) -> None:
        raise OSError(errno.EIO, "a bad sector")

    monkeypatch.setattr(copy, "sync_folder", fail)
    assert await copy_verified(tmp_path / "old.db", tmp_path / "new.db", IDENTITY) is None
    assert names(tmp_path) == ["old.db"]
