"""The migration from format 7.2: everything arrives exactly; whatever is killed on the way, the next run finishes."""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path
from random import Random
from typing import Any

import pytest

from benchmarks.format71_files import IDENTITY
from benchmarks.format71_writer import Format71Writer
from benchmarks.format72_writer import convert, write
from kerio_resync.cache import new_database, outbox_rows
from kerio_resync.cache.format72 import copy
from kerio_resync.cache.format72.reader import Format72Reader
from kerio_resync.cache.new_database import Checkpoint
from kerio_resync.cache.outbox import Outbox
from kerio_resync.cache.outbox_rows import ALL_STATES
from kerio_resync.cache.store import Store
from kerio_resync.cache.write.items import read_item_row
from kerio_resync.errors import CacheDamaged, CacheInUse, NotEnoughSpace
from kerio_resync.model import Folder
from kerio_resync.server.json_codec import canonical_json
from kerio_resync.server.kerio.items import parse_items
from kerio_resync.upgrade.formats import MigrationResult, detect_format
from kerio_resync.upgrade.migration import format71, format72, run
from kerio_resync.upgrade.migration.format72 import measure_sample, migrate, survey
from kerio_resync.upgrade.migration.run import JOURNAL_BYTES
from tests.support.fork_server import forked
from tests.support.format72 import EARLY, EARLY_OUTCOMES, LATE, LATE_OUTCOMES, load

TABLES = (
    "meta", "folder", "item", "placement", "attachment", "chunk", "wanted", "seen", "skipped", "outbox",
    "outbox_attachment", "outbox_chunk", "sqlite_sequence",
)  # fmt: skip


def ignore(*_: object, **__: object) -> None:
    pass


def upgraded(folder: Path) -> MigrationResult:
    return migrate(folder / "cache.db", folder / "cache.db.next", ignore, threading.Event())


def rows(path: Path) -> dict[str, list[tuple[Any, ...]]]:
    """Return all rows of the new database, which `Store.check` has found sound."""

    async def check() -> None:
        store = await Store.open(path, readonly=True)
        assert await store.check() == ()
        await store.close()

    asyncio.run(check())
    with closing(sqlite3.connect(path)) as db:
        found = {table: db.execute(f"SELECT * FROM {table}").fetchall() for table in TABLES}
    return {table: sorted(values, key=repr) for table, values in found.items()}


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("old") / "cache.db"
    write(path, 150, 20_000)
    return path


@pytest.fixture(scope="module")
def expected(old: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[tuple[Any, ...]]]:
    profile = profile_of(old, tmp_path_factory.mktemp("expected"))
    upgraded(profile)
    return rows(profile / "cache.db")


def profile_of(old: Path, folder: Path) -> Path:
    (folder / "cache.db").write_bytes(old.read_bytes())
    return folder


def select(path: Path, sql: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(path)) as db:
        return db.execute(sql).fetchall()


