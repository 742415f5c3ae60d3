"""The digest, written once more from its definition with the standard library alone."""

from __future__ import annotations

import json
from hashlib import sha256
from typing import Any

from kerio_mockserver.mailbox.api_structs import ITEM_STRUCTS, members
from kerio_mockserver.mailbox.generate.seed import SeedOptions, generate_mailbox
from kerio_mockserver.mailbox.store import MailboxStore


def line(store: MailboxStore, kind: str, struct: dict[str, Any]) -> str:
    text = json.dumps(struct, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    photo = [struct["photo"]] if kind == "contact" else []
    attachments = [each for each in struct.get("attachments", photo) if each["url"]]
    for ordinal, attachment in enumerate(attachments):
        blob = store.blob(attachment["id"]).blob
        text += f"\n{ordinal} {sha256(blob.read(0, len(blob))).hexdigest()}"
    return f"{kind} {struct['id']} {struct['watermark']} {sha256(text.encode()).hexdigest()}\n"


def test_digest_lines_have_the_documented_form() -> None:
    store = generate_mailbox(SeedOptions(7, 250, contacts=40, events=30))
    inbox = next(one["id"] for one in store.folders() if one["subType"] == "FSubInbox")
    store.set_all_seen(inbox)
    store.create(
        "mail", {"subject": '\x00\x1f\x7f"\\/ \u2028 é 👍', "attachments": [{"id": store.upload("n", "t", b"x")}]}
    )
    wanted = []
    for folder in (store.folder(struct["id"]) for struct in store.folders()):
        wanted += [line(store, str(folder.kind), store.item(one)) for one in folder.ordered("id")]
    found = list(store.digest())
    assert len(found) == 250 + 40 + 30 + 40 + 20 + 1
    assert found == sorted(wanted, key=str.encode)


def test_any_change_alters_the_digest() -> None:
    store, other = generate_mailbox(SeedOptions(7, 30)), generate_mailbox(SeedOptions(7, 30))
    mail = next(one for one in store.digest() if one.startswith("mail ")).split()[1]
    store.set("mail", {"id": mail, "isFlagged": not store.light(mail)["isFlagged"]})
    assert sum(a != b for a, b in zip(store.digest(), other.digest(), strict=True)) == 1


def test_digest_covers_contents_and_structs_as_every_reply_has_them() -> None:
    """A client computes the digest of what `get` or `getById` sent."""
    store = generate_mailbox(SeedOptions(7, 60, contacts=20))
    lines = set(store.digest())
    files = 0
    for folder in (store.folder(struct["id"]) for struct in store.folders()):
        names = frozenset(members(ITEM_STRUCTS[folder.kind])) if folder.kind else frozenset[str]()
        for item_id in folder.ordered("id"):
            sent = json.loads(store.encoded(item_id))
            assert sent == store.item(item_id) == store.some(item_id, names)
            assert line(store, str(folder.kind), sent) in lines
            files += len(folder.contents(int(item_id.rpartition("/")[2])))
    assert files > 10
