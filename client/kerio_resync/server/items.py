"""Items: from the server's structs to ours, and back.

Promises: an item's `payload` is its documented struct exactly as it came, unknown members stand apart in `extra`, and
nothing that is said gets lost; an item that can't be one becomes `Malformed` and harms no other; what is merely sloppy
(a null for a text, a number in quotes) costs only the column that it would have filled. Refuses to invent: a date that
is no date is None.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta, timezone
from functools import lru_cache
from hashlib import sha256
from typing import Annotated, Any, Required

from kerio_resync.model import Attachment, Item, Kind, Listed, Malformed
from kerio_resync.server.wire import Canonical, Id, Int64, canonical, divided, int_of, parsed, text_of
from pydantic import BeforeValidator, TypeAdapter, ValidationError
from typing_extensions import TypedDict


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_KNOWN: Mapping[Kind, frozenset[str]] = {
    "mail": _words(
        "id folderId watermark from sender to cc bcc sendDate receiveDate modifiedDate replyTo notificationTo subject"
        " priority size isSeen isAnswered isFlagged isForwarded isJunk isMDNSent showExternal requestDSN hasAttachment"
        " isDraft isReadOnly signInfo encryptInfo displayableParts attachments headers"
    ),
    "contact": _words(
        "id folderId watermark type commonName firstName middleName surName titleBefore titleAfter nickName"
        " phoneNumbers emailAddresses postalAddresses urls birthDay anniversary companyName departmentName profession"
        " managerName assistantName comment IMAddress photo categories isGalContact"
    ),
    "event": _words(
        "id folderId watermark access summary location description label categories start end travelMinutes freeBusy"
        " isPrivate isAllDay priority rule attendees reminder isCancelled"
    ),
    "task": _words(
        "id folderId watermark access summary location description status start due end done priority rule attendees"
        " reminder sortOrder isPrivate isCancelled"
    ),
    "note": _words("id folderId watermark color text position createDate modifyDate"),
}
# what a create may not name; `attachments` keep their ids, which name what was uploaded
_READ_ONLY: Mapping[Kind, frozenset[str]] = {
    "mail": _words("id watermark hasAttachment isDraft isReadOnly signInfo encryptInfo"),
    "contact": _words("id watermark isGalContact"),
    "event": _words("id watermark access isCancelled"),
    "task": _words("id watermark access end isCancelled"),
    "note": _words("id watermark createDate modifyDate"),
}
LIGHT: Mapping[Kind, tuple[str, ...]] = {
    "mail": ("id", "folderId", "watermark", "size", "receiveDate", "hasAttachment"),
    "contact": ("id", "folderId", "watermark"),
    "event": ("id", "folderId", "watermark"),
    "task": ("id", "folderId", "watermark"),
    "note": ("id", "folderId", "watermark"),
}


# What the columns are made of. Lax on purpose: the payload keeps what really came.


class _Address(TypedDict, total=False):
    name: str
    address: str


class _Attachment(TypedDict, total=False):
    id: str
    url: str
    name: str
    contentType: str
    contentId: str
    size: Any


class _Header(TypedDict, total=False):
    type: str
    value: str


class _Attendee(TypedDict, total=False):
    displayName: str
    emailAddress: str
    role: str


class _Base(TypedDict, total=False):
    id: Required[Id]
    folderId: str
    watermark: Required[Int64]


_Mail = TypedDict(
    "_Mail",
    {
        "id": Required[Id],
        "folderId": str,
        "watermark": Required[Int64],
        "from": _Address,
        "to": list[_Address],
        "cc": list[_Address],
        "receiveDate": str,
        "subject": str,
        "size": Any,
        "isSeen": bool,
        "isAnswered": bool,
        "isFlagged": bool,
        "isDraft": bool,
        "attachments": list[_Attachment],
        "headers": list[_Header],
    },
    total=False,
)


class _Contact(_Base, total=False):
    commonName: str
    emailAddresses: list[_Address]
    photo: _Attachment


class _Event(_Base, total=False):
    summary: str
    start: str
    end: str
    attendees: list[_Attendee]


class _Task(_Event, total=False):
    due: str


class _Note(_Base, total=False):
    text: str
    createDate: str
    modifyDate: str


class _Listed(_Base, total=False):
    size: Any
    receiveDate: Annotated[str, BeforeValidator(text_of)]
    hasAttachment: Annotated[bool, BeforeValidator(lambda value: value is True)]


# Times

_TIME = re.compile(r"(\d{4})(\d\d)(\d\d)(?:T(\d\d)(\d\d)(\d\d)(Z|[+-]\d{4})?)?", re.ASCII)


@lru_cache(maxsize=4096)
def iso(text: str) -> str | None:
    """RFC 2445's basic form as ISO 8601: UTC for an instant, the bare date for a whole day, None for what is neither.

    A time without a zone is taken for UTC.
    """
    found = _TIME.fullmatch(text)
    if not found:
        return None
    year, month, day, hour, minute, second, zone = found.groups()
    try:
        if hour is None:
            return date(int(year), int(month), int(day)).isoformat()
        moment = datetime(int(year), int(month), int(day), int(hour), int(minute), int(second), tzinfo=UTC)
        if zone and zone != "Z":
            offset = timedelta(hours=int(zone[1:3]), minutes=int(zone[3:5]))
            moment = moment.replace(tzinfo=timezone(-offset if zone[0] == "-" else offset)).astimezone(UTC)
    except (ValueError, OverflowError):
        return None
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}" if moment.year >= 1000 else None


# Items


def _person(value: Mapping[str, Any], name: str = "name", address: str = "address") -> str:
    who, where = text_of(value.get(name)), text_of(value.get(address))
    if who and where:
        return f"{who} <{where}>"
    return where or who


def _mail(c: Mapping[str, Any]) -> dict[str, Any]:
    get = c.get
    message_id = ""
    for header in get("headers", ()):
        if header.get("type") == "mhMessageID":
            message_id = text_of(header.get("value"))
            break
    return {
        "title": text_of(get("subject")),
        "who": _person(get("from", {})),
        "recipients": ", ".join([_person(one) for name in ("to", "cc") for one in get(name, ())]),
        "date": iso(get("receiveDate", "")),
        "size": int_of(get("size")),
        "seen": get("isSeen", True),
        "flagged": get("isFlagged", False),
        "answered": get("isAnswered", False),
        "draft": get("isDraft", False),
        "message_id": message_id,
        "attachments": tuple([_attachment(one) for one in get("attachments", ()) if one.get("url")]),
    }


def _contact(c: Mapping[str, Any]) -> dict[str, Any]:
    addresses = c.get("emailAddresses", ())
    photo = c.get("photo", {})
    return {
        "title": text_of(c.get("commonName")),
        "who": text_of(addresses[0].get("address")) if addresses else "",
        "recipients": ", ".join(text_of(one.get("address")) for one in addresses[1:]),
        "attachments": (_attachment(photo, c["id"]),) if photo.get("url") else (),
    }


def _event(c: Mapping[str, Any]) -> dict[str, Any]:
    attendees = c.get("attendees", ())
    organisers = [one for one in attendees if one.get("role") == "RoleOrganizer"]
    others = [one for one in attendees if one.get("role") != "RoleOrganizer"]
    return {
        "title": text_of(c.get("summary")),
        "who": _person(organisers[0], "displayName", "emailAddress") if organisers else "",
        "recipients": ", ".join(_person(one, "displayName", "emailAddress") for one in others),
        "date": iso(c.get("start", "")),
        "end": iso(c.get("end", "")),
    }


def _task(c: Mapping[str, Any]) -> dict[str, Any]:
    return {**_event(c), "date": iso(c.get("due", "")) or iso(c.get("start", ""))}


def _note(c: Mapping[str, Any]) -> dict[str, Any]:
    text = text_of(c.get("text")).strip()
    return {
        "title": text.splitlines()[0][:200] if text else "",
        "date": iso(c.get("modifyDate", "")) or iso(c.get("createDate", "")),
    }


def _attachment(value: Mapping[str, Any], owner: str = "") -> Attachment:
    """`owner`: the contact's id if it is a photo."""
    return Attachment(
        id=_attachment_id(value, owner),
        url=value["url"],
        name=text_of(value.get("name")),
        content_type=text_of(value.get("contentType")),
        content_id=text_of(value.get("contentId")),
        size=int_of(value["size"]) if "size" in value else None,
        role="photo" if owner else "attachment",
    )


