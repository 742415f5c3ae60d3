"""The upgrade procedure end to end: child processes, real files, a server that answers."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from benchmarks.format71_files import copy, write
from benchmarks.format72_writer import convert
from kerio_mockserver.conditions.model import Fault
from kerio_mockserver.testing import Server, running
from kerio_resync import Settings, rebuild, status
from kerio_resync.cache.mutations import AddChange, LocalChange, LocalFile
from kerio_resync.cache.store import Store
from kerio_resync.errors import Exit
from kerio_resync.server.kerio.mailbox import KerioMailbox
from kerio_resync.upgrade import estimate, launcher
from kerio_resync.upgrade.formats import detect_format
from kerio_resync.upgrade.migration import format71
from tests.support.fork_server import forked

PENDING = tuple(
    AddChange(LocalChange(
        f"11111111-1111-4111-8111-11111111111{number}", "create", "mail", made="2026-03-01T09:30:00Z",
        struct=json.dumps({"subject": f"offline {number}"}).encode(),
    ), (LocalFile("a", "t/t", b"x" * 70000),))
    for number in range(3)
)  # fmt: skip


@dataclass(frozen=True)
class Ended:
    code: int
    out: str
    err: str


async def run(*words: str, password: str = "") -> Ended:
    child = await asyncio.create_subprocess_exec(
        *forked("kerio_resync"), *words, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env={**os.environ, "KERIO_RESYNC_PASSWORD": password},
    )  # fmt: skip
    out, err = await child.communicate()
    assert child.returncode is not None
    return Ended(child.returncode, out.decode(), err.decode())


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    async with running(seed=5, mails=80, mailbox={"contacts": 9, "events": 7, "tasks": 3, "notes": 3}) as server:
        yield server


def settings(server: Server, profile: Path) -> Settings:
    profile.mkdir(exist_ok=True)
    (profile / "profile.toml").write_text(f'server = "{server.url}"\nuser = "{server.user}"\n')
    return Settings.model_validate(
        {"profile": profile, "server": server.url, "user": server.user, "password": server.password}
    )


async def old_cache(
    server: Server, profile: Path, pending: tuple[AddChange, ...] = PENDING, *, version: str = "7.1"
) -> Settings:
    """A profile with the server's mailbox in an older format, and three changes that were not sent."""
    told = settings(server, profile)
    mailbox = KerioMailbox(told)
    try:
        await copy(mailbox, told.cache, pending=pending)
    finally:
        await mailbox.close()
    if version == "7.2":
        to_format72(told.cache)
    return told


def to_format72(path: Path) -> None:
    """Turns a file of format 7.1 into one of 7.2."""
    today = path.rename(path.with_name("today.db"))
    format71.migrate(today, path.with_name("today.db.next"), lambda *_: None, threading.Event())
    convert(today, path)
    today.unlink()


def spoil(path: Path) -> bytes:
    """Harms a mail; what the file is then."""
    data = bytearray(path.read_bytes())
    at = data.index(b"mhMessageID")
    data[at : at + 11] = bytes(11)
    path.write_bytes(data)
    return bytes(data)


async def outbox(told: Settings) -> set[str]:
    return {str(row["id"]) for row in (await status(told)).outbox}


@pytest.mark.parametrize("version", ["7.1", "7.2"])
async def test_the_upgraded_cache_equals_the_server_and_the_next_rebuild_fetches_only_changes(
    version: str, server: Server, tmp_path: Path
) -> None:
    told = await old_cache(server, tmp_path / "p", version=version)
    ended = await run("--profile", str(told.profile), "upgrade", "--json")
    assert ended.code == Exit.DONE, ended.err
    finished = json.loads(ended.out.splitlines()[-1])
    assert finished["summary"]["upgraded"]["pending"] == 3
    digest = await run("--profile", str(told.profile), "digest")
    assert digest.code == Exit.DONE, digest.err
    assert digest.out.splitlines() == [line.rstrip("\n") for line in server.store.digest()]
    assert await outbox(told) == {each.uuid for each, _ in PENDING}
    assert not told.next_cache.exists()
    server.core.stats.reset()
    report = await rebuild(told)
    assert report.salvaged >= report.items["mail"] == 80
    assert not {"Mails.getById", "download"} & set(server.core.stats.requests)
    digest = await run("--profile", str(told.profile), "digest")
    assert digest.code == Exit.DONE, digest.err
    assert digest.out.splitlines() == [line.rstrip("\n") for line in server.store.digest()]