def test_every_row_is_migrated_and_the_old_file_is_replaced(tmp_path: Path) -> None:
    path = load(LATE, tmp_path / "cache.db")
    before = {table: select(path, f"SELECT count(*) FROM {table}") for table in TABLES if table != "placement"}
    kept = {
        "item": 'number, id, kind, date, "end", seen, flagged, answered, draft, size, title, who, recipients,'
        " message_id, extra, payload",
        "folder": "number, id, parent_id, name, path, kind, role, place, owner, readable, count, unread, size, payload,"
        " extra, rank, position, listed, standing",
        "attachment": "*",
        "chunk": 'attachment, "offset", length(data), crc32, data',
        "seen": "*",
        "skipped": "*",
        "wanted": "id, folder, kind, size, date, has_attachment, rank, keep, late",
        "outbox": "number, uuid, kind, item_id, folder_id, target_id, made, files, state, attempt, attempts, reason,"
        " new_id, code",
        "outbox_attachment": "*",
        "outbox_chunk": "*",
        "sqlite_sequence": "*",
    }
    values = {table: sorted(select(path, f"SELECT {columns} FROM {table}")) for table, columns in kept.items()}
    moved = upgraded(tmp_path)
    assert (moved.items, moved.contents, moved.pending, moved.resumed) == (16, 5, 12, False)
    assert [each.name for each in tmp_path.iterdir()] == ["cache.db"]
    assert path.stat().st_mode & 0o777 == 0o600
    assert detect_format(path).state == "current"
    found = rows(path)
    assert {table: [(len(found[table]),)] for table in before} == before
    columns = {**kept, "chunk": 'attachment, "offset", size, crc32, data'}
    assert {table: sorted(select(path, f"SELECT {columns[table]} FROM {table}")) for table in kept} == values
    meta = dict(found["meta"])
    assert meta == {
        "format": "7.3.0", "server": "https://mail.example.com", "account": "keriodb://user/example.com/jane",
        "user": "jane", "address": "jane@example.com", "login": "jane@example.com", "protocol": "kerio",
        "sync_key": '{"id":1,"version":2}', "comparison": "3", "finished_at": "2026-03-01T10:00:00Z",
    }  # fmt: skip
    assert select(path, "SELECT id, version, late, keep FROM wanted ORDER BY id") == [
        ("mail-1", "4", 1, 0), ("mail-20", "20", 0, 0), ("mail-21", "", 0, 0), ("mail-22", "22", 0, 0),
        ("mail-6-moved", "6", 0, 1),
    ]  # fmt: skip
    assert select(path, "SELECT id, listed_rows FROM folder WHERE position IS NOT NULL") == [("inbox", 3)]


def test_items_get_versions_placements_and_columns(tmp_path: Path) -> None:
    path = load(LATE, tmp_path / "cache.db")
    upgraded(tmp_path)
    sql = (
        "SELECT item.id, version, folder.id FROM item JOIN placement ON item = item.number JOIN folder ON folder.number"
    )
    found = {row[0]: row[1:] for row in select(path, f"{sql} = folder")}
    assert len(found) == 16
    assert found["mail-2"] == ("9007199254740993", "inbox")
    assert found["mail-3"] == ("", "a/b")
    assert found["mail-6-moved"] == ("6", "a/b")
    assert found["mail-7"] == ("7", "nowhere")
    assert found["local:lost"] == ("", "local:conflicts")
    columns = {row[0]: row[1:] for row in select(path, "SELECT id, text, html, details FROM item")}
    assert columns["mail-1"] == ("Grüße\r\nfrom Příliš", "<p>Grüße</p>", None)
    assert columns["mail-4"] == ("second is plain", "<i>h</i>", None)
    assert columns["local:lost"][0] == "its text"
    assert columns["note-1"][0] == "First line\nsecond"
    assert "\ud800" not in columns["note-2"][0]
    assert json.loads(columns["contact-1"][2])["last_name"] == "Nováková"
    assert columns["contact-1"][0] == "met in Brno"
    assert json.loads(columns["event-1"][2])["location"] == "Room 1"


def test_items_equal_those_that_the_server_sends(old: Path, tmp_path: Path) -> None:
    """A rebuild that fetches such an item again stores the same row."""
    profile = profile_of(old, tmp_path)
    upgraded(profile)
    with closing(sqlite3.connect(profile / "cache.db")) as db:
        stored = [item for _, item, _ in read_item_row(db, "TRUE", ())]
    assert len(stored) == 162
    for item in stored:
        assert parse_items(item.kind, [json.loads(item.payload)], canonical_json) == ((item,), ())


@pytest.mark.parametrize(("dump", "outcomes"), [(LATE, LATE_OUTCOMES), (EARLY, EARLY_OUTCOMES)])
def test_outbox_is_migrated_with_numbers_states_and_files(
    dump: str, outcomes: dict[int, tuple[object, ...]], tmp_path: Path
) -> None:
    load(dump, tmp_path / "cache.db")
    assert upgraded(tmp_path).pending == len(outcomes)

    async def read() -> None:
        store = await Store.open(tmp_path / "cache.db", readonly=True)
        changes = await store.read(outbox_rows.changes, ALL_STATES)
        assert outcomes == {
            each.number: (
                each.state, each.attempt, each.attempts, each.reason, each.code, each.sent_version, each.new_id
            )
            for each in changes
        }  # fmt: skip
        content = b"".join([piece async for piece in Outbox(store).content(changes[0].files[0])])
        assert content == b"content of a"
        assert await store.check() == ()
        await store.close()

    asyncio.run(read())


