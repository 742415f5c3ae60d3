from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.format71_writer import Format71Writer
from kerio_resync.cache import outbox_rows, queries
from kerio_resync.cache.mutations import AddChange, ApplyChanges, LocalChange, SetMeta
from kerio_resync.cache.schema import PAGE_SIZE
from kerio_resync.cache.store import Store
from kerio_resync.errors import CacheInUse, NoCache, OtherAccount, Unreachable
from kerio_resync.events import Event, Notice
from kerio_resync.model import Listing
from kerio_resync.server.kerio import outgoing_structs
from kerio_resync.settings import Settings
from kerio_resync.sync import open_target
from kerio_resync.sync.open_target import (
    discard_build_file,
    open_build_file,
    open_current_cache,
    rescue_unsent_changes,
    with_todays_columns,
)
from kerio_resync.sync.partial_rebuild import PARTIAL_REBUILD_KEY
from tests.support.cache import IDENTITY, INBOX, filled, items, mail, names, rows
from tests.support.fake_mailbox import Mailbox, running
from tests.support.format72 import LATE, load, owned_by

OTHER = IDENTITY._replace(account="user-2", user="eve", address="eve@example.com")


def settings(folder: Path, **more: object) -> Settings:
    return Settings.model_validate({"profile": folder, "server": "https://mail.example.com", "user": "jan", **more})


def change(name: str) -> AddChange:
    return AddChange(LocalChange(name, "create", "note", folder_id="notes"))


async def opened(folder: Path, **more: object) -> tuple[bool, int, list[str]]:
    """Return (resumed, number of mails, notices)."""
    heard: list[Event] = []
    found = await open_build_file(settings(folder, **more), IDENTITY, heard.append, Mailbox())  # type: ignore[arg-type]
    mails = (await found.store.read(queries.totals)).items["mail"]
    await found.store.close()
    return found.resumed, mails, [each.text for each in heard if isinstance(each, Notice)]


def rootpage(path: Path, name: str) -> int:
    ((page,),) = rows(path, f"SELECT rootpage FROM sqlite_master WHERE name = '{name}'")
    assert isinstance(page, int)
    return page


async def test_open_build_file_creates_empty_file(tmp_path: Path) -> None:
    assert await opened(tmp_path) == (False, 0, [])
    assert names(tmp_path) == ["cache.db.next"]


async def test_open_build_file_resumes_own_file(tmp_path: Path) -> None:
    await (await filled(tmp_path / "cache.db.next", items("a"))).close()
    assert await opened(tmp_path) == (True, 1, [])


async def test_open_build_file_starts_with_readable_rows_of_damaged_cache(tmp_path: Path) -> None:
    await (await filled(tmp_path / "cache.db", items("a", "b"))).close()
    with (tmp_path / "cache.db").open("r+b") as file:
        file.seek(rootpage(tmp_path / "cache.db", "item_by_date") * PAGE_SIZE - PAGE_SIZE)
        file.write(b"\xff" * 512)
    said = "The old cache is damaged. Items that could be read from it: 2. The rest is downloaded."
    assert await opened(tmp_path) == (False, 2, [said])


@pytest.mark.parametrize("name", ["cache.db", "cache.db.next"])
async def test_open_build_file_refuses_file_of_other_account_and_changes_nothing(tmp_path: Path, name: str) -> None:
    await (await filled(tmp_path / name, items("a"), change("hers"), identity=OTHER)).close()
    before = (tmp_path / name).read_bytes()
    with pytest.raises(OtherAccount, match=r"belongs to eve@example\.com at https.*, not to jan"):
        await opened(tmp_path)
    assert names(tmp_path) == [name]
    assert (tmp_path / name).read_bytes() == before


