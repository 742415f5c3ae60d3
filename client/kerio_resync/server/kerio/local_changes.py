"""Changes made offline, in the server's words: what their structs are as items, and whether the server has them.

A local change holds a documented struct with the members to create or set. Promises: nothing here asks a server, and
what a change does not say is not made up. Refuses structs that are no JSON objects, with ValueError.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from kerio_resync.model import Attachment, Item, Kind
from kerio_resync.server.kerio import outgoing_structs
from kerio_resync.server.kerio.items import parse_items
from kerio_resync.server.kerio.wire import canonical_json

UPLOADED = "/webmail/api/download/attachment/tmp/"
_HEADER = "mhMessageID"
_SAYS_NOTHING = frozenset({"id", "url", "contactId", "isNotified", "partStatus", "isValidCertificate"})
_TITLE: Mapping[Kind, str] = {"mail": "subject", "event": "summary", "task": "summary"}


@dataclass(frozen=True, slots=True)
class Upload:
    """A file that was put on the server for the next create or set; `id` is what it is called there."""

    id: str
    name: str
    content_type: str
    content_id: str


def named(kind: Kind, struct: bytes, message_id: str) -> bytes:
    """The struct of a mail with this Message-ID unless it has one; what is no mail as it is."""
    if kind != "mail":
        return struct
    value = outgoing_structs.object_of(struct)
    headers = [each for each in value.get("headers") or () if isinstance(each, dict)]
    if any(each.get("type") == _HEADER and each.get("value") for each in headers):
        return struct
    return canonical_json({**value, "headers": [{"type": _HEADER, "value": message_id}, *headers]})


def with_files(kind: Kind, struct: bytes, uploads: Sequence[Upload], there: Item | None = None) -> bytes:
    """The struct with what was uploaded: added to the attachments it names, or to those that `there`, the item on the
    server, has if it names none; as a contact's photo."""
    if not uploads:
        return struct
    value = outgoing_structs.object_of(struct)
    if kind == "contact":
        return canonical_json({**value, "photo": _photo(uploads[-1])})
    has = {"attachments": [{"id": each.id} for each in there.attachments]} if there else {}
    kept = value.get("attachments", has.get("attachments")) or []
    new = [
        {"id": each.id, "name": each.name, "contentType": each.content_type, "contentId": each.content_id}
        for each in uploads
    ]
    return canonical_json({**value, "attachments": [*kept, *new]})


def _photo(upload: Upload) -> dict[str, str]:
    """A photo by the id that the reference documents, and by the address at which real clients name it."""
    name = quote(upload.name, safe="") if upload.name.strip(".") else "photo.jpg"
    return {"id": upload.id, "url": f"{UPLOADED}{quote(upload.id, safe='')}/{name}"}


def with_id(struct: bytes, item_id: str) -> bytes:
    """The struct as a set takes it, naming its item."""
    return canonical_json({**outgoing_structs.object_of(struct), "id": item_id})


def item_of(kind: Kind, item_id: str, folder_id: str, struct: bytes, watermark: int = 0) -> Item:
    """The item that a struct describes, as far as it does."""
    value = {**outgoing_structs.object_of(struct), "id": item_id, "watermark": watermark, "folderId": folder_id}
    if kind in _TITLE:
        value.setdefault(_TITLE[kind], "")
    found, _ = parse_items(kind, [value], canonical_json)
    return found[0] if found else Item(item_id, folder_id, kind, watermark, payload=canonical_json(value))


def with_changes(there: Item, struct: bytes) -> Item:
    """The server's item with the members of the struct laid over it: what the change wanted it to be."""
    value = {**outgoing_structs.object_of(there.payload), **settable(there.kind, struct)}
    found = item_of(there.kind, there.id, there.folder_id, canonical_json(value), there.watermark)
    return found._replace(extra=there.extra)


def fingerprint(item: Item) -> bytes:
    """What of an item is needed to know it again elsewhere, as a struct."""
    return outgoing_structs.fingerprint_fields(item)


def settable(kind: Kind, struct: bytes) -> dict[str, Any]:
    """The members of a struct that a set would set."""
    value = outgoing_structs.for_change(kind, with_id(struct, "-"))
    return {name: each for name, each in value.items() if name not in ("id", "folderId", "send", "sign", "encrypt")}


def has_members(there: Item, struct: bytes) -> bool:
    """Whether the server's item has what the struct would set, as far as a server that fills in and tidies up leaves
    it. Contents of files are not looked at."""
    theirs = outgoing_structs.object_of(there.payload)
    for name, value in settable(there.kind, struct).items():
        if name == "headers":  # a Message-ID is the server's to assign
            named = [one for one in value or () if not (isinstance(one, dict) and one.get("type") == _HEADER)]
            same = all(any(_within(one, other) for other in theirs.get(name) or ()) for one in named)
        elif name == "done" and theirs.get("status") == "tsCompleted":
            same = True  # 100 %, whatever it was set to
        elif name == "attachments":
            same = {each["id"] for each in value or () if isinstance(each, dict) and "id" in each} <= {
                each.id for each in there.attachments
            }
        else:
            same = name == "photo" or _within(value, theirs.get(name))
        if not same:
            return False
    return True


def same(item: Item, there: Item) -> bool:
    """Whether the server's item has just what was to be created, under whatever Message-ID."""
    return outgoing_structs.is_same_content(item._replace(message_id=""), there)


def resembles(item: Item, there: Item) -> bool:
    """Whether the server's item has something of what was to be created, though not all."""
    return outgoing_structs.resembles(item, there)


def candidates(there: Item, name: str, size: int) -> tuple[Attachment, ...]:
    """The attachments of the server's item that a file of this name and size (bytes) may have become."""
    return tuple(each for each in there.attachments if each.role == "photo" or (each.name, each.size) == (name, size))


def _within(ours: Any, theirs: Any) -> bool:
    """Whether all that is said in `ours` is said in `theirs` too."""
    if isinstance(ours, dict):
        other = theirs if isinstance(theirs, dict) else {}
        return all(_within(ours[name], other.get(name)) for name in ours if name not in _SAYS_NOTHING)
    if isinstance(ours, list):
        others = theirs if isinstance(theirs, list) else []
        return len(ours) == len(others) and all(map(_within, ours, others))
    if isinstance(ours, str):
        return bool(outgoing_structs.plain(ours) == outgoing_structs.plain(theirs if isinstance(theirs, str) else ""))
    return bool(ours == theirs or (not ours and not theirs))
