"""The documented structs, held against the API's own table of them."""

from __future__ import annotations

import pytest

from kerio_mockserver.api.type_check import ENUMS as DOCUMENTED_ENUMS
from kerio_mockserver.api.type_check import STRUCTS as DOCUMENTED
from kerio_mockserver.mailbox.api_structs import ENUMS, STRUCTS, BadStruct, blank, complete, members

_SAME = {"KId": "str", "string": "str", "UtcDateTime": "str", "boolean": "bool", "Watermark": "int", "long": "int"}
_SAME |= {"int64": "int", "uint64": "int", "unsigned long": "int"}


def _plain(kind: str) -> str:
    inner = kind.removesuffix("[]")
    return _SAME.get(inner, inner) + kind[len(inner) :]


@pytest.mark.parametrize("name", sorted(STRUCTS))
def test_struct_is_as_documented(name: str) -> None:
    documented = DOCUMENTED.get(name, {})  # Certificate is named in the reference, but not described
    ours = {member.name: f"{member.type} {member.access}" for member in STRUCTS[name]}
    assert ours == {one: " ".join((_plain(t.rsplit(" ", 1)[0]), t.rsplit(" ", 1)[1])) for one, t in documented.items()}


@pytest.mark.parametrize("name", sorted(ENUMS))
def test_enumeration_is_as_documented(name: str) -> None:
    assert list(ENUMS[name]) == DOCUMENTED_ENUMS[name] or sorted(ENUMS[name]) == sorted(DOCUMENTED_ENUMS[name])


def test_blank_mail_has_every_member_that_is_ever_sent() -> None:
    mail = blank("Mail")
    assert mail.keys() == {one for one, t in DOCUMENTED["Mail"].items() if not t.endswith(" wo")}
    assert mail["from"] == {"name": "", "address": "", "contactId": ""}
    assert (mail["to"], mail["priority"], mail["isSeen"], mail["size"]) == ([], "Normal", False, 0)
    assert mail["signInfo"]["error"] == {"message": "", "positionalParameters": [], "plurality": 0}


def test_partial_struct_is_filled_and_what_is_unknown_dropped() -> None:
    event = complete("Event", {"summary": "x", "rule": {"isSet": True}, "modification": "modifyAll", "odd": 1})
    assert event.keys() == members("Event").keys()
    assert event["summary"] == "x"
    assert event["rule"] == blank("RecurrenceRule") | {"isSet": True}


def test_lone_surrogates_are_replaced() -> None:
    assert complete("Note", {"text": "a\ud800b"})["text"] == "a?b"


@pytest.mark.parametrize(
    ("struct", "place"),
    [
        ({"subject": 1}, "Mail.subject"),
        ({"to": {}}, "Mail.to"),
        ({"to": [1]}, r"Mail.to\[0\]"),
        ({"isSeen": "yes"}, "Mail.isSeen"),
        ({"size": True}, "Mail.size"),
        ({"priority": "Urgent"}, "Mail.priority"),
        ({"from": {"name": None}}, "Mail.from.name"),
    ],
)
def test_invalid_value_is_refused_naming_the_place(struct: dict[str, object], place: str) -> None:
    with pytest.raises(BadStruct, match=place):
        complete("Mail", struct)
