from __future__ import annotations

import json
from typing import Any

import pytest

from kerio_resync.model import Item, Kind
from kerio_resync.server.kerio.items import parse_items
from kerio_resync.server.kerio.outgoing_structs import for_change, for_create, is_same_content, search_conditions
from kerio_resync.server.kerio.wire import canonical_json


def item(kind: Kind, **members: Any) -> Item:
    items, malformed = parse_items(kind, [{"id": "i", "watermark": 1, **members}], canonical_json)
    assert not malformed
    return items[0]


def test_a_create_says_only_what_we_may_say() -> None:
    payload = canonical_json(
        {
            "id": "x",
            "watermark": 3,
            "subject": "s",
            "hasAttachment": True,
            "isDraft": True,
            "attachments": [{"id": "u1", "name": "n", "url": "/x", "size": 3}],
        }
    )
    assert for_create("mail", "f9", payload) == {
        "folderId": "f9",
        "subject": "s",
        "attachments": [{"id": "u1", "name": "n"}],
    }


def test_a_change_keeps_its_id() -> None:
    assert for_change("mail", b'{"id":"x","watermark":3,"isSeen":true,"isReadOnly":false}') == {
        "id": "x",
        "isSeen": True,
    }
    with pytest.raises(ValueError, match="id"):
        for_change("mail", b'{"isSeen":true}')


@pytest.mark.parametrize("payload", [b"", b"[]", b"3", b"{"])
def test_what_is_no_struct_is_refused(payload: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        for_create("mail", "f", payload)


@pytest.mark.parametrize(
    ("kind", "ours", "theirs", "same"),
    [
        ("mail", {"subject": "a"}, {"subject": "a", "size": 9}, True),
        ("mail", {"subject": "a"}, {"subject": "b"}, False),
        (
            "mail",
            {"subject": "a", "to": [{"address": "x", "name": ""}]},
            {"subject": "a", "to": [{"address": "x", "contactId": "7"}]},
            True,
        ),
        ("mail", {"subject": "a", "to": [{"address": "x"}]}, {"subject": "a", "to": []}, False),
        (
            "mail",
            {"displayableParts": [{"content": "x\r\ny"}]},
            {"displayableParts": [{"id": "p", "content": "x\ny "}]},
            True,
        ),
        (
            "event",
            {"summary": "s", "start": "20200806T180000-0700"},
            {"summary": "s", "start": "20200807T010000Z"},
            True,
        ),
        ("event", {"summary": "s", "start": "20200806"}, {"summary": "s", "start": "20200807"}, False),
        ("note", {"text": "t"}, {"text": "t", "color": "Blue"}, True),
        (
            "contact",
            {"commonName": "A", "emailAddresses": [{"address": "a@x"}]},
            {"commonName": "A", "emailAddresses": [{"address": "b@x"}]},
            False,
        ),
        ("task", {"summary": "s", "due": "20200806"}, {"summary": "s", "due": "20200806"}, True),
    ],
)
def test_alike(kind: Kind, ours: dict[str, Any], theirs: dict[str, Any], same: bool) -> None:
    assert is_same_content(item(kind, **ours), item(kind, **theirs)) is same


def test_message_ids_decide_where_both_have_one() -> None:
    ours, theirs = item("mail", subject="a"), item("mail", subject="b")
    assert is_same_content(ours._replace(message_id="<1>"), theirs._replace(message_id="<1>"))
    assert not is_same_content(ours._replace(message_id="<1>"), ours._replace(message_id="<2>"))
    assert is_same_content(ours._replace(message_id="<1>"), ours)


def test_what_is_searched_for() -> None:
    assert search_conditions(item("mail", subject="s")) == (("subject", "s"),)
    assert search_conditions(item("mail")) == ()
    assert json.loads(item("note", text="x").payload)["text"] == "x"


def test_attachments_that_are_none_are_sent_as_they_are() -> None:
    assert for_create("mail", "f", b'{"attachments":[null,{"id":"u","size":3},"x"]}')["attachments"] == [
        None,
        {"id": "u"},
        "x",
    ]


def test_nobody_writes_as_deep_as_a_server_can_nest() -> None:
    def nested(text: str, depth: int) -> Any:
        return {"content": nested(text, depth - 1)} if depth else text

    for depth, same in ((3, False), (50, True)):
        ours, theirs = (item("mail", displayableParts=[nested(text, depth)]) for text in ("a", "b"))
        assert is_same_content(ours, theirs) is same
