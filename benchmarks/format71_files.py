"""Writes databases of the old format 7.1.

Synthetic ones of any size, and copies of a server's mailbox.

`write` makes the same file from the same numbers. Mails are of a mixture: text of a few KB each, and on a quarter of
them attachments whose sizes scatter widely (log-normal), so that a mail is `size` bytes on the average. Contents are
random bytes, which no compression helps with.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

from benchmarks.format71_writer import Format71Writer
from kerio_resync.cache.mutations import AddChange, LocalChange, LocalFile
from kerio_resync.model import Attachment, Folder, Identity, Item, Kind
from kerio_resync.server.json_codec import canonical_json
from kerio_resync.server.kerio.items import parse_items
from kerio_resync.server.mailbox import Mailbox

ROOT = "keriostorage://folder/example.com/jane/root"
IDENTITY = Identity("https://mail.example.com", "keriodb://user/example.com/jane", "jane", "jane@example.com")
TEXT_SHARE = 0.25  # of the bytes of a mail, at most 6 KB
ATTACHED = 0.25  # of the mails
_WORDS = (
    "the",
    "project",
    "team",
    "will",
    "meet",
    "on",
    "Monday",
    "about",
    "our",
    "new",
    "contract",
    "Grüße",
    "příliš",
)
_TREE: tuple[tuple[str, Kind, str], ...] = (
    ("Inbox", "mail", "inbox"), ("Sent Items", "mail", "sent"), ("Archive", "mail", "none"),
    ("Projects", "mail", "none"),
    ("Contacts", "contact", "default"), ("Calendar", "event", "default"), ("Tasks", "task", "default"),
    ("Notes", "note", "default"),
)  # fmt: skip
_TYPES = {"mail": "FMail", "contact": "FContact", "event": "FCalendar", "task": "FTask", "note": "FNote"}
_NOBODY = {"name": "", "address": ""}


def write(out: Path, messages: int, size: int, *, pending: int = 3, holes: float = 0.15, seed: int = 1) -> None:
    """Write a database of `messages` mails of `size` bytes on the average.

    It has a fiftieth as many items of each other kind.
    """
    random = Random(seed)
    noise = random.randbytes(min(4 * 1024 * 1024, messages * size + 1024))
    with Format71Writer(out, IDENTITY, holes=holes) as old:
        folders = [_folder(*row) for row in _TREE]
        for folder in folders:
            old.folder(folder)
        mails = [folder for folder in folders if folder.kind == "mail"]
        for number in range(messages):
            struct, files = _mail(random, mails[number % len(mails)].id, number, size)
            (item,), _ = parse_items("mail", [struct], canonical_json)
            old.item(item, {place: [_noise(noise, random, file)] for place, file in enumerate(files)})
        for folder in folders:
            kind = folder.kind
            for number in range(messages // 50 if kind and kind != "mail" else 0):
                assert kind is not None
                (item,), _ = parse_items(kind, [_other(kind, folder.id, number)], canonical_json)
                old.item(item)
        for number in range(pending):
            old.pending(_change(number, folders[0].id))
        old.sync_key(
            json.dumps({"id": 1, "version": 1, "watermark": messages, "publicFolder": 0, "accountSyncKey": []})
        )


async def copy(mailbox: Mailbox, out: Path, *, pending: tuple[AddChange, ...] = (), holes: float = 0.15) -> int:
    """Write the database that the old version would have for this mailbox.

    The contents are included. Returns the number of items.
    """
    identity = await mailbox.open()
    key = await mailbox.sync_key()
    count = 0
    with Format71Writer(out, identity, holes=holes) as old:
        for folder in await mailbox.folders():
            old.folder(folder)
            for item in await _items(mailbox, folder) if folder.kind and folder.readable else ():
                contents = {place: [await _download(mailbox, file)] for place, file in enumerate(item.attachments)}
                old.item(item, contents)
                count += 1
        for change in pending:
            old.pending(change)
        old.sync_key(key)
    return count


async def _items(mailbox: Mailbox, folder: Folder) -> list[Item]:
    found: dict[str, Item] = {}
    for listing in mailbox.listings([folder]):
        async for page in mailbox.list_items(listing, whole=folder.kind != "mail"):
            items = page.items
            if page.rows and not items:
                assert folder.kind is not None
                items = (await mailbox.items_by_id(folder.kind, [row.id for row in page.fresh])).items
            found |= {item.id: item for item in items}
    return list(found.values())


async def _download(mailbox: Mailbox, attachment: Attachment) -> bytes:
    data = bytearray()
    async for piece in mailbox.download(attachment):
        del data[piece.offset :]
        data += piece.data
    return bytes(data)


def _folder(name: str, kind: Kind, role: Any) -> Folder:
    struct = {
        "id": f"keriostorage://folder/example.com/jane/{name}",
        "parentId": ROOT,
        "name": name,
        "type": _TYPES[kind],
    }
    return Folder(struct["id"], ROOT, name, kind, role, payload=canonical_json(struct))


def _noise(noise: bytes, random: Random, size: int) -> bytes:
    start = random.randrange(len(noise))
    return (noise[start:] + noise * (size // len(noise) + 1))[:size]


def _text(random: Random, size: int) -> str:
    words = random.choices(_WORDS, k=max(1, size // 7))
    return " ".join(words)


def _mail(random: Random, folder: str, number: int, size: int) -> tuple[dict[str, Any], list[int]]:
    body = min(6000, int(size * TEXT_SHARE)) or 200
    rest = max(0, size - body)
    count = random.choice((1, 1, 1, 2, 3)) if rest and random.random() < ATTACHED else 0
    files = [max(1, int(random.lognormvariate(0, 1) / 1.65 * rest / ATTACHED / 1.6)) for _ in range(count)]
    sent = datetime(2010, 1, 1, 8, tzinfo=UTC) + timedelta(minutes=17 * number)
    path = f"{folder.rpartition('/')[2]}/{number + 1}"
    text = _text(random, int(body * random.uniform(0.3, 1.7)))
    truths = ("isAnswered", "isForwarded", "isJunk", "isMDNSent", "showExternal", "requestDSN", "isDraft", "isReadOnly")
    return {
        "id": f"keriostorage://mail/example.com/jane/{path}", "folderId": folder, "watermark": number + 1,
        "from": _person(random), "sender": _NOBODY, "to": [_person(random) for _ in range(random.randint(1, 4))],
        "cc": [], "bcc": [], "replyTo": [], "notificationTo": _NOBODY, "subject": _text(random, 50),
        "sendDate": f"{sent:%Y%m%dT%H%M%S}+0200", "receiveDate": f"{sent:%Y%m%dT%H%M%SZ}",
        "modifiedDate": f"{sent:%Y%m%dT%H%M%SZ}", "priority": "Normal", "size": body + sum(files),
        "isSeen": number % 9 != 0, "isFlagged": number % 50 == 0, "hasAttachment": bool(files),
        "signInfo": {"isSigned": False}, "encryptInfo": {"isEncrypted": False},
        "displayableParts": [{"id": "1", "contentType": "ctTextPlain", "content": text}],
        "headers": [{"type": "mhMessageID", "value": f"<{number}.{random.getrandbits(60):x}@example.com>"}],
        "attachments": [
            {
                "id": f"keriostorage://attachment/example.com/jane/{path}/{place}", "contentId": "", "size": length,
                "url": f"/webmail/api/download/attachment/{path}/{place}/file%20{place}.bin",
                "name": f"file {place}.bin",
                "contentType": "application/octet-stream",
            }
            for place, length in enumerate(files)
        ],
        **dict.fromkeys(truths, False),
    }, files  # fmt: skip


def _person(random: Random) -> dict[str, str]:
    name = random.choice(_WORDS)
    return {"name": name.title(), "address": f"{name}{random.randrange(100)}@example.com"}


def _other(kind: Kind, folder: str, number: int) -> dict[str, Any]:
    path = f"{folder.rpartition('/')[2]}/{number + 1}"
    head = {"id": f"keriostorage://{kind}/example.com/jane/{path}", "folderId": folder, "watermark": number + 1}
    day = f"{datetime(2012, 1, 1, 9, tzinfo=UTC) + timedelta(days=number):%Y%m%dT%H%M%SZ}"
    more: dict[Kind, dict[str, Any]] = {
        "contact": {"commonName": f"Contact {number}", "firstName": "Jana", "surName": f"Nováková {number}",
                    "emailAddresses": [{"address": f"c{number}@example.com", "preferred": True}],
                    "birthDay": "19700101"},
        "event": {"summary": f"Meeting {number}", "start": day, "end": day, "rule": {"isSet": False}, "attendees": []},
        "task": {"summary": f"Task {number}", "due": day, "status": "tsInProgress", "done": number % 100},
        "note": {"text": f"Note {number}\nwith a second line", "color": "Yellow", "createDate": day, "modifyDate": day},
    }  # fmt: skip
    return head | more[kind]


def _change(number: int, folder: str) -> AddChange:
    struct = canonical_json(
        {"subject": f"written offline {number}", "to": [{"name": "", "address": "jim@example.com"}]}
    )
    files = (LocalFile("plan.bin", "application/octet-stream", bytes(range(256)) * 300),) if number % 2 else ()
    change = LocalChange(
        f"00000000-0000-4000-8000-{number:012}", "create", "mail", folder_id=folder, made="2026-03-01T09:30:00Z",
        struct=struct,
    )  # fmt: skip
    return AddChange(change, files)
