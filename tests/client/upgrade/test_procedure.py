"""Every branch of the upgrade procedure, and what is remembered between starts."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from benchmarks.format71_files import IDENTITY, write
from kerio_resync.cache.lock import ProfileLock
from kerio_resync.cache.schema import USER_VERSION
from kerio_resync.cache.store import Store
from kerio_resync.errors import CacheDamaged, CacheInUse, Exit, NotEnoughSpace
from kerio_resync.events import Event, Listener, Notice, Progress
from kerio_resync.settings import Settings
from kerio_resync.upgrade import attempt_log
from kerio_resync.upgrade.decide import UpgradeDecision
from kerio_resync.upgrade.formats import (
    UPGRADES,
    MigrationResult,
    ProgressCallback,
    SizeEstimate,
    Upgrade,
    detect_format,
)
from kerio_resync.upgrade.migration import format71 as migrating
from kerio_resync.upgrade.procedure import upgrade
from tests.support.format72 import EARLY, LATE, load


@pytest.fixture
def profile(tmp_path: Path) -> Path:
    write(tmp_path / "cache.db", 40, 10_000)
    return tmp_path


def settings(profile: Path, **more: Any) -> Settings:
    return Settings(profile=profile, server="https://mail.example.com", user="jane", **more)


class Report:
    unfinished = False

    def as_json(self) -> dict[str, Any]:
        return {"items": 1}


class Rebuild:
    """Replaces the rebuild, and counts the calls."""

    def __init__(self) -> None:
        self.calls = 0

    async def __call__(self, settings: Settings, listen: object) -> Report:
        with ProfileLock(settings.profile):  # as the real one does
            self.calls += 1
        return Report()


async def run(profile: Path, **more: Any) -> UpgradeDecision:
    on_failure = more.pop("on_failure", "offer")
    return await upgrade(settings(profile, on_failure=on_failure), **more)


async def test_old_database_is_migrated_once(profile: Path) -> None:
    heard: list[Event] = []
    step = await upgrade(settings(profile), heard.append)
    assert (step.action, step.done, step.ready, step.exit) == ("migrate", True, True, Exit.DONE)
    assert step.as_json()["upgraded"]["items"] == 40
    assert {each.phase for each in heard if hasattr(each, "phase")} >= {"upgrade", "verify"}
    progress = [each for each in heard if isinstance(each, Progress)]
    assert progress
    assert all(each.bytes_total >= each.bytes_done >= 0 for each in progress)
    assert (await run(profile)).action == "nothing"
    assert detect_format(profile / "cache.db").state == "current"


async def test_without_space_nothing_changes_and_attempts_are_counted(profile: Path) -> None:
    before = (profile / "cache.db").read_bytes()
    for attempt in (1, 2, 3):
        step = await run(profile, free=lambda _: 1000)
        assert (step.action, step.exit) == ("postpone", Exit.POSTPONED)
        text = " ".join(step.sentences(str))
        assert "was not enough disk space to proceed with the upgrade of the database" in text
        assert ("--drop-first" in text) == (attempt > 1)
        assert step.as_json()["attempts"] == attempt
        assert (profile / "cache.db").read_bytes() == before
        assert not (profile / "cache.db.next").exists()
    step = await run(profile)
    assert step.exit is Exit.DONE
    assert not (profile / "upgrade.json").exists()


async def test_space_that_runs_out_during_migration_postpones_it(
    profile: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(old: Path, new: Path, tell: ProgressCallback, stop: threading.Event) -> MigrationResult:
        new.write_bytes(b"half a database")
        raise NotEnoughSpace(available=5, where=str(new))

    monkeypatch.setattr(migrating, "migrate", full)
    step = await run(profile)
    assert (step.action, step.facts.free) == ("postpone", 5)
    assert step.facts.needed > 5
    assert not (profile / "cache.db.next").exists()
    assert attempt_log.read(profile).attempts == 1


@pytest.mark.parametrize("at_once", [False, True])
@pytest.mark.parametrize("state", ["absent", "newer", "unknown", "damaged", "spoilt"])
async def test_any_other_state_leads_to_rebuild(state: str, at_once: bool, profile: Path) -> None:
    path, rebuild = profile / "cache.db", Rebuild()
    await harm(path, state)
    before = path.read_bytes() if path.exists() else b""
    heard: list[Event] = []
    step = await run(profile, rebuild=rebuild, on_failure="rebuild" if at_once else "offer", listen=heard.append)
    assert rebuild.calls == at_once
    assert (step.action, step.done, step.ready) == (("rebuild", True, True) if at_once else ("offer", False, False))
    assert step.exit is (Exit.DONE if at_once else Exit.REBUILD_NEEDED)
    assert any(isinstance(each, Notice) and step.reason in each.text for each in heard) == at_once
    assert (path.read_bytes() if path.exists() else b"") == before
    assert step.reason in " ".join(step.sentences(str)) or step.done


async def test_turn_is_waited_for_without_a_lock_and_only_for_work(profile: Path) -> None:
    turns: list[str] = []

    @asynccontextmanager
    async def in_turn(listen: Listener) -> AsyncIterator[Listener]:
        with ProfileLock(profile):
            turns.append("begun")
        yield listen
        turns.append("ended")

    assert (await run(profile, in_turn=in_turn)).action == "migrate"
    assert turns == ["begun", "ended"]
    assert (await run(profile, in_turn=in_turn)).action == "nothing"
    await harm(profile / "cache.db", "damaged")
    assert (await run(profile, in_turn=in_turn)).action == "offer"
    assert len(turns) == 2


async def test_database_that_became_current_while_the_run_waited_is_left_alone(profile: Path) -> None:
    @asynccontextmanager
    async def in_turn(listen: Listener) -> AsyncIterator[Listener]:
        await run(profile)
        yield listen

    step = await run(profile, in_turn=in_turn)
    assert (step.action, step.ready) == ("nothing", True)


async def harm(path: Path, state: str) -> None:
    match state:
        case "absent":
            path.unlink()
        case "newer" | "unknown":
            data = bytearray(path.read_bytes())
            data[60:64] = (70900).to_bytes(4, "big")
            data[68:72] = (0x4B525343 if state == "newer" else 7).to_bytes(4, "big")
            path.write_bytes(data)
        case "damaged":
            path.write_bytes(b"x" * 10_000)
        case "spoilt":
            data = bytearray(path.read_bytes())
            data[100:3000] = bytes(2900)
            path.write_bytes(data)


async def test_unsent_changes_of_rebuild_are_reported(profile: Path) -> None:
    class Unfinished(Report):
        unfinished = True

    async def rebuild(settings: Settings, listen: object) -> Report:
        return Unfinished()

    (profile / "cache.db").write_bytes(b"x" * 10_000)
    heard: list[Event] = []
    step = await run(profile, rebuild=rebuild, on_failure="rebuild", listen=heard.append)
    assert (step.ready, step.exit) == (True, Exit.UNFINISHED)
    assert any(isinstance(each, Notice) and "Some local changes were not sent" in each.text for each in heard)


async def test_failed_migration_is_not_repeated_on_the_same_file(
    profile: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def fail(old: Path, new: Path, tell: ProgressCallback, stop: threading.Event) -> MigrationResult:
        calls.append(old)
        raise CacheDamaged("a mail is invalid")

    real = migrating.migrate
    monkeypatch.setattr(migrating, "migrate", fail)
    for _ in range(3):
        step = await run(profile)
        assert (step.action, step.reason) == ("offer", "a mail is invalid")
    assert len(calls) == 1
    monkeypatch.setattr(migrating, "migrate", real)
    content = (profile / "cache.db").read_bytes()
    (profile / "cache.db").unlink()
    (profile / "cache.db").write_bytes(content)  # put back from a backup: another file
    assert (await run(profile)).action == "migrate"


async def test_damaged_unfinished_database_is_rebuilt_from_the_old_one(
    profile: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (profile / "cache.db.next").write_bytes(b"x" * 5000)
    assert (await run(profile)).action == "migrate"


async def test_unfinished_rebuild_is_kept(profile: Path) -> None:
    await (await Store.create(profile / "cache.db.next", IDENTITY)).close()
    step = await run(profile)
    assert (step.action, step.reason) == ("offer", "a rebuild was begun and is not finished")
    assert (profile / "cache.db.next").exists()


async def test_locked_profile_is_in_use(profile: Path) -> None:
    with ProfileLock(profile), pytest.raises(CacheInUse):
        await run(profile)


@pytest.mark.parametrize("content", [None, b"no database", b""])
async def test_upgrade_without_database_is_in_use_during_a_rebuild(profile: Path, content: bytes | None) -> None:
    (profile / "cache.db").unlink()
    if content is not None:
        (profile / "cache.db").write_bytes(content)
    with ProfileLock(profile), pytest.raises(CacheInUse):
        await run(profile)
    assert (await run(profile)).action == "offer"


async def test_upgrade_of_current_cache_is_in_use_during_a_rebuild(profile: Path) -> None:
    assert (await run(profile)).ready
    with ProfileLock(profile), pytest.raises(CacheInUse):
        await run(profile)
    (profile / "kerio-resync.holder").write_text("{}")  # of a run that was killed
    assert (await run(profile)).action == "nothing"


@pytest.mark.parametrize("dump", [LATE, EARLY])
async def test_database_of_format_72_is_migrated_once(dump: str, tmp_path: Path) -> None:
    load(dump, tmp_path / "cache.db")
    step = await run(tmp_path)
    assert (step.action, step.done, step.facts.version, step.facts.wanted) == ("migrate", True, "7.2.0", "7.3.0")
    assert step.as_json()["upgraded"]["pending"] in (12, 9)
    assert (await run(tmp_path)).action == "nothing"


async def test_database_of_format_72_waits_for_space(tmp_path: Path) -> None:
    before = load(LATE, tmp_path / "cache.db").read_bytes()
    step = await run(tmp_path, free=lambda _: 1000)
    assert (step.action, step.exit) == ("postpone", Exit.POSTPONED)
    assert (tmp_path / "cache.db").read_bytes() == before
    assert not (tmp_path / "cache.db.next").exists()


async def test_damaged_database_of_format_72_leads_to_rebuild(tmp_path: Path) -> None:
    before = load(LATE, tmp_path / "cache.db", "UPDATE item SET title = 'x' WHERE number = 3").read_bytes()
    step = await run(tmp_path)
    assert (step.action, step.exit) == ("offer", Exit.REBUILD_NEEDED)
    assert "item number 3 does not match its checksum" in step.reason
    assert (tmp_path / "cache.db").read_bytes() == before
    assert not (tmp_path / "cache.db.next").exists()


async def test_unfinished_rebuild_of_format_72_is_kept(tmp_path: Path) -> None:
    for name in ("cache.db", "cache.db.next"):
        load(LATE, tmp_path / name)
    step = await run(tmp_path)
    assert (step.action, step.reason) == ("offer", "a rebuild was begun and is not finished")
    assert (tmp_path / "cache.db.next").exists()


async def test_migration_that_an_older_version_began_starts_over(profile: Path) -> None:
    status = (profile / "cache.db").stat()
    source = f"{status.st_size} {status.st_mtime_ns} {status.st_ino}"
    load(EARLY, profile / "cache.db.next", f"INSERT INTO meta VALUES ('upgrade_from', '{source}')")
    step = await run(profile)
    assert (step.action, step.done) == ("migrate", True)
    assert step.as_json()["upgraded"]["items"] == 40
    assert not step.as_json()["upgraded"]["resumed"]


class Renumber:
    """A migration to a later version: copies the file and changes its version."""

    def survey(self, old: Path, new: Path) -> SizeEstimate:
        return SizeEstimate(old.stat().st_size, old.stat().st_size)

    def migrate(self, old: Path, new: Path, tell: ProgressCallback, stop: threading.Event) -> MigrationResult:
        data = bytearray(old.read_bytes())
        data[60:64] = (70400).to_bytes(4, "big")
        new.write_bytes(data)
        new.replace(old)
        return MigrationResult(items=1)

    def measure_sample(self, old: Path, new: Path, max_bytes: int) -> tuple[int, float]:
        raise NotImplementedError


async def test_old_database_takes_two_migrations_when_entries_form_a_chain(profile: Path) -> None:
    both = (*UPGRADES, Upgrade(USER_VERSION, 70400, Renumber))
    step = await run(profile, upgrades=both)
    assert step.done
    assert (step.facts.version, step.facts.wanted) == ("7.1.0", "7.4.0")
    assert detect_format(profile / "cache.db", both).state == "current"
    assert (await run(profile, upgrades=both)).action == "nothing"
    assert (await run(profile)).action == "offer"  # for today's program it is a newer one


async def test_cancelled_upgrade_stops_and_is_finished_by_the_next(
    profile: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, ended = threading.Event(), []

    def slow(old: Path, new: Path, tell: ProgressCallback, stop: threading.Event) -> MigrationResult:
        begun.set()
        assert stop.wait(60)
        ended.append(stop.is_set())
        raise InterruptedError

    real = migrating.migrate
    monkeypatch.setattr(migrating, "migrate", slow)
    task = asyncio.create_task(run(profile))
    await asyncio.to_thread(begun.wait, 10)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended == [True]
    monkeypatch.setattr(migrating, "migrate", real)
    assert (await run(profile)).done


def test_attempt_log_is_written_on_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert attempt_log.read(tmp_path) == attempt_log.NONE
    attempt_log.write(tmp_path, attempt_log.AttemptLog(1))

    def full(path: Path, text: bytes) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(attempt_log, "write_private", full)
    attempt_log.write(tmp_path, attempt_log.AttemptLog(2, "é" * 400, "1 2 3"))
    assert attempt_log.read(tmp_path).attempts == 2
    assert [each.name for each in tmp_path.iterdir()] == ["upgrade.json"]
    (tmp_path / "upgrade.json").write_text("{")
    assert attempt_log.read(tmp_path) == attempt_log.NONE
    shutil.rmtree(tmp_path)
    attempt_log.write(tmp_path, attempt_log.AttemptLog(3))  # nowhere to write: nothing happens


async def test_truncated_database_is_damaged(tmp_path: Path) -> None:
    await (await Store.create(tmp_path / "cache.db", IDENTITY)).close()
    os.truncate(tmp_path / "cache.db", (tmp_path / "cache.db").stat().st_size // 2)
    step = await run(tmp_path)
    assert (step.action, step.ready, step.facts.state) == ("offer", False, "damaged")


async def make_cache(path: Path) -> None:
    await (await Store.create(path, IDENTITY)).close()


@pytest.mark.parametrize("broken", [False, True])
def test_journal_of_killed_writer_is_recovered_first(tmp_path: Path, broken: bool) -> None:
    path = tmp_path / "cache.db"
    asyncio.run(make_cache(path))
    child = "import os, sqlite3, sys; db = sqlite3.connect(sys.argv[1], isolation_level=None);"
    child += "db.execute('PRAGMA cache_size = 1'); db.execute('BEGIN');"
    child += "db.executemany('INSERT INTO meta VALUES (?, ?)', [(str(n), 'x' * 9000) for n in range(200)]); os._exit(9)"
    subprocess.run([sys.executable, "-c", child, str(path)], check=False)
    assert detect_format(path).state == "mid-change"
    if broken:
        os.truncate(path, 4096)
        (tmp_path / "cache.db-journal").unlink()
    step = asyncio.run(run(tmp_path))
    assert step.ready is not broken
    assert not (tmp_path / "cache.db-journal").exists()
    assert detect_format(path).state == ("damaged" if broken else "current")


def test_decision_can_be_written_as_json(tmp_path: Path) -> None:
    step = asyncio.run(run(tmp_path))
    assert json.loads(json.dumps(step.as_json()))["state"] == "absent"
