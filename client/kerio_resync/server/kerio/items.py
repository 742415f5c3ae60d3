"""Items: from the server's structs to ours.

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

from pydantic import BeforeValidator, Strict, ValidationError
from typing_extensions import TypedDict

from kerio_resync.model import Attachment, Item, Kind, ListedItem, MalformedItem
from kerio_resync.server.kerio.wire import (
    Canonical,
    Id,
    Int64,
    adapter,
    exact,
    parse_json,
    require_size,
    require_text,
    split_unknown_members,
)


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
    receiveDate: Annotated[str, Strict()]
    hasAttachment: Annotated[bool, Strict()]


class _Sloppy(_Base, total=False):
    size: Any
    receiveDate: Annotated[str, BeforeValidator(require_text)]
    hasAttachment: Annotated[bool, BeforeValidator(lambda value: value is True)]


# Times

_TIME = re.compile(r"(\d{4})(\d\d)(\d\d)(?:T(\d\d)(\d\d)(\d\d)(Z|[+-]\d{4})?)?", re.ASCII)


def iso(text: str) -> str | None:
    """RFC 2445's basic form as ISO 8601: UTC for an instant, the bare date for a whole day, None for what is neither.

    A time without a zone is taken for UTC.
    """
    # nearly all are of this form, and each of a million mails is listed with one, three times over
    if len(text) == 16 and text[8] == "T" and text[15] == "Z" and text.isascii() and (text[:8] + text[9:15]).isdigit():
        try:
            datetime.fromisoformat(text)
        except ValueError:
            return None
        return f"{text[:4]}-{text[4:6]}-{text[6:11]}:{text[11:13]}:{text[13:]}" if text[9:11] < "24" else None
    return _iso(text)


@lru_cache(maxsize=4096)
def _iso(text: str) -> str | None:
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
    return moment.isoformat()[:19] + "Z"


# Items


def _clean(text: str) -> str:
    """Without NULs, which end a text early in other programs."""
    return text.replace("\0", "") if "\0" in text else text


def _person(value: Mapping[str, Any], name: str = "name", address: str = "address") -> str:
    who, where = value.get(name, ""), value.get(address, "")
    return _clean(f"{who} <{where}>" if who and where else where or who)


def _people(values: Sequence[Mapping[str, Any]] | None, name: str = "name", address: str = "address") -> str:
    return ", ".join([_person(one, name, address) for one in values]) if values else ""


def _mail(c: Mapping[str, Any], payload: bytes, extra: bytes | None) -> Item:
    get = c.get
    message_id = ""
    for header in get("headers", ()):
        if header.get("type") == "mhMessageID":
            message_id = _clean(header.get("value", ""))
            break
    to, cc, attachments = _people(get("to")), _people(get("cc")), get("attachments")
    # by position: this runs for each of a million mails, and names cost a fifth of it
    return Item(
        c["id"],
        get("folderId", ""),
        "mail",
        c["watermark"],
        _clean(get("subject", "")),
        _person(get("from", {})),
        f"{to}, {cc}" if to and cc else to or cc,
        iso(get("receiveDate", "")),
        None,
        require_size(get("size")),
        get("isSeen", True),
        get("isFlagged", False),
        get("isAnswered", False),
        get("isDraft", False),
        message_id,
        payload,
        extra,
        tuple([_attachment(one) for one in attachments if one.get("url")]) if attachments else (),
    )


def _contact(c: Mapping[str, Any], payload: bytes, extra: bytes | None) -> Item:
    addresses = c.get("emailAddresses", ())
    photo = c.get("photo", {})
    return Item(
        id=c["id"],
        folder_id=c.get("folderId", ""),
        kind="contact",
        watermark=c["watermark"],
        title=_clean(c.get("commonName", "")),
        who=_clean(addresses[0].get("address", "")) if addresses else "",
        recipients=", ".join([_clean(one.get("address", "")) for one in addresses[1:]]),
        payload=payload,
        extra=extra,
        attachments=(_attachment(photo, c["id"]),) if photo.get("url") else (),
    )


def _event(c: Mapping[str, Any], payload: bytes, extra: bytes | None) -> Item:
    return _scheduled("event", c, iso(c.get("start", "")), payload, extra)


def _task(c: Mapping[str, Any], payload: bytes, extra: bytes | None) -> Item:
    return _scheduled("task", c, iso(c.get("due", "")) or iso(c.get("start", "")), payload, extra)


def _scheduled(kind: Kind, c: Mapping[str, Any], when: str | None, payload: bytes, extra: bytes | None) -> Item:
    attendees = c.get("attendees", ())
    organisers = [one for one in attendees if one.get("role") == "RoleOrganizer"]
    others = [one for one in attendees if one.get("role") != "RoleOrganizer"]
    return Item(
        id=c["id"],
        folder_id=c.get("folderId", ""),
        kind=kind,
        watermark=c["watermark"],
        title=_clean(c.get("summary", "")),
        who=_people(organisers[:1], "displayName", "emailAddress"),
        recipients=_people(others, "displayName", "emailAddress"),
        date=when,
        end=iso(c.get("end", "")),
        payload=payload,
        extra=extra,
    )


def _note(c: Mapping[str, Any], payload: bytes, extra: bytes | None) -> Item:
    text = c.get("text", "").strip()
    return Item(
        id=c["id"],
        folder_id=c.get("folderId", ""),
        kind="note",
        watermark=c["watermark"],
        title=_clean(text.splitlines()[0][:200]) if text else "",
        date=iso(c.get("modifyDate", "")) or iso(c.get("createDate", "")),
        payload=payload,
        extra=extra,
    )


def _attachment(value: Mapping[str, Any], owner: str = "") -> Attachment:
    """`owner`: the contact's id if it is a photo."""
    get = value.get
    return Attachment(
        _attachment_id(value, owner),
        value["url"],
        _clean(get("name", "")),
        _clean(get("contentType", "")),
        _clean(get("contentId", "")),
        require_size(value["size"]) if "size" in value else None,
        "photo" if owner else "attachment",
    )


