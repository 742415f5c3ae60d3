"""Listings: nothing that is there all the time is missed, whatever changes meanwhile."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest

from kerio_resync.errors import ItemGone, ProtocolError
from kerio_resync.model import ListingPage
from kerio_resync.server.http.transport import Request
from kerio_resync.server.jmap.emails import version_of
from kerio_resync.server.jmap.listing import Position
from kerio_resync.server.jmap.mailbox import JmapMailbox
from tests.support.jmap_double.choices import LIKE_CYRUS, Choices
from tests.support.jmap_double.running import list_all, opened
from tests.support.jmap_double.server import JmapDouble
from tests.support.jmap_double.store import Mail

WORST = ("expunge", "arrive", "arrive-old", "move", "copy", "again", "flag", "create-mailbox", "rename-mailbox")


DEFAULT = Choices()


def filled(choices: Choices = DEFAULT, mails: int = 40, seed: int = 0) -> JmapDouble:
    double = JmapDouble(choices, seed)
    double.store.fill(mails)
    return double


def version(mail: Mail) -> str:
    return version_of(
        {
            "blobId": mail.blob_id,
            "mailboxIds": dict.fromkeys(mail.mailboxes, True),
            "keywords": dict.fromkeys(mail.keywords, True),
        }
    )


@pytest.mark.parametrize("choices", [Choices(), LIKE_CYRUS, Choices(objects_in_get=1), Choices(query_rows=3)])
def test_list_items_has_every_mail_once_with_its_folders(choices: Choices) -> None:
    double = filled(choices)
    rows = opened(double, list_all)
    assert {row.id: (row.version, row.size, row.folder_ids) for row in rows.values()} == {
        mail.id: (version(mail), len(mail.source), tuple(sorted(mail.mailboxes)))
        for mail in double.store.mails.values()
    }
    assert double.exceeded == 0
    assert double.most_objects <= choices.objects_in_get


@pytest.mark.parametrize(("mails", "requests"), [(200, 1), (300, 2)])
def test_list_items_takes_few_requests_where_the_server_allows_it(mails: int, requests: int) -> None:
    double = filled(LIKE_CYRUS, mails)
    assert len(opened(double, list_all)) == mails
    assert double.calls["Email/query"] == requests


def test_list_items_yields_newest_first_with_resumable_positions() -> None:
    double = filled()

    async def work(mailbox: JmapMailbox) -> None:
        (listing,) = mailbox.listings(await mailbox.folders())
        pages = [page async for page in mailbox.list_items(listing)]
        dates = [row.date or "" for page in pages for row in page.fresh]
        assert dates == sorted(dates, reverse=True)
        assert [page.done for page in pages] == [False] * (len(pages) - 1) + [True]
        assert pages[-1].listed == 40
        for number, page in enumerate(pages[:-1]):
            rest = [row.id async for later in mailbox.list_items(listing, page.position) for row in later.fresh]
            assert rest == [row.id for later in pages[number + 1 :] for row in later.fresh]

    opened(double, work)


@pytest.mark.parametrize("seed", range(12))
def test_list_items_misses_nothing_that_stays(seed: int) -> None:
    """Before each request something changes, often the anchor itself."""
    double = filled(Choices(objects_in_get=random.Random(seed).randrange(1, 9)), 30, seed)
    before = dict(double.store.mails)
    rng = random.Random(seed)
    position: bytes | None = None

    async def disturb(request: Request) -> None:
        if b"Email/query" not in (request.body or b""):
            return
        double.store.mutate(rng.choice(WORST), rng.randrange(3))
        anchors = Position.from_bytes(position).anchors
        if anchors and rng.random() < 0.5:
            for anchor in anchors[-rng.randrange(1, 4) :]:
                if anchor in double.store.mails:
                    double.store.destroy(anchor)

    async def work(mailbox: JmapMailbox) -> set[str]:
        nonlocal position
        (listing,) = mailbox.listings(await mailbox.folders())
        seen: set[str] = set()
        while True:
            async for page in mailbox.list_items(listing, position):
                seen |= {row.id for row in page.fresh}
                position = page.position
                if page.done:
                    return seen
                if rng.random() < 0.1:
                    break  # a new run resumes

    seen = opened(double, work, before=disturb)
    assert {mail_id for mail_id in before if mail_id in double.store.mails} <= seen


def test_list_items_starts_again_if_all_anchors_are_gone() -> None:
    double = filled(mails=20)

    async def work(mailbox: JmapMailbox) -> None:
        (listing,) = mailbox.listings(await mailbox.folders())
        pages = mailbox.list_items(listing)
        first = await anext(pages)
        for row in first.rows:
            double.store.destroy(row.id)
        rest = [row.id async for page in pages for row in page.fresh]
        assert set(rest) == set(double.store.mails)

    opened(double, work)


def test_listings_are_per_account_or_per_folder() -> None:
    double = filled()
    other = double.share("b", "bob@example.com")
    other.fill(7, 2)

    async def work(mailbox: JmapMailbox) -> None:
        folders = await mailbox.folders(shared=True)
        own = [folder for folder in folders if folder.place == "own"]
        assert [len(one.folders) for one in mailbox.listings(folders)] == [len(own), len(folders) - len(own)]
        assert [len(one.folders) for one in mailbox.listings(own[:3])] == [1, 1, 1]
        for folder in own[:3]:
            (listing,) = mailbox.listings([folder])
            rows = {row.id async for page in mailbox.list_items(listing) for row in page.fresh}
            assert rows == {mail.id for mail in double.store.in_mailbox(folder.id)}
        rows = set(await list_all(mailbox))
        assert rows == set(double.store.mails) | {f"b/{mail_id}" for mail_id in other.mails}

    opened(double, work)


def test_list_items_raises_item_gone_for_deleted_folder() -> None:
    double = filled()

    async def work(mailbox: JmapMailbox) -> None:
        folders = await mailbox.folders()
        listing = mailbox.listings([folders[2]])[0]
        double.store.remove_mailbox(folders[2].id)
        with pytest.raises(ItemGone) as caught:
            await anext(mailbox.list_items(listing))
        assert getattr(caught.value, "scope", "") == "folder"

    opened(double, work)


def listed(double: JmapDouble) -> list[ListingPage]:
    async def work(mailbox: JmapMailbox) -> list[ListingPage]:
        (listing,) = mailbox.listings(await mailbox.folders())
        return [page async for page in mailbox.list_items(listing)]

    return opened(double, work)


def test_list_items_refuses_server_that_ignores_anchors() -> None:
    double = filled()
    first = [mail_id for _, mail_id in double.store.ordered[:5]]
    double.alter("Email/query", lambda result, _: {**result, "ids": first})
    with pytest.raises(ProtocolError, match="other rows than requested"):
        listed(double)


def test_list_items_ends_with_endless_list() -> None:
    double = filled()
    numbers = iter(range(10**9))

    def endless(result: Any, arguments: Any) -> Any:
        anchor = [arguments["anchor"]] if "anchor" in arguments else []
        return {"ids": [*anchor, *(f"X{next(numbers)}" for _ in range(4))], "total": 10**6}

    double.alter("Email/query", endless)
    with pytest.raises(ProtocolError, match="does not end") as caught:
        listed(double)
    assert caught.value.scope == "folder"


def test_list_items_leaves_email_without_details_to_be_fetched() -> None:
    double = filled(LIKE_CYRUS, 3)
    lost = next(iter(double.store.mails))

    def without(result: Any, arguments: Any) -> Any:
        return {**result, "list": [one for one in result["list"] if one.get("id") != lost]}

    double.alter("Email/get", without)
    (page,) = listed(double)
    assert {row.id: row.version != "" for row in page.rows} == {one: one != lost for one in double.store.mails}


@pytest.mark.parametrize("data", [None, b"", b"{", b"[]", b'{"anchors":7}', b'{"anchors":[],"listed":9}', b"\xff"])
def test_invalid_position_means_the_start(data: bytes | None) -> None:
    assert Position.from_bytes(data) == Position()


def test_position_keeps_its_members() -> None:
    position = Position(("a", "b"), 7)
    assert Position.from_bytes(position.to_bytes()) == position
    assert json.loads(position.to_bytes()) == {"anchors": ["a", "b"], "listed": 7}
