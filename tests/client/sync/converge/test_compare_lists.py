"""Comparing lists, and what the server says has changed since."""

from __future__ import annotations

from dataclasses import replace
from itertools import count
from pathlib import Path

import pytest

from kerio_resync.cache import queries
from kerio_resync.cache.mutations import ApplyChanges, SkipEntry
from kerio_resync.errors import FolderDenied, ItemGone, KeyExpired, ProtocolError, Unreachable
from kerio_resync.model import ChangeSet, ListedItem, RemoteChange, Traits
from kerio_resync.sync.converge.compare_lists import (
    Difference,
    VerifyReport,
    changed_since_sync,
    compare_folders,
    enqueue_differing,
    new_comparison,
    reconcile_lists,
)
from tests.support.cache import FOLDERS, INBOX, WORK, items, mail
from tests.support.fake_mailbox import Mailbox, running

KEY = ApplyChanges("k1")


def test_a_verdict_is_good_if_everything_was_repaired() -> None:
    assert VerifyReport(5).ok
    assert not VerifyReport(5, ("missing mail a",), 1).ok
    assert VerifyReport(5, ("missing mail a",), 1, 1).as_json()["ok"] is True


async def test_no_number_comes_twice(tmp_path: Path) -> None:
    async with running(tmp_path, Mailbox()) as run:
        assert [await new_comparison(run.store) for _ in range(3)] == [1, 2, 3]


async def test_every_folder_is_compared_and_each_difference_told(tmp_path: Path) -> None:
    mailbox = Mailbox({"a": mail("a"), "b": mail("b", "2"), "c": mail("c"), "w": mail("w", folder="work")})
    found: list[tuple[str, str]] = []
    checked = 0

    async def take(rows: int, odd: list[Difference]) -> None:
        nonlocal checked
        checked += rows
        found.extend((each.what, each.row.id) for each in odd)

    async with running(tmp_path, mailbox, items("a", "b", "z")) as run:
        assert await compare_folders(run, [INBOX, WORK], take) == {}
    assert checked == 4
    assert sorted(found) == [("extra", "z"), ("missing", "c"), ("missing", "w"), ("stale", "b")]


async def test_folders_that_can_not_be_listed_are_told(tmp_path: Path) -> None:
    async def take(rows: int, odd: list[Difference]) -> None:
        raise AssertionError

    errors = [ItemGone("gone"), FolderDenied("no"), ProtocolError("endless", scope="folder")]
    folders = [replace(INBOX, id=str(each)) for each in range(3)]
    async with running(tmp_path, Mailbox(answers={"page": list(errors)})) as run:
        assert list((await compare_folders(run, folders, take)).values()) == errors
        for error in (ProtocolError("?"), Unreachable("?")):
            run.mailbox.answers["page"] = [error]  # type: ignore[attr-defined]
            with pytest.raises(ExceptionGroup) as caught:
                await compare_folders(run, folders[:1], take)
            assert caught.value.exceptions == (error,)


async def test_what_differs_becomes_wanted(tmp_path: Path) -> None:
    mailbox = Mailbox({"a": mail("a"), "b": mail("b", "2"), "old": mail("old", "3")}, there=(INBOX, WORK))
    async with running(tmp_path, mailbox, items("a", "b")) as run:
        await run.store.apply(items())
        assert await reconcile_lists(run) == 2
        assert sorted(each.id for each in await run.store.read(queries.queued_items, 9)) == ["b", "old"]
        assert await reconcile_lists(run) == 0  # it is wanted already


async def test_reconcile_lists_queues_older_version_than_stored(tmp_path: Path) -> None:
    from kerio_resync.cache.mutations import PutItems

    mailbox = Mailbox({"a": mail("a", "3")}, there=(INBOX,))
    async with running(tmp_path, mailbox, PutItems((mail("a", "9"),))) as run:
        assert await reconcile_lists(run) == 1
        assert [(each.id, each.version) for each in await run.store.read(queries.queued_items, 9)] == [("a", "3")]


async def test_reconcile_lists_patches_stored_items_with_immutable_contents(tmp_path: Path) -> None:
    both = ("inbox", "work")
    there = {"a": mail("a", "2")._replace(folder_ids=both, flagged=True), "new": mail("new"), "same": mail("same")}
    mailbox = Mailbox(there, there=(INBOX, WORK), traits=Traits(several_folders=True, immutable_contents=True))
    async with running(tmp_path, mailbox, items("a", "same")) as run:
        assert await reconcile_lists(run) == 2
        assert [row.id for row in await run.store.read(queries.queued_items, 9)] == ["new"]
        assert await run.store.read(queries.places, ["a"]) == {"a": (both, "2")}
        assert mailbox.asked.count("patches") == 1
        assert "by_ids" not in mailbox.asked


