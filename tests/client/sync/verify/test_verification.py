"""What a verification finds, and what it may say that it has mended."""

from __future__ import annotations

import asyncio
import sqlite3
from asyncio import timeout
from collections.abc import AsyncIterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest

from kerio_resync.cache import queries
from kerio_resync.cache.mutations import ApplyChanges, DeleteItems, EnqueueItems, PutItems, SkipEntry
from kerio_resync.cache.store import Store
from kerio_resync.errors import BadCredentials, FolderDenied, KeyExpired, ProtocolError, TooLarge
from kerio_resync.events import Event, Notice, Progress
from kerio_resync.model import ChangeSet, ContentChunk, Folder, Item, ItemBatch, ListedItem, RemoteChange
from kerio_resync.sync.converge.compare_lists import VerifyReport
from kerio_resync.sync.verify.verification import verify_and_repair
from simulation.world import World, kill
from tests.support.cache import FOLDERS, attachment, mail, whole
from tests.support.fake_mailbox import Mailbox, running
from tests.support.offline_changes import small_world


@pytest.fixture
def world(tmp_path: Path) -> World:
    world = small_world(tmp_path / "profile")
    assert world.run() == "done"
    return world


def verified(world: World, **how: Any) -> VerifyReport:
    assert world.verify(**how) == "done"
    assert world.verdict is not None
    return world.verdict


def mended(world: World, count: int, **how: bool) -> None:
    """It finds that many differences, repairs them all, and then there is none."""
    found = verified(world, repair=True, **how)
    assert (found.count, found.repaired, found.ok) == (count, count, True), found
    assert verified(world, deep=True).differences == ()
    assert world.differences() == []


def spoil(world: World, sql: str) -> None:
    with closing(sqlite3.connect(world.settings().cache)) as db, db:
        db.execute("PRAGMA foreign_keys = 1")
        assert db.execute(sql).rowcount > 0


def some_mail(world: World) -> str:
    return next(
        str(each)
        for folder in world.store.folders()
        if folder["type"] == "FMail"
        for each in world.store.folder(folder["id"]).ordered("id")
    )


def test_what_holds_is_said_to_hold(world: World) -> None:
    found = verified(world, deep=True)
    assert world.report is not None
    assert (found.ok, found.differences, found.checked) == (True, (), sum(world.report.items.values()))


def test_a_damaged_item_is_fetched_again(world: World) -> None:
    spoil(world, "UPDATE item SET title = title || '!' WHERE kind <> 'mail'")
    found = verified(world)
    assert all(line.startswith("damaged ") for line in found.differences)
    assert not found.ok
    mended(world, found.count)


def test_a_damaged_content_is_fetched_again(world: World) -> None:
    spoil(world, "UPDATE chunk SET data = zeroblob(length(data)) WHERE rowid = (SELECT min(rowid) FROM chunk)")
    mended(world, 1)


def test_what_can_not_be_mended_is_not_said_to_be(world: World) -> None:
    with closing(sqlite3.connect(world.settings().cache)) as db, db:
        db.execute("PRAGMA foreign_keys = 0")
        db.execute("INSERT INTO chunk VALUES (99999, 0, 1, 0, x'00')")
        db.execute("DELETE FROM item WHERE number = (SELECT min(number) FROM item)")
    found = verified(world, repair=True)
    assert found.count > found.repaired > 0
    assert not found.ok
    assert any(line.startswith("damaged chunk ") for line in verified(world).differences)


def test_contents_that_are_not_the_servers_are_found_and_fetched(world: World) -> None:
    victim = some_mail(world)
    other = {"id": victim, "subject": "Another"}
    whole = world.store.encoded
    world.store.encoded = lambda item_id: (  # type: ignore[method-assign]  # a change that bears no version
        orjson.dumps(orjson.loads(whole(item_id)) | other) if item_id == victim else whole(item_id)
    )
    assert verified(world).ok
    found = verified(world, deep=True)
    assert found.differences == (f"altered mail {victim}",)
    assert verified(world, deep=True, repair=True).ok
    assert verified(world, deep=True).differences == ()


def test_what_an_ended_run_still_wants_is_missing(world: World) -> None:
    held = some_mail(world)
    folder = str(world.store.item(held)["folderId"])

    async def spoil_it() -> None:
        store = await Store.open(world.settings().cache)
        gone = next(row for row in await store.read(queries.items) if row.kind == "contact")
        await store.apply(DeleteItems((gone.id,)))
        await store.apply(EnqueueItems(gone.folder_ids[0], "contact", (ListedItem(gone.id, gone.version),)))
        await store.apply(EnqueueItems(folder, "mail", (ListedItem(held, ""),)))  # will be looked at again, but is here
        await store.apply(EnqueueItems(folder, "mail", (ListedItem("no such mail", "7"), ListedItem("nor such", "9"))))
        await store.close()

    asyncio.run(spoil_it())
    found = verified(world)
    assert (
        sorted(line.split(" ")[:2] for line in found.differences)
        == [["missing", "contact"]] + [["missing", "mail"]] * 2
    )
    mended(world, 3)


