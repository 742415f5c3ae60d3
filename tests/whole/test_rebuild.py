"""A rebuild from beginning to end, in virtual time: whole, resumed, in part, afresh, with what must not be lost."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable, Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import pytest

from kerio_mockserver.messages import Reply, Request
from kerio_resync import Settings, status
from kerio_resync.cache import outbox_rows, queries
from kerio_resync.cache.mutations import DeleteItems, SetMeta
from kerio_resync.cache.outbox import Outbox
from kerio_resync.cache.store import Store
from kerio_resync.errors import BadSettings, CacheInUse, NoCache, NotEnoughSpace, OtherAccount
from kerio_resync.events import Event, FolderListed, Listener, Notice, PhaseChanged, Progress, ignore_events
from kerio_resync.sync.converge.compare_lists import VerifyReport
from kerio_resync.sync.status import Status
from simulation.world import World, kill
from tests.support.cache import rows

T = TypeVar("T")


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "profile", 5, 60, 20)


def fetched(world: World) -> int:
    """Calls that brought items or contents, of all runs so far."""
    asked = world.server.stats.as_json()["requests"]
    return sum(asked.get(name, 0) for name in ("Mails.getById", "GET attachment"))


def in_cache(world: World, work: Callable[[Store], Coroutine[Any, Any, T]]) -> T:
    """Works on the profile's cache as a mail program would."""

    async def go() -> T:
        store = await Store.open(world.settings().cache)
        try:
            return await work(store)
        finally:
            await store.close()

    return asyncio.run(go())


def verified(world: World, listen: Listener = ignore_events, **how: bool) -> VerifyReport:
    assert world.verify(listen, **how) == "done"
    assert world.verdict is not None
    return world.verdict


def test_whole(world: World) -> None:
    assert world.run() == "done"
    assert world.differences() == []
    assert world.report is not None
    assert world.report.items["mail"] == 60
    assert not world.settings().next_cache.exists()
    assert world.settings().cache.stat().st_mode & 0o777 == 0o600


def test_report_is_plain_json(world: World) -> None:
    world.run()
    assert world.report is not None
    assert json.loads(json.dumps(world.report.as_json()))["items"]["mail"] == 60


def test_progress_is_honest(world: World) -> None:
    events: list[Event] = []
    world.run(events.append)
    ticks = [each for each in events if isinstance(each, Progress)]
    assert ticks
    for tick in ticks:
        assert tick.items_done <= tick.items_total
        assert tick.attachments_done <= tick.attachments_total
        assert tick.bytes_done <= tick.bytes_total
        assert tick.seconds_left is None or tick.seconds_left >= 0
    phases = [each.phase for each in events if isinstance(each, PhaseChanged)]
    assert phases[:4] == ["session", "rescue", "folders", "fetch"]


def test_the_folders_counted_are_those_that_are_listed(world: World) -> None:
    events: list[Event] = []
    world.run(events.append)
    last = [each for each in events if isinstance(each, Progress)][-1]
    assert world.report is not None
    assert last.folders_done == last.folders_total == world.report.folders
    found = in_cache(world, lambda store: store.read(queries.totals))
    assert found.folders_listed == found.folders == world.report.folders


def test_each_folder_is_said_once_when_its_items_are_known(world: World) -> None:
    events: list[Event] = []
    world.run(events.append)
    held = {
        each["id"]: len(world.store.folder(each["id"])) for each in world.store.folders() if each["type"] != "FRoot"
    }
    told = [(each.folder, each.items) for each in events if isinstance(each, FolderListed) and each.folder in held]
    assert sorted(told) == sorted(held.items())
    assert sum(held.values()) > 60
    part: list[Event] = []
    world.run(part.append, folders=("Inbox",))
    assert [each.items for each in part if isinstance(each, FolderListed)] == [held[inbox(world)]]


@pytest.mark.parametrize("moment", [8, 20, 35, 50, 70, 90])
def test_resumes_where_it_was(world: World, moment: int) -> None:
    world.run(fresh=True)
    alone = fetched(world)
    other = World(world.profile.with_name("other"), 5, 60, 20)
    other.at[moment] = [kill]
    assert other.run() == "killed"
    assert other.run() == "done"
    assert other.differences() == []
    assert fetched(other) <= alone + 6  # what was in flight
    assert world.report is not None
    assert other.report is not None
    assert other.report.resumed
    assert other.report.plain_bytes <= world.report.plain_bytes
    assert moment < 50 or other.report.plain_bytes < 0.9 * world.report.plain_bytes  # of this run alone


