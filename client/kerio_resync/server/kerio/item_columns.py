"""The columns of an item, from the members of its struct.

They are all that others read of an item, so that only this package knows the structs. The types are lax on purpose: the
payload keeps what the server sent.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Final, Required

from pydantic import BeforeValidator, Strict
from typing_extensions import TypedDict

from kerio_resync.model import Attachment, Item, Kind
from kerio_resync.server.json_codec import canonical_json
from kerio_resync.server.kerio.times import iso
from kerio_resync.server.kerio.wire import Id, Int64, require_size, require_text, version_of


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


class _Phone(TypedDict, total=False):
    number: str


class _Rule(TypedDict, total=False):
    isSet: bool


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
        "displayableParts": Any,  # _texts checks each part: a validator would copy them all
        "attachments": list[_Attachment],
        "headers": list[_Header],
    },
    total=False,
)


class _Contact(_Base, total=False):
    commonName: str
    firstName: str
    surName: str
    companyName: str
    emailAddresses: list[_Address]
    phoneNumbers: list[_Phone]
    birthDay: str
    comment: str
    photo: _Attachment


class _Scheduled(_Base, total=False):
    summary: str
    description: str
    start: str
    end: str
    attendees: list[_Attendee]


class _Event(_Scheduled, total=False):
    location: str
    isAllDay: bool
    rule: _Rule


class _Task(_Scheduled, total=False):
    due: str
    status: str
    done: Int64
    priority: str


class _Note(_Base, total=False):
    color: str
    text: str
    createDate: str
    modifyDate: str


class Row(_Base, total=False):
    """A row of a listing."""

    size: Any
    receiveDate: Annotated[str, Strict()]
    hasAttachment: Annotated[bool, Strict()]


class SloppyRow(_Base, total=False):
    """A row of which some members may be invalid."""

    size: Any
    receiveDate: Annotated[str, BeforeValidator(require_text)]
    hasAttachment: Annotated[bool, BeforeValidator(lambda value: value is True)]


def _clean(text: str) -> str:
    """Remove NULs, at which other programs end a text."""
    return text.replace("\0", "") if "\0" in text else text


def _format_person(value: Mapping[str, Any], name: str = "name", address: str = "address") -> str:
    who, where = value.get(name, ""), value.get(address, "")
    return f"{who} <{where}>" if who and where else where or who


def _format_people(values: Sequence[Mapping[str, Any]] | None, name: str = "name", address: str = "address") -> str:
    return _clean(", ".join([_format_person(person, name, address) for person in values])) if values else ""


def _joined(texts: Sequence[str | None]) -> str | None:
    """Join texts by commas; None if there are none."""
    named = [text for text in texts if text is not None]
    return ", ".join(named) if named else None


def _details(**members: str | int | None) -> bytes:
    """Return an item's details without those that the server does not name."""
    return canonical_json({name: value for name, value in members.items() if value is not None})


def _texts(parts: Any) -> tuple[str | None, str | None]:
    """Return the first plain text of a mail, and its first HTML text.

    Without a plain text, the first of its texts takes that place. They may contain NULs: looking for them would take
    longer than all else here.
    """
    plain = html = first = None
    for part in parts if type(parts) is list else ():
        content = part.get("content") if type(part) is dict else None
        if type(content) is not str:
            continue
        content_type = part.get("contentType")
        if first is None:
            first = content
        if plain is None and content_type == "ctTextPlain":
            plain = content
        elif html is None and content_type == "ctTextHtml":
            html = content
    return first if plain is None else plain, html


