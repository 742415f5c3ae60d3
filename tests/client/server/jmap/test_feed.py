"""The sync key and the changes: patches for what exists, and keys that no longer mean anything."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest

from kerio_resync.errors import KeyExpired, ProtocolError
from kerio_resync.model import ChangeSet
from kerio_resync.server.jmap.mailbox import JmapMailbox
from tests.client.server.jmap.test_listing import version
from tests.support.jmap_double.choices import LIKE_CYRUS, Choices
from tests.support.jmap_double.running import list_all, opened
from tests.support.jmap_double.server import JmapDouble
from tests.support.jmap_double.store import MUTATIONS, Store

BOTH = pytest.mark.parametrize("choices", [Choices(), LIKE_CYRUS], ids=["unlike", "like"])


def filled(choices: Choices, mails: int = 20, seed: int = 0) -> JmapDouble:
    double = JmapDouble(choices, seed)
    double.store.fill(mails)
    return double


def after(double: JmapDouble, change: Any, **settings: Any) -> ChangeSet:
    """Return the changes that `change()` makes."""

    async def work(mailbox: JmapMailbox) -> ChangeSet:
        key = await mailbox.sync_key()
        change()
        return await mailbox.changes(key)

    return opened(double, work, **settings)


@BOTH
def test_changes_are_none_after_nothing(choices: Choices) -> None:
    feed = after(filled(choices), lambda: None)
    assert (feed.changes, feed.patches) == ((), ())


@BOTH
def test_changes_take_one_request(choices: Choices) -> None:
    double = filled(choices)
    after(double, lambda: double.store.mutate("flag"))
    assert double.requests["/api"] == 2  # the key, and the changes


def test_sync_key_takes_one_request_for_all_accounts() -> None:
    double = filled(Choices())
    double.share("b", "bob@example.com")
    key = json.loads(opened(double, lambda mailbox: mailbox.sync_key(), shared=True))
    assert set(key) == {"a1", "b"}
    assert double.requests["/api"] == 1


@BOTH
def test_flag_is_patch_with_version_of_listing(choices: Choices) -> None:
    double = filled(choices)
    mail = next(iter(double.store.mails.values()))
    feed = after(double, lambda: double.store.change(mail.id, keywords={"$seen", "$flagged"}))
    (patch,) = feed.patches
    assert feed.changes == ()
    assert (patch.id, patch.version, patch.folder_ids) == (mail.id, version(mail), tuple(sorted(mail.mailboxes)))
    assert (patch.seen, patch.flagged, patch.answered, patch.draft) == (True, True, False, False)


@BOTH
def test_arrival_and_deletion_are_changes(choices: Choices) -> None:
    double = filled(choices)
    gone = next(iter(double.store.mails))
    known = set(double.store.mails)

    def change() -> None:
        double.store.destroy(gone)
        double.store.mutate("arrive")

    feed = after(double, change)
    (new,) = set(double.store.mails) - known
    mail = double.store.mails[new]
    found = {one.id: (one.type, one.version, one.folder_ids) for one in feed.changes}
    assert found == {gone: ("deleted", "", ()), new: ("created", version(mail), tuple(sorted(mail.mailboxes)))}
    assert feed.patches == ()


@BOTH
def test_folders_are_named_but_not_for_their_counts(choices: Choices) -> None:
    double = filled(choices)
    assert not any(one.is_folder for one in after(double, lambda: double.store.mutate("flag")).changes)
    made: list[str] = []
    feed = after(double, lambda: made.append(double.store.add_mailbox("New")))
    assert [(one.type, one.id) for one in feed.changes if one.is_folder] == [("created", made[0])]
    feed = after(double, lambda: double.store.remove_mailbox(made[0]))
    assert [(one.type, one.id) for one in feed.changes if one.is_folder] == [("deleted", made[0])]


def applied(before: dict[str, Any], feed: ChangeSet, store: Store) -> dict[str, Any]:
    """Return versions after a feed, as a client applies it: created mails are fetched as they are now."""
    result = dict(before)
    for change in feed.changes:
        if change.type == "deleted":
            result.pop(change.id, None)
    result |= {patch.id: patch.version for patch in feed.patches}
    for change in feed.changes:
        if change.type == "created" and not change.is_folder and change.id in store.mails:
            result[change.id] = version(store.mails[change.id])
    return result


@BOTH
@pytest.mark.parametrize("seed", range(6))
def test_changes_lead_to_what_the_server_has(choices: Choices, seed: int) -> None:
    """A hundred changes at random, in many pages."""
    double = filled(choices, 15, seed)
    rng = random.Random(seed)

    async def work(mailbox: JmapMailbox) -> None:
        key = await mailbox.sync_key()
        state = {row.id: row.version for row in (await list_all(mailbox)).values()}
        for _ in range(5):
            for _ in range(20):
                double.store.mutate(rng.choice(MUTATIONS))
            while True:
                feed = await mailbox.changes(key)
                key = feed.key
                state = applied(state, feed, double.store)
                if not feed.changes and not feed.patches:
                    break
            assert state == {mail.id: version(mail) for mail in double.store.mails.values()}

    opened(double, work)


@BOTH
def test_key_is_expired_if_server_cannot_calculate(choices: Choices) -> None:
    double = filled(choices)
    with pytest.raises(KeyExpired):
        after(double, double.store.forget)


@BOTH
def test_key_is_expired_after_restore(choices: Choices) -> None:
    double = filled(choices)
    backup = double.store.snapshot()
    double.store.mutate("arrive", 3)
    with pytest.raises(KeyExpired):
        after(double, lambda: double.stores.update(a1=backup))


def test_key_is_expired_if_state_does_not_move() -> None:
    double = filled(Choices())

    def change() -> None:
        double.store.mutate("arrive")
        double.store.stuck = True

    with pytest.raises(KeyExpired, match="does not move"):
        after(double, change)
    assert double.calls["Email/changes"] == 1


def test_state_that_does_not_move_without_changes_is_the_end() -> None:
    double = filled(Choices())
    double.alter("Email/changes", lambda result, _: {**result, "hasMoreChanges": True, "created": [], "updated": []})
    assert after(double, lambda: None).changes == ()


@pytest.mark.parametrize(
    "key", ["", "x", "7", "[]", "{}", '{"a1":7}', '{"a1":{"Email":"1"}}', '{"b":{"Email":"1","Mailbox":"1"}}']
)
def test_changes_refuse_foreign_key(key: str) -> None:
    async def work(mailbox: JmapMailbox) -> None:
        with pytest.raises(KeyExpired):
            await mailbox.changes(key)

    opened(filled(Choices(), 1), work)


def test_key_of_other_accounts_is_expired() -> None:
    double = filled(Choices())
    key = opened(double, lambda mailbox: mailbox.sync_key())
    double.share("b", "bob@example.com")

    async def work(mailbox: JmapMailbox) -> None:
        with pytest.raises(KeyExpired):
            await mailbox.changes(key)

    opened(double, work, shared=True)


def test_key_of_more_accounts_serves_for_the_own_one() -> None:
    double = filled(Choices())
    double.share("b", "bob@example.com")
    key = opened(double, lambda mailbox: mailbox.sync_key(), shared=True)
    double.store.mutate("expunge")
    feed = opened(double, lambda mailbox: mailbox.changes(key))
    assert [change.type for change in feed.changes] == ["deleted"]
    assert set(json.loads(feed.key)) == {"a1"}


@pytest.mark.parametrize(
    ("method", "members"),
    [("Email/changes", {"newState": None}), ("Email/changes", {"destroyed": 7}), ("Email/get", {"list": 7})],
)
def test_changes_refuse_invalid_reply(method: str, members: dict[str, Any]) -> None:
    double = filled(Choices())

    def change() -> None:
        double.store.mutate("arrive")
        double.alter(method, lambda result, _: {**result, **members})

    with pytest.raises(ProtocolError):
        after(double, change)


def test_sync_key_refuses_empty_state() -> None:
    double = filled(Choices(), 1)
    double.alter("Email/get", lambda result, _: {**result, "state": ""})
    with pytest.raises(ProtocolError):
        opened(double, lambda mailbox: mailbox.sync_key())


def test_sizes_of_new_mails_are_known_to_the_next_fetch() -> None:
    double = filled(LIKE_CYRUS, 3)
    known = set(double.store.mails)

    async def work(mailbox: JmapMailbox) -> None:
        key = await mailbox.sync_key()
        double.store.mutate("arrive", 3)
        await mailbox.changes(key)
        batch = await mailbox.items_by_id("mail", sorted(set(double.store.mails) - known))
        assert all(item.attachments[0].data is not None for item in batch.items)

    opened(double, work)


def test_changes_of_shared_accounts_have_ids_of_their_own() -> None:
    double = filled(Choices(), 3)
    other = double.share("b", "bob@example.com")
    other.fill(3, 2)
    feed = after(double, lambda: other.mutate("expunge"), shared=True)
    (change,) = [one for one in feed.changes if not one.is_folder]
    assert change.id.startswith("b/")
