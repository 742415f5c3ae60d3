"""Cards as the API's Contact structs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kerio_mockserver.mailbox.cards import BAD_CARD, Card, read_cards
from kerio_mockserver.mailbox.charsets import Troubles
from kerio_mockserver.mailbox.structs import complete

SAMPLE = (Path(__file__).parents[2] / "data" / "sample" / "contacts.vcf").read_bytes()


def read(*lines: str) -> tuple[Card, Troubles]:
    troubles = Troubles()
    text = "\r\n".join(["BEGIN:VCARD", "VERSION:3.0", *lines, "END:VCARD", ""])
    (card,) = read_cards(text.encode(), troubles)
    assert complete("Contact", card.struct) == card.struct
    return card, troubles


def sample(name: str) -> Card:
    (card,) = (card for card in read_cards(SAMPLE, Troubles()) if name in card.struct["commonName"])
    return card


def test_the_sample_is_read_without_trouble() -> None:
    troubles = Troubles()
    cards = list(read_cards(SAMPLE, troubles))
    assert (len(cards), troubles) == (12, {})
    assert sum(len(card.blobs) for card in cards) == 3


def test_a_whole_card() -> None:
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


def test_the_old_and_the_new_version() -> None:
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


def test_a_broken_card_stays_readable() -> None:
    card, troubles = read("FN:Grete Meier", "TEL;;;=:1:2", "PHOTO;ENCODING=b:%%%", "N")
    if troubles[BAD_CARD]:
        assert "TEL;;;=" in card.struct["comment"]
    assert card.struct["commonName"] == "Grete Meier"


def test_what_holds_no_card_is_counted() -> None:
    troubles = Troubles()
    assert list(read_cards(b"BEGIN:VCARD\nFN:never ends\n", troubles)) == []
    assert troubles == {BAD_CARD: 1}


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_no_damage_makes_it_raise_or_lose_a_card(data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(SAMPLE)))
    junk = data.draw(st.binary(max_size=20))
    cards: list[Any] = list(read_cards(SAMPLE[:at] + junk + SAMPLE[at:], Troubles()))
    assert len(cards) >= 11
    for card in cards:
        assert complete("Contact", card.struct) == card.struct