def test_salvage_fetches_only_what_changed(world: World) -> None:
    world.run()
    assert world.report is not None
    before, whole = fetched(world), world.report.plain_bytes
    world.mutate("arrive", 2)
    assert world.run() == "done"
    assert world.differences() == []
    assert world.report.salvaged >= 60
    assert world.report.plain_bytes < whole / 4
    assert fetched(world) - before <= 8


def test_fresh_takes_nothing_over(world: World) -> None:
    world.run()
    before = fetched(world)
    assert world.run(fresh=True) == "done"
    assert world.report is not None
    assert world.report.salvaged == 0
    assert fetched(world) == 2 * before


async def add_draft(store: Store) -> str:
    return await Outbox(store).add("create", "note", folder_id="none", struct=b'{"text":"kept"}')


async def open_changes(store: Store) -> set[str]:
    return {
        row.uuid for row in await store.read(outbox_rows.changes, ("pending", "sending", "sent", "conflict", "refused"))
    }


@pytest.mark.parametrize("moment", [3, 10, 40])
def test_changes_of_a_dropped_cache_survive_everything(world: World, moment: int) -> None:
    """Dropped for want of space, killed, then begun afresh: the change is in the new cache in the end."""
    world.run()
    name = in_cache(world, add_draft)
    world.at[moment] = [kill]
    assert world.run(drop_first=True) == "killed"
    assert world.run(fresh=True) == "done"
    assert name in in_cache(world, open_changes)


def test_part_brings_back_what_is_missing_there(world: World) -> None:
    world.run()
    before = fetched(world)

    async def spoil(store: Store) -> None:
        rows = await store.read(queries.items, limit=10_000)
        inbox = next(row.folder.id for row in await store.read(queries.folders) if row.folder.role == "inbox")
        await store.apply(DeleteItems(tuple(row.id for row in rows if row.folder_ids == (inbox,))[:7]))

    in_cache(world, spoil)
    assert world.differences()
    assert world.run(folders=("Inbox",)) == "done"
    assert world.differences() == []
    assert fetched(world) - before < before


@pytest.mark.parametrize("moment", [5, 8, 10])
def test_part_goes_on_after_a_kill(world: World, moment: int) -> None:
    world.run()
    world.at[moment] = [kill]
    assert world.run(folders=("Inbox",)) == "killed"
    assert world.run(folders=("Inbox",)) == "done"
    assert world.differences() == []


def inbox(world: World) -> str:
    return next(str(each["id"]) for each in world.store.folders() if each["subType"] == "FSubInbox")


def remove_in_silence(world: World, monkeypatch: pytest.MonkeyPatch) -> str:
    """A mail of the inbox is gone, and no change says so; its id."""
    victim = str(world.store.folder(inbox(world)).ordered("id")[0])
    with monkeypatch.context() as patch:
        patch.setattr(world.store.journal, "record", lambda change: world.store.journal.watermark)
        world.store.remove(victim)
    return victim


