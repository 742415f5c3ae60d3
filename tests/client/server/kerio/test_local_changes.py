from __future__ import annotations

import json
from typing import Any

import pytest

from kerio_resync.model import Attachment, Item, Kind
from kerio_resync.server.kerio import local_changes
from kerio_resync.server.kerio.items import parse_items
from kerio_resync.server.kerio.local_changes import Upload
from kerio_resync.server.kerio.wire import canonical_json


def there(kind: Kind, **members: Any) -> Item:
    items, malformed = parse_items(kind, [{"id": "i", "folderId": "f", "watermark": 4, **members}], canonical_json)
    assert not malformed
    return items[0]


def said(data: bytes) -> Any:
    return json.loads(data)


def test_a_mail_gets_a_message_id_if_it_has_none() -> None:
    named = said(
        local_changes.named("mail", b'{"subject":"s","headers":[{"type":"mhInReplayTo","value":"<2>"}]}', "<1>")
    )
    assert named["headers"] == [{"type": "mhMessageID", "value": "<1>"}, {"type": "mhInReplayTo", "value": "<2>"}]
    own = b'{"headers":[{"type":"mhMessageID","value":"<3>"}]}'
    assert local_changes.named("mail", own, "<1>") == own
    assert local_changes.named("note", b"{}", "<1>") == b"{}"


UPLOADS = [Upload("u1", "a.txt", "text/plain", "c1"), Upload("u2", "b.jpg", "image/jpeg", "")]
NEW = [
    {"id": "u1", "name": "a.txt", "contentType": "text/plain", "contentId": "c1"},
    {"id": "u2", "name": "b.jpg", "contentType": "image/jpeg", "contentId": ""},
]


def test_files_are_added_to_those_that_are_there() -> None:
    mail = there("mail", attachments=[{"id": "old", "url": "/x", "name": "o"}])
    assert said(local_changes.with_files("mail", b"{}", UPLOADS))["attachments"] == NEW
    assert said(local_changes.with_files("mail", b"{}", UPLOADS, mail))["attachments"] == [{"id": "old"}, *NEW]
    assert said(local_changes.with_files("mail", b'{"attachments":[]}', UPLOADS, mail))["attachments"] == NEW
    assert said(local_changes.with_files("contact", b"{}", UPLOADS))["photo"] == {
        "id": "u2",
        "url": "/webmail/api/download/attachment/tmp/u2/b.jpg",
    }
    assert local_changes.with_files("mail", b'{"a": 1}', [], mail) == b'{"a": 1}'


def test_a_struct_as_an_item() -> None:
    item = local_changes.item_of("mail", "local:1", "f", b'{"subject":"s","watermark":"odd","isFlagged":true}')
    assert (item.id, item.folder_id, item.title, item.watermark, item.flagged) == ("local:1", "f", "s", 0, True)
    assert said(local_changes.item_of("task", "local:1", "f", b"{}").payload)["summary"] == ""
    assert local_changes.item_of("note", "", "f", b"{}").title == ""  # no id, no item: still a value to keep
    with pytest.raises(ValueError, match="object"):
        local_changes.item_of("note", "x", "f", b"[]")


def test_the_local_item_of_a_conflict_is_the_servers_with_our_members() -> None:
    theirs = there("mail", subject="theirs", isSeen=True)._replace(extra=b'{"x":1}')
    mine = local_changes.with_changes(theirs, b'{"subject":"mine","id":"other","folderId":"g","size":3,"send":true}')
    assert (mine.id, mine.folder_id, mine.title, mine.seen, mine.extra) == ("i", "f", "mine", True, b'{"x":1}')
    assert "send" not in said(mine.payload)


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
    ],
)
def test_whether_the_server_has_what_was_to_be_set(
    kind: Kind, ours: dict[str, Any], theirs: dict[str, Any], has: bool
) -> None:
    assert local_changes.has_members(there(kind, **theirs), canonical_json(ours)) is has


def test_which_attachment_a_file_may_have_become() -> None:
    mail = there("mail", attachments=[{"id": str(n), "url": "/x", "name": "a", "size": n} for n in (1, 2)])
    assert [each.id for each in local_changes.candidates(mail, "a", 2)] == ["2"]
    assert local_changes.candidates(mail, "b", 2) == ()
    photo = Attachment("p", "/p", "", role="photo")
    assert local_changes.candidates(mail._replace(attachments=(photo,)), "a", 2) == (photo,)


def test_a_trace_is_enough_to_know_an_item_again() -> None:
    mail = there(
        "mail",
        subject="s",
        headers=[{"type": "mhMessageID", "value": "<1>"}],
        displayableParts=[{"content": "x" * 999}],
    )
    again = local_changes.item_of("mail", "x", "g", local_changes.fingerprint(mail))
    assert (again.message_id, again.title, len(local_changes.fingerprint(mail)) < 200) == ("<1>", "s", True)
    note = there("note", text="words", color="Blue")
    assert said(local_changes.fingerprint(note)) == {"id": "i", "folderId": "f", "watermark": 4, "text": "words"}
