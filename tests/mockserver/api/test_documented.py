"""What the reference says in words, beyond its shapes, and what clients in the field rely on."""

from __future__ import annotations

from typing import Any

import pytest

from kerio_mockserver.conditions.model import Conditions
from kerio_mockserver.mailbox.dates import instant
from tests.support.mock_caller import Caller, Mailbox, Refused, logged_in


def drafts(box: Mailbox) -> str:
    return next(str(one["id"]) for one in box.store.folders() if one["subType"] == "FSubDrafts")


async def one(caller: Caller, method: str, parameter: str, struct: dict[str, Any]) -> dict[str, Any]:
    """The result or the error of a call about one item."""
    answer = await caller.call(method, **{parameter: [struct]})
    (line,) = answer["result"] + answer["errors"]
    return dict(line)


@pytest.mark.parametrize(
    ("service", "parameter", "folder"), [("Mails", "mails", "inbox"), ("Contacts", "contacts", "contacts")]
)
async def test_set_with_another_folder_moves_under_a_new_id(service: str, parameter: str, folder: str) -> None:
    caller, box = await logged_in()
    old = box.store.folder(getattr(box, folder)).ordered("id")[0]
    member = "subject" if service == "Mails" else "commonName"
    target = box.archive
    if service == "Contacts":
        target = box.store.create_folder({"name": "Friends", "type": "FContact"})[0]
    key = (await caller.call("Changes.getSyncKey"))["syncKey"]
    line = await one(caller, f"{service}.set", parameter, {"id": old, "folderId": target, member: "New"})
    there = box.store.item(line["id"])
    assert line["id"] != old
    assert (there["folderId"], there[member], there["watermark"]) == (target, "New", line["watermark"])
    told = (await caller.call("Changes.get", lastSyncKey=key, timeout=0))["list"]
    moved = next(each for each in told if each["type"] == "chtMoved")
    assert (moved["itemId"], moved["origId"], moved["parentId"]) == (line["id"], old, target)
    gone = await one(caller, f"{service}.set", parameter, {"id": old, member: "Newer"})
    assert gone["code"] == 1002


async def test_set_that_may_not_move_changes_nothing() -> None:
    caller, box = await logged_in()
    mail = box.store.folder(box.inbox).ordered("id")[0]
    before = box.store.item(mail)
    for folder, code in (("no", 4104), (box.contacts, 1003), (box.shared_inbox, 1003)):
        line = await one(caller, "Mails.set", "mails", {"id": mail, "folderId": folder, "subject": "New"})
        assert line["code"] == code
    assert box.store.item(mail) == before


@pytest.mark.parametrize(
    ("service", "parameter", "folder", "struct"),
    [
        ("Notes", "notes", "notes", {"text": "New"}),
        ("Events", "events", "calendar", {"summary": "New"}),
        ("Tasks", "tasks", "tasks", {"summary": "New"}),
    ],
)
async def test_set_does_not_move_what_is_written_once(
    service: str, parameter: str, folder: str, struct: dict[str, Any]
) -> None:
    caller, box = await logged_in()
    item_id = box.store.folder(getattr(box, folder)).ordered("id")[0]
    home = box.store.item(item_id)["folderId"]
    other = box.store.create_folder({"name": "Other", "type": box.store.folder(home).about["type"]})[0]
    line = await one(caller, f"{service}.set", parameter, {"id": item_id, "folderId": other, **struct})
    assert line["id"] == item_id
    assert box.store.item(item_id)["folderId"] == home
    assert box.store.item(item_id) | struct == box.store.item(item_id)


