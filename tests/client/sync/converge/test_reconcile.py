"""Catching up and comparing until both agree, with keys that expire and mailboxes that never rest."""

from __future__ import annotations

from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from kerio_resync.cache import queries
from kerio_resync.cache.integrity import check
from kerio_resync.cache.integrity.check import Defect
from kerio_resync.cache.mutations import ApplyChanges
from kerio_resync.errors import CacheDamaged, KeyExpired, ProtocolError, VerificationFailed
from kerio_resync.model import ChangeSet, Folder, ListedItem, Listing, ListingPage, RemoteChange
from kerio_resync.sync.converge.catch_up import MAX_ROUNDS, SYNC_KEY, catch_up, new_key
from kerio_resync.sync.converge.reconcile import MAX_COMPARISONS, MAX_KEY_RENEWALS, bring_up_to_date, converge
from kerio_resync.sync.listing.early import PartialListing
from tests.support.cache import FOLDERS, INBOX, items, mail
from tests.support.fake_mailbox import Mailbox, page_of, running

THERE = tuple(replace(each, count=2) if each.id == "inbox" else each for each in FOLDERS.folders)
KEY = ApplyChanges("k1")


def holding(*names: str, **answers: list[Any]) -> Mailbox:
    return Mailbox({each: mail(each) for each in names}, there=THERE, answers=answers)


async def test_what_is_up_to_date_stays(tmp_path: Path) -> None:
    async with running(tmp_path, holding("a", "b"), items("a", "b"), KEY) as run:
        await converge(run)
        assert run.comparison.repaired == 0
        assert await run.store.read(queries.meta, SYNC_KEY) == "k1"


async def test_a_key_that_moves_though_nothing_changed_is_kept(tmp_path: Path) -> None:
    async with running(tmp_path, holding(changes=[ChangeSet((), "k2")]), KEY) as run:
        assert await catch_up(run) == 0
        assert await run.store.read(queries.meta, SYNC_KEY) == "k2"


async def test_what_differs_is_fetched(tmp_path: Path) -> None:
    async with running(tmp_path, holding("a", "b"), items("a", "c"), KEY) as run:
        await converge(run)
        assert run.comparison.repaired == 1  # the other one was met when the folder was listed for the first time
        assert set(await run.store.read(queries.versions, ["a", "b", "c"])) == {"a", "b"}


class TwoLists(Mailbox):
    """Lists item "a" in another folder too, in the version `also`; what it answers by id stays as it is."""

    also: tuple[str, str] = ("work", "1")

    def _page(self, listing: Listing, start: int, *, whole: bool) -> ListingPage:
        page = super()._page(listing, start, whole=whole)
        if listing.id != self.also[0] or start:
            return page
        rows = [row for row in page.rows if row.id != "a"]
        return page_of(ListedItem("a", self.also[1], 100), *rows)


@pytest.mark.parametrize("also", [("work", "1"), ("work", "7")])
async def test_settle_names_an_item_whose_lists_contradict_it_and_keeps_it(
    tmp_path: Path, also: tuple[str, str]
) -> None:
    mailbox = TwoLists({"a": mail("a"), "b": mail("b")})
    mailbox.also = also
    async with running(tmp_path, mailbox, items("a", "b"), KEY) as run:
        await converge(run)
        assert await run.store.read(queries.places, ["a", "b"]) == {"a": (("inbox",), "1"), "b": (("inbox",), "1")}
        assert [each for each in run.announced.notices if "The server lists mail a in" in each]
        assert len(run.announced.notices) == 1


async def test_without_a_key_everything_is_compared(tmp_path: Path) -> None:
    async with running(tmp_path, holding("a", "b"), items("a", "c")) as run:
        await bring_up_to_date(run)
        assert set(await run.store.read(queries.versions, ["a", "b", "c"])) == {"a", "b"}
        assert await run.store.read(queries.meta, SYNC_KEY) == "now"
        assert len(run.announced.notices) == 1


async def test_a_key_that_holds_needs_no_comparison(tmp_path: Path) -> None:
    mailbox = holding("a", "b")
    async with running(tmp_path, mailbox, items("a", "b"), KEY) as run:
        await bring_up_to_date(run)
        assert mailbox.asked == ["changes"]


async def test_keys_that_never_hold_make_no_sense(tmp_path: Path) -> None:
    mailbox = holding("a", changes=[KeyExpired("old")] * 99)
    async with running(tmp_path, mailbox, items("a"), KEY) as run:
        with pytest.raises(ProtocolError, match="every sync key"):
            await converge(run)
        assert mailbox.asked.count("key") == MAX_KEY_RENEWALS


async def test_an_empty_key_makes_no_sense(tmp_path: Path) -> None:
    async with running(tmp_path, holding(key=[""])) as run:
        with pytest.raises(ProtocolError, match="empty"):
            await new_key(run)


