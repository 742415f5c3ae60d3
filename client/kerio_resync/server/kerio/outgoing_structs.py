"""Items on their way to the server: structs as a create or a set takes them, and how to know again what they became.

Promises: what only the server may say is left out, and nothing else; two items count as the same only by what a person
wrote in them. Refuses payloads that are no JSON objects, with ValueError.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kerio_resync.model import Item, Kind
from kerio_resync.server.kerio.items import iso
from kerio_resync.server.kerio.wire import canonical_json, parse_json


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# what a create may not name; `attachments` keep their ids, which name what was uploaded
_READ_ONLY: Mapping[Kind, frozenset[str]] = {
    "mail": _words("id watermark hasAttachment isDraft isReadOnly signInfo encryptInfo"),
    "contact": _words("id watermark isGalContact"),
    "event": _words("id watermark access isCancelled"),
    "task": _words("id watermark access end isCancelled"),
    "note": _words("id watermark createDate modifyDate"),
}


def for_create(kind: Kind, folder_id: str, payload: bytes) -> dict[str, Any]:
    """A struct as a create takes it: without what only the server may say. ValueError if it is no JSON object."""
    value = object_of(payload)
    struct = {name: value[name] for name in value if name not in _READ_ONLY[kind]}
    for reference in struct.get("attachments") or ():
        if isinstance(reference, dict):
            for name in ("url", "size"):
                reference.pop(name, None)
    struct["folderId"] = folder_id
    return struct


def for_change(kind: Kind, payload: bytes) -> dict[str, Any]:
    """A struct as a set takes it: its id and the members to be set. ValueError if it has no id.

    Not its folder: a set would move it there, though it may have been moved elsewhere since the struct was read."""
    value = object_of(payload)
    if not isinstance(value.get("id"), str):
        raise ValueError("a change without an id")
    drop = _READ_ONLY[kind] - {"id"} | {"folderId"}
    return {name: value[name] for name in value if name not in drop}


def object_of(payload: bytes) -> dict[str, Any]:
    """A struct as a value. ValueError if it is no JSON object."""
    value, _ = parse_json(payload)
    if not isinstance(value, dict):
        raise ValueError("not an object")
    return value


_LOOKED_UP: Mapping[Kind, str] = {
    "mail": "subject",
    "contact": "commonName",
    "event": "summary",
    "task": "summary",
    "note": "text",
}
_ALIKE: Mapping[Kind, tuple[str, ...]] = {
    "mail": ("subject", "to", "cc", "bcc", "displayableParts"),
    "contact": ("commonName", "firstName", "surName", "emailAddresses", "phoneNumbers", "comment"),
    "event": ("summary", "location", "description", "start", "end", "isAllDay"),
    "task": ("summary", "description", "start", "due"),
    "note": ("text",),
}
_MAX_SEARCH_TEXT = 200  # characters of a text that is searched for
_TELLING = ("address", "name", "number", "content")


def search_conditions(item: Item) -> tuple[tuple[str, str], ...]:
    """The conditions (member, value) of a search for what may have been created from the item; none if the value is
    one that a server may tidy up."""
    name = _LOOKED_UP[item.kind]
    value = object_of(item.payload).get(name)
    if not isinstance(value, str) or value != " ".join(value.split()) or len(value) > _MAX_SEARCH_TEXT:
        return ()
    return ((name, value),)


def search_fields(kind: Kind) -> tuple[str, ...]:
    """The members to ask for in a search: what `alike` looks at, and what makes an item one."""
    return ("id", "folderId", "watermark", *_ALIKE[kind], *(("headers",) if kind == "mail" else ()))


def fingerprint_fields(item: Item) -> bytes:
    """A struct with just what `looked_up` and `alike` look at; of a mail with a Message-ID not its text."""
    value = object_of(item.payload)
    names = ("subject", "headers") if item.kind == "mail" and item.message_id else search_fields(item.kind)
    return canonical_json({name: value[name] for name in names if name in value})


def is_same_content(item: Item, found: Item) -> bool:
    """Whether `found`, the server's, looks created from `item`, ours: by Message-ID if both have one, else by content.

    A server may add members, fill in defaults and rewrite what is not content, so only what a person wrote counts.
    """
    if item.message_id and found.message_id:
        return item.message_id == found.message_id
    ours, theirs = object_of(item.payload), object_of(found.payload)
    return all(_normalize(ours[name]) == _normalize(theirs.get(name)) for name in _ALIKE[item.kind] if ours.get(name))


def resembles(item: Item, found: Item) -> bool:
    """Whether `found` has at least one member that a person wrote in `item`."""
    ours, theirs = object_of(item.payload), object_of(found.payload)
    return any(_normalize(ours[name]) == _normalize(theirs.get(name)) for name in _ALIKE[item.kind] if ours.get(name))


def _normalize(value: Any, depth: int = 8) -> Any:
    """What a person wrote, of a value: texts as they are, structs by their telling members; nothing that is deeper."""
    if isinstance(value, list | dict) and not depth:
        return None
    if isinstance(value, list):
        return [_normalize(one, depth - 1) for one in value]
    if isinstance(value, dict):
        return {name: _normalize(value[name], depth - 1) for name in _TELLING if value.get(name)}
    return plain(value) if isinstance(value, str) else value


def plain(text: str) -> str:
    """A text as people tell texts apart; a time in any of its spellings is the same time."""
    return iso(text) or text.strip().replace("\r\n", "\n")
