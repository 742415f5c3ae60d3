from __future__ import annotations

import hashlib
import sqlite3
from pathlib import Path

import pytest

from kerio_resync.cache import schema
from kerio_resync.cache.mutations import PutItems
from kerio_resync.errors import BadSettings, CacheDamaged
from kerio_resync.model import Item, Kind
from tests.support.cache import IDENTITY, attachment, filled, mail, rows, source, whole


@pytest.fixture
def laid_out(db: sqlite3.Connection) -> sqlite3.Connection:
    schema.create_schema(db, IDENTITY)
    return db


def test_check_header_returns_identity(laid_out: sqlite3.Connection) -> None:
    assert schema.check_header(laid_out) == IDENTITY


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("PRAGMA application_id = 7", "a database of another program"),
        ("PRAGMA user_version = 70400", "of the newer format 7.4.0, and this version reads 7.3.0"),
        ("PRAGMA user_version = 70100", "of the older format 7.1.0"),
        ("UPDATE meta SET value = '9.9' WHERE key = 'format'", "it names 9.9"),
        ("DELETE FROM meta WHERE key = 'account'", "does not name its account"),
        ("UPDATE meta SET value = '' WHERE key = 'server'", "does not name its server and account"),
    ],
)
def test_check_header_refuses_other_format(laid_out: sqlite3.Connection, change: str, says: str) -> None:
    laid_out.execute(change)
    with pytest.raises(CacheDamaged, match=says.replace("(", r"\(").replace(")", r"\)")):
        schema.check_header(laid_out)


def test_require_sqlite_refuses_old_version() -> None:
    with pytest.raises(BadSettings, match=r"SQLite 3\.36\.0; 3\.37\.0 or newer is needed"):
        schema.require_sqlite((3, 36, 0))
    schema.require_sqlite((3, 37, 0))


def test_tables_are_strict_and_have_comments(laid_out: sqlite3.Connection) -> None:
    db = laid_out
    tables = [row for row in db.execute("PRAGMA table_list") if row[2] == "table" and not row[1].startswith("sqlite_")]
    assert len(tables) == 12
    assert all(row[5] == 1 for row in tables)
    (told,) = db.execute("SELECT sql FROM sqlite_master WHERE name = 'item'").fetchone()
    assert "-- the item's version on the server" in told
    with pytest.raises(sqlite3.IntegrityError):
        db.execute("INSERT INTO skipped VALUES ('a', 'b', x'00')")


# Add a line for each new version. Never change a line: files of that version exist.
TABLES_BY_VERSION = {
    70200: "fd56c352703c4c7d3dc24c7a935beed8ec88a62d4eeb954f968d2e382a253382",
    70300: "3208eaf8a491b325ba8593ff8a1764e5e3d0651529081acd1d1204746c44a63f",
}


def test_tables_change_only_with_the_format_version() -> None:
    tables = "\n".join(sorted(f"{kind} {name}: {sql}" for kind, name, _, sql in schema.shapes()[0]))
    assert TABLES_BY_VERSION.get(schema.USER_VERSION) == hashlib.sha256(tables.encode()).hexdigest(), (
        f"The tables are no longer those of format {schema.FORMAT}, so existing caches would be called damaged. Give"
        " them a new version, and a migration in UPGRADES: see 'Change the database format' in docs/database.md."
    )


def test_failed_create_schema_leaves_nothing(db: sqlite3.Connection) -> None:
    db.execute("CREATE TABLE item (x)")
    with pytest.raises(sqlite3.OperationalError):
        schema.create_schema(db, IDENTITY)
    assert [row[0] for row in db.execute("SELECT name FROM sqlite_master")] == ["item"]
    assert not db.in_transaction


