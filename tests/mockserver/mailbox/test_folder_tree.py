"""Folders: what can be done to them, what is refused, and what the journal says of it."""

from __future__ import annotations

import pytest

from kerio_mockserver.mailbox.generate.seed import SeedOptions, generate_mailbox
from kerio_mockserver.mailbox.store import BadStruct, MailboxStore, NoSuchFolder, NoSuchItem, NotPermitted


@pytest.fixture
def store() -> MailboxStore:
    return generate_mailbox(SeedOptions(7, 300, contacts=5, events=5))


def folder(store: MailboxStore, name: str) -> dict[str, object]:
    return next(one for one in store.folders() if one["name"] == name)


def lines(store: MailboxStore, since: int) -> list[tuple[object, ...]]:
    found = store.journal.since(since)
    assert all(one["isFolder"] for one in found)
    return [(one["type"], one["itemId"], one["parentId"]) for one in found]


def test_create_adds_a_folder(store: MailboxStore) -> None:
    before, parent = store.journal.watermark, folder(store, "日本語")
    new, watermark = store.create_folder({"name": "neu/alt ", "parentId": parent["id"], "type": "FMail"})
    struct = folder(store, "neu/alt ")
    assert (struct["id"], struct["parentId"], struct["messageCount"]) == (new, parent["id"], 0)
    assert struct["nestingLevel"] == parent["nestingLevel"] + 1  # type: ignore[operator]  # an integer
    assert (store.folder(new).kind, watermark) == ("mail", before + 1)
    assert lines(store, before) == [("chtCreated", new, parent["id"])]


def test_folder_is_renamed_moved_and_coloured(store: MailboxStore) -> None:
    before, lists, target = store.journal.watermark, folder(store, "Lists"), folder(store, "Projects")
    store.set_folder({"id": lists["id"], "name": "Listen"})
    store.set_folder({"id": lists["id"], "parentId": target["id"]})
    _, last = store.set_folder({"id": lists["id"], "color": "red", "messageCount": 99, "type": "FNote"})
    assert store.set_folder({"id": lists["id"], "color": "red"}) == (lists["id"], last)
    assert [one[0] for one in lines(store, before)] == ["chtModified", "chtMoved", "chtModified"]
    moved = store.journal.since(before)[1]
    assert (moved["origId"], moved["origParentId"]) == (lists["id"], lists["parentId"])
    assert folder(store, "Listen") == lists | {
        "name": "Listen",
        "parentId": target["id"],
        "color": "red",
        "nestingLevel": 2,
    }


def test_remove_takes_items_and_subfolders(store: MailboxStore) -> None:
    before, top = store.journal.watermark, folder(store, "Archive")
    below = [one["id"] for one in store.folders() if one["parentId"] == top["id"]]
    gone = store.folder(str(folder(store, "2025")["id"])).ordered("id")[0]
    assert store.encoded(gone)
    with pytest.raises(NotPermitted):
        store.remove_folder(str(top["id"]))
    assert store.journal.watermark == before
    _, watermark = store.remove_folder(str(top["id"]), recursive=True)
    ids = [one[1] for one in lines(store, before)]
    assert (ids[-1], watermark) == (top["id"], before + len(ids))
    assert {*below, top["id"]} < {*ids}
    assert not {*ids} & {one["id"] for one in store.folders()}
    for ask in (store.item, store.encoded, store.light, store.watermark_of):
        with pytest.raises(NoSuchItem):
            ask(gone)
    with pytest.raises(NoSuchFolder):
        store.folder(str(top["id"]))


@pytest.mark.parametrize("name", ["Inbox", "Drafts", "Contacts", "Mailbox"])
def test_special_folders_cannot_be_changed(store: MailboxStore, name: str) -> None:
    special = folder(store, name)
    with pytest.raises(NotPermitted):
        store.remove_folder(str(special["id"]), recursive=True)
    with pytest.raises(NotPermitted):
        store.set_folder({"id": special["id"], "name": "other"})


def test_refused_change_has_no_effect(store: MailboxStore) -> None:
    before, folders = store.journal.watermark, store.folders()
    archive, q1, root = (folder(store, name)["id"] for name in ("Archive", "Q1/Q2", "Mailbox"))
    public = store.folders("public")
    read_only = next(one["id"] for one in public if one["access"] == "FAccessReadOnly")
    for struct in (
        {"id": archive, "parentId": q1},
        {"id": archive, "parentId": archive},
        {"id": archive, "parentId": public[0]["id"]},
        {"id": archive, "name": ""},
        {"id": archive, "name": "Projects"},
        {"id": read_only, "name": "x"},
    ):
        with pytest.raises(NotPermitted):
            store.set_folder(struct)
    for struct in (
        {"name": "Inbox", "parentId": root},
        {"name": "", "parentId": root},
        {"name": "x", "parentId": read_only},
    ):
        with pytest.raises(NotPermitted):
            store.create_folder(struct)
    with pytest.raises(NoSuchFolder):
        store.create_folder({"name": "x", "parentId": "nowhere"})
    with pytest.raises(NoSuchFolder):
        store.set_folder({"name": "x"})
    with pytest.raises(BadStruct):
        store.create_folder({"name": 1, "parentId": root})
    assert (store.journal.watermark, store.folders()) == (before, folders)
