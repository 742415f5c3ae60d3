from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from kerio_resync.cache.integrity import check
from kerio_resync.cache.integrity.check import Defect
from kerio_resync.cache.mutations import (
    AddChange,
    ApplyChanges,
    DeleteItems,
    LocalChange,
    LocalFile,
    Mutation,
    PutItems,
    SetFolders,
    SetMeta,
    SkipEntry,
)
from kerio_resync.cache.schema import PAGE_SIZE
from kerio_resync.cache.store import Store
from kerio_resync.errors import CacheDamaged
from tests.support.cache import FOLDERS, ROOT, attachment, change, filled, listed, mail, whole

CHANGE = AddChange(LocalChange("u-1", "create", "mail"), (LocalFile("f", "t", b"content"),))


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        ("SELECT 1", None),
        ("UPDATE item SET payload = '{}' WHERE number = 250", "mail 249: its checksum does not match"),
        ("UPDATE item SET recipients = 'x' WHERE number = 1", "mail 0: its checksum does not match"),
        ("UPDATE attachment SET content_type = 'x'", "mail 0: its checksum does not match"),
        ("UPDATE chunk SET data = x'00'", "mail 0: attachment 0 does not match its checksum"),
        ("DELETE FROM chunk", "mail 0: attachment 0 does not match its checksum"),
        ("UPDATE attachment SET sha256 = NULL", "mail 0: attachment 0 does not match its checksum"),
        ("UPDATE outbox SET struct = '{\"a\":1}'", "local change u-1: its checksum does not match"),
        ("UPDATE outbox_chunk SET data = x'00'", "local change u-1: its checksum does not match"),
        ("UPDATE placement SET folder = 99 WHERE item = 1", "a row of placement has no folder"),
        ("UPDATE placement SET folder = 99 WHERE item = 1", "mail 0: its checksum does not match"),
        ("DELETE FROM placement WHERE item = 1", "mail 0: its checksum does not match"),
        ("UPDATE item SET html = 'x' WHERE number = 1", "mail 0: its checksum does not match"),
    ],
)
async def test_check_names_each_defect(tmp_path: Path, damage: str, says: str | None) -> None:
    path = tmp_path / "cache.db"
    mails = (mail("0", attached=(attachment("a"),)), *(mail(str(n)) for n in range(1, 300)))
    await (await filled(path, PutItems(mails), *whole(1, b"12345"), CHANGE)).close()
    db = sqlite3.connect(path)
    db.executescript(damage)
    db.close()
    cache = await Store.open(path)
    found = await cache.check()
    await cache.close()
    assert (says in [each.line for each in found]) if says else (found == ())
    named = [f"{each.item.kind} {each.item.id}" for each in found if each.item is not None]
    item = says and says.split(":")[0].replace("a row of placement has no folder", "mail 0")
    assert named == ([item] if item and item.startswith("mail") else [])


async def test_check_names_item_that_cannot_be_read(tmp_path: Path) -> None:
    path = tmp_path / "cache.db"
    await (await filled(path, PutItems((mail("0"), mail("1"))))).close()
    change(path, "UPDATE item SET recipients = CAST(x'ff' AS TEXT) WHERE number = 1")
    cache = await Store.open(path)
    (found,) = await cache.check()
    await cache.close()
    assert found.line.startswith("item number 1 cannot be read: ")
    assert found.item is None


@pytest.mark.parametrize("name", ["TABLE outbox_attachment", "INDEX item_by_date", "TABLE attachment", "TABLE item"])
async def test_open_refuses_file_without_all_tables(tmp_path: Path, name: str) -> None:
    path = tmp_path / "cache.db"
    await (await filled(path, CHANGE)).close()
    change(path, f"DROP {name}")
    with pytest.raises(CacheDamaged, match="not those of this program"):
        await Store.open(path)


async def test_check_finds_overwritten_page(tmp_path: Path) -> None:
    path = tmp_path / "cache.db"
    await (await filled(path, PutItems(tuple(mail(str(n), text="x" * 9000) for n in range(300))))).close()
    data = bytearray(path.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 16384] = b"\xaa" * 16384
    path.write_bytes(data)
    cache = await Store.open(path)
    assert await cache.check() != ()
    await cache.close()


async def opened_as_sound(path: Path) -> Store:
    await (await filled(path, PutItems((mail("1"), mail("2"))), SetMeta("k", "v"))).close()
    return await Store.open(path, sound=True)


@pytest.mark.parametrize(
    ("facts", "all_of_it"),
    [
        ((), False),
        ((SetMeta("k", "w"), ApplyChanges("key"), FOLDERS), False),
        ((PutItems((mail("3"),)),), True),
        ((DeleteItems(("1",)),), True),
        ((SetFolders((ROOT,)),), True),
        ((SkipEntry("item", "9", "no struct"),), True),
    ],
)
async def test_check_reads_everything_after_tracked_writes_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, facts: tuple[Mutation, ...], all_of_it: bool
) -> None:
    cache = await opened_as_sound(tmp_path / "cache.db")
    monkeypatch.setattr(check, "check_structure", lambda db: [Defect("all of it was read")])
    for fact in facts:
        await cache.apply(fact)
    await cache.mark_listed("inbox", [listed("1"), listed("2")], 1)
    assert [each.line for each in await cache.check(contents=False)] == ["all of it was read"] * all_of_it
    assert [each.line for each in await cache.check()] == ["all of it was read"]
    await cache.close()


async def test_check_reads_untracked_tables_in_any_case(tmp_path: Path) -> None:
    cache = await opened_as_sound(tmp_path / "cache.db")
    await cache.apply(SetMeta("k", "w"))
    await cache.flush()
    with closing(sqlite3.connect(tmp_path / "cache.db")) as db:
        (page,) = db.execute("SELECT rootpage FROM sqlite_master WHERE name = 'sqlite_autoindex_folder_1'").fetchone()
    with (tmp_path / "cache.db").open("r+b") as file:
        file.seek((page - 1) * PAGE_SIZE)
        file.write(b"\xff" * 512)
    assert await cache.check(contents=False) != ()
    await cache.close()


async def test_check_reads_everything_after_write_of_other_program(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = await opened_as_sound(tmp_path / "cache.db")
    monkeypatch.setattr(check, "check_structure", lambda db: [Defect("all of it was read")])
    change(tmp_path / "cache.db", "INSERT INTO meta VALUES ('another', 'program')")
    assert await cache.check(contents=False) != ()
    await cache.close()


async def test_check_reads_everything_of_new_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = await filled(tmp_path / "cache.db")
    monkeypatch.setattr(check, "check_structure", lambda db: [Defect("all of it was read")])
    assert await cache.check(contents=False) != ()
    await cache.close()


async def test_check_reports_outbox_that_cannot_be_read(tmp_path: Path) -> None:
    path = tmp_path / "cache.db"
    await (await filled(path, CHANGE)).close()
    change(path, "PRAGMA ignore_check_constraints = 1; UPDATE outbox SET struct = CAST(x'ff' AS TEXT)")
    with closing(sqlite3.connect(path)) as db:
        db.execute("ALTER TABLE outbox RENAME COLUMN made TO gone")
        assert check.check_changes(db) == [Defect("the local changes cannot be read: no such column: made")]
