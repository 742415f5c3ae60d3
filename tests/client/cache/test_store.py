from __future__ import annotations

import asyncio
import os
import random
import resource
import shutil
import signal
import sqlite3
import stat
import subprocess
import threading
from collections import namedtuple
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, TypeVar

import pytest

from kerio_resync.cache import queries, writer
from kerio_resync.cache.connection import Connection
from kerio_resync.cache.files import processes_holding
from kerio_resync.cache.mutations import (
    ApplyChanges,
    DeleteItems,
    EnqueueItems,
    Mutation,
    OmitAttachment,
    PutAttachmentBytes,
    PutItems,
    SetMeta,
    SkipEntry,
)
from kerio_resync.cache.queries import StoredItem
from kerio_resync.cache.store import Store
from kerio_resync.cache.write import dispatch
from kerio_resync.cache.write.session import WriteSession
from kerio_resync.errors import BadSettings, CacheDamaged, CacheInUse, LocalError, NotEnoughSpace
from simulation.virtual_time import run
from tests.support.cache import (
    FOLDERS,
    IDENTITY,
    attachment,
    change,
    filled,
    listed,
    mail,
    names,
    rows,
    size,
    whole,
)
from tests.support.fork_server import forked

T = TypeVar("T")
Usage = namedtuple("Usage", "total used free")


async def reopened(path: Path) -> Store:
    return await Store.open(path)


