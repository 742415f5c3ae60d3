from __future__ import annotations

from typing import Any

import pytest

from kerio_mockserver.conditions.model import Conditions
from tests.support.mock_caller import Mailbox, Refused, conforms, logged_in, small

DESC = [{"columnName": "receiveDate", "direction": "Desc", "caseSensitive": False}]


def ids(box: Mailbox) -> list[str]:
    return list(box.store.folder(box.inbox).ordered("id"))


async def test_get_gives_whole_items_or_the_fields_asked_for() -> None:
    caller, box = await logged_in()
    whole = await caller.call("Mails.get", folderIds=[box.inbox], query={})
    assert whole["totalItems"] == 10
    assert [one["id"] for one in whole["list"]] == ids(box)
    assert whole["list"][2] == box.store.item(ids(box)[2])
    fields = ["id", "hasAttachment", "size", "subject"]
    light = await caller.call("Mails.get", folderIds=[box.inbox], query={"fields": fields})
    assert light["list"] == [{field: one[field] for field in fields} for one in whole["list"]]
    heavy = await caller.call("Mails.get", folderIds=[box.inbox], query={"fields": ["displayableParts"]})
    assert heavy["list"] == [{"displayableParts": one["displayableParts"]} for one in whole["list"]]


async def test_pages_fit_together_and_total_ignores_the_limit() -> None:
    caller, box = await logged_in()
    seen: list[str] = []
    for start in (0, 4, 8):
        page = await caller.call(
            "Mails.get", folderIds=[box.inbox], query={"fields": ["id"], "start": start, "limit": 4, "orderBy": DESC}
        )
        assert page["totalItems"] == 10
        seen += [one["id"] for one in page["list"]]
    assert seen == list(box.store.folder(box.inbox).ordered("receiveDate", descending=True))
    past = await caller.call("Mails.get", folderIds=[box.inbox], query={"start": 100})
    assert past == {"list": [], "totalItems": 10}


async def test_no_limit_means_the_safety_limit() -> None:
    caller, box = await logged_in(conditions=Conditions.parse({"quirks": {"page_limit": 3}}))
    page = await caller.call("Mails.get", folderIds=[box.inbox], query={"fields": ["id"], "limit": -1})
    assert (len(page["list"]), page["totalItems"]) == (3, 10)


@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize("column", ["receiveDate", "id", "watermark", "size", "isSeen", "subject"])
async def test_native_orders_agree_with_sorting(column: str, descending: bool) -> None:
    caller, box = await logged_in()
    way = "Desc" if descending else "Asc"
    always = [{"fieldName": "size", "comparator": "GreaterEq", "value": "0"}]
    order = [{"columnName": column, "direction": way}, {"columnName": "id", "direction": way}]
    query = {"fields": ["id"], "orderBy": order}
    native = await caller.call("Mails.get", folderIds=[box.inbox], query=query)
    sorted_ = await caller.call("Mails.get", folderIds=[box.inbox], query=query | {"conditions": always})
    assert native == sorted_


async def test_conditions_filter_and_see_later_changes() -> None:
    caller, box = await logged_in()
    unread = [{"fieldName": "isSeen", "comparator": "Eq", "value": "false"}]
    query = {"fields": ["id"], "conditions": unread}
    assert (await caller.call("Mails.get", folderIds=[box.inbox], query=query))["totalItems"] == 5
    await caller.call("Mails.set", mails=[{"id": ids(box)[0], "isSeen": False}])
    assert (await caller.call("Mails.get", folderIds=[box.inbox], query=query))["totalItems"] == 6


async def test_get_merges_several_folders_and_lists_no_root() -> None:
    caller, box = await logged_in()
    both = await caller.call(
        "Mails.get", folderIds=[box.inbox, box.shared_inbox, box.root, box.inbox], query={"fields": ["id"]}
    )
    assert both["totalItems"] == 11
    assert (await caller.call("Mails.get", folderIds=[box.root], query={})) == {"list": [], "totalItems": 0}
    assert (await caller.call("Mails.get", folderIds=[], query={})) == {"list": [], "totalItems": 0}


