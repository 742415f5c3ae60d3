"""Structs on their way to the server, and how to recognize what they became.

A local change holds a struct with the members to create or set. This module removes what only the server may set, adds
uploaded files, and compares a struct with an item of the server: only by what a person wrote, because a server fills in
defaults and tidies up the rest. Structs that are not JSON objects raise ValueError.

The module is the `Dialect` of Kerio's mailboxes. What begins with `for_` or `search_` is for `mutations` only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import quote

from kerio_resync.model import Attachment, Item, Kind
from kerio_resync.server.json_codec import canonical_json, parse_json
from kerio_resync.server.kerio.items import parse_items
from kerio_resync.server.kerio.times import iso
from kerio_resync.server.mailbox import Upload

UPLOAD_URL_PREFIX: Final = "/webmail/api/download/attachment/tmp/"
_MESSAGE_ID: Final = "mhMessageID"
_MAX_SEARCH_CHARACTERS: Final = 200
_READ_ONLY: Final[Mapping[Kind, frozenset[str]]] = {
    "mail": frozenset(["id", "watermark", "hasAttachment", "isDraft", "isReadOnly", "signInfo", "encryptInfo"]),
    "contact": frozenset(["id", "watermark", "isGalContact"]),
    "event": frozenset(["id", "watermark", "access", "isCancelled"]),
    "task": frozenset(["id", "watermark", "access", "end", "isCancelled"]),
    "note": frozenset(["id", "watermark", "createDate", "modifyDate"]),
}
_NOT_SET: Final = frozenset({"id", "folderId", "send", "sign", "encrypt"})  # members of an update that set no content
_TITLE: Final[Mapping[Kind, str]] = {
    "mail": "subject", "contact": "commonName", "event": "summary", "task": "summary", "note": "text",
}  # fmt: skip
_WRITTEN: Final[Mapping[Kind, tuple[str, ...]]] = {  # the members that people write
    "mail": ("subject", "to", "cc", "bcc", "displayableParts"),
    "contact": ("commonName", "firstName", "surName", "emailAddresses", "phoneNumbers", "comment"),
    "event": ("summary", "location", "description", "start", "end", "isAllDay"),
    "task": ("summary", "description", "start", "due"),
    "note": ("text",),
}
_WRITTEN_NESTED: Final = ("address", "name", "number", "content")
_ASSIGNED_BY_SERVER: Final = frozenset({"id", "url", "contactId", "isNotified", "partStatus", "isValidCertificate"})
_FLAGS: Final[Mapping[str, str]] = {
    "seen": "isSeen", "flagged": "isFlagged", "answered": "isAnswered", "draft": "isDraft",
}  # fmt: skip


# what a call sends


def for_create(kind: Kind, folder_id: str, struct: bytes) -> dict[str, Any]:
    """Return the struct of a create: without members that only the server may set."""
    value = _parse(struct)
    value = {name: value[name] for name in value if name not in _READ_ONLY[kind]}
    for reference in value.get("attachments") or ():  # their ids stay: they name what was uploaded
        if isinstance(reference, dict):
            for name in ("url", "size"):
                reference.pop(name, None)
    return {**value, "folderId": folder_id}


def for_update(kind: Kind, struct: bytes) -> dict[str, Any]:
    """Return the struct of an update: its id and the members to set.

    ValueError if it has no id. Without its folder: the update would move the item there, though it may have been moved
    elsewhere meanwhile.
    """
    value = _parse(struct)
    if not isinstance(value.get("id"), str):
        raise ValueError("a change without an id")
    drop = _READ_ONLY[kind] - {"id"} | {"folderId"}
    return {name: value[name] for name in value if name not in drop}


def flags_struct(kind: Kind, flags: bytes) -> bytes:
    """Return the struct that sets flags. ValueError for an unknown flag."""
    value = _parse(flags)
    if unknown := value.keys() - _FLAGS.keys():
        raise ValueError(f"unknown flags: {', '.join(sorted(unknown))}")
    return canonical_json({_FLAGS[name]: value[name] for name in value})


def from_source(struct: bytes, source: bytes, message_id: str) -> tuple[bytes, bytes]:
    """Raise ValueError: the API creates mails from structs only."""
    raise ValueError("the server creates mails from structs only")


def with_id(struct: bytes, item_id: str) -> bytes:
    """Return the struct with the id of the item that it changes."""
    return canonical_json({**_parse(struct), "id": item_id})


def with_message_id(kind: Kind, struct: bytes, message_id: str) -> bytes:
    """Return a mail's struct with this Message-ID, unless it has one.

    Other kinds stay as they are.
    """
    if kind != "mail":
        return struct
    value = _parse(struct)
    headers = [header for header in value.get("headers") or () if isinstance(header, dict)]
    if any(header.get("type") == _MESSAGE_ID and header.get("value") for header in headers):
        return struct
    return canonical_json({**value, "headers": [{"type": _MESSAGE_ID, "value": message_id}, *headers]})


def with_files(kind: Kind, struct: bytes, uploads: Sequence[Upload], current: Item | None = None) -> bytes:
    """Return the struct with uploaded files.

    They become a contact's photo, or are added to the attachments. If the struct names no attachments, those of
    `current`, the server's item, are kept.
    """
    if not uploads:
        return struct
    value = _parse(struct)
    if kind == "contact":
        upload = uploads[-1]
        name = quote(upload.name, safe="") if upload.name.strip(".") else "photo.jpg"
        # the reference documents the id; real clients name the photo by this URL
        photo = {"id": upload.id, "url": f"{UPLOAD_URL_PREFIX}{quote(upload.id, safe='')}/{name}"}
        return canonical_json({**value, "photo": photo})
    stored = [{"id": attachment.id} for attachment in current.attachments] if current else []
    kept = value.get("attachments", stored) or []
    new = [
        {"id": upload.id, "name": upload.name, "contentType": upload.content_type, "contentId": upload.content_id}
        for upload in uploads
    ]
    return canonical_json({**value, "attachments": [*kept, *new]})


# structs as items


def item_from_struct(kind: Kind, item_id: str, folder_id: str, struct: bytes) -> Item:
    """Return the item that a struct describes. Missing members are empty."""
    return _item(kind, {**_parse(struct), "id": item_id, "watermark": 0, "folderId": folder_id})


def with_changes(current: Item, struct: bytes) -> Item:
    """Return the server's item with the members of the struct."""
    theirs = _parse(current.payload)
    value = {**theirs, **_members_to_set(current.kind, struct), "id": current.id, "folderId": current.folder_id}
    item = _item(current.kind, {"watermark": 0, **value})
    return item._replace(version=current.version, extra=current.extra)


