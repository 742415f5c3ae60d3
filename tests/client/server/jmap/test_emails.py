"""Emails and mailboxes in neutral words."""

from __future__ import annotations

import json
from functools import partial
from typing import Any

import pytest

from kerio_resync.server.jmap import emails
from kerio_resync.server.jmap.emails import folder_of, item_of, patch_of, people, row_of, utc, version_of
from kerio_resync.server.json_codec import canonical_json

PICTURE = {"partId": "3", "type": "image/png", "blobId": "B3", "size": 3}
EMAIL: dict[str, Any] = {
    "id": "M1", "blobId": "B1", "mailboxIds": {"f2": True, "f1": True, "f3": False},
    "keywords": {"$Seen": True, "$flagged": False, "work": True}, "size": 1234, "receivedAt": "2026-03-01T09:30:00Z",
    "messageId": ["a@b"], "subject": "Ahoj\0", "from": [{"name": "Anna", "email": "anna@example.com"}],
    "to": [{"name": None, "email": "bob@example.com"}], "cc": [{"name": "Cyril", "email": "c@example.com"}],
    "textBody": [{"partId": "1", "type": "text/plain"}, PICTURE],
    "htmlBody": [{"partId": "2", "type": "text/html"}, PICTURE],
    "attachments": [
        {"partId": "4", "blobId": "B4", "type": "application/pdf", "name": "č.pdf", "size": 9, "cid": "<x>"},
        {"partId": "5", "type": "no/blob"},
    ],
    "bodyValues": {"1": {"value": "text\0"}, "2": {"value": "<p>text</p>"}},
}  # fmt: skip


def item(*, sources: bool = True, data: bytes | None = None, **members: Any) -> Any:
    return item_of({**EMAIL, **members}, lambda one: one, canonical_json, sources=sources, data=data)


def test_item_has_columns_in_neutral_words() -> None:
    found = item()
    assert (found.id, found.folder_ids, found.kind) == ("M1", ("f1", "f2"), "mail")
    assert (found.title, found.who) == ("Ahoj", "Anna <anna@example.com>")
    assert found.recipients == "bob@example.com, Cyril <c@example.com>"
    assert (found.seen, found.flagged, found.answered, found.draft) == (True, False, False, False)
    assert (found.date, found.size, found.message_id) == ("2026-03-01T09:30:00Z", 1234, "<a@b>")
    assert (found.text, found.html) == ("text", "<p>text</p>")


def test_item_keeps_email_without_body_values_as_payload() -> None:
    assert json.loads(item().payload) == {name: EMAIL[name] for name in EMAIL if name != "bodyValues"}


def test_item_with_source_has_it_first_and_its_parts_after() -> None:
    source, *parts = item(data=b"raw").attachments
    assert (source.role, source.url, source.size, source.data) == ("source", "B1", 1234, b"raw")
    assert [(part.name, part.size, part.in_source, part.data) for part in parts] == [
        ("", 3, True, None),
        ("č.pdf", 9, True, None),
    ]


def test_item_without_source_has_attachments_of_their_own() -> None:
    found = item(sources=False).attachments
    assert [(part.role, part.url, part.content_id, part.in_source) for part in found] == [
        ("attachment", "B3", "", False),
        ("attachment", "B4", "x", False),
    ]


def test_item_survives_members_of_other_types() -> None:
    odd: dict[str, Any] = {name: 7 for name in EMAIL if name not in ("id", "mailboxIds", "keywords")}
    found = item(**odd)
    assert (found.title, found.text, found.date, found.size, found.message_id) == ("", None, None, 7, "")


def test_version_changes_with_keywords_and_mailboxes_only() -> None:
    version = version_of(EMAIL)
    assert version == version_of({**EMAIL, "keywords": {"work": True, "$seen": True}, "subject": "other"})
    assert version == row_of(EMAIL, str).version == item().version == patch_of(EMAIL, str, canonical_json).version
    others: list[dict[str, Any]] = [{"keywords": {"$seen": True}}, {"keywords": {}}, {"mailboxIds": {"f1": True}}]
    assert len({version, *(version_of({**EMAIL, **other}) for other in others)}) == 4
    assert version_of({**EMAIL, "keywords": {"a": True}, "mailboxIds": {}}) != version_of(
        {**EMAIL, "keywords": {}, "mailboxIds": {"a": True}}
    )


def test_version_is_unknown_without_keywords_or_mailboxes() -> None:
    assert version_of({"id": "M1", "keywords": {}}) == version_of({"id": "M1", "mailboxIds": {}}) == ""


def test_patch_has_flags_folders_and_changed_members() -> None:
    patch = patch_of(EMAIL, partial("{}/{}".format, "other"), canonical_json)
    assert (patch.id, patch.folder_ids) == ("other/M1", ("other/f1", "other/f2"))
    assert (patch.seen, patch.flagged, patch.answered, patch.draft) == (True, False, False, False)
    assert json.loads(patch.members) == {"keywords": EMAIL["keywords"], "mailboxIds": EMAIL["mailboxIds"]}


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("2026-03-01T09:30:00Z", "2026-03-01T09:30:00Z"),
        ("2026-03-01T09:30:00+02:00", "2026-03-01T07:30:00Z"),
        ("2026-03-01T09:30:00.5Z", "2026-03-01T09:30:00Z"),
        ("2026-03-01T09:30:00", None),
        ("2026-13-01T09:30:00Z", None),
        ("0001-01-01T00:00:00+14:00", None),
        ("yesterday", None),
        (7, None),
    ],
)
def test_utc_reads_dates(value: Any, expected: str | None) -> None:
    assert utc(value) == expected


def test_people_reads_any_list() -> None:
    assert people([{"email": "a@b"}, {"name": "N"}, {"name": "N", "email": "c@d"}, 7, {}]) == "a@b, N, N <c@d>"
    assert people(None) == people("x") == ""


def test_folder_has_role_rights_and_counts() -> None:
    value = {
        "id": "f1", "parentId": "f0", "name": "Inbox", "role": "Inbox", "totalEmails": 5, "unreadEmails": 2,
        "myRights": {"mayReadItems": False},
    }  # fmt: skip
    own = folder_of(value, str, "own", "", canonical_json)
    assert own is not None
    assert (own.parent_id, own.kind, own.role, own.readable, own.count, own.unread) == (
        "f0", "mail", "inbox", False, 5, 2,
    )  # fmt: skip
    shared = folder_of(value, partial("{}/{}".format, "b"), "shared", "Bob", canonical_json)
    assert shared is not None
    assert (shared.id, shared.parent_id, shared.role, shared.owner) == ("b/f1", "b/f0", "none", "Bob")
    assert folder_of({"name": "x"}, str, "own", "", canonical_json) is None


@pytest.mark.parametrize(("value", "expected"), [(5, 5), (0, 0), (-1, 0), (True, 0), ("5", 0), (2**60, 0), (None, 0)])
def test_count_takes_sensible_numbers_only(value: Any, expected: int) -> None:
    assert emails.count(value) == expected
