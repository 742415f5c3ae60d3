"""Only some folders: which ones are meant, and how they are fetched again in the cache that is there."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kerio_resync.cache import queries
from kerio_resync.cache.mutations import ApplyChanges, Mutation, PutPage, SetMeta, SkipEntry
from kerio_resync.errors import BadSettings, FolderDenied, OutcomeUnknown
from kerio_resync.events import Event, FolderListed
from kerio_resync.model import Folder, Listing, ListingPage
from kerio_resync.sync.folder_names import select_folders
from kerio_resync.sync.partial_rebuild import PARTIAL_REBUILD_KEY, rebuild_partially
from tests.support.cache import FOLDERS, INBOX, PEOPLE, WORK, items, mail
from tests.support.fake_mailbox import Mailbox, running

TREE = {
    "inbox": "Inbox", "projects": "Inbox/Projects", "old": "Inbox/Projects/Old", "other": "Archive/Projects",
    "inboxes": "Inboxes",
}  # fmt: skip
KNOWN = [Folder(each, "", path.rpartition("/")[2], "mail") for each, path in TREE.items()]
LISTED = tuple(PutPage((each.id,), done=True) for each in FOLDERS.folders if each.kind)


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("Inbox",), ["inbox", "projects", "old"]),
        (("Inbox/Projects",), ["projects", "old"]),
        (("Old",), ["old"]),
        (("Archive/Projects", "Old", "Old"), ["other", "old"]),
    ],
)
def test_which_folders_are_meant(names: tuple[str, ...], expected: list[str]) -> None:
    assert [each.id for each in select_folders(names, KNOWN, TREE)] == expected


COMPOSED, DECOMPOSED = "Entw\u00fcrfe", "Entwu\u0308rfe"


@pytest.mark.parametrize("typed", [COMPOSED, DECOMPOSED, COMPOSED.upper(), "entw\u00fcrfe"])
@pytest.mark.parametrize("named", [COMPOSED, DECOMPOSED])
def test_chosen_compares_names_after_normalisation(typed: str, named: str) -> None:
    known = [Folder("d", "", named, "mail"), Folder("i", "", "Inbox", "mail")]
    assert [each.id for each in select_folders([typed], known, {"d": named, "i": "Inbox"})] == ["d"]
    assert [each.id for each in select_folders([f"Inbox/{typed}"], known, {"d": f"Inbox/{named}", "i": "Inbox"})] == [
        "d"
    ]


def test_chosen_keeps_names_apart_that_differ_only_in_normalisation_or_case() -> None:
    names = {"c": COMPOSED, "d": DECOMPOSED, "p": "Projects", "q": "projects"}
    known = [Folder(each, "", name, "mail") for each, name in names.items()]
    for each, name in names.items():
        assert [folder.id for folder in select_folders([name], known, names)] == [each]
    with pytest.raises(BadSettings, match=r"several folders .* 'Entwu\\u0308rfe', Entw"):
        select_folders([COMPOSED.upper()], known, names)
    with pytest.raises(BadSettings, match="Projects, projects"):
        select_folders(["PROJECTS"], known, names)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("Projects", "Archive/Projects, Inbox/Projects"),
        ("Project", "no folder 'Project'; did you mean 'Archive/Projects' or 'Inbox/Projects'?"),
        ("INBOX/project/old", "did you mean 'Inbox/Projects/Old' or 'Inbox/Projects'?"),
        (
            "Nowhere",
            "no folder 'Nowhere'; there are 'Archive/Projects', 'Inbox', 'Inbox/Projects', 'Inbox/Projects/Old', 'Inbo",
        ),
    ],
)
def test_what_is_not_clear_is_said(name: str, says: str) -> None:
    with pytest.raises(BadSettings, match=re.escape(says)):
        select_folders((name,), KNOWN, TREE)


def test_of_many_folders_some_are_named() -> None:
    many = [Folder(str(each), "", f"{each:02}", "mail") for each in range(13)]
    with pytest.raises(BadSettings, match=r"there are '00', .*, '09' and 3 more"):
        select_folders(("Nowhere",), many, {})
    with pytest.raises(BadSettings, match="there are none"):
        select_folders(("Nowhere",), [], {})


async def part(folder: Path, mailbox: Mailbox, *facts: Any) -> tuple[set[str], str | None, list[Event]]:
    """Returns (ids stored, what is under way, events)."""
    heard: list[Event] = []
    held: tuple[Mutation, ...] = (items("a", "gone"), *LISTED, ApplyChanges("k"))
    async with running(folder, mailbox, *held, *facts, heard=heard, folders=("Inbox",)) as run:
        await rebuild_partially(run)
        return (
            set(await run.store.read(queries.versions, ["a", "b", "gone", "w"])),
            await run.store.read(queries.meta, PARTIAL_REBUILD_KEY),
            heard,
        )


def holding(**answers: list[Any]) -> Mailbox:
    there = tuple(replace(each, count=2) if each.id == "inbox" else each for each in FOLDERS.folders)
    return Mailbox({"a": mail("a"), "b": mail("b"), "w": mail("w", folder="work")}, there, answers)


async def test_the_chosen_folder_is_fetched_again(tmp_path: Path) -> None:
    found, under_way, heard = await part(tmp_path, holding(), SkipEntry("folder", "inbox", "closed"))
    assert (found, under_way) == ({"a", "b"}, "")  # what is in another folder is not its business
    assert [(each.folder, each.items) for each in heard if isinstance(each, FolderListed)] == [("inbox", 2)]


async def test_one_that_is_under_way_is_gone_on_with(tmp_path: Path) -> None:
    mailbox = holding()
    found, *_ = await part(tmp_path, mailbox, SetMeta(PARTIAL_REBUILD_KEY, '7 ["inbox"]'))
    assert found == {"a", "gone"}  # the inbox was listed to its end in the run before
    assert "page" not in mailbox.asked


async def test_another_one_that_was_under_way_is_not(tmp_path: Path) -> None:
    found, under_way, _ = await part(tmp_path, holding(), SetMeta(PARTIAL_REBUILD_KEY, '7 ["people"]'))
    assert (found, under_way) == ({"a", "b"}, "")


async def test_a_folder_that_is_closed_meanwhile_is_left_out_by_name(tmp_path: Path) -> None:
    found, under_way, heard = await part(tmp_path, holding(page=[FolderDenied("no")]))
    assert (found, under_way) == ({"a", "gone"}, "")
    assert not [each for each in heard if isinstance(each, FolderListed)]


async def test_what_ended_in_the_middle_goes_on_with_the_same_comparison(tmp_path: Path) -> None:
    names = [str(each) for each in range(10)]
    mailbox = Mailbox({each: mail(each) for each in names}, there=(replace(INBOX, count=10), WORK, PEOPLE))
    async with running(tmp_path, mailbox, items(*names, "gone"), *LISTED, ApplyChanges("k"), folders=("Inbox",)) as run:
        pages = mailbox._page

        def breaks(listing: Listing, start: int, *, whole: bool) -> ListingPage:
            if start >= 4:
                raise OutcomeUnknown("cut")
            return pages(listing, start, whole=whole)

        mailbox._page = breaks  # type: ignore[method-assign]
        with pytest.raises(ExceptionGroup) as caught:
            await rebuild_partially(run)
        assert caught.group_contains(OutcomeUnknown)
        mailbox._page = pages  # type: ignore[method-assign]
        number = (await run.store.read(queries.meta, PARTIAL_REBUILD_KEY) or "").split(" ")[0]
        unseen = [each async for some in run.store.items_not_listed(["inbox"], int(number)) for each in some]
        assert 0 < len(unseen) < 10
        await rebuild_partially(run)
        assert set(await run.store.read(queries.versions, [*names, "gone"])) == set(names)
        assert [each async for each in run.store.items_not_listed(["inbox"], int(number))] == []
