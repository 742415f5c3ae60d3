"""A file of format 7.2 is read exactly, whether an early or a late version wrote it; what is damaged is found."""

from __future__ import annotations

import hashlib
import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from kerio_resync.cache.format72.reader import Format72Reader
from kerio_resync.cache.format72.schema import has_format72, is_format72, shapes
from kerio_resync.cache.schema_guard import shape_of
from kerio_resync.cache.store import Store
from kerio_resync.errors import CacheDamaged, CacheInUse
from kerio_resync.model import Item
from tests.client.cache.test_schema import TABLES_BY_VERSION
from tests.support.cache import IDENTITY
from tests.support.format72 import (
    EARLY,
    EARLY_OUTCOMES,
    EARLY_OWNER,
    LATE,
    LATE_OUTCOMES,
    OWNER,
    load,
)


def test_items_come_back_with_versions_folders_and_attachments(tmp_path: Path) -> None:
    with Format72Reader.open(load(LATE, tmp_path / "old.db")) as reader:
        reader.require_counts()
        found = reader.items(0, 100)
        assert reader.item_count() == len(found) == 16
        assert reader.identity == OWNER
    items: dict[str, Item] = {each.item.id: each.item for each in found}
    assert {name: (item.folder_ids, item.version) for name, item in items.items()} == {
        "mail-1": (("inbox",), "2"),
        "mail-2": (("inbox",), "9007199254740993"),
        "mail-3": (("a/b",), ""),
        "mail-4": (("a/b",), "77"),
        "mail-5": (("team",), "5"),
        "mail-6-moved": (("a/b",), "6"),
        "mail-7": (("nowhere",), "7"),
        "mail-8": (("inbox",), "8"),
        "contact-1": (("people",), "11"),
        "event-1": (("calendar",), "12"),
        "event-2": (("calendar",), "13"),
        "task-1": (("tasks",), "14"),
        "note-1": (("notes",), "15"),
        "note-2": (("notes",), "16"),
        "local:00000008-0000-4000-8000-000000000000": (("local:conflicts",), ""),
        "local:lost": (("local:conflicts",), ""),
    }
    mail = items["mail-1"]
    assert (mail.title, mail.who, mail.date, mail.seen) == (
        "Subject 1", "Ann <ann@example.com>", "2026-03-01T09:30:00Z", False,
    )  # fmt: skip
    assert [(each.name, each.size, each.role) for each in mail.attachments] == [
        ("done.pdf", 12, "attachment"),
        ("part.pdf", 100, "attachment"),
    ]
    assert items["contact-1"].attachments[0].role == "photo"
    assert items["mail-2"].extra == b'{"unheardOf":{"x":[1]}}'
    assert [[content.received for content in each.contents] for each in found[:2]] == [[12, 6], [0, 0, 0]]


@pytest.mark.parametrize(("dump", "owner"), [(LATE, OWNER), (EARLY, EARLY_OWNER)])
def test_owner_is_read(dump: str, owner: object, tmp_path: Path) -> None:
    with Format72Reader.open(load(dump, tmp_path / "old.db")) as reader:
        assert reader.identity == owner


@pytest.mark.parametrize(("dump", "outcomes"), [(LATE, LATE_OUTCOMES), (EARLY, EARLY_OUTCOMES)])
def test_changes_come_back_with_their_outcomes(
    dump: str, outcomes: dict[int, tuple[object, ...]], tmp_path: Path
) -> None:
    path = load(dump, tmp_path / "old.db")
    before = path.read_bytes()
    with Format72Reader.open(path) as reader:
        changes = reader.changes()
    assert outcomes == {
        each.number: (
            each.state, each.attempt, each.attempts, each.reason, each.code, each.sent_version, each.new_id
        )
        for each in changes
    }  # fmt: skip
    assert path.read_bytes() == before


def test_changes_come_back_in_neutral_words(tmp_path: Path) -> None:
    with Format72Reader.open(load(LATE, tmp_path / "old.db")) as reader:
        changes = {each.number: each for each in reader.changes()}
    assert (changes[4].action, changes[4].struct) == ("flags", b'{"answered":true,"flagged":false,"seen":true}')
    assert (changes[10].action, changes[10].struct) == ("edit", b'{"isSeen":false,"isForwarded":true}')
    assert [changes[number].version for number in (1, 3, 5)] == ["", "12", "9007199254740993"]
    assert [(file.name, file.size) for file in changes[1].files] == [("a.txt", 12), ("b.txt", 0)]


def test_slices_of_items_follow_each_other(tmp_path: Path) -> None:
    with Format72Reader.open(load(LATE, tmp_path / "old.db")) as reader:
        numbers, after = list[int](), 0
        while rows := reader.items(after, 3):
            numbers += [each.number for each in rows]
            after = rows[-1].number
    assert numbers == [*range(1, 14), 15, 16, 17]


def test_slice_ends_after_enough_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kerio_resync.cache.format72.reader.MAX_BATCH_BYTES", 1)
    with Format72Reader.open(load(LATE, tmp_path / "old.db")) as reader:
        assert [each.number for each in reader.items(4, 100)] == [5]


