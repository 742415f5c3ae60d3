"""Turns a client's struct into an item of a folder.

It sets ids, addresses and default values.

All functions are pure; nothing here reads a mailbox.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import orjson

from kerio_mockserver.mailbox.api_structs import ITEM_STRUCTS, BadStruct, complete, members
from kerio_mockserver.mailbox.blobs import PHOTO, Attached, NewBlob, mime_size
from kerio_mockserver.mailbox.ids import FolderAddress, Kind, is_upload

Struct = dict[str, Any]
_SERVERS = frozenset({"id", "folderId", "watermark", "size", "attachments", "photo"})
_METADATA = frozenset({"isSeen", "isFlagged", "isAnswered", "isForwarded", "isJunk", "isMDNSent", "showExternal"})
_DATES_OF_SENDING = ("receiveDate", "sendDate")
_FIRST_PART = 2  # part 1 of a mail is its text
_JPEG, _MAX_PHOTO_BYTES = b"\xff\xd8\xff", 256 * 1024


def provided(kind: Kind, struct: Struct) -> Struct:
    """Return a client's members, completed, without read-only ones and attachments."""
    documented = members(ITEM_STRUCTS[kind])
    return {
        name: complete(member.type, struct[name], f"{ITEM_STRUCTS[kind]}.{name}")
        for name, member in documented.items()
        if name in struct and member.access != "ro" and name not in _SERVERS
    }


def with_placement(
    kind: Kind, struct: Struct, home: FolderAddress, number: int, contents: Mapping[str, Attached]
) -> Struct:
    """Set every id and address in `struct` (in place) to item `number` of a folder."""
    struct["id"] = f"{home.item}{number}"
    struct["folderId"] = home.folder_id
    if kind == "mail":
        struct["attachments"] = [_attachment(home, number, part, content) for part, content in contents.items()]
        struct["hasAttachment"] = bool(contents)
        for at, part in enumerate(struct["displayableParts"], 1):
            part["id"] = f"{home.part}{number}/1.{at}"
    elif kind == "contact":
        photo = contents.get(PHOTO)
        identity = (
            {"id": home.attachment_id(number, PHOTO), "url": home.url(number, PHOTO, photo.name)} if photo else {}
        )
        struct["photo"] = {"id": "", "url": ""} | identity
    return struct


def with_defaults(kind: Kind, struct: Struct, home: FolderAddress, number: int, now: str, author: Struct) -> Struct:
    """Set (in place) what a new item lacks: dates, the sender, a Message-ID."""
    if kind == "mail":
        for name in ("receiveDate", "sendDate", "modifiedDate"):
            struct[name] = "" if struct["isDraft"] and name in _DATES_OF_SENDING else struct[name] or now
        if not struct["from"]["address"]:
            struct["from"] = dict(author)
        if not any(header["type"] == "mhMessageID" for header in struct["headers"]):
            value = f"<{home.guid[:13]}.{number}@{home.domain}>"
            struct["headers"] = [{"type": "mhMessageID", "value": value}, *struct["headers"]]
    elif kind == "note":
        struct["createDate"] = struct["createDate"] or now
        struct["modifyDate"] = struct["modifyDate"] or now
    elif kind == "task":
        struct |= completed(struct, now)
    return struct


def completed(task: Struct, now: str) -> Struct:
    """Return what follows from a task's status: share done, and date of completion."""
    if task["status"] == "tsCompleted":
        return {"done": 100, "end": task["end"] or now}
    return {"end": ""}


def undated(struct: Struct) -> Struct:
    """Return a draft's empty dates; {} for other mails."""
    return dict.fromkeys(_DATES_OF_SENDING, "") if struct.get("isDraft") else {}


def size_of(kind: Kind, struct: Struct, contents: Mapping[str, Attached]) -> int:
    """Return the bytes that an item counts for: a mail's MIME source, others' JSON."""
    if kind != "mail":
        return len(orjson.dumps(struct))
    body = sum(len(part["content"].encode()) for part in struct["displayableParts"])
    return mime_size(body, (len(content.blob) for content in contents.values()))


def parts_of(kind: Kind, blobs: list[Attached], kept: Mapping[str, Attached] | None = None) -> dict[str, Attached]:
    """Return contents by part: kept ones under their old part, others under new ones."""
    if kind == "contact":
        return {PHOTO: blobs[-1]} if blobs else dict(kept or {})
    found = dict(kept or {})
    free = max([_FIRST_PART - 1, *(int(part) for part in found)]) + 1
    return found | {str(free + at): blob for at, blob in enumerate(blobs)}


def names_contents(kind: Kind, struct: Struct) -> bool:
    """Return whether a client's struct names attachments or a photo."""
    return (kind == "mail" and "attachments" in struct) or (kind == "contact" and "photo" in struct)


def references(kind: Kind, struct: Struct) -> list[Struct]:
    """Return the contents that a client's struct names: id, and wished name and type."""
    if not names_contents(kind, struct):
        return []
    if kind == "mail":
        return list(complete("Attachment[]", struct["attachments"], "Mail.attachments"))
    photo = complete("PhotoAttachment", struct["photo"], "Contact.photo")
    if not photo["id"] and is_upload(photo["url"]):
        photo["id"] = photo["url"]
    return [photo] if photo["id"] else []


def check_photo(photo: Attached) -> None:
    """Raise BadStruct for a photo that is no JPEG, or larger than 256 KB."""
    jpeg = photo.content_type.startswith("image/jpeg") or photo.blob.read(0, len(_JPEG)) == _JPEG
    if not jpeg or len(photo.blob) > _MAX_PHOTO_BYTES:
        raise BadStruct("Contact.photo must be a JPEG of at most 256 KB")


def renamed(content: Attached, reference: Struct) -> Attached:
    """Return the content with the name, type and content id of a reference, if given."""
    return replace(
        content,
        name=reference.get("name") or content.name,
        content_type=reference.get("contentType") or content.content_type,
        content_id=reference.get("contentId") or content.content_id,
    )


def attached(blobs: Sequence[NewBlob]) -> list[Attached]:
    """Return the attachments of new blobs."""
    return [blob.attached() for blob in blobs]


def change_type(kind: Kind, changed: Mapping[str, Any]) -> str:
    """Return the documented type of a change of these members."""
    if kind != "mail" or not changed.keys() <= _METADATA:
        return "chtModified"
    return "chtReadFlagChanged" if changed.keys() == {"isSeen"} else "chtModifiedMetadata"


def _attachment(home: FolderAddress, number: int, part: str, content: Attached) -> Struct:
    return {
        "id": home.attachment_id(number, part),
        "url": home.url(number, part, content.name),
        "name": content.name,
        "contentType": content.content_type,
        "contentId": content.content_id,
        "size": len(content.blob),
    }
