"""Caches to export, and what a mailbox has, for comparisons."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kerio_mockserver.conditions.model import Churn, Conditions
from kerio_mockserver.mailbox.blobs import hash_of
from kerio_mockserver.mailbox.imports.importer import load
from kerio_mockserver.mailbox.store import MailboxStore
from kerio_mockserver.server import MockServer
from kerio_resync.settings import Settings
from simulation.world import PASSWORD, World

MAIL_MEMBERS = (
    "subject", "from", "sender", "to", "cc", "bcc", "replyTo", "notificationTo", "sendDate", "receiveDate", "isSeen",
    "isFlagged", "isAnswered", "isForwarded", "isJunk", "isDraft", "priority", "requestDSN",
)  # fmt: skip
_QUOTED_LOCAL = re.compile(r'"([^"\\]*)"@')


def imported(*paths: Path) -> MailboxStore:
    """A mailbox with the items of these files and folders."""
    store = MailboxStore()
    load(store, paths)
    return store


def rebuilt(profile: Path, store: MailboxStore) -> Settings:
    """The settings of a profile whose cache holds the mailbox."""
    world = World(profile)
    world.store = store
    world.page_size = 500
    world.server = MockServer(store, password=PASSWORD, conditions=Conditions(churn=Churn()))
    assert world.run() == "done"
    return world.settings()


def mails(store: MailboxStore) -> Counter[str]:
    """What people see of each mail, with the hashes of its attachments."""
    found: Counter[str] = Counter()
    for folder in _folders(store, "FMail"):
        for number in folder.numbers():
            struct, contents = folder.item(number), folder.contents(number)
            seen = {name: _same_people(struct[name]) for name in MAIL_MEMBERS}
            seen["texts"] = [(part["contentType"], part["content"]) for part in struct["displayableParts"]]
            seen["headers"] = sorted((header["type"], header["value"]) for header in struct["headers"])
            seen["attachments"] = sorted(
                (file["name"], file["contentType"], file["contentId"], _hash(contents, file))
                for file in struct["attachments"]
            )
            found[repr(seen)] += 1
    return found


def others(store: MailboxStore) -> list[dict[str, Any]]:
    """The contacts, events, tasks and notes without ids, sorted."""
    found = []
    for folder in _folders(store, "FContact", "FCalendar", "FTask", "FNote"):
        for number in folder.numbers():
            struct = {name: value for name, value in folder.item(number).items() if not name.endswith(("id", "Id"))}
            if struct.get("photo", {}).get("url"):
                struct["photo"] = _hash(folder.contents(number), struct["photo"])
            struct.pop("watermark")
            found.append(struct)
    return sorted(found, key=repr)


def _folders(store: MailboxStore, *types: str) -> list[Any]:
    return [store.folder(folder["id"]) for folder in store.folders() if folder["type"] in types]


def _hash(contents: Any, reference: dict[str, Any]) -> str:
    return hash_of(contents[reference["id"].rpartition("/")[2]].blob)


def _same_people(value: Any) -> Any:
    """`"a b"@c` and `a b@c` are one address: the second is how a mail with an invalid one spells it."""
    if isinstance(value, dict):
        return {name: _QUOTED_LOCAL.sub(r"\1@", text) if name == "address" else text for name, text in value.items()}
    return [_same_people(entry) for entry in value] if isinstance(value, list) else value


def folder_names(store: MailboxStore) -> Sequence[str]:
    return sorted(folder["name"] for folder in store.folders())
