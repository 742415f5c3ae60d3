"""What a verification finds, and what it may say that it has mended."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

import orjson
import pytest

from kerio_resync.cache.facts import Forget, Want
from kerio_resync.cache.store import Store
from kerio_resync.model import Listed
from kerio_resync.resync.verify import Verdict
from tests.whole.offline import small_world
from tests.whole.world import World, kill


@pytest.fixture
def world(tmp_path: Path) -> World:
    world = small_world(tmp_path / "profile")
    assert world.run() == "done"
    return world


def verified(world: World, **how: bool) -> Verdict:
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
        db.execute("INSERT INTO chunk VALUES (99999, 0, 0, x'00')")
        db.execute("DELETE FROM item WHERE number = (SELECT min(number) FROM item)")
    found = verified(world, repair=True)
    assert found.count > found.repaired > 0
    assert not found.ok
    assert verified(world).differences[0].startswith("damaged chunk ")


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
        gone = next(row for row in await store.items() if row.kind == "contact")
        await store.put(Forget((gone.id,)))
        await store.put(Want(gone.folder_id, "contact", (Listed(gone.id, gone.watermark),)))
        await store.put(Want(folder, "mail", (Listed(held, 0),)))  # will be looked at again, but is here
        await store.put(Want(folder, "mail", (Listed("no such mail", 7), Listed("nor such", 9))))
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
    spoil(world, f"UPDATE item SET watermark = watermark + 1000 WHERE id = '{victim}'")  # its checksum goes as well
    assert f"stale mail {victim}" in verified(world).differences
    mended(world, 2)


def test_what_changes_while_it_is_looked_at_is_no_difference(world: World) -> None:
    def change() -> None:
        for action in ("arrive", "edit-draft", "flag", "delete", "contact"):
            world.mutate(action, 2)  # type: ignore[arg-type]

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
