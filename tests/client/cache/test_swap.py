from __future__ import annotations

import os
import sqlite3
import stat
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from kerio_resync.cache.files import back_up, processes_holding
from kerio_resync.cache.mutations import PutItems
from kerio_resync.cache.outbox import Outbox
from kerio_resync.cache.store import Store
from kerio_resync.cache.swap import _checkpoint, drop, replace_cache, seal
from kerio_resync.errors import CacheInUse
from tests.support.cache import filled, mail, names, rows, size

MAILS = "SELECT id FROM item"


async def two(tmp_path: Path) -> tuple[Path, Path]:
    for name, item in (("cache.db", "old"), ("cache.db.next", "new")):
        await (await filled(tmp_path / name, PutItems((mail(item),)))).close()
    return tmp_path / "cache.db", tmp_path / "cache.db.next"


async def swap(new: Path, current: Path) -> None:
    store = await Store.open(new)
    try:
        async with replace_cache(store, current):
            pass
    finally:
        await store.close()


def open_in(folder: Path) -> list[str]:
    """What this process has open in it, also what has no name any more (where the system shows it)."""
    links = Path("/proc/self/fd").glob("*")
    return [name for each in links if os.path.lexists(each) and (name := os.readlink(each)).startswith(str(folder))]


def with_live_log(path: Path) -> None:
    """Leaves the file as a mail program that was killed does: a write-ahead log beside it, full of committed pages."""
    script = (
        "import os, sqlite3, sys\n"
        "db = sqlite3.connect(sys.argv[1], isolation_level=None)\n"
        "db.execute('PRAGMA journal_mode = WAL')\n"
        "db.execute('PRAGMA wal_autocheckpoint = 0')\n"
        "db.execute(\"UPDATE item SET id = 'old, written to the log'\")\n"
        "db.execute('VACUUM')\n"
        "os._exit(0)\n"
    )
    subprocess.run([sys.executable, "-c", script, str(path)], check=True)
    assert path.with_name(path.name + "-wal").stat().st_size > 0


async def test_rename_beside_write_ahead_log_brings_old_data_back(tmp_path: Path) -> None:
    """SQLite does this. It is the reason for `replace_cache`."""
    current, new = await two(tmp_path)
    with_live_log(current)
    os.replace(new, current)
    assert rows(current, MAILS) == [("old, written to the log",)]
    assert rows(current, "PRAGMA integrity_check") == [("ok",)]


@pytest.mark.parametrize("log", [False, True])
async def test_replace_cache_keeps_new_data(tmp_path: Path, log: bool) -> None:
    current, new = await two(tmp_path)
    if log:
        with_live_log(current)
    await swap(new, current)
    assert names(tmp_path) == ["cache.db"]
    assert rows(current, MAILS) == [("new",)]
    assert stat.S_IMODE(os.stat(current).st_mode) == 0o600


async def test_replace_cache_removes_stale_log_of_missing_cache(tmp_path: Path) -> None:
    current, new = await two(tmp_path)
    with_live_log(current)
    current.unlink()
    await swap(new, current)
    assert names(tmp_path) == ["cache.db"]
    assert rows(current, MAILS) == [("new",)]


async def test_replace_cache_flushes_and_closes_new_store(tmp_path: Path) -> None:
    current, new = await two(tmp_path)
    store = await Store.open(new)
    await store.apply(PutItems((mail("last"),)))
    async with replace_cache(store, current):
        pass
    await store.close()
    assert rows(current, MAILS + " ORDER BY id") == [("last",), ("new",)]


async def test_new_cache_can_be_used_within_replace_cache(tmp_path: Path) -> None:
    current, new = await two(tmp_path)
    async with replace_cache(await Store.open(new), current):
        assert names(tmp_path) == ["cache.db"]
        store = await Store.open(current)
        await store.apply(PutItems((mail("later"),)))
        await store.close()
    assert not open_in(tmp_path)
    assert rows(current, MAILS + " ORDER BY id") == [("later",), ("new",)]


async def test_replace_cache_closes_old_file_after_error_within(tmp_path: Path) -> None:
    current, new = await two(tmp_path)
    with pytest.raises(RuntimeError, match="meanwhile"):
        async with replace_cache(await Store.open(new), current):
            raise RuntimeError("meanwhile")
    assert not open_in(tmp_path)
    assert rows(current, MAILS) == [("new",)]


async def test_replace_cache_makes_first_cache(tmp_path: Path) -> None:
    async with replace_cache(
        await filled(tmp_path / "cache.db.next", PutItems((mail("first"),))), tmp_path / "cache.db"
    ):
        pass
    assert names(tmp_path) == ["cache.db"]
    assert rows(tmp_path / "cache.db", MAILS) == [("first",)]


async def test_seal_refuses_remaining_sidecar(tmp_path: Path) -> None:
    current, _ = await two(tmp_path)
    (tmp_path / "cache.db-shm").touch()
    with pytest.raises(CacheInUse, match=r"cache\.db-shm cannot be removed"):
        await seal(current)


async def test_replace_cache_copies_changes_made_meanwhile(tmp_path: Path) -> None:
    current, new = await two(tmp_path)
    old = await Store.open(current)
    name = await Outbox(old).add("delete", "mail", item_id="1")
    await old.close()
    await swap(new, current)
    assert rows(current, "SELECT uuid, state FROM outbox") == [(name, "pending")]


