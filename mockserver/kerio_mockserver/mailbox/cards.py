"""vCard files as the API's Contact structs, photos as contents of their own.

Promises: one broken card costs nothing but its order: it is kept with its name, the card's text in the comment, and
counted. vCard 2.1, 3.0 and 4.0 as address books write them, in whatever charset.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import vobject

from kerio_mockserver.mailbox.blobs import NewBlob
from kerio_mockserver.mailbox.charsets import Troubles, cleaned, decode
from kerio_mockserver.mailbox.structs import Struct, blank

BAD_CARD = "card unreadable"

_CARD = re.compile(r"^BEGIN:VCARD[ \t]*\r?\n.*?^END:VCARD[ \t]*\r?$", re.MULTILINE | re.DOTALL | re.IGNORECASE)
_NAME = re.compile(r"^(?:[\w-]+\.)?FN(?:;[^:\n]*)?:([^\r\n]*)", re.MULTILINE | re.IGNORECASE)
_INLINE = re.compile(r"(data:[\w/+.-]+;base64),")
"""What vobject takes for the end of a value unless the comma is escaped."""
_DATA = re.compile(r"data:([\w/+.-]*)(?:;[^,;]*)*;base64,(.*)", re.DOTALL)
_DAY = re.compile(r"(\d{4})-?(\d\d)-?(\d\d)")
_IMAGES = {b"\x89PNG": "png", b"\xff\xd8\xff": "jpeg", b"GIF8": "gif", b"RIFF": "webp"}
_TEXTS = {
    "nickName": ("NICKNAME",),
    "profession": ("TITLE", "ROLE"),
    "managerName": ("X-MANAGER", "X-EVOLUTION-MANAGER", "X-MS-MANAGER"),
    "assistantName": ("X-ASSISTANT", "X-EVOLUTION-ASSISTANT", "X-MS-ASSISTANT"),
    "comment": ("NOTE",),
    "IMAddress": ("IMPP", "X-JABBER", "X-AIM", "X-ICQ", "X-MSN", "X-SKYPE", "X-SKYPE-USERNAME"),
}

Line = Any  # vobject has no types


@dataclass(frozen=True, slots=True)
class Card:
    """`struct` is complete but for ids, watermark and the photo, which the store gives out from `blobs`."""

    struct: Struct
    blobs: tuple[NewBlob, ...] = ()


def read_cards(data: bytes, troubles: Troubles) -> Iterator[Card]:
    """The contacts of a .vcf file, in its order."""
    text = decode(data, "utf-8", (), troubles).removeprefix("\ufeff").replace("\r\n", "\n")
    found = False
    for match in _CARD.finditer(text):
        found = True
        try:
            card = next(vobject.readComponents(_INLINE.sub(r"\1\,", match[0]), ignoreUnreadable=True, allowQP=True))
            yield _contact(card.contents, troubles)
        except Exception:  # vobject fails in many ways
            yield _remains(match[0], troubles)
    if not found:
        troubles[BAD_CARD] += 1


def _remains(text: str, troubles: Troubles) -> Card:
    troubles[BAD_CARD] += 1
    struct: Struct = blank("Contact")
    name = _NAME.search(text)
    return Card(struct | {"commonName": cleaned(name[1].strip() if name else "", troubles), "comment": text})


def _contact(lines: dict[str, list[Line]], troubles: Troubles) -> Card:
    struct: Struct = blank("Contact")

    def texts(*names: str) -> list[str]:
        values = (_flat(line.value) for name in names for line in lines.get(name.lower(), []))
        return [cleaned(value, troubles) for value in values if value]

    for member, names in _TEXTS.items():
        struct[member] = next(iter(texts(*names)), "")
    struct["commonName"] = next(iter(texts("FN", "ORG", "EMAIL")), "")
    struct["categories"] = [one for text in texts("CATEGORIES") for one in text.split(",") if one]
    for member, names in (
        ("birthDay", ("BDAY",)),
        ("anniversary", ("ANNIVERSARY", "X-ANNIVERSARY", "X-EVOLUTION-ANNIVERSARY")),
    ):
        day = next((day for text in texts(*names) if (day := _DAY.match(text))), None)
        struct[member] = "".join(day.groups()) if day else ""
    for line in lines.get("n", [])[:1]:
        _put_name(struct, line.value, troubles)
    for line in lines.get("org", [])[:1]:
        units = [
            cleaned(_flat(unit), troubles) for unit in (line.value if isinstance(line.value, list) else [line.value])
        ]
        struct["companyName"], struct["departmentName"] = units[0] if units else "", ", ".join(units[1:])
    if any(text.lower() == "group" for text in texts("KIND", "X-ADDRESSBOOKSERVER-KIND")):
        struct["type"] = "ctDistributionList"
    _put_ways(struct, lines, troubles)
    photo = next((found for line in lines.get("photo", []) if (found := _photo(line.value)) is not None), None)
    return Card(struct, () if photo is None else (photo,))


def _put_name(struct: Struct, name: Any, troubles: Troubles) -> None:
    for member, part in (
        ("surName", "family"),
        ("firstName", "given"),
        ("middleName", "additional"),
        ("titleBefore", "prefix"),
        ("titleAfter", "suffix"),
    ):
        struct[member] = cleaned(_flat(getattr(name, part, "")), troubles)


def _put_ways(struct: Struct, lines: dict[str, list[Line]], troubles: Troubles) -> None:
    """Telephones, addresses of all kinds, pages."""
    struct["phoneNumbers"] = [
        {"type": _phone_type(_types(line)), "number": _said(line, troubles), "extension": _label(lines, line, troubles)}
        for line in lines.get("tel", [])
    ]
    for line in lines.get("email", []) + lines.get("member", []):
        address: Struct = blank("EmailAddress")
        kind = _place(_types(line), "Email")
        address |= {"address": re.sub(r"(?i)^mailto:", "", _said(line, troubles)), "type": kind}
        address |= {"preferred": "PREF" in _types(line), "extension": _label(lines, line, troubles)}
        struct["emailAddresses"].append(address)
    for line in lines.get("adr", []):
        struct["postalAddresses"].append(_postal(line, _label(lines, line, troubles), troubles))
    struct["urls"] = [
        {"type": _place(_types(line), "Url"), "url": _said(line, troubles), "extension": _label(lines, line, troubles)}
        for line in lines.get("url", [])
    ]


def _postal(line: Line, label: Struct, troubles: Troubles) -> Struct:
    address: Struct = blank("PostalAddress")
    for member, part in (
        ("pobox", "box"),
        ("extendedAddress", "extended"),
        ("street", "street"),
        ("locality", "city"),
        ("state", "region"),
        ("zip", "code"),
        ("country", "country"),
    ):
        address[member] = cleaned(_flat(getattr(line.value, part, "")), troubles)
    written = getattr(line, "params", {}).get("LABEL", [""])[0]
    types = _types(line)
    return address | {
        "label": cleaned(_flat(written), troubles),
        "type": _place(types, "Address"),
        "preferred": "PREF" in types,
        "extension": label,
    }


def _types(line: Line) -> frozenset[str]:
    """A line's types in upper case; PREF among them in whichever way it is said."""
    parameters = getattr(line, "params", {})
    types = {part.strip().upper() for value in parameters.get("TYPE", []) for part in value.split(",")}
    types |= {value.upper() for value in getattr(line, "singletonparams", [])}
    return frozenset(types | ({"PREF"} if "PREF" in parameters else set()))