async def test_get_refuses_unreadable_and_wrong_folders() -> None:
    caller, box = await logged_in()
    for folder, code in ((box.inbox + "x", 4104), (box.contacts, 1000), (box.public, 1004)):
        with pytest.raises(Refused) as refused:
            await caller.call("Mails.get", folderIds=[folder], query={})
        assert (refused.value.code, refused.value.status) == (code, 200)


async def test_get_by_id_names_removed_items() -> None:
    caller, box = await logged_in()
    first, gone = ids(box)[0], ids(box)[0] + "999"
    contact = box.store.folder(box.contacts).ordered("id")[0]
    answer = await caller.call("Mails.getById", ids=[gone, first, "nonsense", contact, first])
    assert [one["id"] for one in answer["result"]] == [first, first]
    assert [(one["inputIndex"], one["code"]) for one in answer["errors"]] == [(0, 1002), (2, 1002), (3, 1002)]
    assert conforms(answer["errors"], "Error[]") == []


async def test_events_get_by_id_in_both_spellings() -> None:
    caller, box = await logged_in()
    event = box.store.folder(box.calendar).ordered("id")[0]
    whole = box.store.item(event)
    assert await caller.call("Events.getById", id=event) == {"result": whole}
    assert await caller.call("Events.getById", ids=[event]) == {"errors": [], "result": [whole]}


@pytest.mark.parametrize(
    ("service", "member", "folder", "struct", "change"),
    [
        ("Mails", "mails", "inbox", {"subject": "new"}, {"isFlagged": True}),
        ("Contacts", "contacts", "contacts", {"commonName": "new"}, {"comment": "x"}),
        ("Events", "events", "calendar", {"summary": "new", "start": "20260101T000000Z"}, {"location": "x"}),
        ("Tasks", "tasks", "tasks", {"summary": "new"}, {"done": 50}),
        ("Notes", "notes", "notes", {"text": "new"}, {"text": "x"}),
    ],
)
async def test_create_set_copy_move_remove(
    service: str, member: str, folder: str, struct: dict[str, Any], change: dict[str, Any]
) -> None:
    caller, box = await logged_in()
    place = getattr(box, folder)
    before = box.store.journal.watermark
    made = await caller.call(f"{service}.create", **{member: [{"folderId": place, **struct}, {"folderId": "no"}]})
    assert [(one["inputIndex"], one["code"]) for one in made["errors"]] == [(1, 4104)]
    (created,) = made["result"]
    assert created["inputIndex"] == 0
    assert created["watermark"] == before + 1
    item_id = created["id"]
    changed = await caller.call(f"{service}.set", **{member: [{"id": "no"}, {"id": item_id, **change}]})
    assert [(one["inputIndex"], one["code"]) for one in changed["errors"]] == [(0, 1002)]
    assert changed["result"] == [{"inputIndex": 1, "id": item_id, "watermark": before + 2}]
    now = box.store.item(item_id)
    assert {name: now[name] for name in change} == change
    copied = await caller.call(f"{service}.copy", ids=[item_id, "no"], folder=place)
    assert copied["result"][0]["id"] != item_id
    assert copied["errors"][0]["inputIndex"] == 1
    removed = await caller.call(f"{service}.remove", ids=[item_id, item_id])
    assert [(one["inputIndex"], one["code"]) for one in removed["errors"]] == [(1, 1002)]


async def test_move_changes_the_id_and_records_both() -> None:
    caller, box = await logged_in()
    key = (await caller.call("Changes.getSyncKey"))["syncKey"]
    old = ids(box)[2]
    moved = await caller.call("Mails.move", ids=[old, old], folder=box.archive)
    (line,) = moved["result"]
    assert moved["errors"][0]["code"] == 1002
    assert line["id"] != old
    assert box.archive.rsplit("/", 1)[1] in line["id"]
    change, *folders = (await caller.call("Changes.get", lastSyncKey=key, timeout=0))["list"]
    assert (change["type"], change["itemId"], change["origId"]) == ("chtMoved", line["id"], old)
    assert {one["itemId"] for one in folders} == {box.inbox, box.archive}