def test_new_change_gets_the_next_number(tmp_path: Path) -> None:
    load(EARLY, tmp_path / "cache.db", "UPDATE sqlite_sequence SET seq = 20 WHERE name = 'outbox'")
    upgraded(tmp_path)
    assert select(tmp_path / "cache.db", "SELECT seq FROM sqlite_sequence WHERE name = 'outbox'") == [(20,)]


def test_contents_of_any_size_are_migrated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(copy, "CONTENT_SLICE_BYTES", 300_000)
    sizes = [0, 1, 262143, 262144, 262145, 299_999, 300_000, 300_001, 1024 * 1024 + 7]
    files = [
        {"id": f"a{place}", "url": f"/u/{place}", "name": "n", "contentType": "t", "contentId": "", "size": size}
        for place, size in enumerate(sizes)
    ]
    struct = {"id": "m1", "folderId": "f1", "watermark": 1, "attachments": files}
    (item,), _ = parse_items("mail", [struct], canonical_json)
    with Format71Writer(tmp_path / "71.db", IDENTITY) as writer:
        writer.folder(Folder("f1", "root", "Inbox", "mail", "inbox"))
        writer.item(item, {place: [Random(size).randbytes(size)] for place, size in enumerate(sizes)})
    format71.migrate(tmp_path / "71.db", tmp_path / "71.db.next", ignore, threading.Event())
    convert(tmp_path / "71.db", tmp_path / "cache.db")
    sql = 'SELECT attachment, "offset", crc32, data FROM chunk ORDER BY 1, 2'
    before = select(tmp_path / "cache.db", sql)
    assert upgraded(tmp_path).contents == len(sizes)
    assert select(tmp_path / "cache.db", sql) == before
    assert [len(row[3]) for row in before[:5]] == [1, 262143, 262144, 262144, 1]


def test_survey_asks_for_enough_space_and_not_much_more(old: Path, tmp_path: Path) -> None:
    profile = profile_of(old, tmp_path)
    need = survey(profile / "cache.db", profile / "cache.db.next")
    new = upgraded(profile).new_bytes
    assert new < need.needed < new * 1.6 + JOURNAL_BYTES


KILLED = """
import os, sys, threading
from pathlib import Path
from kerio_resync.cache import new_database
from kerio_resync.cache.format72 import copy
from kerio_resync.upgrade.migration import format72
new_database.COMMIT_BYTES = 200_000
copy.CONTENT_SLICE_BYTES = 300_000
format72.ITEMS_PER_BATCH = 8
left = int(sys.argv[2])
format72.PROCESS_MIN_BYTES = (left % 2) << 40  # a second process makes the batches of every other one
def step(*args):
    global left
    left -= 1
    if left < 0:
        os.kill(os.getpid(), 9)
import sqlite3
connect = sqlite3.connect
class Watch:
    def execute(self, sql, *values):
        if sql.lstrip().startswith(("COMMIT", "BEGIN", "PRAGMA journal_mode", "INSERT INTO main.")):
            step()
        found = super().execute(sql, *values)
        if sql.lstrip().startswith("COMMIT"):
            step()
        return found
def watched(*args, factory=sqlite3.Connection, **more):
    return connect(*args, factory=type("Watched", (Watch, factory), {}), **more)
sqlite3.connect = watched
for name in ("rename", "replace", "unlink"):
    real = getattr(os, name)
    setattr(os, name, lambda *args, real=real, **more: (step(), real(*args, **more), step())[1])
for name in ("rename", "unlink"):
    real = getattr(Path, name)
    setattr(Path, name, lambda *args, real=real, **more: (step(), real(*args, **more), step())[1])
path = Path(sys.argv[1])
format72.migrate(path, path.with_name("cache.db.next"), lambda *args: None, threading.Event())
print("steps", int(sys.argv[2]) - left)
"""


def run_killed(profile: Path, after: int) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*forked("-c"), KILLED, str(profile / "cache.db"), str(after)],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


