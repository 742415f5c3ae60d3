"""vCard files as Contact structs, photos as contents.

Every card whose BEGIN is found becomes a contact. A broken property costs that property, and is counted. vCard 2.1, 3.0
and 4.0 are read as address books write them, in any charset.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from urllib.parse import unquote_to_bytes

from kerio_mockserver.mailbox.api_structs import Struct, blank
from kerio_mockserver.mailbox.blobs import NewBlob
from kerio_mockserver.mailbox.imports.charsets import Warnings, cleaned
from kerio_mockserver.mailbox.imports.content_lines import NO_END, Component, Line, divided, read_components, unescaped

BAD_PHOTO = "photo unreadable"
NO_PHOTO = "photo elsewhere"

_DATA = re.compile(r"data:([^,;]*)((?:;[^,;]*)*),(.*)", re.DOTALL | re.IGNORECASE)
_ELSEWHERE = re.compile(r"(?:https?|ftp|file|cid|content|ldap):", re.IGNORECASE)
_DAY = re.compile(r"(\d{4})-?(\d\d)-?(\d\d)")
_NOT_BASE64 = re.compile(r"[^A-Za-z0-9+/]+")
_IMAGES = {b"\x89PNG": "png", b"\xff\xd8\xff": "jpeg", b"GIF8": "gif", b"RIFF": "webp"}
_TEXTS = {
    "nickName": ("NICKNAME",),
    "profession": ("TITLE", "ROLE"),
    "managerName": ("X-MANAGER", "X-EVOLUTION-MANAGER", "X-MS-MANAGER"),
    "assistantName": ("X-ASSISTANT", "X-EVOLUTION-ASSISTANT", "X-MS-ASSISTANT"),
    "comment": ("NOTE",),
    "IMAddress": ("IMPP", "X-JABBER", "X-AIM", "X-ICQ", "X-MSN", "X-SKYPE", "X-SKYPE-USERNAME"),
}
_DAYS = {"birthDay": ("BDAY",), "anniversary": ("ANNIVERSARY", "X-ANNIVERSARY", "X-EVOLUTION-ANNIVERSARY")}
_NAME = ("surName", "firstName", "middleName", "titleBefore", "titleAfter")
_POSTAL = ("pobox", "extendedAddress", "street", "locality", "state", "zip", "country")


@dataclass(frozen=True, slots=True)
class Card:
    """A contact without ids, watermark and photo, which the store adds from `blobs`."""

    struct: Struct
    blobs: tuple[NewBlob, ...] = ()
    warnings: Warnings = field(default_factory=Warnings)


@dataclass(frozen=True, slots=True)
class _Source:
    """A card while it is read."""

    card: Component
    warnings: Warnings

    def lines(self, *names: str) -> list[Line]:
        return [line for name in names for line in self.card.all(name)]

    def text(self, line: Line) -> str:
        return cleaned(unescaped(line.value).strip(), self.warnings).replace("\r\n", "\n")

    def texts(self, *names: str) -> list[str]:
        return [text for line in self.lines(*names) if (text := self.text(line))]

    def fields(self, line: Line) -> list[str]:
        """Return the parts of a structured value."""
        return [cleaned(part.strip(), self.warnings) for part in divided(line.value, ";")]

    def label(self, line: Line) -> Struct:
        """Return the name of a line, which Apple's address book puts in its group."""
        if not line.group:
            return {"groupId": "", "label": ""}
        group = line.group.lower()
        named = (self.text(name_line) for name_line in self.card.all("X-ABLABEL") if name_line.group.lower() == group)
        label = next(named, "").removeprefix("_$!<").removesuffix(">!$_")
        return {"groupId": cleaned(line.group, self.warnings), "label": label}


def read_cards(data: bytes, warnings: Warnings) -> Iterator[Card]:
    """Return the contacts of a .vcf file in order.

    `warnings` counts problems of the file as a whole.
    """
    for component in read_components(data, warnings):
        if component.name == "VCARD":
            own = Warnings({NO_END: not component.complete})
            yield _contact(_Source(component, own))