def _phone_type(types: frozenset[str]) -> str:
    place = "Home" if "HOME" in types else "Work" if "WORK" in types else "Other"
    for word, kind in (
        ("FAX", f"Type{place}Fax"),
        ("CELL", "TypeMobile"),
        ("PAGER", "TypePager"),
        ("CAR", "TypeCar"),
        ("ISDN", "TypeIsdn"),
        ("TEXTPHONE", "TypeTtyTdd"),
    ):
        if word in types:
            return kind
    return "TypePrimary" if place == "Other" and "PREF" in types else f"Type{place}Voice"


def _place(types: frozenset[str], prefix: str) -> str:
    return prefix + ("Work" if "WORK" in types else "Home" if "HOME" in types else "Other")


def _label(lines: dict[str, list[Line]], line: Line, troubles: Troubles) -> Struct:
    """The name that a person gave to a line, as Apple's address book groups it with the line."""
    group = getattr(line, "group", None)
    if not group:
        return {"groupId": "", "label": ""}
    named = (_flat(one.value) for one in lines.get("x-ablabel", []) if one.group == group)
    label = next(named, "").removeprefix("_$!<").removesuffix(">!$_")
    return {"groupId": cleaned(str(group), troubles), "label": cleaned(label, troubles)}


def _said(line: Line, troubles: Troubles) -> str:
    return cleaned(_flat(line.value), troubles).removeprefix("tel:")


def _flat(value: Any) -> str:
    if isinstance(value, bytes):
        return ""
    if isinstance(value, list | tuple):
        return ",".join(_flat(one) for one in value if one)
    return str(value or "").strip()


def _photo(value: Any) -> NewBlob | None:
    """A photo that stands in the card; one that is elsewhere is none."""
    data = value if isinstance(value, bytes) else b""
    if isinstance(value, str) and (inline := _DATA.fullmatch(value.strip())):
        data = base64.b64decode(re.sub(r"[^A-Za-z0-9+/]", "", inline[2]) + "==")
    if not data:
        return None
    kind = next((name for start, name in _IMAGES.items() if data.startswith(start)), "")
    extension = {"jpeg": "jpg", "": "bin"}.get(kind, kind)
    return NewBlob(data, f"photo.{extension}", f"image/{kind}" if kind else "application/octet-stream", role="photo")
