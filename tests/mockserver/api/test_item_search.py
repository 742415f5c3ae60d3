"""What a search costs the server: other calls are served meanwhile, and the mailbox may change under it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.support.mock_caller import logged_in, small


def search(conditions: int, field: str = "QUICKSEARCH") -> dict[str, Any]:
    one = {"fieldName": field, "comparator": "Like"}
    return {
        "fields": ["id"],
        "conditions": [{**one, "value": f"zzzz{n}"} for n in range(conditions - 1)] + [{**one, "value": "text 7"}],
        "combining": "Or",
    }


@pytest.mark.parametrize(
    ("query", "pauses"),
    [
        (search(100), 10),
        (search(100, "FULLTEXT"), 10),
        (search(1), 3),
        (search(100, "displayableParts"), 3),
        ({"fields": ["subject", "displayableParts"], "limit": -1}, 10),
        ({"orderBy": [{"columnName": "subject"}], "limit": 0}, 3),
    ],
)
async def test_search_pauses_for_other_calls(query: dict[str, Any], pauses: int) -> None:
    caller, box = await logged_in(small(mails=2_000))
    done = asyncio.Event()

    async def others() -> int:
        count = 0
        while not done.is_set():
            count += 1
            await asyncio.sleep(0)
        return count

    counting = asyncio.create_task(others())
    result = await caller.call("Mails.get", folderIds=[box.inbox], query=query)
    done.set()
    assert result["totalItems"] > 0
    assert await counting > pauses


async def test_search_leaves_out_items_removed_meanwhile() -> None:
    caller, box = await logged_in(small(mails=2_000))
    ids = list(box.store.folder(box.inbox).ordered("id"))
    searching = asyncio.create_task(caller.call("Mails.get", folderIds=[box.inbox], query=search(100)))
    for _ in range(5):
        await asyncio.sleep(0)
    assert not searching.done()
    for item_id in ids[1_000:]:
        box.store.remove(item_id)
    found = await searching
    assert {one["id"] for one in found["list"]} <= set(ids[:1_000])
    again = await caller.call("Mails.get", folderIds=[box.inbox], query=search(100))
    assert again["totalItems"] == found["totalItems"] == len(found["list"]) > 0


async def test_search_survives_the_removal_of_its_folder() -> None:
    box = small()
    folder = box.store.create_folder({"parentId": box.root, "name": "Big", "type": "FMail"})[0]
    for n in range(2_000):
        box.store.add("mail", folder, {"subject": f"text 7 {n}"})
    caller, box = await logged_in(box)
    searching = asyncio.create_task(caller.call("Mails.get", folderIds=[folder], query=search(100)))
    for _ in range(5):
        await asyncio.sleep(0)
    box.store.remove_folder(folder)
    assert (await searching)["list"] == []