def _attachment_id(value: Mapping[str, Any], owner: str) -> str:
    """Its id; a photo without one goes by its contact's, an attachment by its address."""
    return require_text(value.get("id")) or (f"{owner}#photo" if owner else require_text(value.get("url")))


_Columns = Callable[[Mapping[str, Any], bytes, bytes | None], Item]
_KINDS: Mapping[Kind, tuple[Any, Any, _Columns]] = {
    "mail": (list[_Mail], _Mail, _mail),
    "contact": (list[_Contact], _Contact, _contact),
    "event": (list[_Event], _Event, _event),
    "task": (list[_Task], _Task, _task),
    "note": (list[_Note], _Note, _note),
}


def parse_items(
    kind: Kind, values: Sequence[Any], write: Canonical
) -> tuple[tuple[Item, ...], tuple[MalformedItem, ...]]:
    """The items of a list, and what of it can't be one. The list is checked as a whole; one by one if that fails."""
    several, one, columns = _KINDS[kind]
    items: list[Item] = []
    malformed: list[MalformedItem] = []
    try:
        checked: Sequence[Any] = adapter(several).validate_python(values)
    except ValidationError:
        checked = [_checked(one, value) for value in values]
    known = _KNOWN[kind]
    for value, columned in zip(values, checked, strict=True):
        struct = columned
        if isinstance(struct, MalformedItem):
            malformed.append(struct)
            continue
        try:
            payload, extra = split_unknown_members(value, known, write)
        except ValueError as error:
            malformed.append(MalformedItem(struct["id"], str(error)[:100]))
            continue
        if write is exact:
            struct = _scrubbed(struct)
        items.append(columns(struct, payload, extra))
    return tuple(items), tuple(malformed)


def _scrubbed(value: Any, depth: int = 8) -> Any:
    """Columns without lone surrogates, which no database takes; the payload keeps them. No column is nested deeper."""
    if isinstance(value, dict | list) and not depth:
        return None
    if isinstance(value, dict):
        return {name: _scrubbed(each, depth - 1) for name, each in value.items()}
    if isinstance(value, list):
        return [_scrubbed(each, depth - 1) for each in value]
    return require_text(value) if isinstance(value, str) else value


def parse_rows(values: Sequence[Any]) -> tuple[tuple[ListedItem, ...], tuple[MalformedItem, ...]]:
    """The lines of a listing."""
    try:
        checked: Sequence[Any] = adapter(list[_Listed]).validate_python(values)
    except ValidationError:
        checked = [_checked(_Sloppy, value) for value in values]
    rows: list[ListedItem] = []
    malformed: list[MalformedItem] = []
    for struct in checked:
        if isinstance(struct, MalformedItem):
            malformed.append(struct)
            continue
        get = struct.get
        date = iso(get("receiveDate", ""))
        rows.append(
            ListedItem(struct["id"], struct["watermark"], require_size(get("size")), date, get("hasAttachment", False))
        )
    return tuple(rows), tuple(malformed)


def parse_row(item: Item) -> ListedItem:
    """The line that a listing would have for the item."""
    return ListedItem(item.id, item.watermark, item.size, item.date, bool(item.attachments))


def _checked(shape: Any, value: Any) -> Any:
    """The columns of one item, sloppy members left out; Malformed if what is essential is wrong."""
    single = adapter(shape)
    try:
        return single.validate_python(value)
    except ValidationError as error:
        wrong = {line["loc"][0] if line["loc"] else "" for line in error.errors(include_url=False)}
    if isinstance(value, dict) and not wrong & {"", "id", "watermark"}:
        # members are judged one by one, so that those which were right stay so
        return single.validate_python({name: value[name] for name in value if name not in wrong})
    named = require_text(value.get("id"))[:500] if isinstance(value, dict) else ""
    return MalformedItem(named, f"no item: {', '.join(sorted(str(name) or 'not an object' for name in wrong))}")


# The digest


def struct_digest(kind: Kind, payload: bytes, contents: Mapping[str, str]) -> str:
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
    value, write = parse_json(payload)
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
