"""Operations of clients on items: their results, the journal, and refusals."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson
import pytest

from kerio_mockserver.mailbox.blobs import NewBlob
from kerio_mockserver.mailbox.generate.seed import SeedOptions, generate_mailbox
from kerio_mockserver.mailbox.store import (
    BadStruct,
    Kind,
    MailboxStore,
    NoSuchFolder,
    NoSuchItem,
    NotPermitted,
    QuotaReached,
)


@pytest.fixture
def store() -> MailboxStore:
    return generate_mailbox(SeedOptions(7, 400, contacts=30, events=10, tasks=5, notes=5))


def folder(store: MailboxStore, name: str) -> str:
    return str(next(one["id"] for one in store.folders() if one["name"] == name))


def first(store: MailboxStore, name: str) -> str:
    return store.folder(folder(store, name)).ordered("id")[0]


def last_change(store: MailboxStore) -> dict[str, Any]:
    return store.journal.since(store.journal.watermark - 1)[0]


def content(store: MailboxStore, attachment_id: str) -> bytes:
    blob = store.blob(attachment_id).blob
    return blob.read(0, len(blob))


def test_reads_return_equal_new_values(store: MailboxStore) -> None:
    for name in ("Inbox", "Contacts", "Calendar", "Tasks", "Notes"):
        one = first(store, name)
        struct = store.item(one)
        assert orjson.loads(store.encoded(one)) == struct == orjson.loads(store.encoded(one))
        assert struct | store.light(one) == struct
        assert store.some(one, {"id", "watermark"}) == {"id": one, "watermark": store.watermark_of(one)}
        struct.clear()
        assert store.item(one)


@pytest.mark.parametrize("wrong", ["", "x", "keriostorage://mail/a/b/c/1", "{}/0", "{}/999999", "{}/01", "{}/1/2"])
def test_unknown_ids_raise(store: MailboxStore, wrong: str) -> None:
    one = wrong.format(first(store, "Inbox").rpartition("/")[0])
    for ask in (store.item, store.encoded, store.light, store.remove, store.blob):
        with pytest.raises(NoSuchItem):
            ask(one)
    with pytest.raises(NoSuchItem):
        store.set("mail", {"id": one})
    with pytest.raises(NoSuchFolder):
        store.folder(one)


def test_create_adds_a_draft(store: MailboxStore) -> None:
    before, quota = store.journal.watermark, store.quota()
    upload = store.upload("ü.txt", "text/plain", b"hello")
    draft, watermark = store.create(
        "mail",
        {
            "id": "mine",
            "subject": "Hi",
            "to": [{"address": "x@y"}],
            "isReadOnly": True,
            "displayableParts": [{"contentType": "ctTextPlain", "content": "text"}],
            "attachments": [{"id": upload}, {"id": upload, "name": "other.txt", "contentId": "c1"}],
            "unknown": 1,
        },
    )
    mail = store.item(draft)
    assert mail["folderId"] == folder(store, "Drafts")
    assert (mail["watermark"], mail["id"]) == (watermark, draft) == (before + 1, draft)
    assert (mail["isDraft"], mail["isReadOnly"], mail["hasAttachment"]) == (True, False, True)
    assert mail["from"]["address"] == store.address
    assert (mail["receiveDate"], mail["sendDate"]) == ("", "")
    assert mail["modifiedDate"] > "20260301"
    assert mail["headers"][0]["type"] == "mhMessageID"
    assert [one["name"] for one in mail["attachments"]] == ["ü.txt", "other.txt"]
    assert [content(store, one["id"]) for one in mail["attachments"]] == [b"hello"] * 2
    assert (mail["attachments"][1]["contentId"], mail["attachments"][0]["size"]) == ("c1", 5)
    assert "unknown" not in mail
    assert store.quota()["messagesUsed"] == quota["messagesUsed"] + 1
    assert store.quota()["spaceUsed"] == quota["spaceUsed"] + mail["size"]
    assert last_change(store)["type"] == "chtCreated"
    assert orjson.loads(store.encoded(draft)) == mail


@pytest.mark.parametrize(
    ("kind", "name"), [("contact", "Contacts"), ("event", "Calendar"), ("task", "Tasks"), ("note", "Notes")]
)
def test_other_kinds_go_into_their_default_folder(store: MailboxStore, kind: Kind, name: str) -> None:
    new, _ = store.create(kind, {})
    assert store.item(new)["folderId"] == folder(store, name)
    assert last_change(store)["itemType"] == {"event": "itCalendar"}.get(kind, f"it{kind.title()}")
    store.remove(new)


def test_mail_arrives_and_one_is_sent(store: MailboxStore) -> None:
    inbox = next(one for one in store.folders() if one["name"] == "Inbox")
    new, _ = store.deliver({"subject": "News"}, [NewBlob(b"x", "a.bin")])
    assert last_change(store)["type"] == "chtNewMail"
    assert store.folder(inbox["id"]).unread == inbox["messageUnread"] + 1
    assert content(store, store.item(new)["attachments"][0]["id"]) == b"x"
    assert store.folder(inbox["id"]).ordered("receiveDate", descending=True)[0] == new
    sent, _ = store.create("mail", {"send": True})
    assert store.item(sent)["folderId"] == folder(store, "Sent Items")
    assert not store.item(sent)["isDraft"]


@pytest.mark.parametrize(
    ("given", "kind_of_change"),
    [
        ({"isSeen": None}, "chtReadFlagChanged"),
        ({"isFlagged": None}, "chtModifiedMetadata"),
        ({"isSeen": None, "isAnswered": None}, "chtModifiedMetadata"),
        ({"subject": "changed"}, "chtModified"),
        ({"displayableParts": [{"contentType": "ctTextPlain", "content": "short"}]}, "chtModified"),
        ({"receiveDate": "20110101T000000Z"}, "chtModified"),
        ({"attachments": []}, "chtModified"),
    ],
)
def test_set_changes_only_given_members(store: MailboxStore, given: dict[str, Any], kind_of_change: str) -> None:
    inbox = store.folder(folder(store, "Inbox"))
    one = next(mail for mail in inbox.ordered("id") if store.light(mail)["hasAttachment"])
    old = store.item(one)
    store.encoded(one)
    given = {name: not old[name] if value is None else value for name, value in given.items()}
    before = store.journal.watermark
    assert store.set("mail", given | {"id": one, "watermark": 3, "size": 3, "folderId": inbox.id}) == (one, before + 1)
    new = store.item(one)
    assert last_change(store) | {"type": kind_of_change, "itemId": one, "parentId": inbox.id} == last_change(store)
    changed = {name for name in old if old[name] != new[name]}
    assert set(given) | {"watermark"} <= changed <= set(given) | {"watermark", "size", "modifiedDate", "hasAttachment"}
    assert orjson.loads(store.encoded(one)) == new
    assert new["watermark"] == before + 1
    assert (new["size"] < old["size"]) == ("displayableParts" in given or "attachments" in given)
    assert store.set("mail", {"id": one, **given}) == (one, before + 1)  # nothing changed: nothing happened


def test_attachments_stay_go_and_come(store: MailboxStore) -> None:
    draft, _ = store.create("mail", {"attachments": [{"id": store.upload(name, "t", name.encode())} for name in "abc"]})
    a, b, c = store.item(draft)["attachments"]
    store.set(
        "mail", {"id": draft, "attachments": [{"id": c["id"]}, {"id": store.upload("d", "t", b"d")}, {"id": a["id"]}]}
    )
    now = store.item(draft)["attachments"]
    assert [(one["name"], content(store, one["id"])) for one in now] == [("c", b"c"), ("a", b"a"), ("d", b"d")]
    assert now[:2] == [c, a]
    assert now[2]["id"] not in (a["id"], b["id"], c["id"])
    with pytest.raises(NoSuchItem):
        store.blob(b["id"])
    with pytest.raises(NoSuchItem):
        store.set("mail", {"id": draft, "attachments": [{"id": "unknown"}]})
    assert store.item(draft)["attachments"] == now


def test_photos_come_stay_and_go(store: MailboxStore) -> None:
    new, _ = store.create("contact", {"commonName": "x", "photo": {"id": store.upload("p.jpg", "image/jpeg", b"p")}})
    photo = store.item(new)["photo"]
    assert content(store, photo["id"]) == b"p"
    store.set("contact", {"id": new, "commonName": "y", "photo": photo})
    assert store.item(new)["photo"] == photo
    store.set("contact", {"id": new, "photo": {"id": ""}})
    assert store.item(new)["photo"] == {"id": "", "url": ""}
    seeded_one = next(
        one for one in store.folder(folder(store, "Contacts")).ordered("id") if store.item(one)["photo"]["url"]
    )
    before = content(store, store.item(seeded_one)["photo"]["id"])
    store.set("contact", {"id": seeded_one, "commonName": "z"})
    assert content(store, store.item(seeded_one)["photo"]["id"]) == before


@pytest.mark.parametrize("verb", ["move", "copy"])
def test_moves_and_copies_have_new_ids_and_the_same_content(store: MailboxStore, verb: str) -> None:
    inbox, target = store.folder(folder(store, "Inbox")), store.folder(folder(store, "Projects"))
    one = next(mail for mail in inbox.ordered("id") if store.light(mail)["hasAttachment"])
    old, contents = store.item(one), [content(store, part["id"]) for part in store.item(one)["attachments"]]
    sizes = inbox.size + target.size
    new, watermark = getattr(store, verb)(one, target.id)
    mail, change = store.item(new), last_change(store)
    assert change["type"] == ("chtMoved" if verb == "move" else "chtCopied")
    assert (change["itemId"], change["parentId"], change["watermark"]) == (new, target.id, watermark)
    assert (change["origId"], change["origParentId"]) == (one, inbox.id)
    where = ("id", "folderId", "watermark", "attachments", "displayableParts")
    assert {n: v for n, v in mail.items() if n not in where} == {n: v for n, v in old.items() if n not in where}
    assert [content(store, part["id"]) for part in mail["attachments"]] == contents
    assert all(part["id"].startswith(target.home.part) for part in mail["displayableParts"])
    assert (one in inbox.ordered("id")) == (verb == "copy")
    assert inbox.size + target.size == sizes + (old["size"] if verb == "copy" else 0)
    if verb == "move":
        with pytest.raises(NoSuchItem):
            store.item(one)
        again, _ = store.move(new, inbox.id)
        assert again not in (one, new)
        assert store.move(again, inbox.id) == (again, store.journal.watermark)


def test_set_all_seen_marks_every_mail(store: MailboxStore) -> None:
    inbox = store.folder(folder(store, "Inbox"))
    unread, before = inbox.unread, store.journal.watermark
    assert store.set_all_seen(inbox.id) == (inbox.id, before + unread)
    assert (inbox.unread, inbox.unseen()) == (0, [])
    assert [(one["type"], one["messageUnread"]) for one in store.journal.since(before)] == [
        ("chtReadFlagChanged", 0)
    ] * unread
    assert all(store.item(one)["isSeen"] for one in inbox.ordered("id"))
    assert store.set_all_seen(inbox.id) == (inbox.id, before + unread)


def test_addresses_of_downloads(store: MailboxStore) -> None:
    one = next(
        mail for mail in store.folder(folder(store, "Inbox")).ordered("id") if store.light(mail)["hasAttachment"]
    )
    for struct in store.item(one)["attachments"]:
        guid, number, part, name = struct["url"].removeprefix("/webmail/api/download/attachment/").split("/")
        assert store.blob_at(guid, number, part).etag == store.blob_at(guid, int(number), part).etag
        assert len(store.blob_at(guid, number, part).blob) == struct["size"]
        assert name
    for wrong in (("x", "1", "2"), (guid, "0", "2"), (guid, number, "99"), (guid, "²", "2"), (guid, "-1", "2")):
        with pytest.raises(NoSuchItem):
            store.blob_at(*wrong)


def test_refused_mutation_has_no_effect(store: MailboxStore) -> None:
    before, inbox = store.journal.watermark, first(store, "Inbox")
    read_only = next(one["id"] for one in store.folders("public") if one["access"] == "FAccessReadOnly")
    theirs = store.folder(read_only).ordered("id")[0]
    refused: tuple[Callable[[], object], ...] = (
        lambda: store.create("mail", {"folderId": read_only}),
        lambda: store.create("mail", {"folderId": folder(store, "Contacts")}),
        lambda: store.set("mail", {"id": theirs, "isSeen": True, "isFlagged": True}),
        lambda: store.remove(theirs),
        lambda: store.move(theirs, folder(store, "Inbox")),
        lambda: store.move(inbox, read_only),
        lambda: store.copy(inbox, folder(store, "Notes")),
        lambda: store.set_all_seen(read_only),
    )
    for act in refused:
        with pytest.raises(NotPermitted):
            act()
    with pytest.raises(NoSuchItem):
        store.set("contact", {"id": inbox})
    with pytest.raises(NoSuchFolder):
        store.create("mail", {"folderId": "x"})
    with pytest.raises(BadStruct):
        store.create("mail", {"subject": 7})
    assert store.journal.watermark == before
    assert store.copy(theirs, folder(store, "Inbox"))


def test_quota_refuses_more_items_and_bytes() -> None:
    used = generate_mailbox(SeedOptions(7, 20, contacts=0, events=0, tasks=0, notes=0)).quota()
    assert used["messagesUsed"] == 20
    by_items = generate_mailbox(SeedOptions(7, 20, contacts=0, events=0, tasks=0, notes=0, quota_items=21))
    one = by_items.create("mail", {})[0]
    with pytest.raises(QuotaReached):
        by_items.copy(one, folder(by_items, "Inbox"))
    by_items.remove(one)
    by_items.create("mail", {})
    by_bytes = generate_mailbox(
        SeedOptions(7, 20, contacts=0, events=0, tasks=0, notes=0, quota_bytes=used["spaceUsed"] + 3_000)
    )
    draft = by_bytes.create("mail", {"displayableParts": [{"content": "x" * 500}]})[0]
    before = by_bytes.item(draft)
    with pytest.raises(QuotaReached):
        by_bytes.set("mail", {"id": draft, "displayableParts": [{"content": "x" * 5_000}]})
    with pytest.raises(QuotaReached):
        by_bytes.deliver({"displayableParts": [{"content": "x" * 5_000}]})
    assert by_bytes.item(draft) == before
    theirs = by_bytes.folder(by_bytes.shared_mailboxes()[0]["folders"][1]["id"]).ordered("id")[0]
    by_bytes.quota_bytes = 1
    with pytest.raises(QuotaReached):
        by_bytes.move(theirs, folder(by_bytes, "Inbox"))


def test_add_keeps_members_and_records_no_change() -> None:
    store = MailboxStore("d", "u")
    root = store.add_folder("", "Mailbox", "FRoot")
    inbox = store.add_folder(root, "Inbox", sub_type="FSubInbox")
    struct = {"subject": "s\ud800", "size": 12345, "isReadOnly": True, "receiveDate": "20200101T000000Z"}
    one = store.add("mail", inbox, struct, [NewBlob(b"abc", "a.txt", "text/plain", "cid")])
    mail = store.item(one)
    assert (mail["subject"], mail["size"], mail["isReadOnly"]) == ("s?", 12345, True)
    assert mail["attachments"][0]["contentId"] == "cid"
    assert (store.journal.history(), store.journal.oldest) == ([], store.journal.watermark)
    with pytest.raises(NotPermitted):
        store.set("mail", {"id": one, "isSeen": True})


def test_same_calls_give_the_same_mailbox() -> None:
    def run() -> tuple[list[dict[str, Any]], list[str]]:
        store = generate_mailbox(SeedOptions(3, 50))
        store.deliver({"subject": "x"})
        store.move(first(store, "Inbox"), folder(store, "Projects"))
        store.create("note", {"text": "n"})
        return store.journal.history(), list(store.digest())

    assert run() == run()
