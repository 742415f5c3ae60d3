"""Old files are untrusted: whatever stands in their schema, they are read in bounded time, or called damaged."""

from __future__ import annotations

import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import pytest

from benchmarks.format71_files import write
from kerio_resync.cache import schema, schema_guard
from kerio_resync.cache.format71.reader import Format71Reader
from kerio_resync.cache.new_database import source_of
from kerio_resync.cache.outbox import Outbox
from kerio_resync.cache.recovery.copy import copy_verified
from kerio_resync.cache.recovery.rescue_outbox import rescue_outbox
from kerio_resync.cache.schema_guard import require_shape, require_tables, restrict, shape_of, strip_comments
from kerio_resync.cache.store import Store
from kerio_resync.errors import CacheDamaged
from kerio_resync.upgrade.migration import format72
from tests.support.cache import IDENTITY, filled, old_cache
from tests.support.format72 import LATE, load

ENDLESS = "WITH RECURSIVE c(number) AS (SELECT 1 UNION ALL SELECT number FROM c)"
VIEWS = {
    "meta": f"{ENDLESS} SELECT 'k' || number AS key, zeroblob(1000) AS value FROM c",
    "outbox": f"{ENDLESS} SELECT number, 'u' AS uuid, 'create' AS action, '' AS state FROM c",
    "item": f"{ENDLESS} SELECT number, 'x' AS id, 1 AS folder FROM c",
    "folder": f"{ENDLESS} SELECT number, 'x' AS id, 'local' AS standing FROM c",
    "attachment": f"{ENDLESS} SELECT number, 1 AS item FROM c",
    "chunk": f"{ENDLESS} SELECT number AS attachment, 0 AS offset FROM c",
    "wanted": f"{ENDLESS} SELECT 'x' AS id FROM c",
}
PLANTED = {
    **{
        f"{name} is a view": [f"ALTER TABLE {name} RENAME TO {name}_", f"CREATE VIEW {name} AS {sql}"]
        for name, sql in VIEWS.items()
    },
    "trigger": ["CREATE TRIGGER evil AFTER UPDATE ON outbox BEGIN DELETE FROM item; END"],
    "computed column": ["ALTER TABLE outbox ADD COLUMN evil TEXT AS (printf('%.*c', 200000000, 'x'))"],
    "costly index": ["CREATE INDEX evil ON item (id) WHERE id LIKE '%a%a%a%a%a%a%'"],
    "costly check": [
        "CREATE TABLE evil (a TEXT CHECK (a NOT LIKE '%a%a%a%a%a%b'))", "PRAGMA ignore_check_constraints = 1",
        "INSERT INTO evil VALUES (printf('%.*c', 100000, 'a'))",
    ],
    "virtual table": ["CREATE VIRTUAL TABLE evil USING fts5(a)"],
    "unknown collation": [
        "PRAGMA writable_schema = 1",
        "UPDATE sqlite_master SET sql = replace(sql, 'uuid      TEXT', 'uuid TEXT COLLATE evil') WHERE name = 'outbox'",
    ],
    "garbage": [
        "PRAGMA writable_schema = 1", "UPDATE sqlite_master SET sql = 'CREATE TABLE item(' WHERE name = 'item'",
    ],
    "giant schema": [
        "PRAGMA writable_schema = 1",
        "INSERT INTO sqlite_master VALUES ('table', 'e', 'e', 0, printf('CREATE TABLE e (%.*c)', 5000000, 'x'))",
    ],
    "giant value": ["INSERT INTO meta VALUES ('server2', printf('%.*c', 20000000, 'x'))"],
}  # fmt: skip
HARMLESS = {"giant value"}  # never read


def plant(path: Path, statements: list[str]) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("PRAGMA legacy_alter_table = 1")
        for statement in statements:
            db.execute(statement)


@pytest.mark.timeout(60)
@pytest.mark.parametrize("name", PLANTED)
async def test_every_reader_of_planted_file_ends_and_calls_it_damaged(name: str, tmp_path: Path) -> None:
    path = tmp_path / "cache.db"
    await old_cache(path)
    plant(path, PLANTED[name])
    for readonly in (True, False):
        if name in HARMLESS:
            await (await Store.open(path, readonly=readonly)).close()
        else:
            with pytest.raises(CacheDamaged):
                await Store.open(path, readonly=readonly)
    assert source_of(path) is None
    new = await filled(tmp_path / "new.db")
    rescued = await rescue_outbox(path, new)
    assert rescued.changes == 6 or rescued.uncounted
    assert bool(rescued.backup) == rescued.uncounted
    await new.close()
    made = await copy_verified(path, tmp_path / "copy.db", IDENTITY)
    assert made is None or made.items == 20