async def test_set_sends_and_invalidates_the_id() -> None:
    caller, box = await logged_in()
    sent = box.store.add_folder(box.root, "Sent Items", "FMail", "FSubSentItems")
    draft = (await one(caller, "Mails.create", "mails", {"subject": "Hi", "to": [{"address": "a@b"}]}))["id"]
    key = (await caller.call("Changes.getSyncKey"))["syncKey"]
    line = await one(caller, "Mails.set", "mails", {"id": draft, "send": True, "subject": "Hi there"})
    there = box.store.item(line["id"])
    assert (there["folderId"], there["subject"], there["isDraft"]) == (sent, "Hi there", False)
    assert "" not in (there["sendDate"], there["receiveDate"])
    assert len(box.store.folder(drafts(box))) == 0
    assert (await one(caller, "Mails.set", "mails", {"id": draft, "isSeen": True}))["code"] == 1002
    told = (await caller.call("Changes.get", lastSyncKey=key, timeout=0))["list"]
    assert {(each["type"], each["itemId"]) for each in told} >= {("chtDeleted", draft), ("chtCreated", line["id"])}


async def test_set_that_cannot_send_changes_nothing() -> None:
    """Without a folder for what was sent."""
    caller, box = await logged_in()
    draft = (await one(caller, "Mails.create", "mails", {"subject": "Hi"}))["id"]
    assert (await one(caller, "Mails.set", "mails", {"id": draft, "send": True, "subject": "New"}))["code"] == 4104
    assert box.store.item(draft)["subject"] == "Hi"


async def test_drafts_have_no_dates_of_sending() -> None:
    caller, box = await logged_in()
    dates = {"sendDate": "20260101T000000Z", "receiveDate": "20260101T000000Z"}
    made = (await one(caller, "Mails.create", "mails", {"subject": "Hi", **dates}))["id"]
    await one(caller, "Mails.set", "mails", {"id": made, "subject": "Ho", **dates})
    for mail in (made, box.store.add("mail", drafts(box), {"isDraft": True, **dates})):
        there = box.store.item(mail)
        assert (there["isDraft"], there["sendDate"], there["receiveDate"]) == (True, "", "")
    kept = (await one(caller, "Mails.create", "mails", {"folderId": box.archive, **dates}))["id"]
    assert box.store.item(kept)["receiveDate"] == dates["receiveDate"]


async def test_folder_is_not_created_twice_under_a_name() -> None:
    caller, box = await logged_in()
    taken = {"parentId": box.root, "name": "Contacts", "type": "FContact"}
    line = await one(caller, "Folders.create", "folders", taken)
    assert line["code"] == 1001
    assert line["messageParameters"]["positionalParameters"] == ["Contacts"]
    other = await one(caller, "Folders.create", "folders", taken | {"name": "Friends"})
    renamed = await caller.call("Folders.set", folders=[{"id": other["id"], "name": "Contacts"}])
    assert [each["code"] for each in renamed["errors"]] == [1001]


@pytest.mark.parametrize("kind", ["FContact", "FCalendar", "FTask", "FNote"])
async def test_folder_needs_no_parent_unless_for_mail(kind: str) -> None:
    caller, box = await logged_in()
    line = await one(caller, "Folders.create", "folders", {"name": "New", "type": kind})
    folder = box.store.folder(line["id"])
    assert (folder.about["parentId"], folder.about["type"]) == (box.root, kind)
    for refused in ("FMail", "FRoot"):
        assert (await one(caller, "Folders.create", "folders", {"name": "New 2", "type": refused}))["code"] == 4104


@pytest.mark.parametrize("verb", ["create", "set"])
async def test_completed_task_is_done_and_dated(verb: str) -> None:
    caller, box = await logged_in()
    task = box.store.folder(box.tasks).ordered("id")[0]
    struct: dict[str, Any] = {"status": "tsCompleted", "done": 30}
    struct |= {"id": task} if verb == "set" else {"folderId": box.tasks}
    there = box.store.item((await one(caller, f"Tasks.{verb}", "tasks", struct))["id"])
    assert (there["status"], there["done"]) == ("tsCompleted", 100)
    assert instant(there["end"]) > "20260101"
    again = await one(caller, "Tasks.set", "tasks", {"id": there["id"], "status": "tsInProgress", "done": 50})
    there = box.store.item(again["id"])
    assert (there["status"], there["done"], there["end"]) == ("tsInProgress", 50, "")


