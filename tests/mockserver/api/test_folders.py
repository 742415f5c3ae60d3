from __future__ import annotations

import pytest

from tests.support.mock_caller import Refused, conforms, logged_in


async def test_lists_have_every_documented_member() -> None:
    caller, box = await logged_in()
    own = (await caller.call("Folders.get"))["list"]
    public = (await caller.call("Folders.getPublic"))["list"]
    (mailbox,) = (await caller.call("Folders.getSharedMailboxList"))["mailboxes"]
    shared = (await caller.call("Folders.getShared", mailboxId=mailbox["mailboxId"]))["list"]
    for folders in (own, public, shared):
        assert conforms(folders, "Folder[]") == []
    inbox = next(one for one in own if one["id"] == box.inbox)
    assert (inbox["messageCount"], inbox["messageUnread"], inbox["subType"]) == (10, 5, "FSubInbox")
    assert box.shared_inbox in {one["id"] for one in shared}
    assert not {one["id"] for one in own} & {one["id"] for one in [*public, *shared]}


async def test_shared_folders_of_unknown_mailbox_are_refused() -> None:
    caller, _ = await logged_in()
    with pytest.raises(Refused) as refused:
        await caller.call("Folders.getShared", mailboxId="nobody")
    assert refused.value.code == 4104


async def test_folder_is_created_renamed_and_removed() -> None:
    caller, box = await logged_in()
    made = await caller.call(
        "Folders.create",
        folders=[
            {"parentId": box.root, "name": "A/B", "type": "FMail"},
            {"parentId": "no", "name": "x"},
            {"parentId": box.root, "name": ""},
        ],
    )
    folder_id = made["result"][0]["id"]
    assert [(one["inputIndex"], one["code"]) for one in made["errors"]] == [(1, 4104), (2, 1003)]
    named = await caller.call("Folders.set", folders=[{"id": folder_id, "name": "C"}, {"id": "no"}])
    assert [(one["inputIndex"], one["code"]) for one in named["errors"]] == [(1, 4104)]
    assert box.store.folder(folder_id).about["name"] == "C"
    moved = await caller.call("Folders.moveByType", targetId=box.archive, ids=[folder_id, box.inbox])
    assert [(one["inputIndex"], one["code"]) for one in moved["errors"]] == [(1, 1003)]
    assert box.store.folder(folder_id).about["parentId"] == box.archive
    kept = await caller.call("Folders.remove", ids=[box.archive], recursive=False)
    assert kept["errors"][0]["code"] == 1003
    gone = await caller.call("Folders.remove", ids=[box.archive, folder_id], recursive=True)
    assert [one["inputIndex"] for one in gone["errors"]] == [1]


@pytest.mark.parametrize("moving", [True, False])
async def test_copy_all_messages_copies_every_mail(moving: bool) -> None:
    caller, box = await logged_in()
    await caller.call("Folders.copyAllMessages", sourceId=box.inbox, destId=box.archive, doMove=moving)
    assert (len(box.store.folder(box.inbox)), len(box.store.folder(box.archive))) == (0 if moving else 10, 10)


async def test_other_folder_methods_answer_as_documented() -> None:
    caller, box = await logged_in()
    assert (await caller.call("Folders.getAutoCompleteContactsFolderId"))["folderId"] == box.contacts
    assert (await caller.call("Folders.getSubscribed")) == {"list": []}
    assert (await caller.call("Folders.getSubscriptionList")) == {"folderIds": []}
    rights = (await caller.call("Folders.getPermissions", folderId=box.inbox))["permissions"]
    assert conforms(rights, "FolderPermission[]") == []
    assert (await caller.call("Folders.removeByType", ids=["no"]))["errors"][0]["code"] == 4104
