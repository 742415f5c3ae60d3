"""Cards from Kerio's structs."""

from __future__ import annotations

import json
from typing import Any

import pytest

from kerio_resync.server.kerio import to_vcard
from kerio_resync.server.kerio.to_vcard import contact_card


def lines(**struct: Any) -> list[str]:
    return [str(line) for line in contact_card("id", json.dumps(struct).encode()).lines]


def test_name_and_company_are_escaped() -> None:
    found = lines(commonName="A; B, C", surName="B;", firstName="A", companyName="X, Y", comment="one\ntwo\\")
    assert {"FN:A\\; B\\, C", "N:B\\;;A;;;", "ORG:X\\, Y", "NOTE:one\\ntwo\\\\"} <= set(found)


def test_ways_keep_type_preference_and_label() -> None:
    found = lines(
        commonName="A",
        emailAddresses=[{"address": "a@b", "type": "EmailWork", "preferred": True, "extension": {"label": "Büro"}}],
        phoneNumbers=[{"type": "TypeMobile", "number": "1"}, {"type": "TypePrimary", "number": "2"}],
        postalAddresses=[{"type": "AddressHome", "street": "S 1", "locality": "L", "zip": "9"}],
        urls=[{"type": "UrlOther", "url": "https://x.example/"}],
    )
    assert found[-6:] == [
        "label1.EMAIL;PREF=1;TYPE=work:a@b", "label1.X-ABLABEL:Büro", "TEL;TYPE=cell:1", "TEL;PREF=1;TYPE=voice:2",
        "ADR;TYPE=home:;;S 1;L;;9;", "URL:https://x.example/",
    ]  # fmt: skip


def test_distribution_list_is_a_group_of_members() -> None:
    found = lines(type="ctDistributionList", commonName="L", emailAddresses=[{"address": "a@b", "name": "A"}])
    assert {"KIND:group", "MEMBER;X-CN=A:mailto:a@b"} <= {line.replace('"', "") for line in found}


def test_what_a_card_lacks_is_named() -> None:
    struct = {
        "phoneNumbers": [{"type": "TypeTelex", "number": "1"}], "birthDay": "soon",
        "emailAddresses": [{"address": "a@b", "name": "Other"}],
    }  # fmt: skip
    card = contact_card("id", json.dumps(struct).encode())
    assert sorted(card.lost) == sorted([to_vcard.PHONE_LOST, to_vcard.DAY_LOST, to_vcard.NAME_LOST])


@pytest.mark.parametrize("payload", [b"[]", b"3"])
def test_struct_that_is_no_object_is_refused(payload: bytes) -> None:
    with pytest.raises(ValueError, match="not an object"):
        contact_card("id", payload)


def test_text_can_not_begin_a_new_line() -> None:
    assert not any("\n" in line or "\r" in line for line in lines(commonName="A\r\nTEL:1", urls=[{"url": "x\nTEL:2"}]))
