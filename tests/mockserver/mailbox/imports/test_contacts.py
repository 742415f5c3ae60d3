"""Cards as the API's Contact structs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kerio_mockserver.mailbox.api_structs import complete
from kerio_mockserver.mailbox.imports.charsets import Warnings
from kerio_mockserver.mailbox.imports.contacts import BAD_PHOTO, Card, read_cards
from kerio_mockserver.mailbox.imports.content_lines import NO_END, STRAY_LINE

SAMPLE = (Path(__file__).parents[3] / "data" / "sample" / "contacts.vcf").read_bytes()


def read(*lines: str) -> tuple[Card, Warnings]:
    warnings = Warnings()
    text = "\r\n".join(["BEGIN:VCARD", "VERSION:3.0", *lines, "END:VCARD", ""])
    (card,) = read_cards(text.encode(), warnings)
    assert complete("Contact", card.struct) == card.struct
    return card, card.warnings + warnings


def sample(name: str) -> Card:
    (card,) = (card for card in read_cards(SAMPLE, Warnings()) if name in card.struct["commonName"])
    return card


def test_sample_is_read_without_trouble() -> None:
    warnings = Warnings()
    cards = list(read_cards(SAMPLE, warnings))
    assert (len(cards), +warnings) == (12, {})
    assert not any(card.warnings for card in cards)
    assert sum(len(card.blobs) for card in cards) == 3


def test_whole_card() -> None:
    struct = sample("Novák").struct
    said = {name: value for name, value in struct.items() if isinstance(value, str) and value}
    assert said == {
        "type": "ctContact", "commonName": "Ing. Jan Novák", "firstName": "Jan", "middleName": "Karel",
        "surName": "Novák", "titleBefore": "Ing.", "titleAfter": "Ph.D.", "nickName": "Honza", "birthDay": "19740309",
        "companyName": "Plzeňské stroje a.s.", "departmentName": "Konstrukce", "profession": "Konstruktér",
        "comment": "Dává přednost e-mailu.\nVolat až po desáté.",
    }  # fmt: skip
    assert [(one["type"], one["number"]) for one in struct["phoneNumbers"]] == [
        ("TypeWorkVoice", "+420 377 000 001"),
        ("TypeMobile", "+420 600 000 002"),
    ]
    (address,) = struct["postalAddresses"]
    assert address | {"extension": None} == {
        "preferred": True, "pobox": "", "extendedAddress": "3. patro", "street": "Americká 42", "locality": "Plzeň",
        "state": "", "zip": "301 00", "country": "Česko", "label": "", "type": "AddressWork", "extension": None,
    }  # fmt: skip
    (mail,) = struct["emailAddresses"]
    assert (mail["address"], mail["type"], mail["preferred"]) == ("jan.novak@example.com", "EmailWork", True)
    assert struct["categories"] == ["Kollegen", "Klettern"]


@pytest.mark.parametrize("name", ["Novák", "山田", "Seán"])
def test_photos_are_contents(name: str) -> None:
    (photo,) = sample(name).blobs
    assert (photo.name, photo.content_type, photo.role) == ("photo.png", "image/png", "photo")
    assert isinstance(photo.data, bytes)
    assert photo.data.startswith(b"\x89PNG")
    assert photo.data.endswith(b"IEND\xaeB`\x82")


def test_old_and_the_new_version() -> None:
    old = sample("María").struct
    assert (old["surName"], old["comment"]) == ("García", "Mañana por la mañana")
    assert old["phoneNumbers"][0]["type"] == "TypeHomeVoice"
    new = sample("Seán").struct
    assert (new["phoneNumbers"][0]["number"], new["emailAddresses"][0]["preferred"]) == ("+353-1-000-0000", True)


def test_labels_and_lists() -> None:
    french = sample("Lefèvre").struct
    assert french["emailAddresses"][0]["extension"] == {"groupId": "item1", "label": "Boutique"}
    assert french["urls"][0]["extension"]["label"] == "HomePage"
    group = sample("Kletterrunde").struct
    assert (group["type"], len(group["emailAddresses"])) == ("ctDistributionList", 3)


@pytest.mark.parametrize(
    ("types", "kind"),
    [
        ("CELL", "TypeMobile"), ("HOME,FAX", "TypeHomeFax"), ("WORK,FAX", "TypeWorkFax"), ("FAX", "TypeOtherFax"),
        ("PAGER", "TypePager"), ("CAR", "TypeCar"), ("ISDN", "TypeIsdn"), ("TEXTPHONE", "TypeTtyTdd"),
        ("HOME", "TypeHomeVoice"),
        ("work,voice", "TypeWorkVoice"), ("PREF", "TypePrimary"), ("VOICE", "TypeOtherVoice"),
    ],
)  # fmt: skip
def test_kinds_of_telephones(types: str, kind: str) -> None:
    card, _ = read("FN:x", f"TEL;TYPE={types}:1")
    assert card.struct["phoneNumbers"][0]["type"] == kind


@pytest.mark.parametrize(
    ("lines", "member", "value"),
    [
        (["BDAY:1974-03-09T00:00:00Z"], "birthDay", "19740309"),
        (["BDAY:--0309"], "birthDay", ""),
        (["X-ANNIVERSARY:2001-09-15"], "anniversary", "20010915"),
        (["ORG:A\\, B;C;D"], "companyName", "A, B"),
        (["ORG:A;C;D"], "departmentName", "C, D"),
        (["TITLE:T", "ROLE:R"], "profession", "T"),
        (["X-MANAGER:M"], "managerName", "M"),
        (["IMPP:xmpp:a@b"], "IMAddress", "xmpp:a@b"),
        (["N:a\\;b;c"], "surName", "a;b"),
    ],
)
def test_members(lines: list[str], member: str, value: str) -> None:
    assert read("FN:x", *lines)[0].struct[member] == value


def test_broken_property_costs_only_itself() -> None:
    card, warnings = read(
        "FN:Grete Meier", "TEL;;;=:1:2", "PHOTO;ENCODING=b:%%%", "N", "ADR:;;Weg 1;Ulm", "NOTE:first", "second", "TEL:3"
    )
    struct = card.struct
    assert (struct["commonName"], struct["comment"]) == ("Grete Meier", "first\nsecond")
    assert [one["number"] for one in struct["phoneNumbers"]] == ["1:2", "3"]
    assert struct["postalAddresses"][0]["locality"] == "Ulm"
    assert +warnings == {BAD_PHOTO: 1, STRAY_LINE: 2}
    assert card.blobs == ()


def test_photo_written_as_an_address_with_its_data_is_a_photo() -> None:
    card, warnings = read("FN:x", "PHOTO;ENCODING=b;TYPE=png:data:image/png;base64,iVBORw0KGgo=", "TEL:1")
    assert [(photo.name, photo.data) for photo in card.blobs] == [("photo.png", b"\x89PNG\r\n\x1a\n")]
    assert (card.struct["phoneNumbers"][0]["number"], +warnings) == ("1", {})


@pytest.mark.parametrize(
    "end", ["", "END:VCARD\n", "BEGIN:VCARD\nFN:another\nEND:VCARD\n", "BEGIN:VCALENDAR\nEND:VCALENDAR\n"]
)
def test_card_without_its_end_is_in_and_counted(end: str) -> None:
    cards = list(read_cards(f"BEGIN:VCARD\nFN:never ends\n{end}".encode(), Warnings()))
    assert cards[0].struct["commonName"] == "never ends"
    assert cards[0].warnings == ({} if end.startswith("END") else {NO_END: 1})
    assert len(cards) == 1 + ("another" in end)


def test_file_without_cards_yields_none() -> None:
    assert list(read_cards(b"FN:outside\n", Warnings())) == []


@pytest.mark.parametrize("codec", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
def test_cards_in_any_form_of_unicode(codec: str) -> None:
    text = "BEGIN:VCARD\r\nVERSION:3.0\r\nFN:Jiří Žák\r\nEND:VCARD\r\n"
    (card,) = read_cards(text.encode(codec), Warnings())
    assert card.struct["commonName"] == "Jiří Žák"


def test_version_2_1_with_its_charsets_and_encodings() -> None:
    data = (
        b"BEGIN:VCARD\r\nVERSION:2.1\r\n"
        b"N;CHARSET=ISO-8859-2;ENCODING=QUOTED-PRINTABLE:=AE=E1k;Ji=F8=ED\r\n"
        b"FN;CHARSET=UTF-8;ENCODING=QUOTED-PRINTABLE:Ji=C5=99=C3=AD =\r\n=C5=BD=C3=A1k\r\n"
        b"TEL;WORK;FAX:1\r\nEMAIL;PREF;INTERNET:a@b.c\r\n"
        b"ADR;HOME;CHARSET=windows-1250:;;\x8aumav\xe1 1;Brno;;602 00;\r\n"
        b"NOTE;ENCODING=QUOTED-PRINTABLE:one=0D=0A=\r\n two\r\n"
        b"PHOTO;JPEG;BASE64:\r\n /9j/4AAQ\r\n SkZJRg==\r\n\r\nEND:VCARD\r\n"
    )
    (card,) = read_cards(data, Warnings())
    struct = card.struct
    assert (struct["surName"], struct["firstName"], struct["commonName"]) == ("Žák", "Jiří", "Jiří Žák")
    assert struct["phoneNumbers"][0]["type"] == "TypeWorkFax"
    assert (struct["emailAddresses"][0]["preferred"], struct["postalAddresses"][0]["street"]) == (True, "Šumavá 1")
    assert struct["comment"].split() == ["one", "two"]
    assert card.blobs[0].content_type == "image/jpeg"
    assert not card.warnings


def test_grouped_properties_in_lower_case() -> None:
    text = b"begin:vcard\nversion:3.0\nfn:x\nitem1.tel;type=cell:1\nITEM1.X-ABLabel:Boat\nend:vcard\n"
    (card,) = read_cards(text, Warnings())
    assert card.struct["phoneNumbers"] == [
        {"type": "TypeMobile", "number": "1", "extension": {"groupId": "item1", "label": "Boat"}}
    ]


@given(st.data())
def test_damaged_file_never_raises_or_loses_a_card(data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(SAMPLE)))
    junk = data.draw(st.binary(max_size=20))
    cards: list[Any] = list(read_cards(SAMPLE[:at] + junk + SAMPLE[at:], Warnings()))
    assert len(cards) >= 11
    for card in cards:
        assert complete("Contact", card.struct) == card.struct
