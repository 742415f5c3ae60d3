"""Turns the stored struct of a contact into the lines of a vCard 4.0.

icalendar writes the lines: vCard has the same grammar. A distribution list becomes a card of the kind "group".
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import NAMESPACE_URL, uuid5

from icalendar.parser import Contentline, Parameters

from kerio_resync.server.json_codec import parse_json

NAME_LOST: Final = "the name beside an address"
PHONE_LOST: Final = "the type of a telephone number"
DAY_LOST: Final = "a day that is invalid"
_PHONES: Final = {
    "TypeWorkVoice": ("work", "voice"),
    "TypeWorkFax": ("work", "fax"),
    "TypeHomeVoice": ("home", "voice"),
    "TypeHomeFax": ("home", "fax"),
    "TypeOtherVoice": ("voice",),
    "TypeOtherFax": ("fax",),
    "TypeMobile": ("cell",),
    "TypePager": ("pager",),
    "TypeTtyTdd": ("textphone",),
    "TypeCar": ("car",),
    "TypeIsdn": ("isdn",),
    "TypePrimary": ("voice",),
}
_NAME: Final = ("surName", "firstName", "middleName", "titleBefore", "titleAfter")
_POSTAL: Final = ("pobox", "extendedAddress", "street", "locality", "state", "zip", "country")
_TEXTS: Final = {
    "NICKNAME": "nickName",
    "TITLE": "profession",
    "NOTE": "comment",
    "X-MANAGER": "managerName",
    "X-ASSISTANT": "assistantName",
}
_SCHEME: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
_DAY: Final = re.compile(r"(\d{8})(?:T\d{6}(?:Z|[+-]\d{4})?)?", re.ASCII)
_GROUP: Final = re.compile(r"[A-Za-z0-9-]{1,60}")


@dataclass(slots=True)
class Card:
    """The lines of a card between BEGIN and END, without the photo.

    `lost` names what the struct has and the card lacks.
    """

    lines: list[Contentline] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)


def contact_card(item_id: str, payload: bytes) -> Card:
    """Return the card of a contact. ValueError if its struct is not an object."""
    struct, _ = parse_json(payload)
    if not isinstance(struct, dict):
        raise ValueError("not an object")
    build = _Build(struct, Card())
    is_group = struct.get("type") == "ctDistributionList"
    build.put("VERSION", "4.0")
    build.put("UID", str(uuid5(NAMESPACE_URL, item_id).urn))
    build.put("KIND", "group" if is_group else "individual")
    build.names()
    build.ways(is_group)
    build.rest()
    return build.card


@dataclass(slots=True)
class _Build:
    """A card while it is built."""

    struct: Mapping[str, Any]
    card: Card
    groups: int = 0

    def put(self, name: str, value: str, parameters: Mapping[str, str | list[str]] | None = None) -> None:
        more = f";{Parameters(parameters).to_ical().decode()}" if parameters else ""
        self.card.lines.append(Contentline(f"{name}{more}:{value}"))  # type: ignore[no-untyped-call, unused-ignore]

    def text(self, name: str) -> str:
        return _text(self.struct.get(name))

    def objects(self, name: str) -> Iterator[Mapping[str, Any]]:
        values = self.struct.get(name)
        return (value for value in values if isinstance(value, dict)) if isinstance(values, list) else iter(())

    def names(self) -> None:
        whole = self.text("commonName") or f"{self.text('firstName')} {self.text('surName')}".strip()
        self.put("FN", _escaped(whole))
        if any(self.text(name) for name in _NAME):
            self.put("N", ";".join(_escaped(self.text(name)) for name in _NAME))
        if self.text("companyName") or self.text("departmentName"):
            department = self.text("departmentName")
            self.put("ORG", _escaped(self.text("companyName")) + (f";{_escaped(department)}" if department else ""))
        for property_name, member in _TEXTS.items():
            if value := self.text(member):
                self.put(property_name, _escaped(value))

    def ways(self, is_group: bool) -> None:
        """Add addresses, telephones and pages."""
        for value in self.objects("emailAddresses"):
            address, name = _text(value.get("address")), _text(value.get("name"))
            if not address:
                continue
            if is_group:
                self.put("MEMBER", f"mailto:{address}", {"X-CN": name} if name else {})
                continue
            self.card.lost += [NAME_LOST] * (name not in ("", self.text("commonName")))
            self.labelled("EMAIL", _escaped(address), value, _place(value, "Email"))
        for value in self.objects("phoneNumbers"):
            kind = _text(value.get("type"))
            types = _PHONES.get(
                kind, ("voice", f"x-{kind.removeprefix('Type').lower()}" if kind.isalpha() else "x-other")
            )
            self.card.lost += [PHONE_LOST] * (kind not in _PHONES)
            preferred = {"PREF": "1"} if kind == "TypePrimary" else {}
            self.labelled("TEL", _escaped(_text(value.get("number"))), value, {"TYPE": list(types), **preferred})
        for value in self.objects("postalAddresses"):
            fields = ";".join(_escaped(_text(value.get(name))) for name in _POSTAL)
            label = _text(value.get("label")).replace("\n", "\\n")
            self.labelled("ADR", fields, value, _place(value, "Address") | ({"LABEL": label} if label else {}))
        for value in self.objects("urls"):
            self.labelled("URL", _escaped(_text(value.get("url"))), value, _place(value, "Url"))
        if chat := self.text("IMAddress"):
            self.put("IMPP" if _SCHEME.match(chat) else "X-JABBER", _escaped(chat))

    def labelled(
        self, name: str, value: str, entry: Mapping[str, Any], parameters: Mapping[str, str | list[str]]
    ) -> None:
        """Add a line with the label that the user has given it, as address books do."""
        more = {"PREF": "1"} if entry.get("preferred") is True else {}
        extension = entry.get("extension")
        extension = extension if isinstance(extension, dict) else {}
        group, label = _text(extension.get("groupId")), _text(extension.get("label"))
        if not group and not label:
            self.put(name, value, {**parameters, **more})
            return
        if not _GROUP.fullmatch(group):
            self.groups += 1
            group = f"label{self.groups}"
        self.put(f"{group}.{name}", value, {**parameters, **more})
        if label:
            self.put(f"{group}.X-ABLABEL", _escaped(label))

    def rest(self) -> None:
        for name, member in (("BDAY", "birthDay"), ("ANNIVERSARY", "anniversary")):
            if value := self.text(member):
                if match := _DAY.fullmatch(value):
                    self.put(name, match[1])
                else:
                    self.card.lost.append(DAY_LOST)
        values = self.struct.get("categories")
        names: Sequence[str] = [_text(value) for value in values] if isinstance(values, list) else []
        if any(names):
            self.put("CATEGORIES", ",".join(_escaped(name) for name in names if name))


def _place(value: Mapping[str, Any], prefix: str) -> dict[str, str | list[str]]:
    place = _text(value.get("type")).removeprefix(prefix)
    return {"TYPE": place.lower()} if place in ("Work", "Home") else {}


def _text(value: Any) -> str:
    """Return a text without characters that vCard forbids."""
    if not isinstance(value, str):
        return ""
    text = value.replace("\r\n", "\n").replace("\r", "\n").encode("utf-8", "replace").decode()
    return "".join(letter for letter in text if letter >= " " or letter in "\n\t")


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n").replace(",", "\\,").replace(";", "\\;")