def _attachment_id(value: Mapping[str, Any], owner: str) -> str:
    """Its id; a photo without one goes by its contact's."""
    return text_of(value.get("id")) or (f"{owner}#photo" if owner else text_of(value.get("url")))


_Columns = Callable[[Mapping[str, Any]], dict[str, Any]]
_KINDS: Mapping[Kind, tuple[TypeAdapter[Any], TypeAdapter[Any], _Columns]] = {
    "mail": (TypeAdapter(list[_Mail]), TypeAdapter(_Mail), _mail),
    "contact": (TypeAdapter(list[_Contact]), TypeAdapter(_Contact), _contact),
    "event": (TypeAdapter(list[_Event]), TypeAdapter(_Event), _event),
    "task": (TypeAdapter(list[_Task]), TypeAdapter(_Task), _task),
    "note": (TypeAdapter(list[_Note]), TypeAdapter(_Note), _note),
}
_ROWS: TypeAdapter[Any] = TypeAdapter(list[_Listed])
_ROW: TypeAdapter[Any] = TypeAdapter(_Listed)


def items_of(kind: Kind, values: Sequence[Any], write: Canonical) -> tuple[tuple[Item, ...], tuple[Malformed, ...]]:
    """The items of a list, and what of it can't be one. The list is checked as a whole; one by one if that fails."""
    whole, single, columns = _KINDS[kind]
    items: list[Item] = []
    malformed: list[Malformed] = []
    try:
        checked: Sequence[Any] = whole.validate_python(values)
    except ValidationError:
        checked = [_checked(single, value) for value in values]
    known = _KNOWN[kind]
    for value, struct in zip(values, checked, strict=True):
        if isinstance(struct, Malformed):
            malformed.append(struct)
            continue
        try:
            payload, extra = divided(value, known, write)
        except ValueError as error:
            malformed.append(Malformed(struct["id"], str(error)[:100]))
            continue
        items.append(
            Item(
                id=struct["id"],
                folder_id=text_of(struct.get("folderId")),
                kind=kind,
                watermark=struct["watermark"],
                payload=payload,
                extra=extra,
                **columns(struct),
            )
        )
    return tuple(items), tuple(malformed)