def _item(kind: Kind, value: dict[str, Any]) -> Item:
    if kind in ("mail", "event", "task"):
        value.setdefault(_TITLE[kind], "")
    items, _ = parse_items(kind, [value], canonical_json)
    return items[0] if items else Item(value["id"], (value["folderId"],), kind, "", payload=canonical_json(value))


def fingerprint(item: Item) -> bytes:
    """Return the members of an item that are needed to recognize it.

    `search_conditions` and `is_same_content` need them. A mail with a Message-ID is recognized by that, without its
    text.
    """
    value = _parse(item.payload)
    names = ("subject", "headers") if item.kind == "mail" and item.message_id else search_fields(item.kind)
    return canonical_json({name: value[name] for name in names if name in value})


# how to recognize an item


def search_conditions(item: Item) -> tuple[tuple[str, str], ...]:
    """Return the conditions (member, value) of a search for what `item` became.

    There are none if the server may have tidied up the value.
    """
    name = _TITLE[item.kind]
    value = _parse(item.payload).get(name)
    if not isinstance(value, str) or value != " ".join(value.split()) or len(value) > _MAX_SEARCH_CHARACTERS:
        return ()
    return ((name, value),)


def search_fields(kind: Kind) -> tuple[str, ...]:
    """Return the members that a search has to ask for, for `is_same_content`."""
    return ("id", "folderId", "watermark", *_WRITTEN[kind], *(("headers",) if kind == "mail" else ()))


