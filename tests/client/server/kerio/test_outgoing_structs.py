from __future__ import annotations

import json
from typing import Any

import pytest

from kerio_resync.model import Attachment, Item, Kind
from kerio_resync.server.json_codec import canonical_json
from kerio_resync.server.kerio import outgoing_structs
from kerio_resync.server.kerio.items import parse_items
from kerio_resync.server.kerio.outgoing_structs import (
    file_candidates,
    fingerprint,
    flags_struct,
    for_create,
    for_update,
    has_members,
    is_same_content,
    item_from_struct,
    resembles,
    search_conditions,
    with_changes,
    with_files,
    with_message_id,
)
from kerio_resync.server.mailbox import Dialect, Upload


def item(kind: Kind, **members: Any) -> Item:
    items, malformed = parse_items(kind, [{"id": "i", "folderId": "f", "watermark": 4, **members}], canonical_json)
    assert not malformed
    return items[0]


def test_module_is_a_dialect() -> None:
    dialect: Dialect = outgoing_structs
    assert dialect.with_id(b"{}", "i") == b'{"id":"i"}'


def test_flags_struct_uses_names_of_api() -> None:
    flags = b'{"seen":true,"flagged":false,"answered":true,"draft":false}'
    assert json.loads(flags_struct("mail", flags)) == {
        "isSeen": True,
        "isFlagged": False,
        "isAnswered": True,
        "isDraft": False,
    }
    assert flags_struct("mail", b'{"seen":false}') == b'{"isSeen":false}'