def rows_of(values: Sequence[Any]) -> tuple[tuple[Listed, ...], tuple[Malformed, ...]]:
    """The lines of a listing."""
    try:
        checked: Sequence[Any] = _ROWS.validate_python(values)
    except ValidationError:
        checked = [_checked(_ROW, value) for value in values]
    rows: list[Listed] = []
    malformed: list[Malformed] = []
    for struct in checked:
        if isinstance(struct, Malformed):
            malformed.append(struct)
            continue
        get = struct.get
        date = iso(get("receiveDate", ""))
        rows.append(Listed(struct["id"], struct["watermark"], int_of(get("size")), date, get("hasAttachment", False)))
    return tuple(rows), tuple(malformed)


def row_of(item: Item) -> Listed:
    """The line that a listing would have for the item."""
    return Listed(item.id, item.watermark, item.size, item.date, bool(item.attachments))


def _checked(single: TypeAdapter[Any], value: Any) -> Any:
    """The columns of one item, sloppy members left out; Malformed if what is essential is wrong."""
    for _ in range(2):
        try:
            return single.validate_python(value)
        except ValidationError as error:
            wrong = {line["loc"][0] if line["loc"] else "" for line in error.errors(include_url=False)}
            if not isinstance(value, dict) or wrong & {"", "id", "watermark"}:
                break
            value = {name: value[name] for name in value if name not in wrong}
    named = text_of(value.get("id"))[:500] if isinstance(value, dict) else ""
    return Malformed(named, f"no item: {', '.join(sorted(str(name) or 'not an object' for name in wrong))}")