def is_same_content(item: Item, current: Item) -> bool:
    """Return whether `current`, the server's, looks created from `item`.

    They are compared by Message-ID if both have one, else by what a person wrote.
    """
    if item.message_id and current.message_id:
        return item.message_id == current.message_id
    return all(_comparisons(item, current))


def resembles(item: Item, current: Item) -> bool:
    """Return whether `current` has at least one member that a person wrote in `item`."""
    return any(_comparisons(item, current))


def has_members(current: Item, struct: bytes) -> bool:
    """Return whether the item has what the struct would set.

    Contents of files are not compared.
    """
    theirs = _parse(current.payload)
    return all(
        _has_member(current, theirs, name, value) for name, value in _members_to_set(current.kind, struct).items()
    )


def file_candidates(current: Item, name: str, size: int) -> tuple[Attachment, ...]:
    """Return the attachments that a file of this name and size may have become."""
    return tuple(
        attachment
        for attachment in current.attachments
        if attachment.role == "photo" or (attachment.name, attachment.size) == (name, size)
    )


def _has_member(current: Item, theirs: Mapping[str, Any], name: str, value: Any) -> bool:
    if name == "headers":  # the server may assign another Message-ID
        return all(
            any(_contains(other, header) for other in theirs.get(name) or ())
            for header in value or ()
            if not (isinstance(header, dict) and header.get("type") == _MESSAGE_ID)
        )
    if name == "done" and theirs.get("status") == "tsCompleted":
        return True  # a completed task is done to 100 %, whatever was set
    if name == "attachments":
        ids = {reference["id"] for reference in value or () if isinstance(reference, dict) and "id" in reference}
        return ids <= {attachment.id for attachment in current.attachments}
    return name == "photo" or _contains(theirs.get(name), value)


def _contains(theirs: Any, ours: Any) -> bool:
    """Return whether all members of `ours` are in `theirs`, too."""
    if isinstance(ours, dict):
        members = theirs if isinstance(theirs, dict) else {}
        return all(_contains(members.get(name), ours[name]) for name in ours if name not in _ASSIGNED_BY_SERVER)
    if isinstance(ours, list):
        values = theirs if isinstance(theirs, list) else []
        return len(ours) == len(values) and all(map(_contains, values, ours))
    if isinstance(ours, str):
        return _plain(ours) == _plain(theirs if isinstance(theirs, str) else "")
    return bool(ours == theirs or (not ours and not theirs))


def _comparisons(item: Item, current: Item) -> list[bool]:
    """Compare each member that a person wrote in `item`."""
    ours, theirs = _parse(item.payload), _parse(current.payload)
    return [_written(ours[name]) == _written(theirs.get(name)) for name in _WRITTEN[item.kind] if ours.get(name)]


def _written(value: Any, depth: int = 8) -> Any:
    """Return the part of a value that a user wrote, down to `depth`."""
    if isinstance(value, list | dict) and not depth:
        return None
    if isinstance(value, list):
        return [_written(entry, depth - 1) for entry in value]
    if isinstance(value, dict):
        return {name: _written(value[name], depth - 1) for name in _WRITTEN_NESTED if value.get(name)}
    return _plain(value) if isinstance(value, str) else value


def _plain(text: str) -> str:
    """Return a text without invisible differences. All spellings of a time become one."""
    return iso(text) or text.strip().replace("\r\n", "\n")


def _members_to_set(kind: Kind, struct: bytes) -> dict[str, Any]:
    value = for_update(kind, with_id(struct, "-"))
    return {name: member for name, member in value.items() if name not in _NOT_SET}


def _parse(struct: bytes) -> dict[str, Any]:
    value, _ = parse_json(struct)
    if not isinstance(value, dict):
        raise ValueError("not an object")
    return value