@pytest.mark.parametrize("flags", [b"", b"[]", b'{"isSeen":true}'])
def test_flags_struct_refuses_what_is_not_flags(flags: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        flags_struct("mail", flags)


def test_from_source_is_refused() -> None:
    with pytest.raises(ValueError, match="from structs only"):
        outgoing_structs.from_source(b"{}", b"Subject: x\r\n\r\n", "<1@x>")


def test_for_create_drops_members_of_the_server() -> None:
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


def test_for_update_keeps_id() -> None:
    assert for_update("mail", b'{"id":"x","watermark":3,"isSeen":true,"isReadOnly":false}') == {
        "id": "x",
        "isSeen": True,
    }
    with pytest.raises(ValueError, match="id"):
        for_update("mail", b'{"isSeen":true}')


@pytest.mark.parametrize("payload", [b"", b"[]", b"3", b"{"])
def test_for_create_refuses_what_is_not_an_object(payload: bytes) -> None:
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
def test_is_same_content_compares_what_people_write(
    kind: Kind, ours: dict[str, Any], theirs: dict[str, Any], same: bool
) -> None:
    assert is_same_content(item(kind, **ours), item(kind, **theirs)) is same


def test_is_same_content_prefers_message_ids() -> None:
    ours, theirs = item("mail", subject="a"), item("mail", subject="b")
    assert is_same_content(ours._replace(message_id="<1>"), theirs._replace(message_id="<1>"))
    assert not is_same_content(ours._replace(message_id="<1>"), ours._replace(message_id="<2>"))
    assert is_same_content(ours._replace(message_id="<1>"), ours)


def test_search_conditions_name_the_title() -> None:
    assert search_conditions(item("mail", subject="s")) == (("subject", "s"),)
    assert search_conditions(item("mail")) == ()
    assert json.loads(item("note", text="x").payload)["text"] == "x"


def test_for_create_keeps_invalid_attachments() -> None:
    assert for_create("mail", "f", b'{"attachments":[null,{"id":"u","size":3},"x"]}')["attachments"] == [
        None,
        {"id": "u"},
        "x",
    ]


def test_is_same_content_ignores_deep_nesting() -> None:
    def nested(text: str, depth: int) -> Any:
        return {"content": nested(text, depth - 1)} if depth else text

    for depth, same in ((3, False), (50, True)):
        ours, theirs = (item("mail", displayableParts=[nested(text, depth)]) for text in ("a", "b"))
        assert is_same_content(ours, theirs) is same


def test_with_message_id_names_mail_without_one() -> None:
    named = json.loads(
        with_message_id("mail", b'{"subject":"s","headers":[{"type":"mhInReplayTo","value":"<2>"}]}', "<1>")
    )
    assert named["headers"] == [{"type": "mhMessageID", "value": "<1>"}, {"type": "mhInReplayTo", "value": "<2>"}]
    own = b'{"headers":[{"type":"mhMessageID","value":"<3>"}]}'
    assert with_message_id("mail", own, "<1>") == own
    assert with_message_id("note", b"{}", "<1>") == b"{}"


UPLOADS = [Upload("u1", "a.txt", "text/plain", "c1"), Upload("u2", "b.jpg", "image/jpeg", "")]
NEW = [
    {"id": "u1", "name": "a.txt", "contentType": "text/plain", "contentId": "c1"},
    {"id": "u2", "name": "b.jpg", "contentType": "image/jpeg", "contentId": ""},
]


def test_files_are_added_to_those_that_are_item() -> None:
    mail = item("mail", attachments=[{"id": "old", "url": "/x", "name": "o"}])
    assert json.loads(with_files("mail", b"{}", UPLOADS))["attachments"] == NEW
    assert json.loads(with_files("mail", b"{}", UPLOADS, mail))["attachments"] == [{"id": "old"}, *NEW]
    assert json.loads(with_files("mail", b'{"attachments":[]}', UPLOADS, mail))["attachments"] == NEW
    assert json.loads(with_files("contact", b"{}", UPLOADS))["photo"] == {
        "id": "u2",
        "url": "/webmail/api/download/attachment/tmp/u2/b.jpg",
    }
    assert with_files("mail", b'{"a": 1}', [], mail) == b'{"a": 1}'


def test_item_from_struct_fills_what_is_missing() -> None:
    mail = item_from_struct("mail", "local:1", "f", b'{"subject":"s","watermark":"odd","isFlagged":true}')
    assert (mail.id, mail.folder_id, mail.title, mail.version, mail.flagged) == ("local:1", "f", "s", "", True)
    assert json.loads(item_from_struct("task", "local:1", "f", b"{}").payload)["summary"] == ""
    assert item_from_struct("note", "", "f", b"{}").title == ""  # no id, no item: still a value to keep
    with pytest.raises(ValueError, match="object"):
        item_from_struct("note", "x", "f", b"[]")


def test_with_changes_keeps_members_of_current_item() -> None:
    theirs = item("mail", subject="theirs", isSeen=True)._replace(extra=b'{"x":1}')
    mine = with_changes(theirs, b'{"subject":"mine","id":"other","folderId":"g","size":3,"send":true}')
    assert (mine.id, mine.folder_ids, mine.title, mine.seen, mine.extra) == ("i", ("f",), "mine", True, b'{"x":1}')
    assert (mine.version, json.loads(mine.payload)["watermark"]) == ("4", 4)
    assert "send" not in json.loads(mine.payload)


@pytest.mark.parametrize(
    ("kind", "ours", "theirs", "has"),
    [
        ("mail", {"isSeen": True}, {"isSeen": True, "isFlagged": True}, True),
        ("mail", {"isSeen": False}, {}, True),  # a default that is not told
        ("mail", {"isSeen": True}, {}, False),
        ("note", {"text": "a\r\nb "}, {"text": "a\nb"}, True),
        ("event", {"start": "20260301T100000+0100"}, {"start": "20260301T090000Z"}, True),
        ("event", {"start": "20260301T100000Z"}, {"start": "20260301T090000Z"}, False),
        ("event", {"summary": "x", "access": "EAccessCreator"}, {"summary": "x"}, True),  # that is the server's
        ("mail", {"to": [{"address": "a"}]}, {"to": [{"address": "a", "name": "A", "contactId": "7"}]}, True),
        ("mail", {"to": [{"address": "a"}]}, {"to": [{"address": "a"}, {"address": "b"}]}, False),
        ("mail", {"to": [{"address": "a"}]}, {"to": []}, False),
        (
            "mail",
            {"displayableParts": [{"id": "1", "content": "x"}]},
            {"displayableParts": [{"id": "2", "content": "x"}]},
            True,
        ),
        (
            "mail",
            {"headers": [{"type": "t", "value": "v"}]},
            {"headers": [{"type": "u", "value": "w"}, {"type": "t", "value": "v"}]},
            True,
        ),
        ("mail", {"headers": [{"type": "t", "value": "v"}]}, {}, False),
        (
            "mail",
            {"attachments": [{"id": "a"}]},
            {"attachments": [{"id": "a", "url": "/a"}, {"id": "b", "url": "/b"}]},
            True,
        ),
        ("mail", {"attachments": [{"id": "a"}]}, {"attachments": []}, False),
        ("contact", {"photo": {"id": "p"}}, {}, True),  # contents are compared apart
        ("task", {}, {"summary": "x"}, True),
        ("task", {"done": 50}, {"status": "tsCompleted", "done": 100}, True),
    ],
)
def test_has_members_compares_what_an_update_would_set(
    kind: Kind, ours: dict[str, Any], theirs: dict[str, Any], has: bool
) -> None:
    assert has_members(item(kind, **theirs), canonical_json(ours)) is has


def test_file_candidates_have_name_and_size() -> None:
    mail = item("mail", attachments=[{"id": str(n), "url": "/x", "name": "a", "size": n} for n in (1, 2)])
    assert [each.id for each in file_candidates(mail, "a", 2)] == ["2"]
    assert file_candidates(mail, "b", 2) == ()
    photo = Attachment("p", "/p", "", role="photo")
    assert file_candidates(mail._replace(attachments=(photo,)), "a", 2) == (photo,)


def test_fingerprint_is_enough_to_recognize_item() -> None:
    mail = item(
        "mail",
        subject="s",
        headers=[{"type": "mhMessageID", "value": "<1>"}],
        displayableParts=[{"content": "x" * 999}],
    )
    again = item_from_struct("mail", "x", "g", fingerprint(mail))
    assert (again.message_id, again.title, len(fingerprint(mail)) < 200) == ("<1>", "s", True)
    note = item("note", text="words", color="Blue")
    assert json.loads(fingerprint(note)) == {"id": "i", "folderId": "f", "watermark": 4, "text": "words"}


def test_resembles_needs_one_member_that_a_person_wrote() -> None:
    ours = item("event", summary="s", location="l")
    assert resembles(ours, item("event", summary="s"))
    assert not resembles(ours, item("event", summary="other", description="s"))
    assert not resembles(item("event"), item("event"))


@pytest.mark.parametrize("title", ["two  blanks", " s", "x" * 201])
def test_search_conditions_leave_out_title_that_the_server_may_change(title: str) -> None:
    assert search_conditions(item("event", summary=title)) == ()