@pytest.mark.parametrize("name", ["cache.db", "cache.db.next"])
async def test_open_build_file_sets_file_of_other_account_aside_with_replace_other(tmp_path: Path, name: str) -> None:
    await (await filled(tmp_path / name, items("a"), change("hers"), identity=OTHER)).close()
    resumed, mails, said = await opened(tmp_path, replace_other=True)
    assert (resumed, mails) == (False, 0)
    assert said[0].startswith(f"{name} belongs to eve@example.com at {OTHER.server}. It was moved to {name}.aside-1,")
    assert names(tmp_path) == sorted({"cache.db.next", f"{name}.aside-1"})


@pytest.mark.parametrize("name", ["cache.db", "cache.db.next"])
async def test_open_build_file_adopts_renamed_mailbox_with_same_mailbox(tmp_path: Path, name: str) -> None:
    old = OTHER._replace(server="https://old.example.com")
    await (await filled(tmp_path / name, items("a"), ApplyChanges("key of the old server"), identity=old)).close()
    (tmp_path / "profile.toml").write_text(f"server = '{old.server}'  # ours\nuser = 'eve'\n")
    resumed, mails, _ = await opened(tmp_path, same_mailbox=True)
    assert (resumed, mails) == (name == "cache.db.next", 1)
    store = await Store.open(tmp_path / name)
    assert (store.identity, await store.read(queries.meta, "sync_key")) == (IDENTITY, "")
    await store.close()
    assert 'server = "https://mail.example.com"' in (tmp_path / "profile.toml").read_text()
    assert 'user = "jan"' in (tmp_path / "profile.toml").read_text()
    assert (await opened(tmp_path))[0]  # and from now on without being told


async def test_open_build_file_refuses_other_protocol_even_with_same_mailbox(tmp_path: Path) -> None:
    await (await filled(tmp_path / "cache.db", identity=IDENTITY._replace(protocol="jmap"))).close()
    with pytest.raises(OtherAccount):
        await opened(tmp_path, same_mailbox=True)


async def test_open_build_file_sets_unreadable_file_aside(tmp_path: Path) -> None:
    (tmp_path / "cache.db.next.aside-1").write_bytes(b"an earlier one")
    (tmp_path / "cache.db.next").write_bytes(b"no database" * 1000)
    resumed, _, said = await opened(tmp_path)
    assert not resumed
    assert "cannot be resumed" in said[0]
    assert names(tmp_path) == ["cache.db.next", "cache.db.next.aside-1", "cache.db.next.aside-2"]


async def test_fresh_drops_unfinished_file_after_rescue_of_its_changes(tmp_path: Path) -> None:
    await (await filled(tmp_path / "cache.db.next", items("a"), change("u-1"))).close()
    assert await opened(tmp_path, fresh=True) == (False, 0, [])
    assert "cache.db.next.dropped-1" in names(tmp_path)
    (tmp_path / "next").mkdir()
    async with running(tmp_path / "next", Mailbox()) as begun:
        run = replace(begun, settings=settings(tmp_path))
        await rescue_unsent_changes(run)
        assert [each.uuid for each in await run.store.read(outbox_rows.changes)] == ["u-1"]
    assert names(tmp_path) == ["cache.db.next", "next"]


async def test_unfinished_file_of_format_72_is_dropped_after_rescue_of_its_changes(tmp_path: Path) -> None:
    for name in ("cache.db", "cache.db.next"):
        load(LATE, tmp_path / name, owned_by(IDENTITY))
    with closing(sqlite3.connect(tmp_path / "cache.db.next")) as db, db:
        db.execute("DELETE FROM outbox WHERE number > 6")  # the rest is in cache.db only
        db.execute("UPDATE sqlite_sequence SET seq = 6")
        db.execute("DELETE FROM item WHERE id = 'local:lost'")
    (tmp_path / "next").mkdir()
    resumed, _, said = await opened(tmp_path)
    assert not resumed
    assert said == [
        "The unfinished cache is of an older format; only its local changes are taken over.",
        "The old cache has an older format: its items are downloaded again, unless it is upgraded first.",
    ]
    assert names(tmp_path) == ["cache.db", "cache.db.next", "cache.db.next.dropped-1", "next"]
    async with running(tmp_path / "next", Mailbox()) as begun:
        run = replace(begun, settings=settings(tmp_path), owner=IDENTITY)
        await rescue_unsent_changes(run)
        changes = {each.number for each in await run.store.read(outbox_rows.changes)}
        local = await run.store.read(
            lambda db: db.execute("SELECT title, text FROM item WHERE id LIKE 'local:%' ORDER BY 1").fetchall()
        )
        assert run.announced.notices == [
            "Unsent local changes copied from the old cache: 4.",
            "Items of the local folder Conflicts copied from the old cache: 1.",
            "Unsent local changes copied from the old cache: 4.",
            "Items of the local folder Conflicts copied from the old cache: 1.",
        ]
    assert len(changes) == 8
    assert local == [("lost", "its text"), ("mine", "mine")]
    assert names(tmp_path) == ["cache.db", "cache.db.next", "next"]


