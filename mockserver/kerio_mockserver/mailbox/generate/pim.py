"""Generated contacts, events, tasks and notes.

Item k depends on (seed, folder, k) only.

They are few and small beside mails, so each is made by a `Random` of its own, and the light struct is the whole.
"""

from __future__ import annotations

import struct as layout
import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterator
from random import Random
from typing import Any

import orjson

from kerio_mockserver.mailbox.api_structs import ENUMS, blank
from kerio_mockserver.mailbox.blobs import PHOTO, Attached, Bytes
from kerio_mockserver.mailbox.dates import NOW, day, utc, with_offset
from kerio_mockserver.mailbox.generate.people import Person, people
from kerio_mockserver.mailbox.ids import FolderAddress
from kerio_mockserver.mailbox.text_pool import pool

Struct = dict[str, Any]


class GeneratedItems(ABC):
    """The generated items of one folder; `first` is the watermark before item 0's."""

    struct = ""
    item_bytes = 0  # bytes that an item adds to the folder's size
    unread = 0

    def __init__(self, home: FolderAddress, seed: int, count: int, first: int) -> None:
        self.home, self.count, self.first = home, count, first
        self._seed = seed
        self._people = people(seed)
        self.size = count * self.item_bytes

    @abstractmethod
    def fill(self, struct: Struct, k: int, dice: Random) -> None:
        """Fill a blank struct for item k."""

    def item(self, k: int) -> Struct:
        struct: Struct = blank(self.struct)
        struct["id"] = f"{self.home.item}{k + 1}"
        struct["folderId"] = self.home.folder_id
        struct["watermark"] = self.first + k + 1
        self.fill(struct, k, self._dice(k))
        return struct

    def raw(self, k: int) -> bytes:
        return orjson.dumps(self.item(k))

    def light(self, k: int) -> Struct:
        return self.item(k)

    def brief(self, k: int) -> Struct:
        return {
            "id": f"{self.home.item}{k + 1}",
            "folderId": self.home.folder_id,
            "watermark": self.first + k + 1,
        }

    def contents(self, k: int) -> dict[str, Attached]:
        return {}

    def seen(self, k: int) -> bool:
        return True

    def size_of(self, k: int) -> int:
        return self.item_bytes

    def when(self, k: int) -> str:
        return ""

    def unseen(self) -> Iterator[int]:
        return iter(())

    def _dice(self, k: int) -> Random:
        return Random(f"{self._seed}/{self.home.guid}/{k}")

    def _someone(self, dice: Random) -> Person:
        return dice.choice(self._people)

    def _text(self, dice: Random, size: int) -> str:
        return pool(self._someone(dice).language).slice_paragraphs(dice.randrange(1000), size).rstrip()