async def test_create_makes_file_readable_by_owner_only(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        cache = await filled(tmp_path / "cache.db", PutItems((mail("1"),)))
    finally:
        os.umask(old)
    await cache.apply(PutItems((mail("2"),)))
    await cache.read(queries.totals)
    modes = {each: stat.S_IMODE(os.stat(tmp_path / each).st_mode) for each in names(tmp_path)}
    await cache.close()
    assert modes == {"cache.db": 0o600, "cache.db-journal": 0o600}
    assert names(tmp_path) == ["cache.db"]


async def test_open_returns_stored_identity_and_meta(tmp_path: Path) -> None:
    cache = await filled(tmp_path / "cache.db", SetMeta("a", "b"))
    await cache.close()
    again = await reopened(tmp_path / "cache.db")
    assert (again.identity, await again.read(queries.meta, "a"), await again.read(queries.meta, "x")) == (
        IDENTITY,
        "b",
        None,
    )
    assert [each.folder.id for each in await again.read(queries.folders)] == ["inbox", "people", "work", "root"]
    await again.close()
    await again.close()


async def test_create_refuses_existing_path(tmp_path: Path) -> None:
    (tmp_path / "cache.db").symlink_to(tmp_path / "nowhere")
    with pytest.raises(BadSettings, match="exists already"):
        await Store.create(tmp_path / "cache.db", IDENTITY)


async def test_create_removes_stale_journal(tmp_path: Path) -> None:
    for name in ("cache.db-journal", "cache.db-wal", "cache.db.new", "cache.db.new-journal"):
        (tmp_path / name).write_bytes(b"stale" * 1000)
    cache = await filled(tmp_path / "cache.db")
    assert await cache.check() == ()
    await cache.close()
    assert names(tmp_path) == ["cache.db"]


async def test_create_refuses_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(LocalError):
        await Store.create(tmp_path / "missing" / "cache.db", IDENTITY)
    with pytest.raises(LocalError):
        await Store.open(tmp_path / "missing.db")


@pytest.mark.parametrize(
    "content", [b"", b"SQLite format 3\0" + b"\0" * 5000, b"<html>" * 500], ids=["empty", "zero", "text"]
)
async def test_open_refuses_file_that_is_not_a_cache(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "cache.db").write_bytes(content)
    with pytest.raises(CacheDamaged):
        await Store.open(tmp_path / "cache.db")


@pytest.mark.parametrize("readonly", [False, True])
async def test_open_refuses_truncated_last_page(tmp_path: Path, readonly: bool) -> None:
    path = tmp_path / "cache.db"
    await (await filled(path, PutItems((mail("a"),)))).close()
    os.truncate(path, path.stat().st_size - 1)
    with pytest.raises(CacheDamaged, match="cut short"):
        await Store.open(path, readonly=readonly)


async def test_open_accepts_pages_that_are_in_the_log(tmp_path: Path) -> None:
    path = tmp_path / "cache.db"
    await (await filled(path, PutItems((mail("a"),)))).close()
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA journal_mode = WAL")
        with db:
            db.execute("INSERT INTO meta VALUES ('large', ?)", ("x" * 200_000,))
        shutil.copytree(tmp_path, tmp_path / "copy")
    await (await Store.open(tmp_path / "copy" / "cache.db", readonly=True)).close()


async def test_open_refuses_locked_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    await (await filled(tmp_path / "cache.db")).close()
    monkeypatch.setattr("kerio_resync.cache.connection.BUSY_TIMEOUT_SECONDS", 0)
    other = sqlite3.connect(tmp_path / "cache.db", isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    with pytest.raises(CacheInUse):
        await Store.open(tmp_path / "cache.db")
    other.close()


async def test_read_sees_earlier_mutations(tmp_path: Path) -> None:
    cache = await filled(tmp_path / "cache.db")
    for n in range(50):
        await cache.apply(PutItems((mail(str(n)),)))
        assert await cache.read(queries.versions, [str(n)]) == {str(n): "1"}
    assert (await cache.read(queries.totals)).items["mail"] == 50
    await cache.close()


async def test_mutations_share_transaction_until_flush(tmp_path: Path) -> None:
    cache = await filled(tmp_path / "cache.db")
    await cache.apply(PutItems((mail("1"),)))
    assert (await cache.read(queries.totals)).items["mail"] == 1
    assert rows(tmp_path / "cache.db", "SELECT count(*) FROM item") == [(0,)]
    await cache.flush()
    assert rows(tmp_path / "cache.db", "SELECT count(*) FROM item") == [(1,)]
    await cache.close()


async def test_mutations_are_committed_after_interval(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "COMMIT_INTERVAL_SECONDS", 0.0)
    cache = await filled(tmp_path / "cache.db")
    await cache.apply(PutItems((mail("1"),)))
    for _ in range(10_000):
        if rows(tmp_path / "cache.db", "SELECT count(*) FROM item") == [(1,)]:
            break
        await asyncio.sleep(0)
    else:
        pytest.fail("it is not committed")
    await cache.close()


async def test_close_commits_mutations(tmp_path: Path) -> None:
    cache = await filled(tmp_path / "cache.db")
    for n in range(20):
        await cache.apply(PutItems((mail(str(n)),)))
    await cache.close()
    assert rows(tmp_path / "cache.db", "SELECT count(*) FROM item") == [(20,)]
    with pytest.raises(LocalError, match="is closed"):
        await cache.apply(PutItems((mail("1"),)))


async def test_apply_waits_while_queue_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = await filled(tmp_path / "cache.db", PutItems((mail("1", attached=(attachment("a"),)),)))
    monkeypatch.setattr(writer, "MAX_QUEUED_BYTES", 100_000)
    most = 0

    async def tell(number: int) -> None:
        nonlocal most
        await cache.apply(PutAttachmentBytes(1, 0, bytes(40_000)))
        most = max(most, cache._writer._queued_bytes)

    async with asyncio.TaskGroup() as group:
        for n in range(30):
            group.create_task(tell(n))
    await cache.apply(PutAttachmentBytes(1, 0, bytes(400_000)))  # larger than the bound: let in alone
    assert most <= 100_000
    (row,) = await cache.read(queries.queued_attachments, 1)
    assert row.received == 400_000
    await cache.close()


async def test_wait_for_capacity_waits_until_queue_is_half_empty(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = await filled(tmp_path / "cache.db", PutItems((mail("1", attached=(attachment("a"),)),)))
    monkeypatch.setattr(writer, "MAX_QUEUED_BYTES", 100_000)
    await cache.apply(PutAttachmentBytes(1, 0, bytes(80_000)))
    assert cache._writer._queued_bytes > 80_000
    await cache.wait_for_capacity()
    assert cache._writer._queued_bytes <= 50_000
    await cache.close()


async def test_mutations_queued_meanwhile_are_applied_in_same_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = await filled(tmp_path / "cache.db")
    loop, began, go = asyncio.get_running_loop(), asyncio.Event(), threading.Event()
    steps: list[int] = []
    run, store = Connection.run, dispatch.apply_mutations

    async def counted(line: Connection, work: Callable[[sqlite3.Connection], T]) -> T:
        steps.append(0)
        return await run(line, work)

    def slowly(mutations: Sequence[Mutation], session: WriteSession) -> None:
        steps[-1] += 1
        loop.call_soon_threadsafe(began.set)
        go.wait()
        store(mutations, session)

    monkeypatch.setattr(Connection, "run", counted)
    monkeypatch.setattr(dispatch, "apply_mutations", slowly)
    await cache.apply(PutItems((mail("1"),)))
    await began.wait()
    await cache.apply(PutItems((mail("2"),)))
    go.set()
    assert len(await cache.read(queries.items)) == 2
    assert steps[0] == 2
    await cache.close()


async def test_cancelled_callers_leave_no_transaction_open(tmp_path: Path) -> None:
    cache = await filled(tmp_path / "cache.db")
    told: list[str] = []

    async def tell(n: int) -> None:
        await cache.apply(PutItems(tuple(mail(f"{n}-{k}") for k in range(20))))
        told.append(str(n))
        await cache.read(queries.versions, [str(n)])
        await cache.flush()

    chance = random.Random(1)
    tasks = [asyncio.create_task(tell(n)) for n in range(60)]
    for _ in range(200):
        await asyncio.sleep(0)
        chance.choice(tasks).cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await cache.apply(SetMeta("after", "all"))
    await cache.flush()
    counts = rows(tmp_path / "cache.db", "SELECT count(*) FROM item GROUP BY substr(id, 1, instr(id, '-'))")
    assert set(counts) == {(20,)}
    assert len(counts) == len(told)
    await cache.close()


async def test_cancelled_writer_closes_file(tmp_path: Path) -> None:
    cache = await filled(tmp_path / "cache.db")
    await cache.apply(PutItems((mail("1"),)))
    task = cache._writer._task
    assert task is not None
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    with pytest.raises(LocalError):
        await cache.apply(PutItems((mail("2"),)))
    again = await reopened(tmp_path / "cache.db")
    assert await again.check() == ()
    await again.close()


async def test_writer_stops_before_disk_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = await filled(tmp_path / "cache.db", PutItems((mail("1"),)))
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(10**9, 0, 5_000_000))
    await cache.apply(PutItems((mail("2"),)))
    with pytest.raises(NotEnoughSpace) as told:
        await cache.flush()
    assert told.value.needed > 8_000_000
    assert (told.value.available, told.value.where) == (5_000_000, str(tmp_path))
    with pytest.raises(NotEnoughSpace):
        await cache.apply(PutItems((mail("3"),)))
    with pytest.raises(NotEnoughSpace):
        await cache.read(queries.totals)
    await cache.close()
    monkeypatch.undo()
    again = await reopened(tmp_path / "cache.db")
    assert (await again.read(queries.totals)).items["mail"] == 1
    await again.close()


async def test_create_refuses_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(10**9, 0, 1000))
    with pytest.raises(NotEnoughSpace) as told:
        await Store.create(tmp_path / "cache.db", IDENTITY)
    assert told.value.available == 1000


async def test_close_raises_failure_that_no_call_raised(tmp_path: Path) -> None:
    cache = await filled(tmp_path / "cache.db")
    await cache._writer._connection.run(lambda db: db.execute("PRAGMA max_page_count = 1"))
    await cache.apply(PutItems((mail("1", text="x" * 2_000_000),)))
    with pytest.raises(NotEnoughSpace):
        await cache.close()
    await cache.close()


@pytest.mark.parametrize("limit", range(300_000, 3_000_000, 300_000))
async def test_failed_write_leaves_sound_file(tmp_path: Path, limit: int) -> None:
    """A limit on the size of files, as a disk that fills: the error says so, and what was flushed is there."""
    path = tmp_path / "cache.db"
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    cache = await filled(path)
    flushed = 0
    resource.setrlimit(resource.RLIMIT_FSIZE, (max(limit, path.stat().st_size), before[1]))
    try:
        try:
            for n in range(1000):
                await cache.apply(PutItems((mail(str(n), text="x" * 50_000),)))
                if n % 5 == 4:
                    await cache.flush()
                    flushed = n + 1
            pytest.fail("the limit was not met")
        except NotEnoughSpace:
            pass
        await cache.close()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    again = await reopened(path)
    assert await again.check() == ()
    assert (await again.read(queries.totals)).items["mail"] >= flushed
    await again.apply(PutItems((mail("more"),)))
    await again.close()


async def test_damage_during_write_is_cache_damaged(tmp_path: Path) -> None:
    cache = await filled(tmp_path / "cache.db", PutItems((mail("1"),)))
    await cache._writer._connection.run(lambda db: db.execute("DROP TABLE skipped"))
    await cache.apply(SkipEntry("item", "1", "x"))
    with pytest.raises(CacheDamaged):
        await cache.flush()
    with pytest.raises(CacheDamaged):
        await cache.apply(SkipEntry("item", "1", "x"))
    await cache.close()


async def test_readonly_open_changes_nothing(tmp_path: Path) -> None:
    await (await filled(tmp_path / "cache.db", PutItems((mail("1"),)))).close()
    before = (tmp_path / "cache.db").read_bytes()
    cache = await Store.open(tmp_path / "cache.db", readonly=True)
    assert (await cache.read(queries.totals)).items["mail"] == 1
    assert (await cache.read(queries.items))[0].id == "1"
    await cache.apply(PutItems((mail("2"),)))
    with pytest.raises(LocalError):
        await cache.flush()
    await cache.close()
    assert (tmp_path / "cache.db").read_bytes() == before


async def test_reader_opens_cache_that_is_written(tmp_path: Path) -> None:
    cache = await filled(tmp_path / "cache.db", PutItems((mail("1"),)))
    await cache.apply(PutItems((mail("2"),)))
    await cache.read(queries.totals)  # a transaction is open now
    reader = await Store.open(tmp_path / "cache.db", readonly=True)
    assert (await reader.read(queries.totals)).items["mail"] == 1
    await reader.close()
    await cache.close()


async def test_items_come_in_order_in_bounded_pages(tmp_path: Path) -> None:
    names = [f"m{n:03}" for n in range(40)]
    big = "x" * 1_000_000
    cache = await filled(
        tmp_path / "cache.db",
        PutItems(tuple(mail(each, text=big) for each in reversed(names))),
        PutItems((mail("a", folder="people", kind="contact", extra=b"{}", attached=(attachment("p"),)),)),
        *whole(1, b"12345"),
    )
    met: list[StoredItem] = []
    after = ("", "")
    while page := await cache.read(queries.items, after, limit=30):
        assert len(page) <= 10
        after = (page[-1].kind, page[-1].id)
        met += page
    assert [each.id for each in met] == ["a", *names]
    (photo,) = met[0].attachments
    assert (photo.id, photo.state, photo.sha256 is not None, met[0].extra) == ("id-p", "done", True, b"{}")
    assert [piece async for piece in cache.content(photo.key)] == [b"12345"]
    await cache.close()


async def test_totals_count_stored_queued_and_skipped(tmp_path: Path) -> None:
    cache = await filled(
        tmp_path / "cache.db",
        PutItems(
            (mail("1", attached=(attachment("a"), attachment("b", 7))), mail("c", folder="people", kind="contact"))
        ),
        *whole(1, b"12345"),
        EnqueueItems("inbox", "mail", (listed("2", size=30), listed("3", size=12))),
        SkipEntry("item", "4", "x"),
    )
    found = await cache.read(queries.totals)
    assert (found.folders, found.folders_listed, found.items["mail"], found.items["contact"]) == (3, 0, 1, 1)
    assert (found.queued_items, found.queued_item_bytes, found.skipped) == (2, 42, 1)
    assert (found.attachments, found.attachment_bytes) == (2, 5)
    assert (found.queued_attachments, found.queued_attachment_bytes) == (1, 7)
    assert found.bytes_here == found.item_bytes - 7
    assert await cache.read(queries.places, ["1", "c", "x"]) == {"1": (("inbox",), "1"), "c": (("people",), "1")}
    await cache.close()


async def test_finish_records_time(tmp_path: Path) -> None:
    cache = await filled(tmp_path / "cache.db")
    await cache.finish()
    assert (await cache.read(queries.meta, "finished_at") or "").endswith("Z")
    await cache.close()


def copy_between_steps(
    line: Connection, source: Path, target: Path, chance: random.Random, flushed: list[int]
) -> list[tuple[Path, int]]:
    """Has the file and its journal copied after some of the writer's steps.

    The copies, and the last of `flushed` when each was taken. Grows while the writer works.
    """
    run = line.run
    copies: list[tuple[Path, int]] = []

    async def run_and_copy(work: Any) -> Any:
        found = await run(work)
        if chance.random() < 0.3:
            place = target / str(len(copies))
            place.mkdir(parents=True)
            for each in names(source.parent):
                if each.startswith(source.name):
                    shutil.copy(source.parent / each, place / each)
            copies.append((place / source.name, flushed[-1]))
        return found

    line.run = run_and_copy  # type: ignore[method-assign]
    return copies


async def test_copy_taken_at_any_step_is_sound(tmp_path: Path) -> None:
    """Opens what a power cut leaves between two steps of the writer.

    The copies of file and journal are also taken within transactions, with some of their pages in the file already.
    """
    cache = await filled(tmp_path / "cache.db")
    line, chance = cache._writer._connection, random.Random(5)
    await line.run(lambda db: db.execute("PRAGMA cache_size = 20"))  # so that open transactions reach the file
    flushed = [0]
    copies = copy_between_steps(line, tmp_path / "cache.db", tmp_path / "copies", chance, flushed)
    for n in range(120):
        await cache.apply(PutItems((mail(str(n), n + 1, text="x" * 30_000),)))
        await cache.apply(ApplyChanges(str(n)))
        if chance.random() < 0.4:
            await cache.read(queries.totals)
        if chance.random() < 0.2:
            await cache.flush()
            flushed.append(n + 1)
    await cache.close()
    hot = sum(size(each.with_name("cache.db-journal")) > 0 for each, _ in copies)
    for each, least in copies:
        again = await reopened(each)
        assert await again.check() == ()
        count = (await again.read(queries.totals)).items["mail"]
        assert count >= least
        assert await again.read(queries.meta, "sync_key") in (
            (str(count - 1), str(count - 2)) if count > 1 else (None, "0")
        )
        await again.close()
    assert hot > 5


CHILD = """
import asyncio, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from kerio_resync.cache import queries
from kerio_resync.cache.mutations import ApplyChanges, PutItems
from kerio_resync.cache.store import Store
from tests.support.cache import mail

async def main():
    cache = await Store.open(Path(sys.argv[1]))
    start = (await cache.read(queries.totals)).items["mail"]
    for n in range(start, start + 5000):
        await cache.apply(PutItems((mail(str(n), n + 1, text="x" * 20000),)))
        await cache.apply(ApplyChanges(str(n)))
        if n % 7 == 0:
            await cache.flush()
            print(n + 1, flush=True)

asyncio.run(main())
"""


def killed_after(path: Path, flushes: int) -> int:
    """Has a process write to the cache, kills it after so many flushes; how many items it said were flushed."""
    command = [*forked("-c"), CHILD, str(path), str(Path(__file__).parents[3])]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        flushed = [int(child.stdout.readline()) for _ in range(flushes)]
        child.send_signal(signal.SIGKILL)
        child.stdout.read()  # to its end: then the process is gone
    return flushed[-1]


@pytest.mark.parametrize("flushes", [1, 2, 5, 11])
async def test_killed_writer_loses_nothing_flushed(tmp_path: Path, flushes: int) -> None:
    path = tmp_path / "cache.db"
    await (await filled(path)).close()
    flushed = killed_after(path, flushes)
    again = await reopened(path)
    assert await again.check() == ()
    assert (await again.read(queries.totals)).items["mail"] >= flushed
    await again.apply(FOLDERS)
    await again.close()


def test_mutations_are_committed_by_timer(tmp_path: Path) -> None:
    async def main() -> list[object]:
        cache = await filled(tmp_path / "cache.db")
        await cache.apply(PutItems((mail("1"),)))
        found = []
        for seconds in (writer.COMMIT_INTERVAL_SECONDS / 2, writer.COMMIT_INTERVAL_SECONDS):
            await asyncio.sleep(seconds)
            found += [row[0] for row in rows(tmp_path / "cache.db", "SELECT count(*) FROM item")]
        await cache.close()
        return found

    assert run(main()) == [0, 1]


async def test_cancelled_query_leaves_writer_working(tmp_path: Path) -> None:
    cache = await filled(tmp_path / "cache.db")
    begun, gate = threading.Event(), threading.Event()

    def slowly(tables: WriteSession) -> None:
        begun.set()
        gate.wait(60)

    task = asyncio.create_task(cache._writer.execute(slowly))
    await asyncio.to_thread(begun.wait, 10)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    gate.set()
    await cache.apply(PutItems((mail("1"),)))
    assert await cache.read(queries.versions, ["1"]) == {"1": "1"}
    await cache.close()


async def test_mark_listed_is_durable(tmp_path: Path) -> None:
    cache = await filled(
        tmp_path / "cache.db",
        PutItems((mail("1", attached=(attachment("a"),)), mail("2"))),
        OmitAttachment(1, "gone"),
        EnqueueItems("work", "mail", (listed("w"),)),
    )
    assert [each.id for each in await cache.mark_listed(("inbox",), (listed("1"), listed("3")), 1)] == ["3"]
    assert [each async for each in cache.items_not_listed(("inbox",), 1)] == [("2",)]
    assert [(each.scope, each.reason) for each in await cache.read(queries.skipped)] == [("attachment", "gone")]
    await cache.flush()
    await cache.retry_failed()
    assert await cache.read(queries.skipped) == ()
    (row,) = await cache.read(queries.queued_items, 9)
    assert (row.id, await cache.read(queries.queued_items, 9, row.cursor)) == ("w", ())
    await cache.close()
    again = await reopened(tmp_path / "cache.db")
    assert [each async for each in again.items_not_listed(("inbox",), 1)] == [("2",)]
    assert len(await again.read(queries.queued_attachments, 9)) == 1
    await again.close()


async def test_items_not_listed_yields_every_item(tmp_path: Path) -> None:
    cache = await filled(tmp_path / "cache.db", PutItems(tuple(mail(str(each)) for each in range(7))))
    await cache.mark_listed(("inbox",), (listed("3"),), 5)
    found = []
    async for some in cache.items_not_listed(("inbox",), 5, limit=2):
        found.append(some)
        await cache.apply(DeleteItems(some))  # what goes meanwhile hides nothing
    assert found == [("0", "1"), ("2", "4"), ("5", "6")]
    await cache.close()


async def test_undecodable_error_of_sqlite_is_cache_damaged(tmp_path: Path) -> None:
    """It quotes what is damaged, byte for byte."""
    path = tmp_path / "cache.db"
    await (await filled(path)).close()
    data = path.read_bytes()
    assert data.count(b"CREATE TABLE item (") == 1
    path.write_bytes(data.replace(b"CREATE TABLE item (", b"CREATE \x9bABLE item ("))
    with pytest.raises(CacheDamaged, match="not valid UTF-8"):
        await Store.open(path)


async def test_damaged_file_is_closed_while_error_is_kept(tmp_path: Path) -> None:
    """Who does, and goes on in the same process, must not find it open."""
    path = tmp_path / "cache.db"
    await (await filled(path, PutItems(tuple(mail(str(n)) for n in range(99))))).close()
    change(path, "UPDATE item SET id = CAST(x'ff' AS TEXT) WHERE id = '50'")
    store = await Store.open(path)
    with pytest.raises(CacheDamaged) as kept:
        await store.read(queries.items, limit=99)
    await store.close()
    assert processes_holding(path) == ()
    assert kept.value.detail  # it is kept until here


async def test_value_outside_schema_is_cache_damaged(tmp_path: Path) -> None:
    """SQLite returns the value unchanged, and arithmetic on it fails."""
    path = tmp_path / "cache.db"
    await (await filled(path, PutItems((mail("1"),)))).close()
    nullable = "UPDATE sqlite_master SET sql = replace(sql, 'size       INTEGER NOT NULL', 'size INTEGER')"
    change(path, f"PRAGMA writable_schema = 1; {nullable} WHERE name = 'item'")
    change(path, "UPDATE item SET size = NULL")
    back = "UPDATE sqlite_master SET sql = replace(sql, 'size INTEGER', 'size INTEGER NOT NULL') WHERE name = 'item'"
    change(path, f"PRAGMA writable_schema = 1; {back}")
    store = await Store.open(path)
    with pytest.raises(CacheDamaged, match=r"NULL value in item\.size"):
        await store.read(queries.totals)
    await store.close()


async def test_unexpected_error_of_query_is_local_error(tmp_path: Path) -> None:
    def stumble(db: object) -> None:
        raise TypeError("ours")

    store = await filled(tmp_path / "cache.db")
    with pytest.raises(LocalError, match="TypeError"):
        await store.read(stumble)
    with pytest.raises(TypeError, match="ours"):
        await store.close()