async def test_discard_build_file_renames_file_and_sidecars(tmp_path: Path) -> None:
    discard_build_file(settings(tmp_path))
    assert names(tmp_path) == []
    for name in ("cache.db.next", "cache.db.next-journal"):
        (tmp_path / name).write_bytes(b"x")
    discard_build_file(settings(tmp_path))
    assert names(tmp_path) == ["cache.db.next.dropped-1", "cache.db.next.dropped-1-journal"]


async def test_rescue_leaves_dropped_file_of_other_account(tmp_path: Path) -> None:
    await (await filled(tmp_path / "cache.db.next.dropped-1", change("hers"), identity=OTHER)).close()
    (tmp_path / "next").mkdir()
    async with running(tmp_path / "next", Mailbox()) as begun:
        run = replace(begun, settings=settings(tmp_path))
        await rescue_unsent_changes(run)
        assert await run.store.read(outbox_rows.changes) == ()
        assert "belongs to eve@example.com" in run.announced.notices[0]
    assert names(tmp_path) == ["cache.db.next.dropped-1", "next"]


async def test_rescue_takes_nothing_from_cache_replaced_during_the_run(tmp_path: Path) -> None:
    await (await filled(tmp_path / "cache.db", change("hers"), identity=OTHER)).close()
    (tmp_path / "next").mkdir()
    async with running(tmp_path / "next", Mailbox()) as begun:
        run = replace(begun, settings=settings(tmp_path), owner=IDENTITY)
        await rescue_unsent_changes(run)
        assert await run.store.read(outbox_rows.changes) == ()
        assert any("it was replaced during the run" in each for each in run.announced.notices)


@pytest.mark.parametrize("vouched", [False, True])
async def test_rescue_from_file_without_owner_needs_profile_that_names_it(tmp_path: Path, vouched: bool) -> None:
    with Format71Writer(tmp_path / "cache.db", IDENTITY) as old:
        old.pending(change("u-1"))
    with closing(sqlite3.connect(tmp_path / "cache.db")) as db:
        db.execute("DELETE FROM INFO WHERE NAME IN ('SERVER', 'ACCOUNT')")
        db.commit()
    if vouched:
        (tmp_path / "profile.toml").write_text("server = 'https://mail.example.com'\nuser = 'jan'\n")
    (tmp_path / "next").mkdir()
    async with running(tmp_path / "next", Mailbox()) as begun:
        run = replace(begun, settings=settings(tmp_path))
        await rescue_unsent_changes(run)
        assert [each.uuid for each in await run.store.read(outbox_rows.changes)] == ["u-1"] * vouched
        assert any("does not say whose it is" in each for each in run.announced.notices) is not vouched
    assert any(".damaged-" in each for each in names(tmp_path)) is not vouched