class Contacts(GeneratedItems):
    """Contacts: one in eleven has a photo, one in fourteen is a distribution list."""

    struct = "Contact"
    item_bytes = 1500

    def fill(self, struct: Struct, k: int, dice: Random) -> None:
        person = self._someone(dice)
        if k % 14 == 13:
            self._fill_list(struct, k, dice)
            return
        given = f"{person.first}{'' if k < len(self._people) else f' {k}'}"
        struct |= {"firstName": given, "surName": person.last, "commonName": f"{given} {person.last}"}
        struct |= {
            "companyName": dice.choice(("", "Müller Bau GmbH", "例え株式会社", 'O\'Neill & Sons, "Ltd."')),
            "nickName": "",
        }
        struct |= {
            "titleBefore": dice.choice(("", "", "Dr.", "Ing.")),
            "profession": dice.choice(("", "Architekt", "инженер")),
        }
        struct["emailAddresses"] = [self._address(person.name, f"c{k}.{person.address}", True)]
        if dice.random() < 0.3:
            struct["emailAddresses"].append(self._address("", f"home{k}@example.net", False))
        struct["phoneNumbers"] = [
            {
                "type": kind,
                "number": f"+{dice.randrange(1, 99)} {dice.randrange(10**8)}",
                "extension": blank("ABExtension"),
            }
            for kind in dice.sample(ENUMS["PhoneNumberType"], dice.randrange(4))
        ]
        if dice.random() < 0.4:
            address = {"street": f"Hauptstraße {k}", "locality": "Plzeň", "zip": "301 00", "country": "Česko"}
            struct["postalAddresses"] = [blank("PostalAddress") | address | {"type": "AddressWork", "preferred": True}]
        if dice.random() < 0.2:
            struct["urls"] = [
                {"type": "UrlWork", "url": f"https://example.org/~{k}", "extension": blank("ABExtension")}
            ]
        if dice.random() < 0.3:
            struct["birthDay"] = day(dice.randrange(NOW))
        struct["comment"] = self._text(dice, 200) if dice.random() < 0.3 else ""
        struct["categories"] = dice.sample(("Kunden", "Friends", "重要"), dice.randrange(3))
        if _has_photo(k):
            struct["photo"] = {
                "id": self.home.attachment_id(k + 1, PHOTO),
                "url": self.home.url(k + 1, PHOTO, "photo.png"),
            }

    def contents(self, k: int) -> dict[str, Attached]:
        if not _has_photo(k) or k % 14 == 13:
            return {}
        color = self._dice(k).randbytes(3)
        side = 8 + k % 120
        return {PHOTO: Attached(Bytes(_png(side, color)), "photo.png", "image/png", f'"{color.hex()}-{side}"')}

    def _fill_list(self, struct: Struct, k: int, dice: Random) -> None:
        struct |= {"type": "ctDistributionList", "commonName": f"List {k // 14} – {self._someone(dice).language}"}
        for n in sorted(dice.sample(range(k), dice.randint(1, 6))):
            entry = self._address(f"Member {n}", f"member{n}@example.org", False)
            struct["emailAddresses"].append(entry | {"type": "RefContact", "refId": f"{self.home.item}{n + 1}"})

    def _address(self, name: str, address: str, preferred: bool) -> Struct:
        entry: Struct = blank("EmailAddress")
        return entry | {"name": name, "address": address, "preferred": preferred}


class Events(GeneratedItems):
    """Events: meetings, whole days, finite and infinite series, attendees, reminders."""

    struct = "Event"
    item_bytes = 1200

    def fill(self, struct: Struct, k: int, dice: Random) -> None:
        start = NOW - (self.count - k) * 9 * 3600 + 60 * 86_400
        start -= start % 900
        length = dice.choice((900, 1800, 3600, 3600, 5400, 3 * 3600))
        struct["summary"] = f"{self._text(dice, 20)[:40]} ({k})"
        struct["isAllDay"] = dice.random() < 0.12
        if struct["isAllDay"]:
            struct["start"], struct["end"] = day(start), day(start + 86_400 * dice.randrange(3))
        elif dice.random() < 0.2:
            struct["start"], struct["end"] = with_offset(start, -7), with_offset(start + length, -7)
        else:
            struct["start"], struct["end"] = utc(start), utc(start + length)
        struct["location"] = dice.choice(("", "Zasedačka 3", "Büro", "会議室 A", "https://meet.example.org/abc"))
        struct["description"] = self._text(dice, dice.choice((0, 200, 800))) if dice.random() < 0.7 else ""
        struct["label"] = dice.choice(ENUMS["EventLabel"])
        struct["freeBusy"] = dice.choice(ENUMS["FreeBusyStatus"])
        struct["isPrivate"] = dice.random() < 0.05
        struct["priority"] = dice.choice(ENUMS["PriorityType"])
        struct["isCancelled"] = dice.random() < 0.02
        struct["access"] = "EAccessCreator" if dice.random() < 0.8 else "EAccessInvitee"
        if dice.random() < 0.3:
            struct["rule"] = _rule(dice, start)
        if dice.random() < 0.4:
            struct["attendees"] = [self._attendee(dice, n) for n in range(dice.randint(2, 6))]
        if dice.random() < 0.6:
            struct["reminder"] = _reminder(dice, start)

    def _attendee(self, dice: Random, n: int) -> Struct:
        person = self._someone(dice)
        return {
            "displayName": person.name,
            "emailAddress": person.address,
            "role": "RoleOrganizer" if n == 0 else dice.choice(ENUMS["AttendeeRole"][1:]),
            "isNotified": True,
            "partStatus": dice.choice(ENUMS["PartStatus"]),
        }


