from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from kerio_resync.cache.connection import Connection
from kerio_resync.cache.mutations import PutItems
from kerio_resync.cache.outbox import Outbox
from kerio_resync.cache.recovery import rescue_outbox as module
from kerio_resync.cache.recovery.rescue_outbox import RescueReport, rescue_outbox
from kerio_resync.cache.store import Store
from kerio_resync.errors import CacheInUse, OtherFormat
from tests.support.cache import FILE, attachment, filled, mail, old_cache, rows


async def contents(cache: Store) -> list[object]:
    outbox = Outbox(cache)
    return [
        (
            each.uuid, each.action, each.kind, each.item_id, each.folder_id, each.target_id, each.version, each.made,
            each.struct, each.state, each.attempt, each.attempts, each.reason,
            [(f.name, f.content_type, f.sha256, b"".join([p async for p in outbox.content(f)])) for f in each.files],
        )
        for each in await outbox.list()
    ]  # fmt: skip


async def test_rescue_copies_every_kind_of_change_once(tmp_path: Path) -> None:
    await old_cache(tmp_path / "old.db")
    old = await Store.open(tmp_path / "old.db")
    before = await contents(old)
    await old.close()
    new = await filled(tmp_path / "new.db")
    first = await rescue_outbox(tmp_path / "old.db", new)
    again = await rescue_outbox(tmp_path / "old.db", new)
    assert (first, again) == (RescueReport(changes=6), RescueReport(known=6))
    assert await contents(new) == before
    assert await new.check() == ()
    assert first.sentences() == ("Unsent local changes copied from the old cache: 6.",)
    assert again.sentences() == ()
    await new.close()


async def test_rescue_leaves_out_settled_changes(tmp_path: Path) -> None:
    names = await old_cache(tmp_path / "old.db")
    old = await Store.open(tmp_path / "old.db")
    outbox = Outbox(old)
    await outbox.mark_sent(names[0])
    await outbox.mark_withdrawn(names[1])
    await outbox.mark_refused(names[2], "not permitted")
    await outbox.begin_attempt(names[3], "record")
    await old.close()
    new = await filled(tmp_path / "new.db")
    assert (await rescue_outbox(tmp_path / "old.db", new)).changes == 4
    found = {each.uuid: each for each in await Outbox(new).list()}
    assert set(found) == set(names[2:])
    assert (found[names[2]].state, found[names[2]].reason) == ("refused", "not permitted")
    assert (found[names[3]].state, found[names[3]].attempt, found[names[3]].attempts) == ("sending", "record", 1)
    await new.close()


async def test_second_rescue_updates_changes_settled_meanwhile(tmp_path: Path) -> None:
    names = await old_cache(tmp_path / "old.db")
    new = await filled(tmp_path / "new.db")
    await rescue_outbox(tmp_path / "old.db", new)
    old = await Store.open(tmp_path / "old.db")
    await Outbox(old).mark_withdrawn(names[0])
    await Outbox(old).mark_sent(names[1], "id")
    await old.close()
    assert (await rescue_outbox(tmp_path / "old.db", new)).known == 6
    assert [each.uuid for each in await Outbox(new).list()] == names[2:]
    await new.close()


async def test_rescue_copies_items_of_conflicts_folder(tmp_path: Path) -> None:
    names = await old_cache(tmp_path / "old.db")
    old = await Store.open(tmp_path / "old.db")
    await Outbox(old).record_conflict(names[2], mail("e", kind="event", title="mine"), "newer", [FILE])
    await old.close()
    new = await filled(tmp_path / "new.db")
    for items in (1, 0):
        found = await rescue_outbox(tmp_path / "old.db", new)
        assert (found.items, found.unreadable) == (items, 0)
        assert ("Items of the local folder Conflicts copied from the old cache: 1." in found.sentences()) == bool(items)
    assert await new.check() == ()
    await new.close()
    assert rows(tmp_path / "new.db", "SELECT folder, summary, id FROM event") == [
        ("Conflicts", "mine", f"local:{names[2]}")
    ]


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE item SET title = 'other' WHERE id LIKE 'local:%'",
        "UPDATE chunk SET data = zeroblob(length(data))",
        "DELETE FROM attachment",
    ],
)
async def test_rescue_counts_local_item_with_wrong_checksum(tmp_path: Path, damage: str) -> None:
    names = await old_cache(tmp_path / "old.db")
    old = await Store.open(tmp_path / "old.db")
    for name in names[2:4]:
        await Outbox(old).record_conflict(name, mail("e", kind="event", title="mine"), "newer", [FILE])
    await old.close()
    db = sqlite3.connect(tmp_path / "old.db")
    with db:
        db.execute(damage)
    db.close()
    new = await filled(tmp_path / "new.db")
    found = await rescue_outbox(tmp_path / "old.db", new)
    assert (found.changes, found.items, found.unreadable) == (6, 0, 2)
    assert found.backup is not None
    await new.close()