def test_a_second_part_run_goes_by_nothing_that_the_first_one_met(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.run()
    assert world.run(folders=("Inbox",)) == "done"
    remove_in_silence(world, monkeypatch)
    assert world.differences()
    assert world.run(folders=("Inbox",)) == "done"
    assert world.differences() == []


def test_a_second_verification_goes_by_nothing_that_the_first_one_met(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.run()
    assert verified(world).ok
    victim = remove_in_silence(world, monkeypatch)
    assert verified(world).differences == (f"extra mail {victim}",)
    assert verified(world, repair=True).ok
    assert world.differences() == []


def test_a_part_run_whose_key_is_too_old_compares_everything(world: World) -> None:
    world.run()
    world.mutate("delete", 3)
    world.mutate("arrive", 3)
    world.expire_keys()
    assert world.run(folders=("Contacts",)) == "done"
    assert world.differences() == []


def test_items_that_are_neither_listed_nor_answered_for_are_removed(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server may leave out of its reply what it does not have, instead of naming it as an error."""
    answer = world.server.handle

    async def without_errors(request: Request) -> Reply:
        reply = await answer(request)
        if reply.rpc != "Mails.getById":
            return reply
        assert isinstance(reply.body, bytes)
        said = json.loads(reply.body)
        said["result"].pop("errors")
        return replace(reply, body=json.dumps(said).encode())

    monkeypatch.setattr(world.server, "handle", without_errors)
    world.run()
    remove_in_silence(world, monkeypatch)
    assert verified(world, repair=True).ok
    world.mutate("delete", 3)
    world.expire_keys()
    assert world.run(folders=("Contacts",)) == "done"
    assert world.differences() == []
    assert world.report is not None
    assert world.report.skipped == ()


def test_a_key_that_is_too_old_stays_until_everything_is_compared(world: World) -> None:
    """After a kill, the cache must not look up to date."""
    world.run()
    world.mutate("delete", 3)
    world.mutate("arrive", 3)
    world.expire_keys()
    stale = in_cache(world, lambda store: store.read(queries.meta, "sync_key"))
    for moment in (4, 12, 25, 40):
        world.at = {moment: [kill]}
        assert world.run(folders=("Contacts",)) == "killed"
        assert in_cache(world, lambda store: store.read(queries.meta, "sync_key")) == stale
    assert world.run(folders=("Contacts",)) == "done"
    assert world.differences() == []
    assert in_cache(world, lambda store: store.read(queries.meta, "sync_key")) != stale


@pytest.mark.parametrize("moment", [4, 6, 10])
def test_a_folder_that_goes_while_it_is_compared_is_no_difference(world: World, moment: int) -> None:
    parent = next(each["parentId"] for each in world.store.folders() if each["id"] == inbox(world))
    folder, _ = world.store.create_folder({"parentId": parent, "name": "Short-lived", "type": "FMail"})
    for each in list(world.store.folder(inbox(world)).ordered("id")):
        world.store.move(each, folder)
    world.run()
    world.at[moment] = [lambda: (world.store.remove_folder(folder), None)[1]]
    assert verified(world).differences == ()


def test_a_folder_that_is_closed_while_it_is_compared_is_named(world: World) -> None:
    world.run()
    closed = inbox(world)
    world.fault("code", "Mails.get", None, code=1004, limit=1)
    verdict = verified(world)
    assert verdict.differences == (f"unreadable folder {closed} 'Inbox'",)
    assert not verdict.ok


def test_folders_that_only_one_side_has_are_named(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    parent = next(each["parentId"] for each in world.store.folders() if each["id"] == inbox(world))
    old, _ = world.store.create_folder({"parentId": parent, "name": "Old", "type": "FMail"})
    world.run()
    monkeypatch.setattr(world.store.journal, "record", lambda change: world.store.journal.watermark)
    new, _ = world.store.create_folder({"parentId": parent, "name": "New", "type": "FMail"})
    world.store.remove_folder(old)
    verdict = verified(world)
    assert verdict.differences == (f"missing folder {new} 'New'", f"extra folder {old} 'Old'")
    assert verified(world, repair=True).ok
    assert verified(world).differences == ()


def test_verify_says_when_it_can_not_tell_what_changed_since(world: World) -> None:
    events: list[Event] = []
    world.run()
    world.mutate("arrive", 3)
    world.expire_keys()
    verdict = verified(world, events.append)
    assert verdict.count == 3
    assert any(isinstance(each, Notice) and "cannot list the changes" in each.text for each in events)
    assert verified(world, repair=True).ok
    assert world.differences() == []


def test_part_of_an_unknown_folder(world: World) -> None:
    world.run()
    ending = world.run(folders=("Nowhere",))
    assert isinstance(ending, BadSettings)
    assert "'Nowhere'" in ending.detail


def test_part_needs_a_cache(world: World) -> None:
    assert isinstance(world.run(folders=("Inbox",)), NoCache)
    assert not world.settings().cache.exists()


def test_cache_that_is_open_elsewhere_is_left_alone(world: World) -> None:
    world.run()
    handle = os.open(world.settings().cache, os.O_RDONLY)
    try:
        before = world.settings().cache.read_bytes()
        assert isinstance(world.run(), CacheInUse)
        assert world.settings().cache.read_bytes() == before
    finally:
        os.close(handle)
    assert world.run() == "done"


def test_half_built_cache_of_another_account_is_set_aside_only_if_it_may_be_replaced(world: World) -> None:
    world.at[30] = [kill]
    assert world.run() == "killed"

    async def rename() -> None:
        store = await Store.open(world.settings().next_cache)
        await store.apply(SetMeta("account", "somebody else"))
        await store.close()

    asyncio.run(rename())
    before = world.settings().next_cache.read_bytes()
    assert isinstance(world.run(), OtherAccount)
    assert world.settings().next_cache.read_bytes() == before
    assert not world.settings().cache.exists()
    assert world.run(replace_other=True) == "done"
    assert world.differences() == []
    assert [each.name for each in world.profile.glob("*.aside-*")] == ["cache.db.next.aside-1"]


def test_half_built_cache_that_is_none_is_set_aside(world: World) -> None:
    world.profile.mkdir()
    world.settings().next_cache.write_bytes(b"no database at all" * 100)
    assert world.run() == "done"
    assert world.differences() == []


def test_no_room_is_said_before_anything_is_fetched(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    import shutil
    from collections import namedtuple

    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10**9, 10**9 - 70_000_000, 64_000_000))
    ending = world.run()
    assert isinstance(ending, NotEnoughSpace)
    assert ending.needed > ending.available == 64_000_000
    assert fetched(world) == 0


def test_verify_finds_and_repairs(world: World) -> None:
    world.run()
    assert verified(world).ok

    async def spoil(store: Store) -> None:
        rows = await store.read(queries.items, limit=10_000)
        await store.apply(DeleteItems(tuple(row.id for row in rows if row.kind == "mail")[:5]))
        await store.apply(DeleteItems(tuple(row.id for row in rows if row.kind == "event")[:1]))

    in_cache(world, spoil)
    verdict = verified(world)
    assert verdict.count == 6
    assert sum(line.startswith("missing mail ") for line in verdict.differences) == 5
    repaired = verified(world, repair=True)
    assert repaired.ok
    assert verified(world, deep=True).ok
    assert world.differences() == []


def test_verify_does_not_blame_the_cache_for_later_changes(world: World) -> None:
    world.run()
    world.mutate("arrive", 3)
    world.mutate("delete", 2)
    world.mutate("read", 2)
    assert verified(world).ok


def test_status_of_each_state(world: World) -> None:
    settings: Settings = world.settings()

    def asked() -> Status:
        return asyncio.run(status(settings))

    with pytest.raises(BadSettings):
        asked()
    world.at[40] = [kill]
    world.run()
    assert (asked().cache.state, asked().building.state) == ("absent", "building")
    world.run()
    assert (asked().cache.state, asked().building.state) == ("ready", "absent")
    assert asked().cache.items["mail"] == 60
    settings.cache.write_bytes(b"x" * 5000)
    assert asked().cache.state == "damaged"


def test_flags_alone_do_not_fetch_contents_again(world: World) -> None:
    for moment in (60, 61, 62, 63):
        world.at[moment] = [lambda: world.mutate("flag", 20)]
    assert world.run() == "done"
    assert world.differences() == []
    asked = world.server.stats.as_json()["requests"]["GET attachment"]
    alone = World(world.profile.with_name("alone"), 5, 60, 20)
    alone.run()
    assert asked <= alone.server.stats.as_json()["requests"]["GET attachment"] + 2


def test_verify_counts_each_item_once(world: World) -> None:
    world.run()
    assert world.report is not None
    assert verified(world).checked == sum(world.report.items.values())


def test_the_old_cache_is_copied_and_what_changed_before_and_meanwhile_comes_anew(world: World) -> None:
    world.run()
    for action in ("arrive", "edit-draft", "flag", "move", "delete"):
        world.mutate(action, 3)
    world.at[9] = [lambda: world.mutate("move", 6), lambda: world.mutate("flag", 9)]
    world.at[12] = [lambda: world.mutate("edit-draft", 4), lambda: world.mutate("move", 4)]
    assert world.run() == "done"
    assert world.differences() == []
    assert world.report is not None
    assert 20 <= world.report.salvaged < 80
    assert world.run() == "done"
    assert world.differences() == []


@pytest.mark.parametrize("moment", [4, 8, 14, 20, 26])
def test_a_copy_is_gone_on_with_after_a_kill(world: World, moment: int) -> None:
    world.run()
    whole = fetched(world)
    for action in ("arrive", "edit-draft", "move"):
        world.mutate(action, 2)
    world.at[moment] = [kill]
    world.run()
    world.at.clear()
    world.mutate("edit-draft", 2)
    assert world.run() == "done"
    assert world.differences() == []
    assert fetched(world) - whole < whole / 2


def test_attachments_go_with_the_policy_and_come_back_with_it(world: World) -> None:
    query = "SELECT count(*) FROM attachment JOIN item ON item.number = item WHERE kind = 'mail' AND state = 'done'"

    def here() -> int:
        ((count,),) = rows(world.settings().cache, query)
        assert isinstance(count, int)
        return count

    world.run()
    all_of_them = here()
    assert all_of_them > 3
    assert world.run(attachments="none") == "done"
    assert here() == 0
    assert world.run() == "done"
    assert here() == all_of_them
    assert world.differences() == []