async def test_a_list_that_disagrees_for_ever_is_said_to(tmp_path: Path) -> None:
    """It names an item that the server does not have, and nothing changes."""
    page = page_of(ListedItem("a", "1"), ListedItem("ghost", "1"))
    mailbox = Mailbox({"a": mail("a")}, there=(INBOX,), answers={"page": [page] * 99})
    async with running(tmp_path, mailbox, items("a"), KEY) as run:
        with pytest.raises(VerificationFailed) as caught:
            await converge(run)
        assert caught.value.differences == 1
        assert mailbox.asked.count("page") == MAX_COMPARISONS


async def test_a_file_that_disagrees_with_itself_is_damaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An index that lacks a row: it would be fetched again for ever, by this run and by all to come."""
    page = page_of(ListedItem("a", "1"), ListedItem("ghost", "1"))
    mailbox = Mailbox({"a": mail("a")}, there=(INBOX,), answers={"page": [page] * 99})
    lines = [Defect("row 1 missing from index item_by_kind")]
    monkeypatch.setattr(check, "check_structure", lambda db: lines)
    async with running(tmp_path, mailbox, items("a"), KEY) as run:
        with pytest.raises(CacheDamaged, match="row 1 missing"):
            await converge(run)


async def test_a_mailbox_that_never_rests_is_left_with_a_word(tmp_path: Path) -> None:
    page = page_of(ListedItem("a", "1"), ListedItem("ghost", "1"))
    keys = count()
    mailbox = Mailbox({"a": mail("a")}, there=(INBOX,), answers={"page": [page] * 99})

    async def restless(key: str) -> ChangeSet:
        number = next(keys)
        return ChangeSet((RemoteChange("deleted", "x", "inbox"),) if number % 2 else (), f"k{number}")

    mailbox.changes = restless  # type: ignore[method-assign]
    async with running(tmp_path, mailbox, items("a"), KEY) as run:
        await converge(run)
        assert "changes faster" in run.announced.notices[-1]
        assert mailbox.asked.count("page") == 3 * MAX_COMPARISONS


async def test_a_feed_without_end_is_left_with_a_word(tmp_path: Path) -> None:
    mailbox, keys = holding("a"), count()

    async def endless(key: str) -> ChangeSet:
        return ChangeSet((RemoteChange("deleted", "x", "inbox"),), f"k{next(keys)}")

    mailbox.changes = endless  # type: ignore[method-assign]
    async with running(tmp_path, mailbox, items("a"), KEY) as run:
        assert await catch_up(run) == MAX_ROUNDS
        assert "changes faster" in run.announced.notices[0]


async def test_a_folder_that_the_feed_tells_of_is_listed_and_fetched(tmp_path: Path) -> None:
    new = Folder("new", "root", "New", "mail", count=1)
    told = ChangeSet(
        (RemoteChange("created", "new", "root", is_folder=True), RemoteChange("created", "b", "inbox", version="1")),
        "k2",
    )
    mailbox = holding("a", "b", changes=[told])
    mailbox.items["n"] = mail("n", folder="new")
    mailbox.there = (*THERE, new)
    async with running(tmp_path, mailbox, items("a"), KEY) as run:
        run.folders.pop("new")
        assert await catch_up(run) == 2
        assert set(await run.store.read(queries.versions, ["a", "b", "n"])) == {"a", "b", "n"}
        assert await run.store.read(queries.meta, SYNC_KEY) == "k2"


async def test_lists_that_came_ahead_are_compared_before_what_has_changed_since(tmp_path: Path) -> None:
    """What is changed since is not taken for what the server has lost."""
    mailbox = holding("a", "b", changes=[ChangeSet((RemoteChange("modified", "a", "inbox", version="2"),), "k2")])
    mailbox.items["a"] = mail("a", "2")
    async with running(tmp_path, mailbox, items("a", "b"), KEY) as run:
        run.comparison.early.lists["inbox",] = PartialListing([(ListedItem("a", "1"), ListedItem("b", "1"))], done=True)
        run.comparison.early.lists["gone",] = PartialListing()
        await converge(run)
        assert await run.store.read(queries.versions, ["a", "b"]) == {"a": "2", "b": "1"}
        assert run.comparison.repaired == 0
        assert mailbox.asked.count("by_ids") == 1
        assert run.comparison.early.lists == {}


async def test_lists_that_are_older_than_the_key_are_not_used(tmp_path: Path) -> None:
    mailbox = holding("a", "b")
    async with running(tmp_path, mailbox, items("a", "b")) as run:
        run.comparison.early.lists["inbox",] = PartialListing([(ListedItem("a", "1"),)], done=True)
        await bring_up_to_date(run)
        assert set(await run.store.read(queries.versions, ["a", "b"])) == {"a", "b"}
        assert run.comparison.repaired == 0


async def test_a_list_that_came_in_part_is_gone_on_with(tmp_path: Path) -> None:
    mailbox = holding("a", "b")
    async with running(tmp_path, mailbox, items("a", "c"), KEY) as run:
        run.comparison.early.lists["inbox",] = PartialListing([(ListedItem("a", "1"),)], b"1")
        await converge(run)
        assert set(await run.store.read(queries.versions, ["a", "b", "c"])) == {"a", "b"}
