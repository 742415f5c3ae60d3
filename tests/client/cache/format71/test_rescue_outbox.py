"""Pending changes of a file of format 7.1, as a rebuild rescues them."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from benchmarks.format71_writer import Format71Writer
from kerio_resync.cache.format71.rescue_outbox import _walk
from kerio_resync.cache.mutations import AddChange, LocalChange, LocalFile
from kerio_resync.cache.outbox import Outbox
from kerio_resync.cache.recovery.rescue_outbox import RescueReport, rescue_outbox
from tests.support.cache import IDENTITY, filled

FILE = LocalFile("plan.pdf", "application/pdf", bytes(range(256)) * 1000, "cid")
CHANGES = [
    AddChange(
        LocalChange("u1", "create", "mail", folder_id="f1", made="2026-03-01T09:30:00Z", struct=b'{"subject":"x"}'),
        (FILE,),
    ),
    AddChange(LocalChange("u2", "move", "note", item_id="n1", folder_id="f1", target_id="f2", version="5")),
    AddChange(LocalChange("u3", "delete", "mail", item_id="m1", version="6")),
    AddChange(LocalChange("u4", "flags", "mail", item_id="m2", version="7", struct=b'{"seen":true}')),
]


def old_cache(path: Path, harm: str = "", changes: list[AddChange] = CHANGES) -> None:
    with Format71Writer(path, IDENTITY) as writer:
        for change in changes:
            writer.pending(change)
    db = sqlite3.connect(path)
    db.executescript(harm)
    db.close()


async def test_every_change_is_rescued_once(tmp_path: Path) -> None:
    old_cache(tmp_path / "old.db")
    new = await filled(tmp_path / "new.db")
    assert await rescue_outbox(tmp_path / "old.db", new) == RescueReport(changes=4)
    assert await rescue_outbox(tmp_path / "old.db", new) == RescueReport(known=4)
    found = await Outbox(new).list()
    assert [(each.uuid, each.action, each.kind, each.item_id, each.target_id, each.version) for each in found] == [
        (each.uuid, each.action, each.kind, each.item_id, each.target_id, each.version) for each, _ in CHANGES
    ]
    assert [(each.made, each.struct) for each in found[:1]] == [("2026-03-01T09:30:00Z", b'{"subject":"x"}')]
    assert found[3].struct == b'{"seen":true}'
    (file,) = found[0].files
    assert b"".join([piece async for piece in Outbox(new).content(file)]) == FILE.data
    assert await new.check() == ()
    await new.close()


@pytest.mark.parametrize("descending", [False, True])
def test_walk_ends_where_damaged_links_form_a_circle(descending: bool) -> None:
    class Circle:
        def execute(self, *_: object) -> Circle:
            return self

        def fetchone(self) -> tuple[int]:
            return (7,)

    assert _walk(Circle(), 0, 100, descending=descending) == ([7], False)  # type: ignore[arg-type]


async def test_file_without_changes_gives_an_empty_report(tmp_path: Path) -> None:
    old_cache(tmp_path / "old.db", changes=[])
    new = await filled(tmp_path / "new.db")
    assert (await rescue_outbox(tmp_path / "old.db", new)).sentences() == ()
    await new.close()


@pytest.mark.parametrize(
    ("harm", "changes", "unreadable", "uncounted"),
    [
        ("UPDATE PENDING SET CHARS = 1 WHERE ID = 2", 3, 1, False),
        ("UPDATE PENDING SET STRUCT = '{\"subject\":x}' WHERE ID = 1", 3, 1, False),
        ("UPDATE PENDING SET ACTION = 9 WHERE ID = 4", 3, 1, False),
        ("DELETE FROM CONTENT_LINES", 3, 1, False),
        ("DELETE FROM PENDING WHERE ID = 3", 3, 1, True),  # by the count that INFO has
        ("DELETE FROM INFO WHERE NAME = 'COUNT_PENDING'", 4, 0, False),
        ("UPDATE INFO SET VALUE = 'x' WHERE NAME = 'COUNT_PENDING'; DELETE FROM PENDING", 0, 1, True),
        ("DROP TABLE INFO", 4, 0, False),
        ("DROP TABLE PENDING", 0, 4, True),
    ],
)
async def test_incomplete_change_is_counted_and_not_rescued(
    tmp_path: Path, harm: str, changes: int, unreadable: int, uncounted: bool
) -> None:
    old_cache(tmp_path / "old.db", harm)
    new = await filled(tmp_path / "new.db")
    found = await rescue_outbox(tmp_path / "old.db", new)
    assert (found.changes, found.unreadable, found.uncounted) == (changes, unreadable, uncounted)
    assert (found.backup is not None) == bool(unreadable)
    assert len(await Outbox(new).list()) == changes
    await new.close()


MANY = [
    AddChange(LocalChange(f"u{n}", "edit", "mail", item_id=str(n), struct=b'{"subject":"%s"}' % (b"x" * 1200)))
    for n in range(60)
]


@pytest.mark.parametrize(
    "spoilt", [[0], [-1], [9], [5, 12], [5, 6], [0, 9], [9, -1], [3, 8, 14], [0, 2, 4, -1]], ids=str
)
async def test_changes_on_both_sides_of_damaged_pages_are_rescued(spoilt: list[int], tmp_path: Path) -> None:
    old_cache(tmp_path / "old.db", changes=MANY)
    original = (tmp_path / "old.db").read_bytes()
    data = bytearray(original)
    places = [at for at in range(0, len(data), 4096) if data[at : at + 4096].count(b"xxxxxxxx") > 200]
    lost = set[str]()
    for each in spoilt:
        page = slice(places[each], places[each] + 4096)
        lost |= {f"u{n}" for n in range(60) if b"u%d\x02%d\x04" % (n, n) in original[page]}  # GUID, ACTION, KID
        data[page] = b"\xff" * 4096
    (tmp_path / "old.db").write_bytes(data)
    new = await filled(tmp_path / "new.db")
    found = await rescue_outbox(tmp_path / "old.db", new)
    assert (found.changes, found.unreadable, found.uncounted) == (60 - len(lost), len(lost), True)
    assert {each.uuid for each in await Outbox(new).list()} == {each.uuid for each, _ in MANY} - lost
    await new.close()


async def test_view_in_place_of_a_table_is_never_read(tmp_path: Path) -> None:
    old_cache(tmp_path / "old.db", "ALTER TABLE PENDING RENAME TO P; CREATE VIEW PENDING AS SELECT * FROM P")
    new = await filled(tmp_path / "new.db")
    report = await rescue_outbox(tmp_path / "old.db", new)
    assert (report.changes, report.unreadable, report.uncounted) == (0, 0, True)
    assert report.backup is not None
    await new.close()