async def test_shared_read_only_folder_refuses_changes() -> None:
    caller, box = await logged_in()
    (mail,) = box.store.folder(box.shared_inbox).ordered("id")
    answer = await caller.call("Mails.remove", ids=[mail])
    assert answer["errors"][0]["code"] == 1003
    with pytest.raises(Refused) as refused:
        await caller.call("Mails.setAllSeen", folderId=box.shared_inbox)
    assert refused.value.code == 1003


async def test_create_beyond_quota_is_refused() -> None:
    box = small()
    box.store.quota_items = box.store.quota()["messagesUsed"] + 1
    caller, _ = await logged_in(box)
    answer = await caller.call("Notes.create", notes=[{"folderId": box.notes, "text": str(n)} for n in range(2)])
    assert [one["code"] for one in answer["errors"]] == [4102]
    assert len(answer["result"]) == 1


async def test_page_with_id_returns_the_page_of_an_item() -> None:
    caller, box = await logged_in()
    order = list(box.store.folder(box.inbox).ordered("receiveDate", descending=True))
    query = {"fields": ["id"], "limit": 4, "orderBy": DESC}
    page = await caller.call("Mails.getPageWithId", folderIds=[box.inbox], query=query, id=order[5])
    assert page == {"list": [{"id": one} for one in order[4:8]], "start": 4, "totalItems": 10}
    with pytest.raises(Refused) as refused:
        await caller.call("Mails.getPageWithId", folderIds=[box.inbox], query=query, id=order[5] + "9")
    assert refused.value.code == 1002


async def test_set_all_seen_marks_every_mail() -> None:
    caller, box = await logged_in()
    await caller.call("Mails.setAllSeen", folderId=box.inbox)
    assert box.store.folder(box.inbox).unread == 0


async def test_contacts_from_cache_have_the_documented_members() -> None:
    caller, box = await logged_in()
    documented = {
        "id", "folderId", "watermark", "type", "commonName", "titleAfter", "titleBefore", "firstName", "middleName",
        "surName", "nickName", "emailAddresses", "phoneNumbers", "photo",
    }  # fmt: skip
    (contact,) = (await caller.call("Contacts.getFromCache", folderIds=[box.contacts], query={}))["list"]
    assert contact.keys() == documented
    assert contact["photo"]["url"]
    by_id = await caller.call("Contacts.getByIdFromCache", ids=[contact["id"], box.contacts])
    assert by_id["result"] == [contact]
    assert [(one["inputIndex"], one["code"]) for one in by_id["errors"]] == [(1, 1002)]
    query = {"fields": ["commonName", "birthDay", "modification"]}
    listed = await caller.call("Contacts.getFromCache", folderIds=[box.contacts], query=query)
    assert listed == {"list": [{"commonName": "Ana"}], "totalItems": 1}


async def test_get_ignores_unknown_members() -> None:
    caller, box = await logged_in()
    query = {"fields": ["id", "lastModificationTime", "subject"], "limit": 2}
    listed = (await caller.call("Mails.get", folderIds=[box.inbox], query=query))["list"]
    assert [one.keys() for one in listed] == [{"id", "subject"}] * 2


async def test_occurrences_are_the_events_themselves() -> None:
    caller, box = await logged_in()
    (one,) = (await caller.call("Occurrences.get", folderIds=[box.calendar], query={}))["list"]
    assert one["eventId"] == box.store.folder(box.calendar).ordered("id")[0]
    assert conforms(one, "Occurrence") == []
    again = await caller.call("Occurrences.getById", ids=[one["id"], one["eventId"]])
    assert again["result"] == [one]
    assert again["errors"][0]["inputIndex"] == 1
    later = [{"fieldName": "start", "comparator": "GreaterThan", "value": "20270101"}]
    none = await caller.call("Occurrences.get", folderIds=[box.calendar], query={"conditions": later})
    assert none == {"list": [], "totalItems": 0}