# The digest


def digest(kind: Kind, payload: bytes, contents: Mapping[str, str]) -> str:
    """sha256 (hex) over an item's documented struct, as both sides reckon it.

    `url` is left out of each attachment and photo, and if it was not empty the content's sha256 (hex; `contents` has it
    by `Attachment.id`) put in. ValueError if `payload` is no JSON object.
    """
    # within a string the quotes would be escaped, so that the search can't be fooled by text
    has_reference = (kind == "mail" and b'"attachments":[{' in payload) or (
        kind == "contact" and b'"photo":{' in payload
    )
    if not has_reference:
        return sha256(payload).hexdigest()
    value, write = parsed(payload)
    if kind == "contact":
        references, owner = [value.get("photo")], str(value.get("id", ""))
    else:
        references, owner = value.get("attachments", ()), ""
    for reference in references:
        if isinstance(reference, dict):
            name = _attachment_id(reference, owner)
            if reference.pop("url", "") and name in contents:
                reference["sha256"] = contents[name]
    return sha256(write(value)).hexdigest()


# And back


def for_create(kind: Kind, folder_id: str, payload: bytes) -> dict[str, Any]:
    """A struct as a create takes it: without what only the server may say. ValueError if it is no JSON object."""
    value = _object(payload)
    struct = {name: value[name] for name in value if name not in _READ_ONLY[kind]}
    for reference in struct.get("attachments") or ():
        if isinstance(reference, dict):
            for name in ("url", "size"):
                reference.pop(name, None)
    struct["folderId"] = folder_id
    return struct


def for_change(kind: Kind, payload: bytes) -> dict[str, Any]:
    """A struct as a set takes it: its id and the members to be set. ValueError if it has no id."""
    value = _object(payload)
    if not isinstance(value.get("id"), str):
        raise ValueError("a change without an id")
    drop = _READ_ONLY[kind] - {"id"}
    return {name: value[name] for name in value if name not in drop}


def _object(payload: bytes) -> dict[str, Any]:
    value, _ = parsed(payload)
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
_TELLING = ("address", "name", "number", "content")


def looked_up(item: Item) -> tuple[tuple[str, str], ...]:
    """The conditions (member, value) of a search for what may have been created from the item."""
    name = _LOOKED_UP[item.kind]
    value = _object(item.payload).get(name)
    return ((name, value),) if isinstance(value, str) else ()


def alike(item: Item, found: Item) -> bool:
    """Whether `found`, the server's, looks created from `item`, ours: by Message-ID if both have one, else by content.

    A server may add members, fill in defaults and rewrite what is not content, so only what a person wrote counts.
    """
    if item.message_id and found.message_id:
        return item.message_id == found.message_id
    ours, theirs = _object(item.payload), _object(found.payload)
    return all(_essence(ours[name]) == _essence(theirs.get(name)) for name in _ALIKE[item.kind] if ours.get(name))


def _essence(value: Any) -> Any:
    """What a person wrote, of a value: texts as they are, structs by their telling members."""
    if isinstance(value, list):
        return [_essence(one) for one in value]
    if isinstance(value, dict):
        return {name: value[name] for name in _TELLING if value.get(name)}
    if isinstance(value, str):
        return iso(value) or value.strip().replace("\r\n", "\n")
    return value


__all__ = [
    "LIGHT",
    "alike",
    "canonical",
    "digest",
    "for_change",
    "for_create",
    "iso",
    "items_of",
    "looked_up",
    "row_of",
    "rows_of",
]
