"""Values and files for the cache's tests."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from kerio_resync.cache import schema
from kerio_resync.cache.mutations import FinishAttachment, LocalFile, Mutation, PutAttachmentBytes, PutItems, SetFolders
from kerio_resync.cache.outbox import Outbox
from kerio_resync.cache.queries import QueuedItem
from kerio_resync.cache.store import Store
from kerio_resync.cache.write.dispatch import apply_mutations
from kerio_resync.cache.write.session import WriteSession
from kerio_resync.model import Attachment, Folder, Identity, Item, Kind, ListedItem

IDENTITY = Identity("https://mail.example.com", "user-1", "jan", "jan@example.com")
INBOX = Folder("inbox", "root", "Inbox", "mail", "inbox")
WORK = Folder("work", "root", "Work", "mail")
PEOPLE = Folder("people", "root", "Contacts", "contact", "default")
ROOT = Folder("root", "", "~jan@example.com", None)
FOLDERS = SetFolders((ROOT, INBOX, WORK, PEOPLE), {"inbox": 0, "work": 10, "people": 5})
FILE = LocalFile("plan.pdf", "application/pdf", bytes(range(256)) * 3000)
ACTIONS = [
    ("create", "mail", {"folder_id": "inbox", "struct": b'{"subject":"Hi"}', "files": [FILE]}),
    ("create", "contact", {"folder_id": "people", "struct": b'{"commonName":"Ann"}'}),
    ("edit", "event", {"item_id": "e", "version": "7", "struct": b'{"summary":"x"}'}),
    ("flags", "mail", {"item_id": "1", "version": "3", "struct": b'{"seen":true}'}),
    ("move", "task", {"item_id": "t", "folder_id": "a", "target_id": "b"}),
    ("delete", "note", {"item_id": "n"}),
]


def listed(name: str, version: int | str = 1, date: str | None = "2026-03-01T00:00:00Z", size: int = 100) -> ListedItem:
    return ListedItem(name, str(version), size, date)


def mail(
    name: str,
    version: int | str = 1,
    folder: str | tuple[str, ...] = "inbox",
    *,
    text: str = "Hello",
    title: str = "Subject",
    date: str | None = "2026-03-01T00:00:00Z",
    attached: tuple[Attachment, ...] = (),
    kind: Kind = "mail",
    extra: bytes | None = None,
) -> Item:
    parts = [{"content": text, "contentType": "ctTextPlain"}]
    payload = json.dumps({"displayableParts": parts, "id": name, "subject": title}, sort_keys=True).encode()
    folders = (folder,) if isinstance(folder, str) else folder
    return Item(
        name, folders, kind, str(version), title, "Ann <ann@example.com>", "jan@example.com", date, size=len(payload),
        message_id=f"<{name}@example.com>", text=text, payload=payload, extra=extra, attachments=attached,
    )  # fmt: skip


def attachment(name: str, size: int | None = 5) -> Attachment:
    return Attachment(f"id-{name}", f"/webmail/api/download/{name}", name, "application/pdf", "", size)


def source(data: bytes | None = None, size: int | None = None) -> Attachment:
    """A mail's source, with its bytes or to be downloaded."""
    return Attachment("id-source", "", "source", "message/rfc822", "", size, "source", data)


def wanted(item: Item) -> QueuedItem:
    return QueuedItem(item.id, item.folder_id, item.kind, item.version)


@contextmanager
def memory() -> Iterator[sqlite3.Connection]:
    """An empty database in memory."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as db:
        yield db


@contextmanager
def open_tables() -> Iterator[WriteSession]:
    """A cache in memory, written to without an owner; a transaction is open."""
    with memory() as db:
        db.execute("PRAGMA foreign_keys = 1")
        schema.create_schema(db, IDENTITY)
        found = WriteSession(db)
        found.begin()
        apply_mutations([FOLDERS], found)
        yield found


async def filled(path: Path, *facts: Mutation, identity: Identity = IDENTITY) -> Store:
    """A new cache with the folders and these facts, durable."""
    made = await Store.create(path, identity)
    for each in (FOLDERS, *facts):
        await made.apply(each)
    await made.flush()
    return made


def whole(number: int, data: bytes) -> tuple[Mutation, Mutation]:
    """The facts that bring in an attachment's content."""
    return PutAttachmentBytes(number, 0, data), FinishAttachment(number, hashlib.sha256(data).digest(), len(data))


def names(folder: Path) -> list[str]:
    """What is in a folder."""
    return sorted(each.name for each in folder.iterdir())


def size(path: Path) -> int:
    """0 if there is no such file."""
    return path.stat().st_size if path.exists() else 0


def rows(path: Path, query: str) -> list[tuple[object, ...]]:
    """What a person with sqlite3 sees."""
    db = sqlite3.connect(path)
    try:
        return db.execute(query).fetchall()
    finally:
        db.close()


def put(found: WriteSession, *facts: Mutation) -> None:
    apply_mutations(facts, found)


def items(*names: str) -> PutItems:
    return PutItems(tuple(mail(each) for each in names))


def change(path: Path, sql: str) -> None:
    """Runs a script on a file behind its owner's back."""
    db = sqlite3.connect(path)
    db.executescript(sql)
    db.close()


async def old_cache(path: Path) -> list[str]:
    cache = await filled(path, PutItems(tuple(mail(str(n)) for n in range(20))))
    outbox = Outbox(cache)
    names = [await outbox.add(action, kind, **more) for action, kind, more in ACTIONS]  # type: ignore[arg-type]
    await cache.close()
    return names


def nothing_outside(tmp_path: Path) -> None:
    assert {path.name for path in tmp_path.iterdir()} <= {"p"}
    names = {path.name.partition(".")[0] for path in (tmp_path / "p").iterdir()} if (tmp_path / "p").exists() else set()
    assert names <= {"cache", "kerio-resync"}