async def test_mail_view_finds_mails_of_march_with_attachments(tmp_path: Path) -> None:
    cache = await filled(
        tmp_path / "cache.db",
        PutItems(
            (
                mail("1", date="2026-03-31T23:59:59Z", title="Plan", attached=(attachment("a.pdf"),), text="Grüße"),
                mail("2", date="2026-03-05T00:00:00Z", title="No file"),
                mail("3", date="2026-04-01T00:00:00Z", title="April", attached=(attachment("b.pdf"),)),
                mail("4", folder="work", date="2026-03-01T00:00:00Z", title="Work", attached=(attachment("c.pdf"),)),
            )
        ),
        *whole(1, b"12345"),
    )
    await cache.close()
    path = tmp_path / "cache.db"
    query = "SELECT folder, sender, subject, text FROM mail WHERE date LIKE '2026-03%' AND has_attachment ORDER BY date"
    assert rows(path, query) == [
        ("Work", "Ann <ann@example.com>", "Work", "Hello"),
        ("Inbox", "Ann <ann@example.com>", "Plan", "Grüße"),
    ]
    query = "SELECT subject, name, size, state, length(sha256) FROM mail_attachment ORDER BY date DESC"
    assert rows(path, query) == [
        ("April", "b.pdf", 5, "wanted", None),
        ("Plan", "a.pdf", 5, "done", 64),
        ("Work", "c.pdf", 5, "wanted", None),
    ]
    assert rows(path, "SELECT path, items, unread, missing FROM folder_tree WHERE kind = 'mail'") == [
        ("Inbox", 3, 0, 0),
        ("Work", 1, 0, 0),
    ]


async def test_mail_in_several_folders_has_a_row_in_each(tmp_path: Path) -> None:
    cache = await filled(tmp_path / "cache.db", PutItems((mail("1", folder=("inbox", "work")), mail("2"))))
    await cache.apply(PutItems((mail("3", folder=("work",))._replace(seen=False, html="<p>x</p>"),)))
    await cache.close()
    path = tmp_path / "cache.db"
    query = "SELECT folder, id, html FROM mail ORDER BY id, folder"
    assert rows(path, query) == [
        ("Inbox", "1", None), ("Work", "1", None), ("Inbox", "2", None), ("Work", "3", "<p>x</p>"),
    ]  # fmt: skip
    assert rows(path, "SELECT path, items, unread FROM folder_tree WHERE kind = 'mail'") == [
        ("Inbox", 2, 0),
        ("Work", 2, 1),
    ]


async def test_views_leave_sources_out(tmp_path: Path) -> None:
    parts = (source(b"From: a"), attachment("a.pdf")._replace(in_source=True))
    cache = await filled(tmp_path / "cache.db", PutItems((mail("1", attached=parts), mail("2", attached=parts[:1]))))
    await cache.close()
    path = tmp_path / "cache.db"
    assert rows(path, "SELECT id, has_attachment FROM mail ORDER BY id") == [("1", 1), ("2", 0)]
    assert rows(path, "SELECT name, state, mail FROM mail_attachment") == [("a.pdf", "source", 1)]


def item(kind: Kind, details: bytes, text: str | None) -> Item:
    return Item(
        kind, ("people",), kind, "1", "Title", "ann@example.com", "", "2026-03-01T00:00:00Z", "2026-03-02T00:00:00Z",
        details=details, text=text,
    )  # fmt: skip


CONTACT = b"""{"first_name":"Ann","last_name":"Lee","company":"ACME","birthday":"19800101",
"addresses":"a@x, b@x","phones":"+1 2"}"""


@pytest.mark.parametrize(
    ("kind", "details", "text", "query", "row"),
    [
        (
            "contact", CONTACT, "c",
            "SELECT name, first_name, last_name, company, addresses, phones, birthday, comment, has_photo FROM contact",
            ("Title", "Ann", "Lee", "ACME", "a@x, b@x", "+1 2", "19800101", "c", 0),
        ),
        (
            "event", b'{"location":"Hall","all_day":true,"recurring":false}', "d",
            "SELECT starts, ends, summary, location, all_day, recurring, description FROM event",
            ("2026-03-01T00:00:00Z", "2026-03-02T00:00:00Z", "Title", "Hall", 1, 0, "d"),
        ),
        ("task", b'{"status":"tsCompleted","done":100,"priority":"Low"}', None,
         "SELECT due, status, done, priority, description FROM task",
         ("2026-03-01T00:00:00Z", "tsCompleted", 100, "Low", None)),
        ("note", b'{"color":"Pink"}', "all of it", "SELECT title, text, color FROM note",
         ("Title", "all of it", "Pink")),
    ],
)  # fmt: skip
async def test_view_shows_each_kind(
    tmp_path: Path, kind: Kind, details: bytes, text: str | None, query: str, row: object
) -> None:
    cache = await filled(tmp_path / "cache.db", PutItems((item(kind, details, text),)))
    await cache.close()
    assert rows(tmp_path / "cache.db", query) == [row]