def _contact(source: _Source) -> Card:
    struct: Struct = blank("Contact")
    for member, names in _TEXTS.items():
        struct[member] = next(iter(source.texts(*names)), "")
    struct["commonName"] = next(iter(source.texts("FN", "ORG", "EMAIL")), "")
    struct["categories"] = [
        cleaned(category.strip(), source.warnings)
        for line in source.lines("CATEGORIES")
        for category in divided(line.value, ",")
        if category.strip()
    ]
    for member, names in _DAYS.items():
        day = next((day for text in source.texts(*names) if (day := _DAY.match(text))), None)
        struct[member] = "".join(day.groups()) if day else ""
    for line in source.lines("N")[:1]:
        struct |= dict(zip(_NAME, source.fields(line), strict=False))
    struct["commonName"] = struct["commonName"] or f"{struct['firstName']} {struct['surName']}".strip()
    for line in source.lines("ORG")[:1]:
        units = source.fields(line)
        struct["companyName"], struct["departmentName"] = units[0], ", ".join(filter(None, units[1:]))
    if any(text.lower() == "group" for text in source.texts("KIND", "X-ADDRESSBOOKSERVER-KIND")):
        struct["type"] = "ctDistributionList"
    _put_ways(struct, source)
    photos = [photo for line in source.lines("PHOTO") if (photo := _photo(line, source.warnings)) is not None]
    return Card(struct, tuple(photos[:1]), +source.warnings)


def _put_ways(struct: Struct, source: _Source) -> None:
    """Fill telephones, addresses and pages."""
    for line in source.lines("TEL"):
        number = _without(source.text(line), "tel:")
        phone = {"type": _phone_type(_types(line)), "number": number, "extension": source.label(line)}
        struct["phoneNumbers"].append(phone)
    for line in source.lines("EMAIL", "MEMBER", "X-ADDRESSBOOKSERVER-MEMBER"):
        address: Struct = blank("EmailAddress")
        types = _types(line)
        address |= {"address": _without(source.text(line), "mailto:"), "type": _place(types, "Email")}
        address |= {"preferred": "PREF" in types, "extension": source.label(line)}
        struct["emailAddresses"].append(address)
    for line in source.lines("ADR"):
        postal: Struct = blank("PostalAddress")
        types = _types(line)
        postal |= dict(zip(_POSTAL, source.fields(line), strict=False))
        postal |= {"label": cleaned(unescaped(line.parameter("LABEL")), source.warnings)}
        postal |= {"type": _place(types, "Address"), "preferred": "PREF" in types, "extension": source.label(line)}
        struct["postalAddresses"].append(postal)
    struct["urls"] = [
        {"type": _place(_types(line), "Url"), "url": source.text(line), "extension": source.label(line)}
        for line in source.lines("URL")
    ]


def _types(line: Line) -> frozenset[str]:
    """Return a line's types in upper case, PREF among them in whichever form."""
    types = {part.strip().upper() for value in line.parameters.get("TYPE", ()) for part in value.split(",")}
    return frozenset(types | ({"PREF"} if "PREF" in line.parameters else set()))


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


def _without(text: str, scheme: str) -> str:
    return text[len(scheme) :].strip() if text[: len(scheme)].lower() == scheme else text


def _photo(line: Line, warnings: Warnings) -> NewBlob | None:
    """Return a photo that the card contains, as base64 or in a data: address."""
    value = unescaped(line.value).strip()
    if _ELSEWHERE.match(value):
        warnings[NO_PHOTO] += 1
        return None
    inline = _DATA.fullmatch(value)
    coded = inline is None or "base64" in inline[2].lower()
    data = _unbase64(inline[3] if inline else value) if coded else unquote_to_bytes(inline[3] if inline else "")
    kind = next((name for start, name in _IMAGES.items() if data.startswith(start)), "")
    if not kind and (not data or not _declared(line, inline)):
        warnings[BAD_PHOTO] += bool(value)
        return None
    extension = {"jpeg": "jpg", "": "bin"}.get(kind, kind)
    return NewBlob(data, f"photo.{extension}", f"image/{kind}" if kind else "application/octet-stream", role="photo")


def _declared(line: Line, inline: Sequence[str | None] | re.Match[str] | None) -> bool:
    """Return whether the line declares its value as binary."""
    return inline is not None or line.parameter("ENCODING").upper() in ("B", "BASE64")


def _unbase64(text: str) -> bytes:
    letters = _NOT_BASE64.sub("", text)
    letters = letters[: len(letters) - (len(letters) % 4 == 1)]
    return base64.b64decode(letters + "=" * (-len(letters) % 4))
