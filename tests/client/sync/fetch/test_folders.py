"""Which folders are mirrored, in what order, and how their lists are stored."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kerio_resync.cache import queries
from kerio_resync.errors import FolderDenied, ItemGone, ProtocolError, Unreachable
from kerio_resync.events import Event, FolderListed
from kerio_resync.model import Folder, ListedItem, Listing, Traits
from kerio_resync.sync.fetch.folders import (
    list_into_cache,
    looping,
    rank,
    refresh_folders,
    syncable,
    unique_folders,
)
from tests.support.cache import FOLDERS, INBOX, PEOPLE, ROOT, WORK, mail
from tests.support.fake_mailbox import Mailbox, page_of, running


@pytest.mark.parametrize(
    ("folder", "expected"),
    [
        (INBOX, 0),
        (Folder("c", "", "Calendar", "event"), 0),
        (PEOPLE, 1),
        (Folder("d", "", "Drafts", "mail", role="drafts"), 1),
        (WORK, 2),
        (Folder("s", "", "Sent", "mail", role="sent"), 3),
        (Folder("t", "", "Trash", "mail", role="trash"), 4),
        (Folder("j", "", "Junk", "mail", role="junk"), 5),
        (Folder("p", "", "Public", "event", place="public"), 6),
    ],
)
def test_what_a_person_opens_first_is_first(folder: Folder, expected: int) -> None:
    assert rank(folder) == expected


def test_roots_and_what_may_not_be_read_are_not_mirrored() -> None:
    closed = replace(WORK, readable=False)
    assert [each.id for each in syncable((ROOT, PEOPLE, closed, INBOX))] == ["inbox", "people"]


RING = (Folder("a", "b", "A", "mail"), Folder("b", "a", "B", "mail"), Folder("c", "b", "C", "mail"))


def test_unique_folders_keeps_the_first_of_two_folders_with_one_id() -> None:
    once, twins = unique_folders((INBOX, *RING, replace(INBOX, name="Twin")))
    assert [each.id for each in once] == ["inbox", "a", "b", "c"]
    assert [each.name for each in twins] == ["Twin"]


def test_looping_finds_folders_among_their_own_ancestors() -> None:
    orphan = Folder("o", "nowhere", "Orphan", "mail")
    assert [each.name for each in looping((ROOT, INBOX, orphan, *RING))] == ["A", "B", "C"]


async def test_folders_inside_themselves_are_mirrored_and_named_once(tmp_path: Path) -> None:
    async with running(tmp_path, Mailbox(there=(ROOT, INBOX, *RING))) as run:
        for _ in range(2):
            todo = await refresh_folders(run)
        assert {each.id for each in todo} == {"inbox", "a", "b", "c"}
        assert sum("as its own ancestor" in each for each in run.announced.notices) == 3
        assert await run.store.read(queries.skipped) == ()


async def test_a_server_without_a_folder_is_not_believed(tmp_path: Path) -> None:
    async with running(tmp_path, Mailbox(there=())) as run:
        with pytest.raises(ProtocolError):
            await refresh_folders(run)


async def test_a_folder_goes_if_it_is_left_out_twice(tmp_path: Path) -> None:
    mailbox = Mailbox(answers={"folders": [(ROOT, INBOX), FOLDERS.folders, (ROOT, INBOX), (ROOT, INBOX)]})
    async with running(tmp_path, mailbox) as run:
        await refresh_folders(run)
        assert len(await run.store.read(queries.folders)) == 4
        await refresh_folders(run)
        assert len(await run.store.read(queries.folders)) == 2


async def test_what_can_not_be_mirrored_is_named(tmp_path: Path) -> None:
    ring = Folder("a", "a", "A", "mail")
    strange = Folder("s", "a", "Strange", None, count=3)
    there = (*FOLDERS.folders[:3], replace(PEOPLE, readable=False), ring, strange)
    async with running(tmp_path, Mailbox(there=there)) as run:
        assert [each.id for each in await refresh_folders(run)] == ["inbox", "work", "a"]
        assert {each.id: each.reason for each in await run.store.read(queries.skipped)} == {
            "people": "the server does not let you read 'Contacts'",
            "s": "'Strange' is of an unknown kind, and holds 3 items",
        }


async def listed(folder: Path, mailbox: Mailbox, *folders: Folder, position: bytes | None = None) -> tuple[Any, ...]:
    """Returns (stored, wanted, left out, folders reported as listed)."""
    heard: list[Event] = []
    async with running(folder, mailbox, heard=heard) as run:
        await list_into_cache(run, Listing(folders), position)
        stored = sorted(await run.store.read(queries.versions, [*mailbox.items]))
        wanted = sorted(each.id for each in await run.store.read(queries.queued_items, 99))
        skipped = [(each.scope, each.id) for each in await run.store.read(queries.skipped)]
        assert run.progress.work.folders_done == len(folders)
        return stored, wanted, skipped, [(each.folder, each.items) for each in heard if isinstance(each, FolderListed)]


async def test_mails_become_wanted(tmp_path: Path) -> None:
    mailbox = Mailbox({each: mail(each) for each in "abcdefg"})
    found = await listed(tmp_path, mailbox, replace(INBOX, count=7))
    assert found == ([], list("abcdefg"), [], [("inbox", 7)])


async def test_others_come_whole(tmp_path: Path) -> None:
    mailbox = Mailbox({each: mail(each, folder="people", kind="contact") for each in "abc"})
    assert await listed(tmp_path, mailbox, replace(PEOPLE, count=3)) == (list("abc"), [], [], [("people", 3)])


async def test_a_page_with_a_row_whose_item_is_missing_and_one_that_is_broken(tmp_path: Path) -> None:
    person = mail("a", folder="people", kind="contact")
    page = page_of(ListedItem("a", "1"), ListedItem("b", "1"), items=[person], malformed=["c"])
    mailbox = Mailbox({"a": person}, answers={"page": [page]})
    found = await listed(tmp_path, mailbox, replace(PEOPLE, count=3))
    assert found == (["a"], ["b"], [("item", "c")], [("people", 3)])


async def test_an_empty_folder_is_not_asked_for(tmp_path: Path) -> None:
    mailbox = Mailbox()
    assert await listed(tmp_path, mailbox, INBOX) == ([], [], [], [("inbox", 0)])
    assert mailbox.asked == []


async def test_one_that_is_gone_on_with_counts_what_was_there(tmp_path: Path) -> None:
    mailbox = Mailbox({each: mail(each) for each in "abcdefg"})
    found = await listed(tmp_path, mailbox, replace(INBOX, count=7), position=b"3")
    assert found == ([], list("defg"), [], [("inbox", 7)])


@pytest.mark.parametrize("error", [FolderDenied("no"), ItemGone("gone"), ProtocolError("?", scope="folder")])
async def test_one_that_can_not_be_listed_is_left_out_by_name(tmp_path: Path, error: Exception) -> None:
    found = await listed(tmp_path, Mailbox(answers={"page": [error]}), replace(INBOX, count=1))
    assert found == ([], [], [("folder", "inbox")], [])


@pytest.mark.parametrize("error", [ProtocolError("?"), Unreachable("?")])
async def test_what_concerns_the_run_ends_it(tmp_path: Path, error: Exception) -> None:
    with pytest.raises(type(error)):
        await listed(tmp_path, Mailbox(answers={"page": [error]}), replace(INBOX, count=1))


SEVERAL = Traits(several_folders=True)


async def test_list_into_cache_queues_items_of_several_folders_once(tmp_path: Path) -> None:
    mailbox = Mailbox({"a": mail("a"), "b": mail("b")._replace(folder_ids=("work", "inbox"))}, traits=SEVERAL)
    found = await listed(tmp_path, mailbox, replace(INBOX, count=2), replace(WORK, count=1))
    assert found == ([], ["a", "b"], [], [("inbox", 2), ("work", 1)])


@pytest.mark.parametrize("error", [FolderDenied("no"), ItemGone("gone"), ProtocolError("?", scope="folder")])
async def test_list_into_cache_raises_if_whole_account_cannot_be_listed(tmp_path: Path, error: Exception) -> None:
    mailbox = Mailbox(answers={"page": [error]}, traits=SEVERAL)
    with pytest.raises(type(error)):
        await listed(tmp_path, mailbox, replace(INBOX, count=1), WORK)