@pytest.mark.parametrize("version", ["7.1", "7.2"])
async def test_damage_leads_to_a_rebuild_and_the_changes_arrive(version: str, server: Server, tmp_path: Path) -> None:
    told = await old_cache(server, tmp_path / "p", version=version)
    data = spoil(told.cache)
    ended = await run("--profile", str(told.profile), "upgrade", password=server.password)
    assert ended.code == Exit.REBUILD_NEEDED
    assert "kerio-resync rebuild" in ended.err
    assert told.cache.read_bytes() == data
    with (told.profile / "profile.toml").open("a") as file:
        file.write('on_failure = "rebuild"\n')
    ended = await run("--profile", str(told.profile), "start", "--", "sh", "-c", "exit 17", password=server.password)
    assert ended.code == 17, ended.err
    digest = await run("--profile", str(told.profile), "digest")
    assert digest.code == Exit.DONE, digest.err
    assert digest.out.splitlines() == [line.rstrip("\n") for line in server.store.digest()]
    assert await outbox(told) == {each.uuid for each, _ in PENDING}


async def test_unfinished_rebuild_of_format_72_gives_its_changes_to_the_next_one(
    server: Server, tmp_path: Path
) -> None:
    told = await old_cache(server, tmp_path / "p", version="7.2")
    told.cache.rename(told.next_cache)  # the old cache was dropped first, so this file alone has the changes
    ended = await run("--profile", str(told.profile), "upgrade", password=server.password)
    assert ended.code == Exit.REBUILD_NEEDED
    ended = await run("--profile", str(told.profile), "rebuild", "--json", password=server.password)
    assert ended.code == Exit.DONE, ended.err
    assert "The unfinished cache is of an older format; only its local changes are taken over." in ended.out
    assert await outbox(told) == {each.uuid for each, _ in PENDING}
    assert not list(told.profile.glob("cache.db.*"))
    digest = await run("--profile", str(told.profile), "digest")
    assert digest.out.splitlines() == [line.rstrip("\n") for line in server.store.digest()]


async def test_changes_that_the_server_does_not_take_now_end_in_code_4(server: Server, tmp_path: Path) -> None:
    drafts = next(str(each["id"]) for each in server.store.folders() if each["subType"] == "FSubDrafts")
    told = await old_cache(
        server, tmp_path / "p", tuple(each._replace(change=each.change._replace(folder_id=drafts)) for each in PENDING)
    )
    spoil(told.cache)
    with (told.profile / "profile.toml").open("a") as file:
        file.write('on_failure = "rebuild"\nretry_timeout = 1\n')
    fault = Fault.model_validate({"kind": "code", "method": "Mails.create", "code": 4101})
    server.core.change(server.core.conditions.model_copy(update={"faults": (fault,)}))
    ended = await run("--profile", str(told.profile), "upgrade", "--json", password=server.password)
    assert ended.code == Exit.UNFINISHED, ended.out
    finished = json.loads(ended.out.splitlines()[-1])
    assert (finished["exit_code"], finished["summary"]["ready"], finished["summary"]["unfinished"]) == (4, True, True)


async def test_a_newer_format_is_refused_with_its_own_words(tmp_path: Path) -> None:
    write(tmp_path / "cache.db", 5, 1000)
    data = bytearray((tmp_path / "cache.db").read_bytes())
    data[60:64], data[68:72] = (70900).to_bytes(4, "big"), b"KRSC"
    (tmp_path / "cache.db").write_bytes(data)
    for words in (("upgrade",), ("start", "--", "touch", str(tmp_path / "ran"))):
        ended = await run("--profile", str(tmp_path), *words)
        assert ended.code == (Exit.REBUILD_NEEDED if words[0] == "upgrade" else launcher.FAILED)
        assert "a newer version of the program wrote it (format 7.9.0" in ended.err
    assert not (tmp_path / "ran").exists()
    assert (tmp_path / "cache.db").read_bytes() == data


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 100 MiB."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=100m", "none", str(folder)]
    if os.geteuid() or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("needs leave to mount")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.parametrize("version", ["7.1", "7.2"])
async def test_put_off_until_there_is_room(version: str, small_disk: Path, tmp_path: Path) -> None:
    write(small_disk / "cache.db", 100, 20_000)
    if version == "7.2":
        to_format72(small_disk / "cache.db")
    before, ran = (small_disk / "cache.db").read_bytes(), tmp_path / "ran"
    (small_disk / "film.mkv").write_bytes(bytes(60 * 1024 * 1024))
    for attempt in (1, 2, 3):
        words = ("upgrade",) if attempt == 1 else ("start", "--", "touch", str(ran))
        ended = await run("--profile", str(small_disk), *words)
        assert ended.code == (Exit.POSTPONED if attempt == 1 else launcher.FAILED)
        assert "was not enough disk space to proceed with the upgrade of the database" in ended.err
        assert str(small_disk) in ended.err
        assert ("--drop-first" in ended.err) == (attempt > 1)
        assert (small_disk / "cache.db").read_bytes() == before
    assert not ran.exists()
    (small_disk / "film.mkv").unlink()
    ended = await run("--profile", str(small_disk), "start", "--", "touch", str(ran))
    assert ended.code == 0, ended.err
    assert ran.exists()
    left = {each.name for each in small_disk.iterdir()} - {"kerio-resync.log"}
    assert left <= {"cache.db", "kerio-resync.lock", "kerio-resync.holder"}


