from __future__ import annotations

import asyncio

import pytest

from kerio_mockserver.mailbox.journal import Journal, KeyTooOld, Struct


def change(item_id: str, parent: str = "f", kind: str = "chtCreated", **more: object) -> Struct:
    rest = {"isFolder": False, "origId": "", "origParentId": "", "watermark": 0}
    return {"type": kind, "itemId": item_id, "parentId": parent, **rest, **more}


def test_each_line_raises_the_watermark_by_one() -> None:
    journal = Journal(100)
    assert [journal.record(change(name)) for name in "abc"] == [101, 102, 103]
    assert [(one["itemId"], one["watermark"]) for one in journal.since(101)] == [("b", 102), ("c", 103)]
    assert journal.since(103) == []
    assert journal.changes == 3


@pytest.mark.parametrize("key", [-1, 99, 101])
def test_keys_from_before_and_from_the_future_are_refused(key: int) -> None:
    with pytest.raises(KeyTooOld):
        Journal(100).since(key)


def test_keys_expire_but_history_stays() -> None:
    journal = Journal()
    for name in "abc":
        journal.record(change(name))
    journal.expire(2)
    journal.expire(1)  # what is gone does not come back
    with pytest.raises(KeyTooOld):
        journal.since(1)
    assert [one["itemId"] for one in journal.since(2)] == ["c"]
    assert [one["itemId"] for one in journal.history()] == ["a", "b", "c"]


def test_advance_expires_older_keys() -> None:
    journal = Journal()
    assert journal.advance(5) == 5
    journal.record(change("a"))
    journal.advance(2)
    with pytest.raises(KeyTooOld):
        journal.since(6)
    journal.record(change("b"))
    assert [one["itemId"] for one in journal.since(8)] == ["b"]
    assert [one["watermark"] for one in journal.history()] == [6, 9]


def test_folder_sees_what_came_left_and_changed() -> None:
    journal = Journal()
    journal.record(change("1", "f"))
    journal.record(change("2", "g"))
    journal.record(change("3", "g", "chtMoved", origId="1", origParentId="f"))
    journal.record(change("4", "g", "chtCopied", origId="9", origParentId="f"))
    journal.record(change("f", "root", "chtModified") | {"isFolder": True})
    journal.record(change("below", "f", "chtCreated") | {"isFolder": True})
    assert [one["itemId"] for one in journal.since(0, "f")] == ["1", "3", "f"]
    assert [one["itemId"] for one in journal.since(0, "g")] == ["2", "3", "4"]


def test_owner_sees_what_concerns_its_ids() -> None:
    journal = Journal()
    own, public = "keriostorage://mail/d/anna/g/1", "keriostorage://mail/d/~public/h/1"
    journal.record(change(own))
    journal.record(change(public))
    journal.record(change(public, "h", "chtMoved", origId=own, origParentId="g"))
    assert [one["watermark"] for one in journal.since(0, owner="d/anna")] == [1, 3]
    assert [one["watermark"] for one in journal.since(0, owner="d/~public")] == [2, 3]


def test_since_returns_copies() -> None:
    journal = Journal()
    journal.record(change("a"))
    journal.since(0)[0]["itemId"] = journal.history()[0]["itemId"] = "z"
    assert journal.since(0)[0]["itemId"] == "a"


async def test_long_poll_wakes_when_something_happens() -> None:
    journal = Journal()
    polls = [asyncio.create_task(journal.wait(0, 50.0)) for _ in range(3)]
    await asyncio.sleep(0)
    assert len(journal.waiters) == 3
    journal.record(change("a"))
    journal.record(change("b"))
    assert await asyncio.gather(*polls) == [True, True, True]
    assert not journal.waiters


async def test_long_poll_ends_in_time_or_at_once() -> None:
    journal = Journal(1)
    assert await journal.wait(1, 0) is False
    assert await journal.wait(0, 50.0) is True
    assert await journal.wait(1, 0.001) is False
    poll = asyncio.create_task(journal.wait(1, 50.0))
    await asyncio.sleep(0)
    poll.cancel()
    with pytest.raises(asyncio.CancelledError):
        await poll
    assert not journal.waiters
