"""Carrying over: everything, exactly, in bounded memory; whatever dies on the way, the next run finishes."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from random import Random

import pytest

from benchmarks.legacy import IDENTITY, write
from kerio_resync.cache import outbox_rows, queries
from kerio_resync.cache.format71 import target as targets
from kerio_resync.cache.format71.reader import Old
from kerio_resync.cache.format71.writing import Writer
from kerio_resync.cache.store import Store
from kerio_resync.errors import CacheDamaged, CacheInUse, NotEnoughSpace
from kerio_resync.model import KINDS, Folder
from kerio_resync.server.kerio.items import parse_items
from kerio_resync.server.kerio.wire import canonical_json
from kerio_resync.upgrade.detect_format import detect_format
from kerio_resync.upgrade.formats import MigrationResult
from kerio_resync.upgrade.migration import batches
from kerio_resync.upgrade.migration import migrate as migrating
from kerio_resync.upgrade.migration.migrate import migrate, survey


def nobody(*_: object, **__: object) -> None:
    pass


def upgraded(folder: Path) -> MigrationResult:
    return migrate(folder / "cache.db", folder / "cache.db.next", nobody, threading.Event())


async def lines(path: Path) -> list[str]:
    """Everything in the new database that came from the old one."""
    store = await Store.open(path, readonly=True)
    try:
        assert await store.check() == ()
        found = [f"{row.folder} {row.path} {row.rank} {row.listed}" for row in await store.read(queries.folders)]
        after = ("", "")
        while rows := await store.read(queries.items, after):
            found += [f"{row.kind} {row.id} {row.watermark} {row.payload!r} {row.extra!r}"
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


def test_all_is_carried_over_and_the_old_file_is_gone(old: Path, expected: list[str], tmp_path: Path) -> None:
    profile = profile_of(old, tmp_path)
    moved = upgraded(profile)
    assert (moved.items, moved.pending, moved.resumed) == (162, 3, False)
    assert moved.contents > 10
    assert [each.name for each in tmp_path.iterdir()] == ["cache.db"]
    assert detect_format(tmp_path / "cache.db").state == "current"
    assert (tmp_path / "cache.db").stat().st_mode & 0o777 == 0o600
    with Old(old) as source:
        structs = {kind: [one.struct for one in source.items(kind)] for kind in KINDS}
        made = {kind: parse_items(kind, structs[kind], canonical_json)[0] for kind in KINDS}
        assert sum(line.startswith(KINDS) for line in expected) == 162
        for kind in KINDS:
            for item in made[kind]:
                assert any(line.startswith(f"{kind} {item.id} {item.watermark} {item.payload!r}") for line in expected)
        assert str(source.sync_key) in expected
    assert held(tmp_path / "cache.db") == expected


def test_contents_of_every_size_arrive(tmp_path: Path) -> None:
    sizes = [0, 1, 65535, 65536, 262143, 262144, 262145, 5 * 1024 * 1024 + 7]
    files = [
        {"id": f"a{place}", "url": f"/u/{place}", "name": "n", "contentType": "t", "contentId": "", "size": size}
        for place, size in enumerate([*sizes, 9])
    ]
    struct = {"id": "m1", "folderId": "f1", "watermark": 1, "attachments": files, "unheardOf": 1}
    (item,), _ = parse_items("mail", [struct], canonical_json)
    contents = {place: Random(size).randbytes(size) for place, size in enumerate(sizes)}
    with Writer(tmp_path / "cache.db", IDENTITY) as writer:
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


def test_the_room_that_is_asked_for_is_enough_and_not_much_more(old: Path, tmp_path: Path) -> None:
    profile = profile_of(old, tmp_path)
    need = survey(profile / "cache.db", profile / "cache.db.next")
    new = upgraded(profile).new_bytes
    assert new < need.needed < new * 1.6 + migrating.JOURNAL


KILLED = """
import os, sys, threading
sys.path[:0] = ["."]
from pathlib import Path
from kerio_resync.upgrade.migration import batches, migrate
from kerio_resync.cache.format71 import target
target._COMMIT = 200_000
batches.BATCH = 50_000
left = int(sys.argv[2])
migrate.APART = (left % 2) << 30  # every second one with a process of its own
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
migrate.migrate(path, path.with_name("cache.db.next"), lambda *args: None, threading.Event())
print("steps", int(sys.argv[2]) - left)
"""


def run_killed(profile: Path, after: int) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", KILLED, str(profile / "cache.db"), str(after)],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


@pytest.fixture(scope="module")
def steps(old: Path, tmp_path_factory: pytest.TempPathFactory) -> int:
    """How many commits and renames a migration has."""
    ended = run_killed(profile_of(old, tmp_path_factory.mktemp("steps")), 100_000)
    assert ended.returncode == 0, ended.stderr
    return int(ended.stdout.split()[-1])


def die_and_go_on(old: Path, expected: list[str], profile: Path, after: int) -> bool:
    """Whether there was something to go on with."""
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


def test_killed_at_some_instants_it_is_finished_by_the_next_run(
    old: Path, expected: list[str], steps: int, tmp_path: Path
) -> None:
    assert steps > 30
    resumed = 0
    for place in range(6):
        profile = tmp_path / str(place)
        profile.mkdir()
        resumed += die_and_go_on(old, expected, profile, place * (steps - 1) // 5)
    assert resumed >= 2


@pytest.mark.soak
@pytest.mark.timeout(24 * 3600)
def test_killed_at_every_instant_it_is_finished_by_the_next_run(
    old: Path, expected: list[str], steps: int, tmp_path: Path
) -> None:
    for after in range(steps):
        profile = tmp_path / str(after)
        profile.mkdir()
        die_and_go_on(old, expected, profile, after)
        (profile / "cache.db").unlink()


def test_stopped_it_goes_on_and_does_not_begin_again(
    old: Path, expected: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(targets, "_COMMIT", 200_000)
    monkeypatch.setattr(batches, "BATCH", 50_000)
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


def test_a_half_made_database_of_another_file_is_begun_anew(old: Path, expected: list[str], tmp_path: Path) -> None:
    other, stop = tmp_path / "other.db", threading.Event()
    write(other, 5, 3000, seed=9)
    stop.set()
    with pytest.raises(InterruptedError):
        migrate(other, tmp_path / "cache.db.next", nobody, stop)
    profile = profile_of(old, tmp_path)
    assert not upgraded(profile).resumed
    assert held(profile / "cache.db") == expected


def test_somebody_else_has_it_open(old: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(migrating, "PATIENCE", 0.2)
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
    """Whether the damage was noticed; if not, it must have done no harm."""
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


def test_damage_is_noticed_or_harmless(old: Path, expected: list[str], tmp_path: Path) -> None:
    assert sum(notices(old, expected, tmp_path, seed) for seed in range(15)) >= 5


@pytest.mark.soak
@pytest.mark.timeout(24 * 3600)
def test_damage_in_300_places_is_noticed_or_harmless(old: Path, expected: list[str], tmp_path: Path) -> None:
    assert sum(notices(old, expected, tmp_path, seed) for seed in range(1000, 1300)) >= 100


@pytest.mark.parametrize("harm", ["item", "chunk", "outbox", "extra"])
def test_what_went_wrong_while_writing_is_noticed(
    harm: str, old: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    profile = profile_of(old, tmp_path)
    sql = {
        "item": "UPDATE item SET title = title || 'x' WHERE number = 77",
        "chunk": "UPDATE chunk SET data = zeroblob(length(data)) WHERE rowid = 9",
        "outbox": "DELETE FROM outbox WHERE number = 2",
        "extra": "DELETE FROM item WHERE number = 50",
    }[harm]
    real = migrating._Work.prove

    def prove(work: migrating._Work) -> int:
        work._target.db.execute(sql)
        return real(work)

    monkeypatch.setattr(migrating._Work, "prove", prove)
    with pytest.raises(CacheDamaged):
        upgraded(profile)
    assert (profile / "cache.db").read_bytes() == old.read_bytes()


def test_no_room_ends_with_figures_and_the_old_file_whole(
    old: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    profile = profile_of(old, tmp_path)
    connect = targets.connect

    def small(path: Path, *cache: int) -> sqlite3.Connection:
        db = connect(path, *cache)
        db.execute("PRAGMA max_page_count = 60")
        return db

    monkeypatch.setattr(targets, "connect", small)
    with pytest.raises(NotEnoughSpace):
        upgraded(profile)
    assert (profile / "cache.db").read_bytes() == old.read_bytes()
    with suppress(FileNotFoundError):
        (profile / "cache.db.next").unlink()
