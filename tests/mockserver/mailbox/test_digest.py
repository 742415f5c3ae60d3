"""The digest, written once more from its definition with the standard library alone."""

from __future__ import annotations

import json
from hashlib import sha256
from typing import Any

from kerio_mockserver.mailbox.generate.seed import SeedOptions, generate_mailbox
from kerio_mockserver.mailbox.store import MailboxStore


def line(store: MailboxStore, kind: str, struct: dict[str, Any]) -> str:
    photo = [struct["photo"]] if kind == "contact" else []
    for reference in struct.get("attachments", photo):
        if reference.pop("url"):
            blob = store.blob(reference["id"]).blob
            reference["sha256"] = sha256(blob.read(0, len(blob))).hexdigest()
    text = json.dumps(struct, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
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
