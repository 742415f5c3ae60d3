"""Items: from the server's structs to ours.

An item's `payload` is its documented struct exactly as it came; unknown members go to `extra`. A struct that cannot be
an item becomes `MalformedItem`, and does not affect the others. A sloppy member (null for a text, a number in quotes)
costs only the column that it would have filled. A column is never guessed: an invalid date is None.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Required

from pydantic import BeforeValidator, Strict, ValidationError
from typing_extensions import TypedDict

from kerio_resync.model import Attachment, Item, Kind, ListedItem, MalformedItem
from kerio_resync.server.kerio.json_codec import Canonical, exact_json
from kerio_resync.server.kerio.times import iso
from kerio_resync.server.kerio.wire import Id, Int64, adapter, require_size, require_text, split_unknown_members


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


# Members that become columns. Lax on purpose: the payload keeps what the server sent.


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


def _clean(text: str) -> str:
    """Remove NULs, at which other programs end a text."""
    return text.replace("\0", "") if "\0" in text else text


def _format_person(value: Mapping[str, Any], name: str = "name", address: str = "address") -> str:
    who, where = value.get(name, ""), value.get(address, "")
    return _clean(f"{who} <{where}>" if who and where else where or who)


def _format_people(values: Sequence[Mapping[str, Any]] | None, name: str = "name", address: str = "address") -> str:
    return ", ".join([_format_person(person, name, address) for person in values]) if values else ""


def _mail(c: Mapping[str, Any], payload: bytes, extra: bytes | None) -> Item:
    get = c.get
    message_id = ""
    for header in get("headers", ()):
        if header.get("type") == "mhMessageID":
            message_id = _clean(header.get("value", ""))
            break
    to, cc, attachments = _format_people(get("to")), _format_people(get("cc")), get("attachments")
    # By position: names cost a fifth of this function, which runs for each of a million mails.
    return Item(
        c["id"],
        get("folderId", ""),
        "mail",
        c["watermark"],
        _clean(get("subject", "")),
        _format_person(get("from", {})),
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
        tuple([_attachment(attachment) for attachment in attachments if attachment.get("url")]) if attachments else (),
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
        recipients=", ".join([_clean(entry.get("address", "")) for entry in addresses[1:]]),
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
    organisers = [attendee for attendee in attendees if attendee.get("role") == "RoleOrganizer"]
    others = [attendee for attendee in attendees if attendee.get("role") != "RoleOrganizer"]
    return Item(
        id=c["id"],
        folder_id=c.get("folderId", ""),
        kind=kind,
        watermark=c["watermark"],
        title=_clean(c.get("summary", "")),
        who=_format_people(organisers[:1], "displayName", "emailAddress"),
        recipients=_format_people(others, "displayName", "emailAddress"),
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
    """Return an attachment; a photo if `owner`, its contact's id, is given."""
    get = value.get
    return Attachment(
        attachment_id(value, owner),
        value["url"],
        _clean(get("name", "")),
        _clean(get("contentType", "")),
        _clean(get("contentId", "")),
        require_size(value["size"]) if "size" in value else None,
        "photo" if owner else "attachment",
    )


def attachment_id(value: Mapping[str, Any], owner: str) -> str:
    """Return the id of an attachment or photo.

    Without one, a photo is known by its contact's id, an attachment by its URL.
    """
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
    """Return the items of a list, and the malformed ones.

    Items are checked one by one only if the list as a whole is invalid.
    """
    list_type, item_type, columns = _KINDS[kind]
    items: list[Item] = []
    malformed: list[MalformedItem] = []
    try:
        checked: Sequence[Any] = adapter(list_type).validate_python(values)
    except ValidationError:
        checked = [_checked(item_type, value) for value in values]
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
        if write is exact_json:
            struct = _without_surrogates(struct)
        items.append(columns(struct, payload, extra))
    return tuple(items), tuple(malformed)


def _without_surrogates(value: Any, depth: int = 8) -> Any:
    """Remove lone surrogates, which no database stores; the payload keeps them.

    No column is nested deeper.
    """
    if isinstance(value, dict | list) and not depth:
        return None
    if isinstance(value, dict):
        return {name: _without_surrogates(member, depth - 1) for name, member in value.items()}
    if isinstance(value, list):
        return [_without_surrogates(member, depth - 1) for member in value]
    return require_text(value) if isinstance(value, str) else value


def parse_rows(values: Sequence[Any]) -> tuple[tuple[ListedItem, ...], tuple[MalformedItem, ...]]:
    """Return the rows of a listing, and the malformed ones."""
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
    """Return the row that a listing would have for the item."""
    return ListedItem(item.id, item.watermark, item.size, item.date, bool(item.attachments))


def _checked(shape: Any, value: Any) -> Any:
    """Return the columns of one item without invalid members.

    MalformedItem if its id or version is invalid.
    """
    single = adapter(shape)
    try:
        return single.validate_python(value)
    except ValidationError as error:
        wrong = {line["loc"][0] if line["loc"] else "" for line in error.errors(include_url=False)}
    if isinstance(value, dict) and not wrong & {"", "id", "watermark"}:
        # Leaves out single members, so that the valid ones keep their values.
        return single.validate_python({name: value[name] for name in value if name not in wrong})
    named = require_text(value.get("id"))[:500] if isinstance(value, dict) else ""
    return MalformedItem(named, f"invalid: {', '.join(sorted(str(name) or 'not an object' for name in wrong))}")
