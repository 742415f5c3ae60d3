"""The migration from format 7.1: everything arrives exactly; whatever is killed on the way, the next run finishes."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import subprocess
import threading
from contextlib import closing
from pathlib import Path
from random import Random

import pytest

from benchmarks.format71_files import IDENTITY, write
from benchmarks.format71_writer import Format71Writer
from kerio_resync.cache import new_database, outbox_rows, queries
from kerio_resync.cache.format71.reader import Format71Reader
from kerio_resync.cache.new_database import Checkpoint
from kerio_resync.cache.store import Store
from kerio_resync.errors import CacheDamaged, CacheInUse, NotEnoughSpace
from kerio_resync.model import KINDS, Folder
from kerio_resync.server.json_codec import canonical_json
from kerio_resync.server.kerio.items import parse_items
from kerio_resync.upgrade.formats import MigrationResult, detect_format
from kerio_resync.upgrade.migration import format71, format71_batches, run
from kerio_resync.upgrade.migration.format71 import measure_sample, migrate, survey
from kerio_resync.upgrade.migration.run import JOURNAL_BYTES
from tests.support.fork_server import forked


def ignore(*_: object, **__: object) -> None:
    pass


def upgraded(folder: Path) -> MigrationResult:
    return migrate(folder / "cache.db", folder / "cache.db.next", ignore, threading.Event())


async def lines(path: Path) -> list[str]:
    """Return everything in the new database that came from the old one."""
    store = await Store.open(path, readonly=True)
    try:
        assert await store.check() == ()
        found = [f"{row.folder} {row.path} {row.rank} {row.listed}" for row in await store.read(queries.folders)]
        after = ("", "")
        while rows := await store.read(queries.items, after):
            found += [f"{row.kind} {row.id} {row.version} {row.payload!r} {row.extra!r}"
                      + "".join(f" {each.id} {each.state} {each.sha256!r}" for each in row.attachments)
                      for row in rows]  # fmt: skip
            after = (rows[-1].kind, rows[-1].id)
        found += [f"{each.uuid} {each.struct!r} {each.files}" for each in await store.read(outbox_rows.changes)]
        return [*found, str(await store.read(queries.meta, "sync_key")), str(store.identity)]
    finally:
        await store.close()


def held(path: Path) -> list[str]:
    return asyncio.run(lines(path))


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("old") / "cache.db"
    write(path, 150, 20_000)
    return path


@pytest.fixture(scope="module")
def expected(old: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    profile = profile_of(old, tmp_path_factory.mktemp("expected"))
    upgraded(profile)
    return held(profile / "cache.db")


def profile_of(old: Path, folder: Path) -> Path:
    (folder / "cache.db").write_bytes(old.read_bytes())
    return folder


def test_everything_is_migrated_and_the_old_file_is_replaced(old: Path, expected: list[str], tmp_path: Path) -> None:
    profile = profile_of(old, tmp_path)
    moved = upgraded(profile)
    assert (moved.items, moved.pending, moved.resumed) == (162, 3, False)
    assert moved.contents > 10
    assert [each.name for each in tmp_path.iterdir()] == ["cache.db"]
    assert detect_format(tmp_path / "cache.db").state == "current"
    assert (tmp_path / "cache.db").stat().st_mode & 0o777 == 0o600
    with Format71Reader.open(old) as source:
        structs = {kind: [one.struct for one in source.items(kind)] for kind in KINDS}
        made = {kind: parse_items(kind, structs[kind], canonical_json)[0] for kind in KINDS}
        assert sum(line.startswith(KINDS) for line in expected) == 162
        for kind in KINDS:
            for item in made[kind]:
                assert any(line.startswith(f"{kind} {item.id} {item.version} {item.payload!r}") for line in expected)
        assert str(source.sync_key) in expected
    assert held(tmp_path / "cache.db") == expected


def test_contents_of_any_size_are_migrated(tmp_path: Path) -> None:
    sizes = [0, 1, 65535, 65536, 262143, 262144, 262145, 5 * 1024 * 1024 + 7]
    files = [
        {"id": f"a{place}", "url": f"/u/{place}", "name": "n", "contentType": "t", "contentId": "", "size": size}
        for place, size in enumerate([*sizes, 9])
    ]
    struct = {"id": "m1", "folderId": "f1", "watermark": 1, "attachments": files, "unheardOf": 1}
    (item,), _ = parse_items("mail", [struct], canonical_json)
    contents = {place: Random(size).randbytes(size) for place, size in enumerate(sizes)}
    with Format71Writer(tmp_path / "cache.db", IDENTITY) as writer:
        writer.folder(Folder("f1", "root", "Inbox", "mail", "inbox"))
        writer.item(item, {place: [data] for place, data in contents.items()})
    assert upgraded(tmp_path).contents == len(sizes)

    async def read() -> None:
        store = await Store.open(tmp_path / "cache.db", readonly=True)
        (row,) = await store.read(queries.items)
        assert (row.payload, row.extra) == (item.payload, item.extra)
        for each, data in zip(row.attachments, contents.values(), strict=False):
            assert b"".join([piece async for piece in store.content(each.key)]) == data
        assert row.attachments[-1].state == "omitted"
        assert await store.check() == ()
        await store.close()

    asyncio.run(read())


def test_survey_asks_for_enough_space_and_not_much_more(old: Path, tmp_path: Path) -> None:
    profile = profile_of(old, tmp_path)
    need = survey(profile / "cache.db", profile / "cache.db.next")
    new = upgraded(profile).new_bytes
    assert new < need.needed < new * 1.6 + JOURNAL_BYTES


KILLED = """
import os, sys, threading
from pathlib import Path
from kerio_resync.cache import new_database
from kerio_resync.upgrade.migration import format71, format71_batches
new_database.COMMIT_BYTES = 200_000
format71_batches.ITEMS_PER_BATCH = 8
left = int(sys.argv[2])
format71.PROCESS_MIN_BYTES = (left % 2) << 40  # a second process makes the batches of every other one
def step(*args):
    global left
    left -= 1
    if left < 0:
        os.kill(os.getpid(), 9)