def test_contents_that_are_still_wanted_are_missing(world: World) -> None:
    spoil(world, "UPDATE attachment SET state = 'wanted', sha256 = NULL, received = 0 WHERE state = 'done'")
    spoil(world, "DELETE FROM chunk")
    found = verified(world)
    assert found.count
    assert all(line.startswith("missing attachment ") for line in found.differences)
    mended(world, found.count)


def test_what_the_server_has_in_an_older_version_now_is_taken(world: World) -> None:
    """It was restored from a backup."""
    victim = some_mail(world)
    spoil(world, f"UPDATE item SET version = version + 1000 WHERE id = '{victim}'")  # its checksum goes as well
    assert f"stale mail {victim}" in verified(world).differences
    mended(world, 2)


def test_what_changes_while_it_is_looked_at_is_no_difference(world: World) -> None:
    def change() -> None:
        for action in ("arrive", "edit-draft", "flag", "delete", "contact"):
            world.mutate(action, 2)

    for moment in range(3, 30, 2):
        world.at[moment] = [change]
    found = verified(world, deep=True)
    assert found.differences == ()
    world.heal()


def test_a_killed_repair_is_gone_on_with(world: World) -> None:
    spoil(world, "DELETE FROM item WHERE kind <> 'mail'")
    for moment in (4, 12, 16, 20):
        world.at = {moment: [kill]}
        assert world.verify(repair=True) in ("killed", "done")
    assert verified(world, repair=True).ok
    assert world.differences() == []


# with a mailbox that answers as told


def there(*folders: Folder, count: int = 2) -> tuple[Folder, ...]:
    return tuple(replace(each, count=count) if each.id == "inbox" else each for each in (*FOLDERS.folders, *folders))


def with_file(name: str = "a") -> Item:
    file = attachment(f"of-{name}")
    payload = orjson.dumps({"id": name, "attachments": [{"id": file.id, "name": file.name, "url": file.url}]})
    return mail(name, attached=(file,))._replace(payload=payload)


async def looked(folder: Path, mailbox: Mailbox, *facts: Any, **how: bool) -> VerifyReport:
    held = (PutItems((with_file(), mail("b"))), *whole(1, b"12345"), ApplyChanges("k"), *facts)
    async with running(folder, mailbox, *held) as run:
        return await verify_and_repair(run, **{"deep": False, "repair": False, **how})


def holding(**answers: list[Any]) -> Mailbox:
    return Mailbox({"a": with_file(), "b": mail("b")}, there(), answers)


async def test_folders_inside_themselves_are_named(tmp_path: Path) -> None:
    mailbox = holding()
    mailbox.there = there(Folder("ring", "ring", "Ring", "mail"))
    found = await looked(tmp_path, mailbox, repair=True)
    assert (found.differences, found.repaired) == (("missing folder ring 'Ring'",), 1)


async def test_a_folder_that_is_new_since_is_no_difference(tmp_path: Path) -> None:
    mailbox = holding(changes=[ChangeSet((RemoteChange("created", "new", "root", is_folder=True),), "k2")])
    mailbox.there = there(Folder("new", "root", "New", "mail"))
    assert (await looked(tmp_path, mailbox)).ok


async def test_differences_in_a_folder_that_went_are_not_fetched(tmp_path: Path) -> None:
    mailbox = holding()
    del mailbox.items["a"]
    inbox_gone = tuple(each for each in mailbox.there if each.id != "inbox")
    mailbox.answers["folders"] = [mailbox.there, inbox_gone, inbox_gone]
    mailbox.there = inbox_gone
    found = await looked(tmp_path, mailbox, repair=True)
    assert (found.count, found.ok) == (1, True)
    assert "by_ids" not in mailbox.asked


async def test_a_damaged_item_of_a_folder_that_is_no_more_is_named(tmp_path: Path) -> None:
    mailbox = holding()
    mailbox.there = tuple(each for each in mailbox.there if each.id != "work")
    extra = PutItems((mail("w", folder="work"),))
    async with running(tmp_path, mailbox, ApplyChanges("k"), extra) as run:
        mailbox.items.clear()
        with closing(sqlite3.connect(tmp_path / "cache.db")) as db, db:
            db.execute("UPDATE item SET title = 'x' WHERE id = 'w'")
        found = await verify_and_repair(run, deep=False, repair=False)
    assert found.differences[0] == "damaged mail w: its checksum does not match"
    assert found.differences[1].startswith("extra folder work")


async def test_folder_that_the_cache_was_built_without_is_named_and_no_difference(tmp_path: Path) -> None:
    heard: list[Event] = []
    mailbox = Mailbox(answers={"page": [FolderDenied("no")] * 9}, there=there())
    skipped = [SkipEntry("folder", each.id, "no") for each in mailbox.there if each.kind]
    async with running(tmp_path, mailbox, ApplyChanges("k"), *skipped, heard=heard) as run:
        assert (await verify_and_repair(run, deep=False, repair=False)).ok
        names = sorted(repr(each.name) for each in mailbox.there if each.kind)
    assert [each.text for each in heard if isinstance(each, Notice)] == [
        f"Skipped, because the server does not list them: {', '.join(names)}."
    ]


