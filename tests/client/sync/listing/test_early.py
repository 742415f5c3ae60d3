"""Lists that are asked for before there is anything to compare: with the key first, and not more of them than fit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kerio_resync.errors import FolderDenied, ProtocolError, Unreachable
from kerio_resync.model import Listing
from kerio_resync.settings import Settings
from kerio_resync.sync.listing import concurrency, early
from kerio_resync.sync.listing.early import EarlyListing, PartialListing, list_early, longest_first
from tests.support.cache import FOLDERS, INBOX, PEOPLE, WORK, mail
from tests.support.fake_mailbox import Mailbox

SETTINGS = Settings.model_validate({"profile": Path(), "page_size": 4, "overlap": 1})
NAMES = [f"{n:02}" for n in range(10)]


def holding(**answers: list[Any]) -> Mailbox:
    there = tuple(replace(each, count=10) if each.id == "inbox" else each for each in FOLDERS.folders)
    return Mailbox({name: mail(name) for name in NAMES}, there=there, answers=answers)


async def listed(mailbox: Mailbox) -> EarlyListing:
    return await list_early(mailbox, SETTINGS)  # type: ignore[arg-type]  # what is not needed is not there


def names(begun: PartialListing) -> list[str]:
    return [row.id for page in begun.pages for row in page]


async def test_the_key_is_older_than_every_list() -> None:
    mailbox = holding(key=["k1"])
    found = await listed(mailbox)
    assert mailbox.asked[:2] == ["key", "folders"]
    assert found.key == "k1"
    assert set(found.lists) == {("inbox",), ("work",), ("people",)}
    assert names(found.lists["inbox",]) == NAMES
    assert found.lists["inbox",].done


async def test_a_list_is_handed_out_once() -> None:
    found = await listed(holding())
    assert names(found.take_pages(Listing((INBOX,)))) == NAMES
    assert found.take_pages(Listing((INBOX,))) == PartialListing()


async def test_what_does_not_fit_is_listed_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(early, "MAX_ROWS", 5)
    monkeypatch.setattr(concurrency, "CONCURRENT_LISTINGS", 1)
    found = await listed(holding())
    assert set(found.lists) == {("inbox",)}
    begun = found.take_pages(Listing((INBOX,)))
    assert names(begun) == NAMES[:8]
    assert (begun.position, begun.done) == (b"8", False)


@pytest.mark.parametrize("error", [FolderDenied("no"), ProtocolError("what?", scope="folder")])
async def test_a_folder_that_can_not_be_listed_is_left_out(error: Exception) -> None:
    found = await listed(holding(page=[error]))
    assert set(found.lists) == {("work",), ("people",)}


@pytest.mark.parametrize("verb", ["key", "folders", "page"])
@pytest.mark.parametrize("error", [Unreachable("gone"), ProtocolError("what?")])
async def test_what_ends_a_run_is_raised(verb: str, error: Exception) -> None:
    with pytest.raises((type(error), ExceptionGroup)) as caught:
        await listed(holding(**{verb: [error]}))
    assert verb != "page" or caught.group_contains(type(error))


def test_the_longest_is_first() -> None:
    one, both = Listing((replace(INBOX, count=2),)), Listing((replace(WORK, count=3), replace(PEOPLE, count=2)))
    assert [listing.count for listing in longest_first([one, both])] == [5, 2]