@pytest.mark.parametrize("mode", ["DELETE", "WAL"])
@pytest.mark.parametrize("begins", [False, True], ids=["idle", "reading"])
@pytest.mark.parametrize("which", ["cache.db", "cache.db.next"])
async def test_replace_cache_refuses_file_that_is_open_elsewhere(
    tmp_path: Path, mode: str, begins: bool, which: str
) -> None:
    current, new = await two(tmp_path)
    other = sqlite3.connect(tmp_path / which, isolation_level=None)
    other.execute(f"PRAGMA journal_mode = {mode}").fetchone()
    if begins:
        other.execute("BEGIN")
    other.execute("SELECT count(*) FROM item").fetchone()
    if which == "cache.db.next" and mode == "DELETE":
        other.close()  # an idle reader of the half-built file loses nothing by the rename
        return
    with pytest.raises(CacheInUse):
        await swap(new, current)
    other.close()
    assert rows(current, MAILS) == [("old",)]
    assert rows(new, MAILS) == [("new",)]
    await swap(new, current)
    assert rows(current, MAILS) == [("new",)]


async def test_replace_cache_backs_up_damaged_old_file(tmp_path: Path) -> None:
    current, new = await two(tmp_path)
    with_live_log(current)
    damaged = bytearray(current.read_bytes())
    damaged[:200] = os.urandom(200)
    current.write_bytes(damaged)
    (tmp_path / "cache.db-wal").write_bytes(b"no log")
    await swap(new, current)
    assert rows(current, MAILS) == [("new",)]
    (aside,) = [each for each in names(tmp_path) if "damaged" in each and not each.endswith(("-wal", "-shm"))]
    assert (tmp_path / aside).read_bytes() == bytes(damaged)
    assert not any(each.startswith("cache.db-") for each in names(tmp_path))


async def test_seal_leaves_no_sidecar(tmp_path: Path) -> None:
    current, _ = await two(tmp_path)
    with_live_log(current)
    await seal(current)
    assert not any(each.startswith("cache.db-") for each in names(tmp_path))
    assert rows(current, MAILS) == [("old, written to the log",)]
    other = sqlite3.connect(current, isolation_level=None)
    other.execute("PRAGMA journal_mode = WAL").fetchone()
    other.execute("SELECT * FROM item").fetchone()
    with pytest.raises(CacheInUse):
        await seal(current)
    other.close()


async def test_drop_removes_sidecars_unless_file_is_open(tmp_path: Path) -> None:
    current, new = await two(tmp_path)
    with_live_log(current)
    other = sqlite3.connect(current)
    other.execute("SELECT * FROM item").fetchone()
    with pytest.raises(CacheInUse, match=rf"process {os.getpid()} "):
        drop(current)
    assert size(current) > 0
    other.close()
    with_live_log(new)
    for each in (current, new, tmp_path / "missing", tmp_path / "no folder" / "cache.db"):
        drop(each)
    assert names(tmp_path) == []


def test_processes_holding_compares_files_not_names(tmp_path: Path) -> None:
    path, link = tmp_path / "a", tmp_path / "b"
    path.touch()
    link.hardlink_to(path)
    assert processes_holding(path) == ()
    with link.open():
        (found,) = processes_holding(path)
        assert found.startswith(f"process {os.getpid()} (")
        assert processes_holding(path, own=1) == ()
    assert processes_holding(tmp_path / "missing") == ()


def test_back_up_gives_one_name_per_file(tmp_path: Path) -> None:
    path = tmp_path / "cache.db"
    path.write_bytes(b"1")
    first = back_up(path)
    assert back_up(path) == first
    path.unlink()
    path.write_bytes(b"2")
    second = back_up(path)
    assert {each.read_bytes() for each in (first, second)} == {b"1", b"2"}


@pytest.mark.parametrize("mode", ["delete", "wal"])
def test_checkpoint_refuses_any_other_journal_mode(mode: str) -> None:
    answer = SimpleNamespace(fetchone=lambda: (mode,))
    db = cast("sqlite3.Connection", SimpleNamespace(execute=lambda sql: answer))
    with nullcontext() if mode == "delete" else pytest.raises(CacheInUse):
        _checkpoint(db, Path("cache.db"))


async def test_replace_cache_leaves_old_cache_if_new_one_cannot_be_sealed(tmp_path: Path) -> None:
    current, new = await two(tmp_path)
    store = await Store.open(new)
    (tmp_path / "cache.db.next-shm").touch()
    with pytest.raises(CacheInUse, match=r"cache\.db\.next-shm cannot be removed"):
        async with replace_cache(store, current):
            pass
    assert not open_in(tmp_path)
    assert rows(current, MAILS) == [("old",)]


async def test_replace_cache_leaves_new_file_if_it_cannot_be_sealed_and_there_is_no_old_one(tmp_path: Path) -> None:
    store = await filled(tmp_path / "cache.db.next")
    (tmp_path / "cache.db.next-shm").touch()
    with pytest.raises(CacheInUse):
        async with replace_cache(store, tmp_path / "cache.db"):
            pass
    assert names(tmp_path) == ["cache.db.next", "cache.db.next-shm"]