@pytest.mark.parametrize(
    "harm",
    [
        "UPDATE item SET title = 'other' WHERE number = 3",
        "UPDATE item SET watermark = 4 WHERE number = 3",
        "UPDATE item SET folder = 2 WHERE number = 3",
        "UPDATE item SET folder = 99 WHERE number = 3",
        "UPDATE item SET payload = replace(payload, 'Subject', 'subject') WHERE number = 3",
        "UPDATE item SET extra = NULL WHERE number = 2",
        "UPDATE attachment SET name = 'x' WHERE number = 3",
        "DELETE FROM attachment WHERE number = 5",
        "UPDATE folder SET id = 'x' WHERE number = 2",
    ],
)
def test_item_that_does_not_match_its_checksum_is_damage(harm: str, tmp_path: Path) -> None:
    with Format72Reader.open(load(LATE, tmp_path / "old.db", harm)) as reader, pytest.raises(CacheDamaged) as raised:
        reader.items(0, 100)
    assert "Subject" not in str(raised.value)


@pytest.mark.parametrize("dump", [LATE, EARLY])
@pytest.mark.parametrize(
    "harm",
    [
        "UPDATE outbox SET struct = '{}' WHERE number = 1",
        "UPDATE outbox SET watermark = 9 WHERE number = 1",
        "UPDATE outbox_attachment SET size = 9 WHERE number = 1",
        "DELETE FROM outbox_attachment WHERE number = 1",
    ],
)
def test_change_that_does_not_match_its_checksum_is_damage(harm: str, dump: str, tmp_path: Path) -> None:
    with (
        Format72Reader.open(load(dump, tmp_path / "old.db", harm)) as reader,
        pytest.raises(CacheDamaged, match="does not match its checksum"),
    ):
        reader.changes()


@pytest.mark.parametrize(
    ("index", "harm", "table"),
    [
        ("outbox_by_state", "DELETE FROM outbox WHERE number = 9", "outbox"),
        ("item_by_kind", "DELETE FROM item WHERE number = 17", "item"),
        ("wanted_in_order", "DELETE FROM wanted WHERE id = 'mail-20'", "wanted"),
    ],
)
def test_row_that_only_an_index_has_is_damage(index: str, harm: str, table: str, tmp_path: Path) -> None:
    path = load(LATE, tmp_path / "old.db")
    entry = tuple[object, ...]()
    for statement in ("DELETE FROM sqlite_master WHERE name = ?", harm, "INSERT INTO sqlite_master VALUES (?,?,?,?,?)"):
        with closing(sqlite3.connect(path, isolation_level=None)) as db:
            db.execute("PRAGMA writable_schema = 1")
            entry = entry or db.execute("SELECT * FROM sqlite_master WHERE name = ?", (index,)).fetchone()
            values = {"D": (index,) if "?" in statement else (), "I": entry}[statement[0]]
            db.execute(statement, values)
    with Format72Reader.open(path) as reader, pytest.raises(CacheDamaged, match=rf": {table} has \d+ rows, not \d+"):
        reader.require_counts()


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        ("PRAGMA user_version = 70300", r"it is not of format 7\.2"),
        ("PRAGMA application_id = 0", r"it is not of format 7\.2"),
        ("DROP TABLE seen", "its tables are not those"),
        ("CREATE TRIGGER t AFTER DELETE ON meta BEGIN SELECT 1; END", "its tables are not those"),
        ("DROP TABLE meta; CREATE VIEW meta AS SELECT 1 AS key, 2 AS value", "its tables are not those"),
        ("DELETE FROM meta WHERE key = 'account'", "it does not name its account"),
    ],
)
def test_file_that_is_no_cache_of_format_72_is_refused(harm: str, message: str, tmp_path: Path) -> None:
    path = load(LATE, tmp_path / "old.db", harm)
    with pytest.raises(CacheDamaged, match=message), Format72Reader.open(path) as reader:
        assert reader.identity


def test_open_file_is_locked_against_other_programs(tmp_path: Path) -> None:
    path = load(LATE, tmp_path / "old.db")
    code = "import sqlite3, sys; sqlite3.connect(sys.argv[1], timeout=0).execute('SELECT count(*) FROM item')"
    with Format72Reader.open(path):
        # another connection of the same process reads it, and does not end the lock when it is closed
        Format72Reader.open(path, locked_elsewhere=True).close()
        other = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=False)
    assert "locked" in other.stderr
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("BEGIN EXCLUSIVE")
        with pytest.raises(CacheInUse):
            Format72Reader.open(path)


async def test_format_is_told_by_the_header(tmp_path: Path) -> None:
    old = load(LATE, tmp_path / "old.db")
    await (await Store.create(tmp_path / "new.db", IDENTITY)).close()
    for path, expected in ((old, True), (tmp_path / "new.db", False)):
        assert has_format72(path) is expected
        with closing(sqlite3.connect(path)) as db:
            assert is_format72(db) is expected
    os.truncate(old, 50)
    assert not has_format72(old)


def test_shapes_are_those_of_both_dumps(tmp_path: Path) -> None:
    for dump, shape in zip((LATE, EARLY), shapes(), strict=True):
        with closing(sqlite3.connect(load(dump, tmp_path / dump))) as db:
            assert shape_of(db) == shape


def test_tables_are_those_that_format_72_had() -> None:
    """The hash is that of `TABLES_BY_VERSION` in `test_schema.py`, which the last version with this format passed."""
    tables = "\n".join(sorted(f"{kind} {name}: {sql}" for kind, name, _, sql in shapes()[0]))
    assert hashlib.sha256(tables.encode()).hexdigest() == TABLES_BY_VERSION[70200]