import sqlite3
connect = sqlite3.connect
class Watch:
    def execute(self, sql, *values):
        if sql.lstrip().startswith(("COMMIT", "BEGIN", "PRAGMA journal_mode")):
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
format71.migrate(path, path.with_name("cache.db.next"), lambda *args: None, threading.Event())
print("steps", int(sys.argv[2]) - left)
"""


def run_killed(profile: Path, after: int) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*forked("-c"), KILLED, str(profile / "cache.db"), str(after)],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


@pytest.fixture(scope="module")
def steps(old: Path, tmp_path_factory: pytest.TempPathFactory) -> int:
    """Return how many commits and renames a migration has."""
    ended = run_killed(profile_of(old, tmp_path_factory.mktemp("steps")), 100_000)
    assert ended.returncode == 0, ended.stderr
    return int(ended.stdout.split()[-1])


def kill_and_resume(old: Path, expected: list[str], profile: Path, after: int) -> bool:
    """Return whether the second run resumed the first."""
    profile_of(old, profile)
    assert run_killed(profile, after).returncode == -9
    if detect_format(profile / "cache.db").state == "old":
        assert (profile / "cache.db").read_bytes() == old.read_bytes()
        moved = upgraded(profile)
        assert moved.pending == 3
    else:
        moved = MigrationResult()
    assert held(profile / "cache.db") == expected
    assert [each.name for each in profile.iterdir()] == ["cache.db"]
    return moved.resumed


def test_migration_killed_at_some_instants_is_finished_by_the_next_run(
    old: Path, expected: list[str], steps: int, tmp_path: Path
) -> None:
    assert steps > 30
    resumed = 0
    for place in range(6):
        profile = tmp_path / str(place)
        profile.mkdir()
        resumed += kill_and_resume(old, expected, profile, place * (steps - 1) // 5)
    assert resumed >= 2


@pytest.mark.soak
@pytest.mark.timeout(24 * 3600)
def test_migration_killed_at_every_instant_is_finished_by_the_next_run(
    old: Path, expected: list[str], steps: int, tmp_path: Path
) -> None:
    for after in range(steps):
        profile = tmp_path / str(after)
        profile.mkdir()
        kill_and_resume(old, expected, profile, after)
        (profile / "cache.db").unlink()


def test_stopped_migration_is_resumed(
    old: Path, expected: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(new_database, "COMMIT_BYTES", 200_000)
    monkeypatch.setattr(format71_batches, "ITEMS_PER_BATCH", 8)
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
    assert held(profile / "cache.db") == expected


def test_unfinished_database_made_from_another_file_is_replaced(old: Path, expected: list[str], tmp_path: Path) -> None:
    other, stop = tmp_path / "other.db", threading.Event()
    write(other, 5, 3000, seed=9)
    stop.set()
    with pytest.raises(InterruptedError):
        migrate(other, tmp_path / "cache.db.next", ignore, stop)
    profile = profile_of(old, tmp_path)
    assert not upgraded(profile).resumed
    assert held(profile / "cache.db") == expected


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


def spoil(path: Path, seed: int) -> None:
    random = Random(seed)
    at = random.randrange(path.stat().st_size - 512)
    handle = os.open(path, os.O_RDWR)
    os.pwrite(handle, random.randbytes(512) if random.random() < 0.7 else bytes(512), at)
    os.close(handle)


def notices(old: Path, expected: list[str], profile: Path, seed: int) -> bool:
    """Return whether the damage was found. If not, it must have done no harm."""
    profile_of(old, profile)
    spoil(profile / "cache.db", seed)
    before = (profile / "cache.db").read_bytes()
    try:
        upgraded(profile)
    except CacheDamaged:
        assert (profile / "cache.db").read_bytes() == before
        return True
    assert held(profile / "cache.db") == expected
    return False


def test_damage_is_found_or_harmless(old: Path, expected: list[str], tmp_path: Path) -> None:
    assert sum(notices(old, expected, tmp_path, seed) for seed in range(15)) >= 5


@pytest.mark.soak
@pytest.mark.timeout(24 * 3600)
def test_damage_in_300_places_is_found_or_harmless(old: Path, expected: list[str], tmp_path: Path) -> None:
    assert sum(notices(old, expected, tmp_path, seed) for seed in range(1000, 1300)) >= 100


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        ("UPDATE item SET title = title || 'x' WHERE number = 77", "item 77 does not match"),
        ("UPDATE chunk SET data = zeroblob(length(data)) WHERE rowid = 9", "attachment 9 does not match"),
        ("DELETE FROM outbox WHERE number = 2", "not every pending change was copied"),
        ("DELETE FROM item WHERE number = 50", "149 mail were copied, not 150"),
        ("UPDATE outbox_chunk SET crc32 = 0", "local change .*: its checksum does not match"),
        ("UPDATE attachment SET item = 9999 WHERE number = 1", "item 1 does not match"),
    ],
)
def test_row_that_was_written_wrong_is_found(
    harm: str, message: str, old: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    profile = profile_of(old, tmp_path)
    copy = format71._Migration.copy

    def copy_and_harm(migration: format71._Migration) -> Checkpoint:
        checkpoint = copy(migration)
        migration._target._db.execute(harm)
        return checkpoint

    monkeypatch.setattr(format71._Migration, "copy", copy_and_harm)
    with pytest.raises(CacheDamaged, match=message):
        upgraded(profile)
    assert (profile / "cache.db").read_bytes() == old.read_bytes()


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        ("UPDATE MAIL_HEADERS SET KID = '' WHERE ID = 3", "no valid id or version"),
        ('UPDATE MAIL_HEADERS SET PROPS = \'{"id":7}\' WHERE ID = 3', "no valid id or version"),
        ('UPDATE MAIL_HEADERS SET PROPS = \'{"folderId":"x"}\' WHERE ID = 3', "an item is in no folder"),
        ("UPDATE MAIL_HEADERS SET KID = (SELECT KID FROM MAIL_HEADERS WHERE ID = 4) WHERE ID = 3", "the same id"),
        ("INSERT INTO CONTACT_PHOTOS VALUES (65536, 0, 1, 0); UPDATE CONTACTS SET PHOTOS = 1 WHERE ID = 1",
         "a content belongs to no attachment"),
    ],
)  # fmt: skip
def test_invalid_item_is_damage(harm: str, message: str, old: Path, tmp_path: Path) -> None:
    profile = profile_of(old, tmp_path)
    with closing(sqlite3.connect(profile / "cache.db")) as db:
        db.executescript(harm)
    with pytest.raises(CacheDamaged, match=message):
        upgraded(profile)


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
    assert copied[-1] > 0.9
    verified = [share for phase, share in heard if phase == "verify"]
    assert max(verified) == pytest.approx(1)


def test_stop_ends_the_verification(old: Path, tmp_path: Path) -> None:
    profile, stop = profile_of(old, tmp_path), threading.Event()

    def report(phase: str, done: int, total: int, items: int, all_items: int) -> None:
        if phase == "verify":
            stop.set()

    with pytest.raises(InterruptedError):
        migrate(profile / "cache.db", profile / "cache.db.next", report, stop)
    assert upgraded(profile).resumed