CHECK = "import sys; sys.exit(17 if int.from_bytes(open(sys.argv[1], 'rb').read(64)[60:64], 'big') == 70300 else 99)"


def begin(profile: Path) -> subprocess.Popen[bytes]:
    """A start whose program ends with 17 if the database is ready, else with 99."""
    words = ["--profile", str(profile), "start", "--quiet", "--", sys.executable, "-c", CHECK]
    words.append(str(profile / "cache.db"))
    return subprocess.Popen([*forked("kerio_resync"), *words], stderr=subprocess.PIPE)


def ended(child: subprocess.Popen[bytes]) -> int:
    child.communicate()
    return child.returncode


@pytest.mark.parametrize("version", ["7.1", "7.2"])
def test_the_program_never_runs_before_the_database_is_ready(version: str, tmp_path: Path) -> None:
    write(tmp_path / "cache.db", 1200, 30_000)
    if version == "7.2":
        to_format72(tmp_path / "cache.db")
    killed = 0
    for wait in (0.05, 0.15, 0.4):
        child = begin(tmp_path)
        time.sleep(wait)  # a kill at some instant of a real process: there is no other clock for it
        if child.poll() is None:
            child.send_signal(signal.SIGKILL)
            killed += 1
        assert ended(child) in (-signal.SIGKILL, 17)
    assert killed
    pair = [begin(tmp_path), begin(tmp_path)]
    codes = sorted(ended(child) for child in pair)
    assert codes in ([17, launcher.FAILED], [17, 17])
    assert ended(begin(tmp_path)) == 17  # and nothing stays locked
    assert detect_format(tmp_path / "cache.db").state == "current"


def test_a_program_that_is_nowhere_is_said_before_anything_is_done(tmp_path: Path) -> None:
    write(tmp_path / "cache.db", 5, 1000)
    child = subprocess.run(
        [sys.executable, "-m", "kerio_resync", "--profile", str(tmp_path), "start", "--", "no-such-program"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (child.returncode, detect_format(tmp_path / "cache.db").state) == (launcher.FAILED, "old")
    assert "no-such-program" in child.stderr


async def test_up_to_date_says_so_at_once_in_few_words(server: Server, tmp_path: Path) -> None:
    await (await Store.create(tmp_path / "cache.db", await _identity(server, tmp_path))).close()
    for words in (("upgrade",), ("upgrade", "--quiet"), ("upgrade", "--json")):
        done = await run("--profile", str(tmp_path), *words)
        assert (done.code, done.err) == (0, "")
        assert ("up to date" in done.out) == ("--quiet" not in words)


async def test_up_to_date_is_found_without_bringing_in_what_is_heavy(server: Server, tmp_path: Path) -> None:
    await (await Store.create(tmp_path / "cache.db", await _identity(server, tmp_path))).close()
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", MODULES, "--profile", str(tmp_path), "upgrade", stdout=subprocess.PIPE
    )
    out, _ = await child.communicate()
    assert not {"typer", "pydantic", "sqlite3", "asyncio", "kerio_resync.settings"} & set(out.decode().split())


MODULES = """
import sys
try:
    from kerio_resync.cli.entry import main
    main()
finally:
    print(*sys.modules)
"""


async def _identity(server: Server, profile: Path):  # type: ignore[no-untyped-def]
    mailbox = KerioMailbox(settings(server, profile))
    try:
        return await mailbox.open()
    finally:
        await mailbox.close()


async def test_estimate_measures_both_ways_and_leaves_nothing(server: Server, tmp_path: Path) -> None:
    told = await old_cache(server, tmp_path / "p")
    before = {each.name for each in told.profile.iterdir()}
    found = await estimate(told)
    assert found.upgrade is not None
    assert found.rebuild is not None
    for each in (found.upgrade, found.rebuild):
        assert 0 < each.low <= each.seconds <= each.high
    assert found.mailbox_items >= 80
    assert found.vendor_seconds == pytest.approx(told.cache.stat().st_size / 1e9 * 300)
    assert "webmail" in found.notice()
    assert {each.name for each in told.profile.iterdir()} == before
    ended = await run("--profile", str(told.profile), "estimate", "--json", password=server.password)
    assert ended.code == 0
    assert json.loads(ended.out.splitlines()[-1])["summary"]["rebuild"]["seconds"] > 0
    ended = await run("--profile", str(told.profile), "estimate")
    assert ended.code == 0
    assert "it needs a server, a user and a password" in ended.out


async def test_where_nothing_can_be_measured_there_is_no_notice(tmp_path: Path) -> None:
    (tmp_path / "cache.db").write_bytes(b"no database")
    ended = await run("--profile", str(tmp_path), "estimate")
    assert (ended.code, ended.out.splitlines()) == (
        0,
        [
            "Local upgrade: it is not possible (damaged).",
            "Rebuild from the server: it needs a server, a user and a password.",
        ],
    )
