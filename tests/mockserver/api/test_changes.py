from __future__ import annotations

import asyncio
from typing import Any

import pytest

from kerio_mockserver.conditions.model import Conditions
from tests.support.mock_caller import Caller, Mailbox, Refused, conforms, logged_in


async def key_of(caller: Caller) -> Any:
    return (await caller.call("Changes.getSyncKey"))["syncKey"]


def touch(box: Mailbox, number: int = 0) -> str:
    item_id = box.store.folder(box.inbox).ordered("id")[number]
    box.store.set("mail", {"id": item_id, "isFlagged": True})
    return item_id


async def polling(caller: Caller, key: Any, timeout: int = 60) -> asyncio.Task[Any]:
    """A long poll that has begun to wait."""
    before = len(caller.core.store.journal.waiters)
    task = asyncio.ensure_future(caller.call("Changes.get", lastSyncKey=key, timeout=timeout))
    while len(caller.core.store.journal.waiters) == before:  # noqa: ASYNC110  # the server has no event for it
        await asyncio.sleep(0)
    return task


async def test_get_is_empty_until_something_changes() -> None:
    caller, box = await logged_in()
    key = await key_of(caller)
    assert await caller.call("Changes.get", lastSyncKey=key, timeout=0) == {"list": [], "syncKey": key}
    item_id = touch(box)
    answer = await caller.call("Changes.get", lastSyncKey=key, timeout=60)
    change, counts = answer["list"]
    assert conforms(answer["list"], "Change[]") == []
    assert (counts["isFolder"], counts["type"], counts["itemId"]) == (True, "chtModifiedContent", change["parentId"])
    assert (change["itemId"], change["watermark"]) == (item_id, answer["syncKey"]["watermark"])
    assert (await caller.call("Changes.get", lastSyncKey=answer["syncKey"], timeout=0))["list"] == []


@pytest.mark.parametrize("code", [1000, 1002])
async def test_get_refuses_invalid_keys(code: int) -> None:
    caller, box = await logged_in(conditions=Conditions.parse({"quirks": {"refused_key_code": code}}))
    key = await key_of(caller)
    touch(box)
    box.store.journal.expire(box.store.journal.watermark)
    bad = [key, key | {"id": 99}, key | {"version": 2}, key | {"watermark": 10**9}, key | {"watermark": -1}, {}]
    for one in bad:
        with pytest.raises(Refused) as refused:
            await caller.call("Changes.get", lastSyncKey=one, timeout=5)
        assert (refused.value.code, refused.value.status) == (code, 200)


async def test_long_poll_ends_at_a_change() -> None:
    caller, box = await logged_in()
    poll = await polling(caller, await key_of(caller))
    item_id = touch(box)
    assert [one["itemId"] for one in (await poll)["list"]] == [item_id, box.inbox]
    assert len(caller.core.polls) == 0


async def test_long_poll_ends_when_killed() -> None:
    caller, _ = await logged_in()
    key = await key_of(caller)
    poll = await polling(caller, key)
    assert await caller.call("Changes.killRequest", lastSyncKey=key) == {}
    assert (await poll) == {"list": [], "syncKey": key}


async def test_second_poll_with_the_same_key_ends_the_first() -> None:
    caller, _ = await logged_in()
    key = await key_of(caller)
    first = await polling(caller, key)
    second = await polling(caller, key)
    assert (await first)["list"] == []
    await caller.call("Changes.killRequest", lastSyncKey=key)
    assert (await second)["list"] == []


async def test_waiting_poll_occupies_no_worker() -> None:
    caller, _ = await logged_in(conditions=Conditions.parse({"load": {"workers": 1}}))
    key = await key_of(caller)
    poll = await polling(caller, key)
    assert await caller.call("Folders.get")
    await caller.call("Changes.killRequest", lastSyncKey=key)
    await poll


async def test_get_folder_returns_changes_of_one_folder() -> None:
    caller, box = await logged_in()
    key = (await caller.call("Changes.getFolderSyncKey", folderId=box.inbox))["syncKey"]
    item_id = touch(box)
    box.store.create("note", {"folderId": box.notes, "text": "x"})
    answer = await caller.call("Changes.getFolder", folderId=box.inbox, lastSyncKey=key)
    assert [one["itemId"] for one in answer["list"]] == [item_id, box.inbox]
    assert answer["syncKey"] == box.store.journal.watermark
    for params in ({"folderId": "no", "lastSyncKey": key}, {"folderId": box.inbox, "lastSyncKey": 10**9}):
        with pytest.raises(Refused):
            await caller.call("Changes.getFolder", **params)


async def test_get_account_returns_changes_of_a_shared_mailbox() -> None:
    caller, box = await logged_in()
    key = (await caller.call("Changes.getAccountSyncKey", mailboxId=box.shared))["asyncKey"]
    assert (await key_of(caller))["accountSyncKey"] == [key]
    touch(box)
    answer = await caller.call("Changes.getAccount", lastAsyncKey=key, folderIds=[box.shared_inbox])
    assert answer["list"] == []
    own = await caller.call("Changes.getAccount", lastAsyncKey=key, folderIds=[box.inbox])
    assert [one["type"] for one in own["list"]] == ["chtModifiedMetadata", "chtModifiedContent"]
    with pytest.raises(Refused):
        await caller.call("Changes.getAccount", lastAsyncKey={}, folderIds=[box.inbox])


async def test_changes_count_unread_mails_of_the_folder() -> None:
    """Of a mail whose flag changed 1 if it is unread, of a folder in which something happened how many are."""
    caller, box = await logged_in()
    first, second = box.store.folder(box.inbox).ordered("id")[:2]  # one read, one unread
    key = await key_of(caller)
    await caller.call("Mails.set", mails=[{"id": first, "isSeen": False}, {"id": second, "isSeen": True}])
    moved = box.store.move(second, box.archive)[0]
    box.store.create("note", {"folderId": box.notes, "text": "x"})
    told = (await caller.call("Changes.get", lastSyncKey=key, timeout=0))["list"]
    assert [(one["type"], one["itemId"], one["messageUnread"]) for one in told[:3]] == [
        ("chtReadFlagChanged", first, 1),
        ("chtReadFlagChanged", second, 0),
        ("chtMoved", moved, 0),
    ]
    folders = {one["itemId"]: (one["type"], one["messageUnread"]) for one in told if one["isFolder"]}
    assert folders == {box.inbox: ("chtModifiedContent", 5), box.archive: ("chtModifiedContent", 0)}
    assert all(one["watermark"] <= box.store.journal.watermark for one in told)