async def test_rescue_reports_unknown_number_of_local_items(tmp_path: Path) -> None:
    await old_cache(tmp_path / "old.db")
    db = sqlite3.connect(tmp_path / "old.db")
    db.executescript("ALTER TABLE folder RENAME COLUMN standing TO gone")
    db.close()
    new = await filled(tmp_path / "new.db")
    found = await rescue_outbox(tmp_path / "old.db", new)
    assert (found.changes, found.items, found.uncounted) == (6, 0, True)
    assert "standing" in found.reasons[0]
    await new.close()


async def test_rescue_does_not_take_missing_outbox_for_empty_one(tmp_path: Path) -> None:
    await old_cache(tmp_path / "old.db")
    db = sqlite3.connect(tmp_path / "old.db")
    db.executescript(
        "PRAGMA writable_schema = 1;"
        "DELETE FROM sqlite_master WHERE tbl_name IN ('outbox', 'sqlite_sequence') OR type = 'view'"
    )
    db.close()
    new = await filled(tmp_path / "new.db")
    found = await rescue_outbox(tmp_path / "old.db", new)
    assert (found.changes, found.uncounted) == (0, True)
    assert "the end of the outbox cannot be found" in found.reasons
    assert found.backup is not None
    await new.close()


async def test_rescue_without_old_cache_copies_nothing(tmp_path: Path) -> None:
    new = await filled(tmp_path / "new.db")
    assert await rescue_outbox(tmp_path / "old.db", new) == RescueReport()
    await new.close()


@pytest.mark.parametrize(
    ("damage", "unreadable"),
    [
        ('UPDATE outbox SET struct = \'{"subject":"Ho"}\' WHERE number = 1', 1),
        ("UPDATE outbox SET item_id = 'other' WHERE number = 3", 1),
        ('UPDATE outbox_chunk SET data = zeroblob(length(data)) WHERE "offset" > 0', 1),
        ('DELETE FROM outbox_chunk WHERE "offset" > 0', 1),
        ("DELETE FROM outbox_attachment", 1),
        ("DELETE FROM outbox WHERE number IN (2, 5)", 2),
        ("DELETE FROM outbox WHERE number = 6", 1),
        ("DELETE FROM outbox", 6),
        ("PRAGMA ignore_check_constraints = 1; UPDATE outbox SET version = 99 WHERE number = 4", 1),
    ],
)
async def test_rescue_counts_changes_with_wrong_checksum(tmp_path: Path, damage: str, unreadable: int) -> None:
    await old_cache(tmp_path / "old.db")
    db = sqlite3.connect(tmp_path / "old.db")
    db.executescript(damage)
    db.commit()
    db.close()
    new = await filled(tmp_path / "new.db")
    found = await rescue_outbox(tmp_path / "old.db", new)
    assert (found.changes, found.unreadable, found.uncounted) == (6 - unreadable, unreadable, False)
    assert found.backup is not None
    assert found.backup.name in found.sentences()[-1]
    assert len(await Outbox(new).list()) == 6 - unreadable
    assert await new.check() == ()
    await new.close()


async def test_rescue_makes_unknown_state_sending(tmp_path: Path) -> None:
    await old_cache(tmp_path / "old.db")
    db = sqlite3.connect(tmp_path / "old.db")
    db.executescript("PRAGMA ignore_check_constraints = 1; UPDATE outbox SET state = 'pendinf' WHERE number = 1")
    db.close()
    new = await filled(tmp_path / "new.db")
    assert (await rescue_outbox(tmp_path / "old.db", new)).changes == 6
    assert [each.state for each in await Outbox(new).list()] == ["sending", *["pending"] * 5]
    await new.close()


@pytest.mark.parametrize(
    "content", [b"", b"<html>" * 1000, b"SQLite format 3\0" + bytes(9000)], ids=["empty", "text", "zero"]
)
async def test_rescue_backs_up_file_that_is_not_a_database(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "old.db").write_bytes(content)
    new = await filled(tmp_path / "new.db")
    found = await rescue_outbox(tmp_path / "old.db", new)
    assert found.uncounted
    assert found.backup is not None
    assert "may have had more local changes" in found.sentences()[0]
    await new.close()


async def test_rescue_reports_file_without_first_page(tmp_path: Path) -> None:
    await old_cache(tmp_path / "old.db")
    data = bytearray((tmp_path / "old.db").read_bytes())
    data[:16384] = bytes(16384)
    (tmp_path / "old.db").write_bytes(data)
    new = await filled(tmp_path / "new.db")
    found = await rescue_outbox(tmp_path / "old.db", new)
    assert (found.changes, found.uncounted) == (0, True)
    assert found.backup is not None
    assert found.backup.read_bytes() == bytes(data)
    assert await rescue_outbox(tmp_path / "old.db", new) == found
    await new.close()