async def test_of_many_differences_only_the_first_are_named(tmp_path: Path) -> None:
    mailbox = holding()
    mailbox.items |= {str(each): mail(str(each)) for each in range(1200)}
    found = await looked(tmp_path, mailbox)
    assert (found.count, len(found.differences)) == (1200, 1000)


@pytest.mark.parametrize("error", [TooLarge("large"), ProtocolError("?")])
async def test_a_batch_that_fails_is_compared_one_by_one(tmp_path: Path, error: Exception) -> None:
    mailbox = holding(by_ids=[error, error])
    found = await looked(tmp_path, mailbox, deep=True)
    assert found.differences == ("unreadable mail a",)
    assert mailbox.asked.count("by_ids") == 3


async def test_an_item_that_is_not_answered_for_is_unreadable(tmp_path: Path) -> None:
    found = await looked(tmp_path, holding(by_ids=[ItemBatch((mail("z"),))]), deep=True)
    assert found.differences == ("unreadable mail a", "unreadable mail b")


async def test_another_version_than_the_list_named_is_not_compared(tmp_path: Path) -> None:
    newer = ItemBatch((mail("a", "9"), mail("b", text="other")))
    assert (await looked(tmp_path, holding(by_ids=[newer]), deep=True)).differences == ("altered mail b",)


@pytest.mark.parametrize(
    ("download", "same"),
    [
        ([ContentChunk(0, b"12345")], True),
        ([ContentChunk(0, b"123"), ContentChunk(3, b"45")], True),
        ([ContentChunk(0, b"999"), ContentChunk(0, b"12345")], True),
        ([ContentChunk(0, b"54321")], False),
        (ProtocolError("html", scope="item"), False),
    ],
)
async def test_contents_are_compared(tmp_path: Path, download: Any, same: bool) -> None:
    found = await looked(tmp_path, holding(download=[download]), deep=True)
    assert found.differences == (() if same else ("altered mail a",))


async def test_credentials_that_end_meanwhile_end_it(tmp_path: Path) -> None:
    with pytest.raises(ExceptionGroup) as caught:
        await looked(tmp_path, holding(download=[BadCredentials("no")]), deep=True)
    assert caught.group_contains(BadCredentials)


async def test_contents_are_fetched_several_at_once(tmp_path: Path) -> None:
    together = asyncio.Barrier(4)

    class Waiting(Mailbox):
        async def download(self, *args: Any, **how: Any) -> AsyncIterator[ContentChunk]:
            await together.wait()
            yield ContentChunk(0, b"12345")

    mails = [with_file(str(each)) for each in range(4)]
    held = [
        PutItems(tuple(mails)),
        *(fact for each in range(4) for fact in whole(each + 1, b"12345")),
        ApplyChanges("k"),
    ]
    async with running(tmp_path, Waiting({each.id: each for each in mails}, there(count=4)), *held) as run, timeout(30):
        assert (await verify_and_repair(run, deep=True, repair=False)).ok


@pytest.mark.parametrize("deep", [False, True])
def test_progress_ends_with_everything_that_was_compared(world: World, deep: bool) -> None:
    events: list[Event] = []
    assert world.verify(events.append, deep=deep) == "done"
    assert world.verdict is not None
    ticks = [each for each in events if isinstance(each, Progress)]
    assert [each.items_done for each in ticks] == sorted(each.items_done for each in ticks)
    last = ticks[-1]
    assert last.items_done == last.items_total == world.verdict.checked
    assert (last.attachments_done == last.attachments_total > 0) == deep
    assert (last.bytes_done == last.bytes_total > 0) == deep
    if deep:
        assert ticks[0].bytes_total > last.bytes_total / 2, "how much there is is said at once"


async def test_what_is_not_compared_is_not_counted(tmp_path: Path) -> None:
    heard: list[Event] = []
    held = (PutItems((with_file(), mail("b"), mail("w", folder="work"))), *whole(1, b"12345"), ApplyChanges("k"))
    mailbox = Mailbox({"b": mail("b")}, tuple(each for each in there(count=1) if each.id != "work"))
    async with running(tmp_path, mailbox, *held, heard=heard) as run:
        await verify_and_repair(run, deep=True, repair=False)
    last = [each for each in heard if isinstance(each, Progress)][-1]
    assert (last.items_done, last.items_total, last.attachments_total) == (1, 1, 0)


async def test_a_key_that_is_too_old_is_said(tmp_path: Path) -> None:
    heard: list[Event] = []
    async with running(
        tmp_path, Mailbox(answers={"changes": [KeyExpired("old")]}), ApplyChanges("k"), heard=heard
    ) as run:
        assert (await verify_and_repair(run, deep=False, repair=False)).ok
    assert any(isinstance(each, Notice) and "cannot list" in each.text for each in heard)