def _folder_ids(c: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the item's folder; () if the server does not name it."""
    folder_id = c.get("folderId")
    return (folder_id,) if folder_id else ()


def _mail(c: Mapping[str, Any], payload: bytes, extra: bytes | None) -> Item:
    get = c.get
    message_id = ""
    for header in get("headers", ()):
        if header.get("type") == "mhMessageID":
            message_id = _clean(header.get("value", ""))
            break
    to, cc, attachments = _format_people(get("to")), _format_people(get("cc")), get("attachments")
    text, html = _texts(get("displayableParts"))
    # By position: names cost a fifth of this function, which runs for each of a million mails.
    return Item(
        c["id"],
        _folder_ids(c),
        "mail",
        version_of(c["watermark"]),
        _clean(get("subject", "")),
        _clean(_format_person(get("from", {}))),
        f"{to}, {cc}" if to and cc else to or cc,
        iso(get("receiveDate", "")),
        None,
        require_size(get("size")),
        get("isSeen", True),
        get("isFlagged", False),
        get("isAnswered", False),
        get("isDraft", False),
        message_id,
        text,
        html,
        None,
        payload,
        extra,
        tuple([_attachment(attachment) for attachment in attachments if attachment.get("url")]) if attachments else (),
    )


def _contact(c: Mapping[str, Any], payload: bytes, extra: bytes | None) -> Item:
    get = c.get
    addresses = get("emailAddresses", [])
    photo = get("photo", {})
    details = _details(
        first_name=get("firstName"),
        last_name=get("surName"),
        company=get("companyName"),
        addresses=_joined([entry.get("address") for entry in addresses]),
        phones=_joined([entry.get("number") for entry in get("phoneNumbers", [])]),
        birthday=get("birthDay"),
    )
    return Item(
        id=c["id"],
        folder_ids=_folder_ids(c),
        kind="contact",
        version=version_of(c["watermark"]),
        title=_clean(get("commonName", "")),
        who=_clean(addresses[0].get("address", "")) if addresses else "",
        recipients=", ".join([_clean(entry.get("address", "")) for entry in addresses[1:]]),
        text=get("comment"),
        details=details,
        payload=payload,
        extra=extra,
        attachments=(_attachment(photo, c["id"]),) if photo.get("url") else (),
    )


def _event(c: Mapping[str, Any], payload: bytes, extra: bytes | None) -> Item:
    details = _details(location=c.get("location"), all_day=c.get("isAllDay"), recurring=c.get("rule", {}).get("isSet"))
    return _scheduled("event", c, iso(c.get("start", "")), details, payload, extra)


def _task(c: Mapping[str, Any], payload: bytes, extra: bytes | None) -> Item:
    details = _details(status=c.get("status"), done=c.get("done"), priority=c.get("priority"))
    return _scheduled("task", c, iso(c.get("due", "")) or iso(c.get("start", "")), details, payload, extra)


def _scheduled(
    kind: Kind, c: Mapping[str, Any], when: str | None, details: bytes, payload: bytes, extra: bytes | None
) -> Item:
    attendees = c.get("attendees", ())
    organisers = [attendee for attendee in attendees if attendee.get("role") == "RoleOrganizer"]
    others = [attendee for attendee in attendees if attendee.get("role") != "RoleOrganizer"]
    return Item(
        id=c["id"],
        folder_ids=_folder_ids(c),
        kind=kind,
        version=version_of(c["watermark"]),
        title=_clean(c.get("summary", "")),
        who=_format_people(organisers[:1], "displayName", "emailAddress"),
        recipients=_format_people(others, "displayName", "emailAddress"),
        date=when,
        end=iso(c.get("end", "")),
        text=c.get("description"),
        details=details,
        payload=payload,
        extra=extra,
    )


def _note(c: Mapping[str, Any], payload: bytes, extra: bytes | None) -> Item:
    text = c.get("text")
    title = (text or "").strip()
    return Item(
        id=c["id"],
        folder_ids=_folder_ids(c),
        kind="note",
        version=version_of(c["watermark"]),
        title=_clean(title.splitlines()[0][:200]) if title else "",
        date=iso(c.get("modifyDate", "")) or iso(c.get("createDate", "")),
        text=text,
        details=_details(color=c.get("color")),
        payload=payload,
        extra=extra,
    )


def _attachment(value: Mapping[str, Any], owner: str = "") -> Attachment:
    """Return an attachment; a photo if `owner`, its contact's id, is given.

    Without an id, a photo is known by its contact's id, an attachment by its URL.
    """
    get = value.get
    return Attachment(
        require_text(value.get("id")) or (f"{owner}#photo" if owner else require_text(value.get("url"))),
        value["url"],
        _clean(get("name", "")),
        _clean(get("contentType", "")),
        _clean(get("contentId", "")),
        require_size(value["size"]) if "size" in value else None,
        "photo" if owner else "attachment",
    )


Columns = Callable[[Mapping[str, Any], bytes, bytes | None], Item]  # of members, payload and extra
KINDS: Final[Mapping[Kind, tuple[Any, Any, Columns]]] = {  # the types of a list and of a struct, and its columns
    "mail": (list[_Mail], _Mail, _mail),
    "contact": (list[_Contact], _Contact, _contact),
    "event": (list[_Event], _Event, _event),
    "task": (list[_Task], _Task, _task),
    "note": (list[_Note], _Note, _note),
}