async def test_rescue_refuses_cache_in_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    await old_cache(tmp_path / "old.db")
    monkeypatch.setattr("kerio_resync.cache.connection.BUSY_TIMEOUT_SECONDS", 0)
    new = await filled(tmp_path / "new.db")
    other = sqlite3.connect(tmp_path / "old.db", isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    with pytest.raises(CacheInUse):
        await rescue_outbox(tmp_path / "old.db", new)
    other.close()
    await new.close()


async def test_rescue_reads_changes_around_damaged_page(tmp_path: Path) -> None:
    """Many changes, one page of them spoilt: all the others come, and the lost ones are counted exactly."""
    cache = await filled(tmp_path / "old.db")
    outbox = Outbox(cache)
    for n in range(60):
        await outbox.add("edit", "mail", item_id=str(n), struct=b'{"subject":"%s"}' % (b"x" * 1500))
    await cache.close()
    original = (tmp_path / "old.db").read_bytes()
    data = bytearray(original)
    places = [n for n in range(0, len(data), 16384) if data[n : n + 16384].count(b"xxxxxxxx") > 500]
    data[places[2] : places[2] + 16384] = b"\xff" * 16384
    (tmp_path / "old.db").write_bytes(data)
    new = await filled(tmp_path / "new.db")
    found = await rescue_outbox(tmp_path / "old.db", new)
    assert (found.changes + found.unreadable, found.uncounted) == (60, False)
    spoilt = original[places[2] : places[2] + 16384].count(b'{"subject"')
    assert found.unreadable == spoilt >= 1
    await new.close()


async def test_rescue_ignores_implausible_row_number(tmp_path: Path) -> None:
    await old_cache(tmp_path / "old.db")
    db = sqlite3.connect(tmp_path / "old.db")
    db.executescript(f"UPDATE sqlite_sequence SET seq = {module.MAX_PLAUSIBLE_ROWID * 1000}")
    db.close()
    new = await filled(tmp_path / "new.db")
    assert (await rescue_outbox(tmp_path / "old.db", new)).changes == 6
    await new.close()


async def test_rescue_does_not_write_to_old_file(tmp_path: Path) -> None:
    await old_cache(tmp_path / "old.db")
    before = (tmp_path / "old.db").read_bytes()
    new = await filled(tmp_path / "new.db", PutItems((mail("1", attached=(attachment("a"),)),)))
    line = await Connection.open(tmp_path / "old.db", readonly=True)
    await line.close()
    await rescue_outbox(tmp_path / "old.db", new)
    await new.close()
    assert (tmp_path / "old.db").read_bytes() == before


async def test_rescue_copies_sent_change_that_others_depend_on(tmp_path: Path) -> None:
    old = await filled(tmp_path / "old.db")
    outbox = Outbox(old)
    made = await outbox.add("create", "mail", folder_id="inbox", struct=b'{"subject":"Hi"}', files=[FILE])
    edit = await outbox.add("edit", "mail", item_id=f"local:{made}", folder_id="inbox", struct=b'{"subject":"Ho"}')
    other = await outbox.add("delete", "note", item_id="n")
    await outbox.begin_attempt(made, '{"known":[]}')
    await outbox.mark_sent(made, "new-id", "v12")
    await outbox.mark_sent(other)
    await old.close()
    new = await filled(tmp_path / "new.db")
    assert await rescue_outbox(tmp_path / "old.db", new) == RescueReport(changes=1)
    first, second = await Outbox(new).list(["sent", "pending"])
    assert (first.uuid, first.new_id, first.sent_version, first.attempt) == (made, "new-id", "v12", '{"known":[]}')
    assert (second.uuid, second.version, second.attempt) == (edit, "", "")
    assert await new.check() == ()
    await new.close()


async def test_second_rescue_copies_attempt_begun_meanwhile(tmp_path: Path) -> None:
    names = await old_cache(tmp_path / "old.db")
    new = await filled(tmp_path / "new.db")
    await rescue_outbox(tmp_path / "old.db", new)
    old = await Store.open(tmp_path / "old.db")
    await Outbox(old).begin_attempt(names[0], "a trace")
    await old.close()
    await rescue_outbox(tmp_path / "old.db", new)
    first, *_ = await Outbox(new).list()
    assert (first.state, first.attempt) == ("sending", "a trace")
    await new.close()


def test_sentences_name_file_of_other_format() -> None:
    report = RescueReport()
    report.add_failure(OtherFormat("it is of the newer format 8.0.0"))
    assert report.sentences() == (
        "Local changes of the old cache could not be copied: it is of the newer format 8.0.0.",
    )
