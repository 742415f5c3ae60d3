"""Unsent changes and local items of a 7.2 file are rescued into a new cache."""

from __future__ import annotations

from pathlib import Path

import pytest

from kerio_resync.cache import outbox_rows, queries
from kerio_resync.cache.outbox import Outbox
from kerio_resync.cache.outbox_rows import ALL_STATES
from kerio_resync.cache.recovery.rescue_outbox import RescueReport, rescue_outbox
from kerio_resync.cache.store import Store
from kerio_resync.cache.swap import replace_cache
from kerio_resync.model import Identity, Item
from tests.support.cache import filled
from tests.support.format72 import EARLY, LATE, OWNER, load

UUID = "{:08}-0000-4000-8000-000000000000"
CONFLICT = f"local:{UUID.format(8)}"


def named(item: Item) -> Item:
    return item._replace(text=f"text of {item.id}")


async def local_items(store: Store) -> dict[str, tuple[str, str]]:
    rows = await store.read(
        lambda db: db.execute("SELECT id, title, text FROM item WHERE id LIKE 'local:%' ORDER BY id").fetchall()
    )
    return {row[0]: row[1:] for row in rows}


async def test_rescue_copies_open_changes_and_local_items_once(tmp_path: Path) -> None:
    old = load(LATE, tmp_path / "old.db")
    before = old.read_bytes()
    new = await filled(tmp_path / "new.db")
    assert await rescue_outbox(old, new, OWNER, named) == RescueReport(changes=8, items=2)
    assert await rescue_outbox(old, new, OWNER, named) == RescueReport(known=9)
    found = {each.uuid: each for each in await new.read(outbox_rows.changes, ALL_STATES)}
    # 11 was sent, but 12 needs it
    assert set(found) == {UUID.format(number) for number in (1, 2, 3, 4, 7, 8, 10, 11, 12)}
    flags = found[UUID.format(4)]
    assert (flags.action, flags.version, flags.struct) == (
        "flags", "1", b'{"answered":true,"flagged":false,"seen":true}',
    )  # fmt: skip
    assert (found[UUID.format(10)].action, found[UUID.format(10)].version) == ("edit", "")
    assert (found[UUID.format(11)].state, found[UUID.format(11)].sent_version) == ("sent", "45")
    assert (found[UUID.format(7)].state, found[UUID.format(7)].code) == ("refused", 4102)
    files = found[UUID.format(1)].files
    assert [b"".join([piece async for piece in Outbox(new).content(file)]) for file in files] == [b"content of a", b""]
    assert await local_items(new) == {
        CONFLICT: ("mine", f"text of {CONFLICT}"),
        "local:lost": ("lost", "text of local:lost"),
    }
    sql = "SELECT attachment.number FROM attachment JOIN item ON item.number = attachment.item WHERE item.id = ?"
    row = await new.read(lambda db: db.execute(sql, (CONFLICT,)).fetchone())
    assert b"".join([piece async for piece in new.content(row[0])]) == bytes(range(40))
    assert await new.check() == ()
    await new.close()
    assert old.read_bytes() == before


async def test_rescue_copies_open_changes_of_early_file(tmp_path: Path) -> None:
    new = await filled(tmp_path / "new.db")
    assert await rescue_outbox(load(EARLY, tmp_path / "old.db"), new) == RescueReport(changes=6)
    changes = {each.number: each for each in await new.read(outbox_rows.changes, ALL_STATES)}
    assert sorted((each.state, each.code) for each in changes.values()) == [
        ("conflict", 0), ("pending", 0), ("refused", 0), ("refused", 4102), ("sending", 0), ("sending", 0),
    ]  # fmt: skip
    assert await new.check() == ()
    await new.close()


@pytest.mark.parametrize(
    ("harm", "report"),
    [
        ("UPDATE outbox SET struct = '{}' WHERE number = 3", {"changes": 7, "items": 2, "unreadable": 1}),
        ("DELETE FROM outbox WHERE number = 3", {"changes": 7, "items": 2, "unreadable": 1}),
        ("UPDATE outbox_chunk SET data = x'00' WHERE attachment = 1", {"changes": 7, "items": 2, "unreadable": 1}),
        ("UPDATE item SET title = 'x' WHERE number = 17", {"changes": 8, "items": 1, "unreadable": 1}),
        ("UPDATE chunk SET data = zeroblob(40) WHERE attachment = 9", {"changes": 8, "items": 1, "unreadable": 1}),
        ("DELETE FROM chunk WHERE attachment = 9", {"changes": 8, "items": 1, "unreadable": 1}),
        ("UPDATE attachment SET sha256 = x'00' WHERE number = 9", {"changes": 8, "items": 1, "unreadable": 1}),
    ],
)
async def test_rescue_counts_what_does_not_match(harm: str, report: dict[str, int], tmp_path: Path) -> None:
    new = await filled(tmp_path / "new.db")
    found = await rescue_outbox(load(LATE, tmp_path / "old.db", harm), new, OWNER)
    assert found.backup is not None
    assert found.backup.exists()
    assert (found.changes, found.items, found.unreadable) == (
        report["changes"], report["items"], report["unreadable"]
    )  # fmt: skip
    assert await new.check() == ()
    await new.close()


async def test_rescue_of_another_account_copies_nothing(tmp_path: Path) -> None:
    new = await filled(tmp_path / "new.db")
    other = Identity("https://mail.example.com", "other", "o", "o@example.com")
    report = await rescue_outbox(load(LATE, tmp_path / "old.db"), new, other)
    assert (report.changes, report.items, report.uncounted) == (0, 0, True)
    await new.close()


async def test_swap_copies_what_was_changed_meanwhile(tmp_path: Path) -> None:
    old = load(LATE, tmp_path / "cache.db")
    new = await filled(tmp_path / "new.db")
    async with replace_cache(new, old, OWNER, named):
        pass
    store = await Store.open(old, readonly=True)
    assert len(await store.read(outbox_rows.changes)) == 8
    assert await local_items(store) == {
        CONFLICT: ("mine", f"text of {CONFLICT}"),
        "local:lost": ("lost", "text of local:lost"),
    }
    assert await store.read(queries.meta, "format") == "7.3.0"
    await store.close()
