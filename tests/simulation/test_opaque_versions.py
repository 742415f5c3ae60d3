from __future__ import annotations

from typing import Any

from kerio_resync.model import ChangeSet, ItemBatch, ItemPatch, ListedItem, RemoteChange, Traits, WriteResult
from kerio_resync.server.mailbox import Mailbox
from simulation.opaque_versions import OpaqueVersions, opaque
from tests.support.cache import INBOX, mail
from tests.support.fake_mailbox import Mailbox as FakeMailbox


class Server(FakeMailbox):
    """One whose every reply has version 9."""

    async def changes(self, key: str) -> ChangeSet:
        patch = ItemPatch("b", ("inbox",), "9", True, False, False, False, b"{}")
        return ChangeSet((RemoteChange("created", "a", "inbox", version="9"),), "k", (patch,))

    async def items_by_id(self, *args: Any, **more: Any) -> ItemBatch:
        return ItemBatch((mail("a", "9"),))

    async def write(self, *args: Any, **more: Any) -> tuple[WriteResult, ...]:
        return (WriteResult(0, "a", "9"), WriteResult(1))

    create = update = move = remove = write


def wrapped() -> OpaqueVersions:
    return OpaqueVersions(Server({"a": mail("a", "9")}, traits=Traits(ordered_versions=True)))  # type: ignore[arg-type]


async def test_every_reply_has_versions_without_order() -> None:
    mailbox: Mailbox = wrapped()
    hidden = opaque("9")
    (listing,) = mailbox.listings([INBOX])
    (page,) = [page async for page in mailbox.list_items(listing, whole=True)]
    assert page.rows == page.fresh == (ListedItem("a", hidden, page.rows[0].size, page.rows[0].date),)
    assert [item.version for item in page.items] == [hidden]
    assert [item.version for item in (await mailbox.items_by_id("mail", ["a"])).items] == [hidden]
    feed = await mailbox.changes("k")
    assert (feed.changes[0].version, feed.patches[0].version, feed.key) == (hidden, hidden, "k")
    for result in (
        await mailbox.create("mail", "inbox", []),
        await mailbox.update("mail", []),
        await mailbox.move("mail", [], "inbox"),
        await mailbox.remove("mail", []),
    ):
        assert result == (WriteResult(0, "a", hidden), WriteResult(1))


def test_opaque_versions_are_equal_only_if_the_versions_are() -> None:
    versions = [str(n) for n in range(500)]
    hidden = [opaque(version) for version in versions]
    assert len(set(hidden)) == len(versions)
    assert hidden == [opaque(version) for version in versions]
    assert sorted(hidden) != hidden
    assert opaque("") == ""


def test_traits_have_no_order_of_versions() -> None:
    assert not wrapped().traits.ordered_versions
