"""Files of format 7.2 whose outbox has no columns for code and version, as early versions made them.

`tests/data/cache-7.2-early.sql` is the dump of such a file: a change in each state, one of them with a file.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from kerio_resync.cache import outbox_rows
from kerio_resync.cache.connection import Connection
from kerio_resync.cache.mutations import LocalChange
from kerio_resync.cache.outbox import Outbox
from kerio_resync.cache.outbox_rows import ALL_STATES
from kerio_resync.cache.recovery.rescue_outbox import RescueReport, rescue_outbox
from kerio_resync.cache.schema import FORMAT, PAGE_SIZE
from kerio_resync.cache.store import Store
from kerio_resync.errors import CacheDamaged
from tests.support.cache import filled

DUMP = Path(__file__).parents[2] / "data" / "cache-7.2-early.sql"
RECORD = '{"known":["there-1"],"like":"{\\"text\\":\\"offline\\"}","alone":false,"key":"key-1"}'
EXPECTED = {  # by number: state, attempt, attempts, reason, code, version, new_id
    1: ("pending", "", 0, "", 0, 0, ""),
    2: ("sending", RECORD, 2, "", 0, 0, ""),
    3: ("sending", "", 1, "", 0, 0, ""),
    4: ("sent", RECORD, 1, "", 0, 17, "note-4b"),
    5: ("refused", "", 1, "quota of (code 7) things exceeded (code 4102)", 4102, 0, ""),
    6: ("refused", "", 1, "version 2 is not editable", 0, 0, ""),
    7: ("conflict", "", 1, "note note-7 was to be deleted, but it is newer", 0, 0, ""),
    8: ("withdrawn", "", 0, "", 0, 0, ""),
    9: ("sent", "", 1, "", 0, 0, ""),
}


@pytest.fixture
def early(tmp_path: Path) -> Path:
    path = tmp_path / "early.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute(f"PRAGMA page_size = {PAGE_SIZE}")
        db.executescript(DUMP.read_text())
    return path


def outcomes(changes: tuple[LocalChange, ...]) -> dict[int, tuple[object, ...]]:
    return {
        each.number: (each.state, each.attempt, each.attempts, each.reason, each.code, each.version, each.new_id)
        for each in changes
    }


async def require_all_changes(store: Store) -> None:
    changes = await store.read(outbox_rows.changes, ALL_STATES)
    assert outcomes(changes) == EXPECTED
    assert changes[0].struct == b'{"text":"offline"}'
    (file,) = changes[0].files
    assert b"".join([chunk async for chunk in Outbox(store).content(file)]) == b"content of a"
    assert await store.check() == ()


async def test_readonly_open_reads_early_file_and_leaves_it(early: Path) -> None:
    before = early.read_bytes()
    store = await Store.open(early, readonly=True)
    await require_all_changes(store)
    await store.close()
    assert early.read_bytes() == before


async def test_open_converts_early_file_once(early: Path) -> None:
    for _ in range(2):
        store = await Store.open(early)
        await require_all_changes(store)
        await store.close()
    with closing(sqlite3.connect(early)) as db:
        rows = db.execute(
            "SELECT number, state, attempt, attempts, reason, code, version, new_id FROM outbox"
        ).fetchall()
        assert {row[0]: row[1:] for row in rows} == EXPECTED
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert db.execute("SELECT value FROM meta WHERE key = 'format'").fetchone() == (FORMAT,)


async def test_converted_file_records_outcomes(early: Path) -> None:
    store = await Store.open(early)
    outbox = Outbox(store)
    first, second = [each.uuid for each in await outbox.list(("pending", "sending"))][:2]
    await outbox.mark_refused(first, "No room. (code 4102)", 4102)
    await outbox.mark_sent(second, "note-2b", 21)
    changes = {each.uuid: each for each in await outbox.list(("refused", "sent"))}
    assert (changes[first].code, changes[first].reason) == (4102, "No room. (code 4102)")
    assert (changes[second].version, changes[second].new_id, changes[second].attempt) == (21, "note-2b", RECORD)
    await store.close()


async def test_failed_conversion_leaves_early_file(early: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = early.read_bytes()
    with monkeypatch.context() as patched:
        patched.setitem(outbox_rows._EARLY, "code", "abs(-9223372036854775808)")
        with pytest.raises(CacheDamaged):
            await Store.open(early)
    with closing(sqlite3.connect(early)) as db:
        assert outbox_rows.is_early(db)
    assert len(before) == early.stat().st_size
    store = await Store.open(early)
    await require_all_changes(store)
    await store.close()


async def test_rescue_copies_open_changes_of_early_file(early: Path, tmp_path: Path) -> None:
    before = early.read_bytes()
    new = await filled(tmp_path / "new.db")
    assert await rescue_outbox(early, new) == RescueReport(changes=6)
    by_uuid = {each.uuid: each for each in await new.read(outbox_rows.changes, ALL_STATES)}
    connection = await Connection.open(early, readonly=True)
    for old in await connection.run(outbox_rows.changes):
        copied = by_uuid.pop(old.uuid)
        assert copied._replace(number=old.number, files=()) == old._replace(files=())
        assert [file._replace(key=0) for file in copied.files] == [file._replace(key=0) for file in old.files]
    await connection.close()
    await new.close()
    assert {each.state for each in by_uuid.values()} <= {"sent"}
    assert early.read_bytes() == before


async def test_open_refuses_outbox_with_other_columns(early: Path) -> None:
    with closing(sqlite3.connect(early)) as db:
        db.execute("ALTER TABLE outbox ADD COLUMN code INTEGER NOT NULL DEFAULT 0")
    with pytest.raises(CacheDamaged, match="outbox"):
        await Store.open(early)