@pytest.mark.parametrize("drop_first", [False, True])
async def test_rescue_copies_changes_of_old_cache(tmp_path: Path, drop_first: bool) -> None:
    await (await filled(tmp_path / "cache.db", change("u-1"))).close()
    (tmp_path / "next").mkdir()
    async with running(tmp_path / "next", Mailbox()) as begun:
        run = replace(begun, settings=settings(tmp_path, drop_first=drop_first), owner=IDENTITY)
        await rescue_unsent_changes(run)
        assert [each.uuid for each in await run.store.read(outbox_rows.changes)] == ["u-1"]
    assert (tmp_path / "cache.db").exists() is not drop_first


async def test_open_build_file_lists_while_it_copies(tmp_path: Path) -> None:
    await (await filled(tmp_path / "cache.db", items("a"))).close()
    mailbox = Mailbox({"a": mail("a")}, answers={"key": ["k1"]})
    found = await open_build_file(settings(tmp_path), IDENTITY, lambda _: None, mailbox)  # type: ignore[arg-type]
    assert (found.resumed, found.ahead.key) == (False, "k1")
    assert [row.id for page in found.ahead.take_pages(Listing((INBOX,))).pages for row in page] == ["a"]
    assert await found.store.check(contents=False) == ()
    await found.store.close()


async def test_copy_is_resumed_after_failed_listing(tmp_path: Path) -> None:
    await (await filled(tmp_path / "cache.db", items("a"))).close()
    mailbox = Mailbox(answers={"key": [Unreachable("gone")]})
    with pytest.raises(Unreachable):
        await open_build_file(settings(tmp_path), IDENTITY, lambda _: None, mailbox)  # type: ignore[arg-type]
    assert await opened(tmp_path) == (True, 1, [])


@pytest.mark.parametrize("error", [None, Unreachable("gone")])
async def test_open_build_file_does_not_wait_for_lists_without_copy(tmp_path: Path, error: Exception | None) -> None:
    await (await filled(tmp_path / "cache.db")).close()
    mailbox = Mailbox(answers={"key": [error or "k1"]})
    found = await open_build_file(settings(tmp_path), IDENTITY, lambda _: None, mailbox)  # type: ignore[arg-type]
    assert (found.ahead.key, found.ahead.lists) == ("", {})
    await found.store.close()


async def test_rescue_reports_unreadable_old_cache(tmp_path: Path) -> None:
    (tmp_path / "cache.db").write_bytes(b"no database" * 1000)
    (tmp_path / "next").mkdir()
    async with running(tmp_path / "next", Mailbox()) as begun:
        run = replace(begun, settings=settings(tmp_path))
        await rescue_unsent_changes(run)
        assert run.announced.notices


async def test_open_current_cache_requires_a_free_cache_and_tells_whether_it_resumes(tmp_path: Path) -> None:
    with pytest.raises(NoCache, match="no cache"):
        await open_current_cache(settings(tmp_path), IDENTITY)
    await (await filled(tmp_path / "cache.db")).close()
    handle = os.open(tmp_path / "cache.db", os.O_RDONLY)
    with pytest.raises(CacheInUse):
        await open_current_cache(settings(tmp_path), IDENTITY)
    os.close(handle)
    for value, expected in (("", False), ('1 ["inbox"]', True)):
        found = await open_current_cache(settings(tmp_path), IDENTITY)
        assert not found.resumed
        await found.store.apply(SetMeta(PARTIAL_REBUILD_KEY, value))
        await found.store.close()
        found = await open_current_cache(settings(tmp_path), IDENTITY)
        assert found.resumed is expected
        await found.store.close()


async def test_open_build_file_refuses_file_that_was_replaced_after_the_check(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await (await filled(tmp_path / "cache.db.next", identity=OTHER)).close()

    async def accept(*_: object) -> None:
        pass

    monkeypatch.setattr(open_target, "claim", accept)
    with pytest.raises(OtherAccount, match="unfinished cache"):
        await opened(tmp_path)


def test_local_item_that_cannot_be_parsed_keeps_its_columns() -> None:
    item = mail("local:1")._replace(payload=b"[]", text="kept")
    assert with_todays_columns(outgoing_structs, item) == item
