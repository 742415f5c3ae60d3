"""An old state plus the journal is the present state, for any mutations and any watermark."""

from __future__ import annotations

from random import Random
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from kerio_mockserver.mailbox.generate.seed import SeedOptions, generate_mailbox
from kerio_mockserver.mailbox.store import MailboxStore, NoSuchItem, NotPermitted

Folders = dict[str, tuple[str, str]]  # id → parent, name
Items = dict[str, tuple[str, int]]  # id → folder, watermark


def state(store: MailboxStore) -> tuple[Folders, Items]:
    folders = {one["id"]: (one["parentId"], one["name"]) for one in store.folders()}
    items = {
        item: (folder, store.item(item)["watermark"])
        for folder in folders
        for item in store.folder(folder).ordered("id")
    }
    return folders, items


def replay(store: MailboxStore, folders: Folders, items: Items, changes: list[dict[str, Any]]) -> tuple[Folders, Items]:
    """As a client does it: a folder's name is asked for, all else comes out of the changes."""
    names = {one["id"]: one["name"] for one in store.folders()}
    folders, items = dict(folders), dict(items)
    for change in changes:
        one, gone = change["itemId"], change["type"] == "chtDeleted"
        if change["isFolder"]:
            folders.pop(one, None)
            if gone:
                items = {item: where for item, where in items.items() if where[0] != one}
            else:
                folders[one] = (change["parentId"], names.get(one, ""))
        else:
            items.pop(change["origId"] if change["type"] == "chtMoved" else one, None)
            if not gone:
                items[one] = (change["parentId"], change["watermark"])
    return folders, items


def act(store: MailboxStore, dice: Random) -> None:
    folders = [one for one in store.folders() if one["type"] == "FMail"]
    here, there = dice.choice(folders), dice.choice(folders)
    ids = store.folder(here["id"]).ordered("receiveDate")
    item = dice.choice(ids) if ids else ""
    match dice.randrange(12):
        case 0:
            store.deliver({"subject": "new"})
        case 1:
            store.create("mail", {"folderId": here["id"]})
        case 2 | 3 | 4:
            store.move(item, there["id"])
        case 5:
            store.copy(item, there["id"])
        case 6:
            store.remove(item)
        case 7:
            store.set("mail", {"id": item, "isSeen": dice.random() < 0.5, "isFlagged": dice.random() < 0.5})
        case 8:
            store.set_all_seen(here["id"])
        case 9:
            store.create_folder({"name": f"n{dice.randrange(4)}", "parentId": here["id"], "type": "FMail"})
        case 10:
            store.set_folder({"id": here["id"], "name": f"r{dice.randrange(4)}", "parentId": there["id"]})
        case 11:
            store.remove_folder(here["id"], recursive=dice.random() < 0.5)


@given(st.integers(0, 2**32), st.integers(1, 40), st.integers(0, 40))
def test_replayed_changes_give_the_present_state(seed: int, steps: int, from_step: int) -> None:
    dice, store = (
        Random(seed),
        generate_mailbox(SeedOptions(seed % 5, 40, folders=9, contacts=0, events=0, tasks=0, notes=2, shared=False)),
    )
    begun = (store.journal.watermark, *state(store))
    for step in range(steps):
        if step == from_step:
            begun = (store.journal.watermark, *state(store))
        before = store.journal.watermark, len(store.journal.history())
        try:
            act(store, dice)
        except (NotPermitted, NoSuchItem):
            assert (store.journal.watermark, len(store.journal.history())) == before
    watermark, folders, items = begun
    changes = store.journal.since(watermark)
    assert [one["watermark"] for one in changes] == list(range(watermark + 1, store.journal.watermark + 1))
    assert replay(store, folders, items, changes) == state(store)
    for folder in state(store)[0]:
        local = {item for item, where in items.items() if where[0] == folder}
        for change in (one for one in store.journal.since(watermark, folder) if not one["isFolder"]):
            local.discard(change["origId"] if change["type"] == "chtMoved" else change["itemId"])
            if change["parentId"] == folder and change["type"] != "chtDeleted":
                local.add(change["itemId"])
        assert local == set(store.folder(folder).ordered("id"))
    totals = {one["id"]: (one["messageCount"], one["messageSize"], one["messageUnread"]) for one in store.folders()}
    for folder, (count, size, unread) in totals.items():
        if store.folder(folder).kind == "mail":
            lights = [store.light(item) for item in store.folder(folder).ordered("id")]
            assert (count, size) == (len(lights), sum(one["size"] for one in lights))
            assert unread == sum(not one["isSeen"] for one in lights)