@pytest.mark.timeout(60)
@pytest.mark.parametrize("name", ["trigger", "costly index", "costly check", "virtual table"])
async def test_rescue_copies_changes_of_planted_file(name: str, tmp_path: Path) -> None:
    path = tmp_path / "cache.db"
    names = await old_cache(path)
    plant(path, PLANTED[name])
    new = await filled(tmp_path / "new.db")
    assert (await rescue_outbox(path, new)).changes == len(names)
    await new.close()


@pytest.mark.timeout(60)
@pytest.mark.parametrize("name", PLANTED)
async def test_every_reader_of_planted_file_of_format_7_2_ends(name: str, tmp_path: Path) -> None:
    path = load(LATE, tmp_path / "cache.db")
    plant(path, PLANTED[name])
    before = path.read_bytes()
    new = await filled(tmp_path / "new.db")
    rescued = await rescue_outbox(path, new)
    assert rescued.changes == 8 or rescued.uncounted
    assert bool(rescued.backup) == rescued.uncounted
    await new.close()
    if name not in HARMLESS:
        with pytest.raises(CacheDamaged):
            format72.migrate(path, tmp_path / "cache.db.next", lambda *_: None, threading.Event())
        assert path.read_bytes() == before
        return
    assert format72.migrate(path, tmp_path / "cache.db.next", lambda *_: None, threading.Event()).pending == 12


@pytest.mark.timeout(60)
@pytest.mark.parametrize("table", ["INFO", "PENDING", "MAIL_HEADERS", "FOLDERS", "CONTENT_LINES"])
async def test_every_reader_of_planted_file_of_format_7_1_ends(table: str, tmp_path: Path) -> None:
    path = tmp_path / "cache.db"
    write(path, 3, 1000)
    plant(
        path,
        [
            f"ALTER TABLE {table} RENAME TO evil",
            f"CREATE VIEW {table} AS {ENDLESS}"
            " SELECT number AS ID, 'x' AS KID, 'n' || number AS NAME, 'v' AS VALUE FROM c",
        ],
    )
    with pytest.raises(CacheDamaged, match="not a plain table"):
        Format71Reader.open(path)
    new = await filled(tmp_path / "new.db")
    assert (await rescue_outbox(path, new)).uncounted
    await new.close()


@pytest.mark.timeout(60)
def test_restrict_ends_endless_statement(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schema_guard, "_STEPS", 100_000)
    with closing(sqlite3.connect(tmp_path / "f")) as db:
        restrict(db, tmp_path / "f")
        with pytest.raises(sqlite3.OperationalError, match="interrupted"):
            db.execute(f"{ENDLESS} SELECT count(*) FROM c").fetchone()
        for _ in range(100):  # each statement has the whole limit
            db.execute("WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 2000) SELECT * FROM c")


def test_restrict_limits_values_and_schema(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "f")) as db:
        restrict(db, tmp_path / "f")
        with pytest.raises(sqlite3.DataError, match="too big"):
            db.execute("SELECT zeroblob(300000000)").fetchone()
        with pytest.raises(sqlite3.OperationalError):
            db.execute(f"CREATE TABLE t ({', '.join(f'c{n}' for n in range(300))})")
        for number in range(schema_guard.MAX_SCHEMA_ROWS + 1):
            db.execute(f"CREATE TABLE t{number} (a)")
        with pytest.raises(CacheDamaged, match="more tables"):
            require_tables(db, ("t1",))


def test_shape_ignores_comments_and_views(tmp_path: Path) -> None:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as db:
        schema.create_schema(db, IDENTITY)
        db.execute("CREATE VIEW mine AS SELECT 1")
        require_shape(db, *schema.shapes())
        assert shape_of(db, views=True) not in schema.shapes(views=True)
        db.execute("CREATE TABLE mine2 (a)")
        with pytest.raises(CacheDamaged, match="mine2"):
            require_shape(db, *schema.shapes())
    assert strip_comments("CREATE TABLE t ( -- a comment\n  a /* b */ TEXT\n)") == "CREATE TABLE t ( a TEXT)"
    assert strip_comments("DEFAULT '--\n'") != strip_comments("DEFAULT ''")


async def test_open_refuses_unfinished_file_with_trigger(tmp_path: Path) -> None:
    cache = await filled(tmp_path / "cache.db.next")
    await Outbox(cache).add("create", "mail", folder_id="inbox", struct=b"{}")
    await cache.close()
    plant(tmp_path / "cache.db.next", ["CREATE TRIGGER evil AFTER INSERT ON item BEGIN DELETE FROM outbox; END"])
    with pytest.raises(CacheDamaged, match="not those of this program"):
        await Store.open(tmp_path / "cache.db.next")


def test_restrict_works_without_the_size_of_the_file() -> None:
    with closing(sqlite3.connect(":memory:")) as db:
        restrict(db, Path("/nowhere/cache.db"))
        assert db.getlimit(sqlite3.SQLITE_LIMIT_ATTACHED) == 0