async def test_enqueue_differing_fetches_item_whose_content_is_wrong_in_the_same_version(tmp_path: Path) -> None:
    mailbox = Mailbox({"a": mail("a")}, traits=Traits(several_folders=True, immutable_contents=True))
    async with running(tmp_path, mailbox, items("a")) as run:
        await enqueue_differing(run, INBOX, [ListedItem("a", "1")])
        assert [row.id for row in await run.store.read(queries.queued_items, 9)] == ["a"]


async def test_what_was_left_out_is_not_asked_for_again(tmp_path: Path) -> None:
    mailbox = Mailbox({"a": mail("a"), "w": mail("w", folder="work")}, there=(INBOX, WORK))
    async with running(
        tmp_path, mailbox, SkipEntry("item", "a", "large"), SkipEntry("folder", "work", "endless")
    ) as run:
        assert await reconcile_lists(run) == 0
        assert mailbox.asked == ["page"]


async def test_a_list_that_makes_no_sense_the_second_time_ends_it(tmp_path: Path) -> None:
    answers = [ItemGone("gone"), ProtocolError("endless", scope="folder")]
    async with running(tmp_path, Mailbox(there=(INBOX, WORK), answers={"page": list(answers)})) as run:
        with pytest.raises(ProtocolError, match="endless"):
            await reconcile_lists(run)


@pytest.mark.parametrize("error", [ItemGone("gone"), FolderDenied("no")])
async def test_relist_leaves_out_by_name_what_the_server_names_and_never_lists(
    tmp_path: Path, error: Exception
) -> None:
    mailbox = Mailbox({"a": mail("a")}, there=(INBOX,), answers={"page": [error, error]})
    async with running(tmp_path, mailbox, FOLDERS) as run:
        assert await reconcile_lists(run) == 0
        assert [(row.scope, row.id) for row in await run.store.read(queries.skipped)] == [("folder", "inbox")]
    mailbox = Mailbox({"a": mail("a")}, there=(INBOX,), answers={"page": [error]})
    (tmp_path / "once").mkdir()
    async with running(tmp_path / "once", mailbox, FOLDERS) as run:
        assert await reconcile_lists(run) == 1  # a folder that was closed for a moment
        assert await run.store.read(queries.skipped) == ()
    mailbox = Mailbox(there=(INBOX, WORK), answers={"page": [error, error], "folders": [()]})
    (tmp_path / "gone").mkdir()
    async with running(tmp_path / "gone", mailbox, FOLDERS) as run:
        assert await reconcile_lists(run) == 0  # the next catch-up removes it
        assert await run.store.read(queries.skipped) == ()


async def test_what_the_server_says_has_changed(tmp_path: Path) -> None:
    feed = [
        ChangeSet((RemoteChange("moved", "n", "work", old_id="o"), RemoteChange("deleted", "d", "inbox")), "k2"),
        ChangeSet((RemoteChange("modified", "f", "parent", is_folder=True),), "k3"),
    ]
    async with running(tmp_path, Mailbox(answers={"changes": feed}), KEY, FOLDERS) as run:
        assert await changed_since_sync(run.mailbox, run.store) == ({"n", "o", "d", "f", "parent"}, True)


async def test_changes_told_with_the_same_key_count(tmp_path: Path) -> None:
    feed = [ChangeSet((RemoteChange("deleted", "d", "inbox"),), "k1")]
    async with running(tmp_path, Mailbox(answers={"changes": feed}), KEY, FOLDERS) as run:
        assert await changed_since_sync(run.mailbox, run.store) == ({"d"}, True)


async def test_a_server_that_can_not_tell_what_has_changed(tmp_path: Path) -> None:
    mailbox = Mailbox()
    async with running(tmp_path, mailbox) as run:
        assert await changed_since_sync(run.mailbox, run.store) == (set(), False)  # no key
        await run.store.apply(KEY)
        mailbox.answers["changes"] = [ChangeSet((RemoteChange("deleted", "d", "inbox"),), "k2"), KeyExpired("old")]
        assert await changed_since_sync(run.mailbox, run.store) == ({"d"}, False)
        keys = count()

        async def endless(key: str) -> ChangeSet:
            return ChangeSet((RemoteChange("deleted", "x", "inbox"),), str(next(keys)))

        mailbox.changes = endless  # type: ignore[method-assign]
        assert await changed_since_sync(run.mailbox, run.store) == ({"x"}, False)


async def test_enqueue_differing_ignores_a_folder_that_cannot_hold_items(tmp_path: Path) -> None:
    async with running(tmp_path, Mailbox()) as run:
        await enqueue_differing(run, replace(INBOX, kind=None), [ListedItem("a", "1")])
        assert await run.store.read(queries.queued_items, 10) == ()
