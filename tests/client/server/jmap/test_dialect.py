"""Local changes as JMAP has them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from kerio_resync.model import Item
from kerio_resync.server.jmap.dialect import JmapDialect
from kerio_resync.server.mailbox import Dialect, Upload
from tests.client.server.jmap.test_emails import item

DIALECT: Dialect = JmapDialect()


def test_flags_struct_is_patch_of_keywords() -> None:
    struct = DIALECT.flags_struct("mail", b'{"seen":true,"flagged":false,"draft":true,"other":true}')
    assert json.loads(struct) == {"keywords/$seen": True, "keywords/$flagged": None, "keywords/$draft": True}


@pytest.mark.parametrize(
    ("struct", "has"),
    [
        (b'{"keywords/$seen":true}', True),
        (b'{"keywords/$seen":null}', False),
        (b'{"keywords/$flagged":null}', True),
        (b'{"keywords/$flagged":true}', False),
        (b'{"keywords":{"$seen":true,"work":true}}', True),
        (b'{"keywords":{"$seen":true}}', False),
        (b'{"id":"M1","mailboxIds/f9":true,"blobId":"B9"}', True),
        (b'{"subject":"other"}', False),
        (b'{"inReplyTo":null}', True),
    ],
)
def test_has_members_compares_what_would_be_set(struct: bytes, has: bool) -> None:
    assert DIALECT.has_members(item(), struct) is has


def test_with_changes_applies_patch_to_item() -> None:
    changed = DIALECT.with_changes(item(), b'{"keywords/$flagged":true,"keywords/$seen":null,"subject":"new"}')
    assert (changed.seen, changed.flagged, changed.title) == (False, True, "new")
    assert DIALECT.has_members(changed, b'{"keywords/$flagged":true}')


def test_with_message_id_keeps_that_of_struct() -> None:
    assert json.loads(DIALECT.with_message_id("mail", b"{}", "<a@b>")) == {"messageId": ["a@b"]}
    assert DIALECT.with_message_id("mail", b'{"messageId":["x"]}', "<a@b>") == b'{"messageId":["x"]}'


@pytest.mark.parametrize(
    ("source", "message_id", "sent"),
    [
        (
            b"Subject: =?utf-8?q?P=C5=99?=\nMessage-ID: <a@b>\n\nhi\n",
            "a@b",
            b"Subject: =?utf-8?q?P=C5=99?=\r\nMessage-ID",
        ),
        (b"Subject: P\xc5\x99\r\n\r\nhi", "u@x", b"Message-ID: <u@x>\r\nSubject"),
        (b"", "u@x", b"Message-ID: <u@x>\r\n"),
        (b"message-id: foo\n\n", "foo", b"message-id: foo\r\n"),
        (b"Subject: =?nope?q?x?=\n\n", "u@x", b"Message-ID: <u@x>\r\n"),
    ],
)
def test_from_source_knows_mail_by_message_id(source: bytes, message_id: str, sent: bytes) -> None:
    struct, data = DIALECT.from_source(b'{"seen":true,"flagged":false}', source, "<u@x>")
    assert data.startswith(sent)
    assert b"\n" not in data.replace(b"\r\n", b"")
    found = DIALECT.item_from_struct("mail", "local:1", "f1", struct)
    assert (found.message_id, found.seen, found.flagged, found.folder_ids) == (f"<{message_id}>", True, False, ("f1",))


def test_with_files_makes_single_message_the_mail_itself() -> None:
    message = Upload("B1", "a.eml", "message/rfc822", "")
    other = Upload("B2", "b.txt", "text/plain", "c")
    assert json.loads(DIALECT.with_files("mail", b"{}", [message])) == {"blobId": "B1"}
    attached = json.loads(DIALECT.with_files("mail", b'{"attachments":[{"blobId":"B0"}]}', [message, other]))
    assert [one["blobId"] for one in attached["attachments"]] == ["B0", "B1", "B2"]
    assert DIALECT.with_files("mail", b"{}", []) == b"{}"


def test_fingerprint_recognises_item_elsewhere() -> None:
    for one in (item(), item(messageId=None)):
        known = DIALECT.item_from_struct("mail", "M9", "f9", DIALECT.fingerprint(one))
        assert DIALECT.is_same_content(known, one)
        assert not DIALECT.is_same_content(known, item(messageId=["other"], subject="other"))


def test_is_same_content_needs_something_to_compare() -> None:
    empty = Item("x", ("f",), "mail", "")
    assert not DIALECT.is_same_content(empty, item())
    assert not DIALECT.resembles(empty, item())


def test_resembles_needs_one_member_only() -> None:
    assert DIALECT.resembles(item(messageId=None), item(messageId=None, to=None))
    assert not DIALECT.is_same_content(item(messageId=None), item(messageId=None, to=None))


def test_file_candidates_have_size_and_name() -> None:
    current = item()
    assert [one.name for one in DIALECT.file_candidates(current, "č.pdf", 9)] == ["č.pdf"]
    assert [one.role for one in DIALECT.file_candidates(current, "a.eml", 1234)] == ["source"]
    assert DIALECT.file_candidates(current, "č.pdf", 8) == ()


@pytest.mark.parametrize("struct", [b"", b"[]", b"7", b"{"])
def test_struct_that_is_no_object_raises_value_error(struct: bytes) -> None:
    calls: list[Any] = [
        lambda: DIALECT.flags_struct("mail", struct),
        lambda: DIALECT.with_id(struct, "M1"),
        lambda: DIALECT.with_message_id("mail", struct, "<a>"),
        lambda: DIALECT.item_from_struct("mail", "M1", "f1", struct),
        lambda: DIALECT.with_changes(item(), struct),
        lambda: DIALECT.from_source(struct, b"", "<a>"),
    ]
    for call in calls:
        with pytest.raises(ValueError):  # noqa: PT011
            call()