@pytest.fixture(scope="module")
def steps(old: Path, tmp_path_factory: pytest.TempPathFactory) -> int:
    """Return how many statements, commits and renames a migration has."""
    ended = run_killed(profile_of(old, tmp_path_factory.mktemp("steps")), 100_000)
    assert ended.returncode == 0, ended.stderr
    return int(ended.stdout.split()[-1])


def kill_and_resume(old: Path, expected: object, profile: Path, after: int) -> bool:
    """Return whether the second run resumed the first."""
    profile_of(old, profile)
    assert run_killed(profile, after).returncode == -9
    if detect_format(profile / "cache.db").state == "old":
        assert (profile / "cache.db").read_bytes() == old.read_bytes()
        moved = upgraded(profile)
        assert moved.pending == 3
    else:
        moved = MigrationResult()
    assert rows(profile / "cache.db") == expected
    assert [each.name for each in profile.iterdir()] == ["cache.db"]
    return moved.resumed


def test_migration_killed_at_some_instants_is_finished_by_the_next_run(
    old: Path, expected: object, steps: int, tmp_path: Path
) -> None:
    assert steps > 60
    resumed = 0
    for place in range(8):
        profile = tmp_path / str(place)
        profile.mkdir()
        resumed += kill_and_resume(old, expected, profile, place * (steps - 1) // 7)
    assert resumed >= 3


@pytest.mark.soak
@pytest.mark.timeout(24 * 3600)
def test_migration_killed_at_every_instant_is_finished_by_the_next_run(
    old: Path, expected: object, steps: int, tmp_path: Path
) -> None:
    for after in range(steps):
        profile = tmp_path / str(after)
        profile.mkdir()
        kill_and_resume(old, expected, profile, after)
        (profile / "cache.db").unlink()


def test_stopped_migration_is_resumed(
    old: Path, expected: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(new_database, "COMMIT_BYTES", 200_000)
    monkeypatch.setattr(format72, "ITEMS_PER_BATCH", 8)
    profile, stop, heard = profile_of(old, tmp_path), threading.Event(), []

    def tell(phase: str, done: int, total: int, items: int, all_items: int) -> None:
        heard.append((phase, done, items))
        if items > 80:
            stop.set()

    with pytest.raises(InterruptedError):
        migrate(profile / "cache.db", profile / "cache.db.next", tell, stop)
    assert (profile / "cache.db").read_bytes() == old.read_bytes()
    told = [each[1] for each in heard]
    assert told == sorted(told)
    heard.clear()
    moved = migrate(profile / "cache.db", profile / "cache.db.next", tell, threading.Event())
    assert moved.resumed
    assert heard[0][2] > 40
    assert rows(profile / "cache.db") == expected


def test_unfinished_database_made_from_another_file_is_replaced(old: Path, expected: object, tmp_path: Path) -> None:
    stop = threading.Event()
    stop.set()
    load(LATE, tmp_path / "other.db")
    with pytest.raises(InterruptedError):
        migrate(tmp_path / "other.db", tmp_path / "cache.db.next", ignore, stop)
    profile = profile_of(old, tmp_path)
    assert not upgraded(profile).resumed
    assert rows(profile / "cache.db") == expected


def test_file_that_another_program_has_open_is_in_use(
    old: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "LOCK_TIMEOUT_SECONDS", 0.2)
    profile = profile_of(old, tmp_path)
    db = sqlite3.connect(profile / "cache.db")
    db.execute("BEGIN EXCLUSIVE")
    with pytest.raises(CacheInUse):
        upgraded(profile)
    db.execute("ROLLBACK")
    with pytest.raises(CacheInUse):  # open and idle
        upgraded(profile)
    db.close()
    assert (profile / "cache.db").read_bytes() == old.read_bytes()


def test_journal_of_a_killed_writer_is_rolled_back_first(tmp_path: Path) -> None:
    load(LATE, tmp_path / "cache.db")
    child = "import os, sqlite3, sys; db = sqlite3.connect(sys.argv[1], isolation_level=None);"
    child += "db.execute('PRAGMA cache_size = 1'); db.execute('BEGIN'); db.execute('DELETE FROM outbox');"
    child += "db.executemany('INSERT INTO meta VALUES (?, ?)', [(str(n), 'x' * 9000) for n in range(200)]); os._exit(9)"
    subprocess.run([sys.executable, "-c", child, str(tmp_path / "cache.db")], check=False)
    assert (tmp_path / "cache.db-journal").exists()
    assert upgraded(tmp_path).pending == 12
    assert [each.name for each in tmp_path.iterdir()] == ["cache.db"]


def test_write_ahead_log_is_migrated_too(tmp_path: Path) -> None:
    path = load(LATE, tmp_path / "cache.db")
    child = "import os, sqlite3, sys; db = sqlite3.connect(sys.argv[1], isolation_level=None);"
    child += (
        "db.execute('PRAGMA journal_mode = WAL'); db.execute(\"INSERT INTO meta VALUES ('in_log', '1')\"); os._exit(9)"
    )
    subprocess.run([sys.executable, "-c", child, str(path)], check=False)
    assert (tmp_path / "cache.db-wal").exists()
    upgraded(tmp_path)
    assert dict(rows(path)["meta"])["in_log"] == "1"
    assert [each.name for each in tmp_path.iterdir()] == ["cache.db"]


def spoil(path: Path, seed: int) -> None:
    random = Random(seed)
    at = random.randrange(path.stat().st_size - 512)
    handle = os.open(path, os.O_RDWR)
    os.pwrite(handle, random.randbytes(512) if random.random() < 0.7 else bytes(512), at)
    os.close(handle)


def notices(old: Path, expected: object, profile: Path, seed: int) -> bool:
    """Return whether the damage was found. If not, it must have done no harm."""
    profile_of(old, profile)
    spoil(profile / "cache.db", seed)
    before = (profile / "cache.db").read_bytes()
    (profile / "cache.db.next").unlink(missing_ok=True)
    try:
        upgraded(profile)
    except CacheDamaged:
        assert (profile / "cache.db").read_bytes() == before
        return True
    assert rows(profile / "cache.db") == expected
    return False


def test_damage_is_found_or_harmless(old: Path, expected: object, tmp_path: Path) -> None:
    assert sum(notices(old, expected, tmp_path, seed) for seed in range(15)) >= 10


@pytest.mark.soak
@pytest.mark.timeout(24 * 3600)
def test_damage_in_300_places_is_found_or_harmless(old: Path, expected: object, tmp_path: Path) -> None:
    assert sum(notices(old, expected, tmp_path, seed) for seed in range(1000, 1300)) >= 200


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        ("UPDATE chunk SET data = zeroblob(length(data)) WHERE attachment = 1", "attachment 1 does not match"),
        ("UPDATE chunk SET crc32 = 0 WHERE attachment = 1", "attachment 1 does not match"),
        ("UPDATE attachment SET sha256 = zeroblob(32) WHERE number = 1", "attachment 1 does not match"),
        ("UPDATE attachment SET sha256 = NULL WHERE number = 1", "attachment 1 does not match"),
        ("UPDATE attachment SET received = 11 WHERE number = 1", "attachment 1 does not match"),
        ("UPDATE attachment SET received = 1 << 60 WHERE number = 1", "content 1 has a gap"),
        ("DELETE FROM chunk WHERE attachment = 1", "attachment 1 does not match"),
        ("INSERT INTO chunk VALUES (77, 0, 0, x'00')", "rows of chunk were copied"),
        ("INSERT INTO chunk VALUES (3, 0, 3523407757, x'00')", "rows of chunk were copied"),
        ("UPDATE item SET title = 'x' WHERE number = 3", "item number 3 does not match"),
        ("UPDATE outbox SET made = 'x' WHERE number = 3", "local change .* does not match"),
        ("UPDATE outbox_chunk SET data = x'00' WHERE attachment = 1", "local change .*: its checksum does not match"),
        ("UPDATE wanted SET folder = 99", "has no folder"),
    ],
)
def test_row_that_does_not_match_its_checksum_is_damage(harm: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "cache.db"
    load(LATE, path, harm)
    before = path.read_bytes()
    with pytest.raises(CacheDamaged, match=message):
        upgraded(tmp_path)
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        ("UPDATE item SET title = title || 'x' WHERE number = 77", "item 77 does not match"),
        ("UPDATE item SET text_at = text_at + 1 WHERE number = 77", "item 77 does not match"),
        ("UPDATE placement SET folder = 2 WHERE item = 1", "item 1 does not match"),
        ("DELETE FROM placement WHERE item = 1", "item 1 does not match"),
        ("UPDATE chunk SET data = zeroblob(length(data)) WHERE rowid = 9", "attachment 9 does not match"),
        ("DELETE FROM outbox WHERE number = 2", "rows of outbox were copied"),
        ("UPDATE outbox SET checksum = x'00' WHERE number = 2", "not every local change was copied"),
        ("DELETE FROM item WHERE number = 50", "rows of item were copied"),
        ("DELETE FROM folder WHERE number = 1", "rows of folder were copied"),
        ("UPDATE outbox_chunk SET crc32 = 0", "local change .*: its checksum does not match"),
    ],
)
def test_row_that_was_written_wrong_is_found(
    harm: str, message: str, old: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    profile = profile_of(old, tmp_path)
    copy_all = format72._Migration.copy

    def copy_and_harm(migration: format72._Migration) -> Checkpoint:
        checkpoint = copy_all(migration)
        migration._target._db.execute(harm)
        return checkpoint

    monkeypatch.setattr(format72._Migration, "copy", copy_and_harm)
    with pytest.raises(CacheDamaged, match=message):
        upgraded(profile)
    assert (profile / "cache.db").read_bytes() == old.read_bytes()


def test_full_disk_raises_not_enough_space_and_keeps_the_old_file(
    old: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    profile = profile_of(old, tmp_path)
    connect = new_database.connect

    def small(path: Path) -> sqlite3.Connection:
        db = connect(path)
        db.execute("PRAGMA max_page_count = 60")
        return db

    monkeypatch.setattr(new_database, "connect", small)
    with pytest.raises(NotEnoughSpace):
        upgraded(profile)
    assert (profile / "cache.db").read_bytes() == old.read_bytes()


@pytest.mark.parametrize("max_bytes", [1, 500_000, 2**40])
def test_sample_measures_a_part_and_leaves_the_old_file(max_bytes: int, old: Path, tmp_path: Path) -> None:
    profile = profile_of(old, tmp_path)
    used = survey(profile / "cache.db", profile / "cache.db.next").live
    copied, seconds = measure_sample(profile / "cache.db", tmp_path / "sample.db", max_bytes)
    assert 0 < copied < used * 1.05
    assert seconds > 0
    assert (profile / "cache.db").read_bytes() == old.read_bytes()


def test_progress_reaches_the_bytes_in_use(old: Path, tmp_path: Path) -> None:
    profile, heard = profile_of(old, tmp_path), []

    def report(phase: str, done: int, total: int, items: int, all_items: int) -> None:
        heard.append((phase, done / total))

    migrate(profile / "cache.db", profile / "cache.db.next", report, threading.Event())
    copied = [share for phase, share in heard if phase == "upgrade"]
    assert copied == sorted(copied)
    assert copied[-1] == 1
    verified = [share for phase, share in heard if phase == "verify"]
    assert max(verified) == pytest.approx(1)


def test_batches_of_another_process_give_the_same_database(
    old: Path, expected: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(format72, "PROCESS_MIN_BYTES", 0)
    monkeypatch.setattr(format72, "ITEMS_PER_BATCH", 8)
    child = "kerio_resync.upgrade.migration.batch_process._Child.ready"
    monkeypatch.setattr(child, lambda child: bool(child._greeting.result()) or True)
    profile = profile_of(old, tmp_path)
    upgraded(profile)
    assert rows(profile / "cache.db") == expected


def test_converted_file_has_the_rows_that_it_came_from(
    old: Path, expected: dict[str, list[tuple[Any, ...]]], tmp_path: Path
) -> None:
    """The writer of the benchmarks and the migration undo each other."""
    profile = profile_of(old, tmp_path)
    upgraded(profile)
    convert(profile / "cache.db", tmp_path / "again.db")
    with Format72Reader.open(tmp_path / "again.db") as again, Format72Reader.open(old) as first:
        assert again.items(0, 1000) == first.items(0, 1000)
        assert again.changes() == first.changes()