async def test_folders_name_an_owner_only_where_documented() -> None:
    caller, box = await logged_in()
    own = (await caller.call("Folders.get"))["list"] + (await caller.call("Folders.getPublic"))["list"]
    assert {(each["ownerName"], each["emailAddress"]) for each in own} == {("", "")}
    shared = (await caller.call("Folders.getShared", mailboxId=box.shared))["list"]
    assert {(each["placeType"], each["ownerName"], each["emailAddress"]) for each in shared} == {
        ("FPlacePeople", "Bob", "bob@example.com")
    }


async def test_login_name_is_the_primary_address() -> None:
    caller, _ = await logged_in()
    assert (await caller.call("Session.whoAmI"))["userDetails"]["loginName"] == "jane@example.com"


# sessions as clients in the field keep them


async def test_logout_needs_only_the_cookie() -> None:
    caller, _ = await logged_in()
    token, caller.token = caller.token, ""
    caller.headers = {"cookie": caller.cookie}
    assert await caller.call("Session.logout") == {}
    caller.token = token
    with pytest.raises(Refused) as refused:
        await caller.call("Session.whoAmI")
    assert refused.value.code == -32001


async def test_logout_refuses_a_wrong_token_and_other_calls_need_one() -> None:
    caller, _ = await logged_in()
    token, caller.token = caller.token, "wrong"
    with pytest.raises(Refused):
        await caller.call("Session.logout")
    caller.token, caller.headers = "", {"cookie": caller.cookie}
    with pytest.raises(Refused):
        await caller.call("Session.whoAmI")
    caller.token = token
    assert await caller.call("Session.whoAmI")


async def test_first_cookie_is_enough() -> None:
    caller, _ = await logged_in()
    caller.cookie = caller.cookie.split(";")[0]
    assert await caller.call("Session.whoAmI")


@pytest.mark.parametrize(
    "media_type", ["ApiApplication/json-rpc", "text/plain", "", "application/x-www-form-urlencoded", "nonsense"]
)
async def test_media_type_of_a_call_does_not_matter(media_type: str) -> None:
    caller, _ = await logged_in()
    caller.headers = {"content-type": media_type}
    assert await caller.call("Session.whoAmI")


async def test_generated_defaults_are_not_found() -> None:
    caller, _ = await logged_in()
    assert (await caller.get("/webmail/generatedDefaults.js")).status == 404


@pytest.mark.parametrize("message_id", ["kept", "assigned"])
async def test_message_id_is_kept_or_assigned(message_id: str) -> None:
    caller, box = await logged_in(conditions=Conditions.parse({"quirks": {"message_id": message_id}}))
    answered = {"type": "mhInReplayTo", "value": "<that@x>"}
    headers = [{"type": "mhMessageID", "value": "<mine@x>"}, answered]
    made = (await one(caller, "Mails.create", "mails", {"subject": "Hi", "headers": headers}))["id"]

    def told() -> list[str]:
        found = box.store.item(made)["headers"]
        assert answered in found
        return [each["value"] for each in found if each["type"] == "mhMessageID"]

    (given,) = told()
    assert (given == "<mine@x>") == (message_id == "kept")
    other = [{"type": "mhMessageID", "value": "<other@x>"}, answered]
    await one(caller, "Mails.set", "mails", {"id": made, "headers": other})
    assert told() == (["<other@x>"] if message_id == "kept" else [given])
    assert (await one(caller, "Mails.set", "mails", {"id": "no", "headers": other}))["code"] == 1002
    contact = await one(caller, "Contacts.create", "contacts", {"folderId": box.contacts, "commonName": "Eva"})
    assert box.store.item(contact["id"])["commonName"] == "Eva"