class Tasks(GeneratedItems):
    """Generated tasks."""

    struct = "Task"
    item_bytes = 800

    def fill(self, struct: Struct, k: int, dice: Random) -> None:
        due = NOW + (k - self.count // 2) * 86_400
        struct["summary"] = f"{self._text(dice, 30)[:60]} ({k})"
        struct["description"] = self._text(dice, 300) if dice.random() < 0.5 else ""
        struct["status"] = dice.choice(ENUMS["TaskStatus"])
        done = struct["status"] == "tsCompleted"
        struct["done"] = 100 if done else dice.choice((0, 25, 50))
        struct["end"] = utc(due - 3600) if done else ""
        struct["start"] = day(due - 7 * 86_400) if dice.random() < 0.5 else ""
        struct["due"] = day(due) if dice.random() < 0.8 else ""
        struct["priority"] = dice.choice(ENUMS["PriorityType"])
        struct["sortOrder"] = k
        if dice.random() < 0.1:
            struct["rule"] = _rule(dice, due)
        if dice.random() < 0.3:
            struct["reminder"] = _reminder(dice, due)


class Notes(GeneratedItems):
    """Generated notes."""

    struct = "Note"
    item_bytes = 600

    def fill(self, struct: Struct, k: int, dice: Random) -> None:
        struct["text"] = self._text(dice, dice.choice((30, 200, 1500)))
        struct["color"] = dice.choice(ENUMS["NoteColor"])
        struct["position"] = {"xOffset": k * 8 % 900, "yOffset": k * 12 % 700, "xSize": 200, "ySize": 160}
        struct["createDate"] = utc(NOW - (self.count - k) * 86_400)
        struct["modifyDate"] = utc(NOW - (self.count - k) * 80_000)


def _has_photo(k: int) -> bool:
    return k % 11 == 3


def _rule(dice: Random, start: int) -> Struct:
    rule: Struct = blank("RecurrenceRule")
    rule |= {"isSet": True, "frequency": dice.choice(ENUMS["FrequencyType"])}
    rule["preciseBy"]["byInterval"] = dice.choice((1, 1, 1, 2, 3))
    match rule["frequency"]:
        case "Weekly":
            rule["preciseBy"]["byDay"] = sorted(dice.sample(range(1, 8), dice.randint(1, 3)))
        case "Monthly":
            rule["preciseBy"]["byMonthDay"] = [dice.randint(1, 31)]
        case "Yearly":
            rule["preciseBy"]["byMonth"] = [dice.randint(1, 12)]
    if dice.random() < 0.5:
        rule["endBy"] = {"type": "ByRecurrenceDate", "date": day(start + dice.randint(10, 700) * 86_400)}
    return rule


def _reminder(dice: Random, start: int) -> Struct:
    if dice.random() < 0.2:
        return {"isSet": True, "type": "ReminderAbsolute", "minutesBeforeStart": 0, "date": utc(start - 86_400)}
    minutes = dice.choice((0, 5, 15, 60, 1440))
    return {"isSet": True, "type": "ReminderRelative", "minutesBeforeStart": minutes, "date": ""}


def _png(side: int, color: bytes) -> bytes:
    """Return a square of one colour as a PNG."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return layout.pack(">I", len(data)) + kind + data + layout.pack(">I", zlib.crc32(kind + data))

    head = layout.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    pixels = zlib.compress((b"\0" + color * side) * side)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
