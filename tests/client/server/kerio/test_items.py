from __future__ import annotations

import json
from typing import Any

import pytest

from kerio_resync.model import Attachment, Kind, ListedItem
from kerio_resync.server.json_codec import canonical_json, parse_json
from kerio_resync.server.kerio.items import LIGHT, parse_items, parse_row, parse_rows
from kerio_resync.server.kerio.times import iso

MAIL: dict[str, Any] = {
    "watermark": 12,
    "id": "m1",
    "folderId": "f1",
    "from": {"name": "Jiří", "address": "j@example.org", "contactId": ""},
    "to": [{"address": "a@example.com", "name": ""}, {"address": "b@example.com", "name": "B"}],
    "cc": [{"address": "c@example.com"}],
    "receiveDate": "20251210T110355Z",
    "subject": "Nabídka – 見積書",
    "size": 18244,
    "isSeen": False,
    "isFlagged": True,
    "isDraft": False,
    "attachments": [
        {"id": "a1", "url": "/dl/1", "name": "x.pdf", "contentType": "application/pdf", "contentId": "", "size": 7},
        {"id": "a2", "url": "", "name": "nothing"},
    ],
    "headers": [{"type": "mhInReplayTo", "value": "<0@x>"}, {"type": "mhMessageID", "value": "<1@x>"}],
}


def one(kind: Kind, value: Any) -> Any:
    items, malformed = parse_items(kind, [value], canonical_json)
    assert not malformed
    return items[0]


def test_a_mail() -> None:
    item = one("mail", {**MAIL, "later": {"b": 1, "a": 2}})
    assert (item.id, item.folder_ids, item.kind, item.version) == ("m1", ("f1",), "mail", "12")
    assert (item.title, item.who) == ("Nabídka – 見積書", "Jiří <j@example.org>")
    assert item.recipients == "a@example.com, B <b@example.com>, c@example.com"
    assert (item.date, item.size, item.message_id) == ("2025-12-10T11:03:55Z", 18244, "<1@x>")
    assert (item.seen, item.flagged, item.answered, item.draft) == (False, True, False, False)
    assert item.payload == json.dumps(MAIL, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    assert item.extra == b'{"later":{"a":2,"b":1}}'
    assert item.attachments == (Attachment("a1", "/dl/1", "x.pdf", "application/pdf", "", 7),)
    assert parse_row(item) == ListedItem("m1", "12", 18244, "2025-12-10T11:03:55Z", True)


PLAIN = {"id": "p", "contentType": "ctTextPlain", "content": "plain"}
HTML = {"id": "h", "contentType": "ctTextHtml", "content": "<b>html</b>"}


@pytest.mark.parametrize(
    ("parts", "text", "html"),
    [
        ([], None, None),
        ([PLAIN], "plain", None),
        ([PLAIN, HTML], "plain", "<b>html</b>"),
        ([HTML, PLAIN], "plain", "<b>html</b>"),
        ([HTML], "<b>html</b>", "<b>html</b>"),
        ([{"content": "other"}, HTML], "other", "<b>html</b>"),
        ([PLAIN, {**PLAIN, "content": "second"}, {**HTML, "content": "x"}, HTML], "plain", "x"),
        ([{**PLAIN, "content": ""}, HTML], "", "<b>html</b>"),
        (None, None, None),
        ("text", None, None),
        (
            [None, 3, {**PLAIN, "content": None}, {**HTML, "content": ["x"]}, {"contentType": [], "content": "y"}],
            "y",
            None,
        ),
    ],
)
def test_mail_has_its_first_plain_and_first_html_text(parts: Any, text: str | None, html: str | None) -> None:
    item = one("mail", {**MAIL, "displayableParts": parts})
    assert (item.text, item.html, item.details) == (text, html, None)
    assert (item.title, item.message_id) == ("Nabídka – 見積書", "<1@x>")


def test_lone_surrogates_are_in_no_column() -> None:
    part = '{"contentType":"ctTextPlain","content":"a\\ud800b"}'
    value, write = parse_json(f'[{{"id":"m","watermark":1,"displayableParts":[{part}]}}]'.encode())
    items, _ = parse_items("mail", value, write)
    assert items[0].text == "a?b"
    value, write = parse_json(b'[{"id":"c","watermark":1,"firstName":"a\\ud800b"}]')
    items, _ = parse_items("contact", value, write)
    assert items[0].details == b'{"first_name":"a?b"}'


@pytest.mark.parametrize(("watermark", "version"), [(7, "7"), (0, ""), (-3, ""), (2**63 - 1, str(2**63 - 1))])
def test_version_is_the_watermark_unless_it_is_unknown(watermark: int, version: str) -> None:
    assert one("note", {"id": "n", "watermark": watermark}).version == version
    assert parse_rows([{"id": "n", "watermark": watermark}])[0][0].version == version


def test_item_without_folder_has_no_folder_ids() -> None:
    assert one("note", {"id": "n", "watermark": 1}).folder_ids == ()
    assert one("note", {"id": "n", "watermark": 1, "folderId": ""}).folder_ids == ()


def test_unknown_members_of_a_member_stay_where_they_are() -> None:
    item = one("mail", {**MAIL, "from": {"zeta": 1, "address": "x", "alpha": [{"b": 1, "a": 2}]}})
    assert b'"from":{"address":"x","alpha":[{"a":2,"b":1}],"zeta":1}' in item.payload
    assert item.extra is None


@pytest.mark.parametrize(
    ("kind", "struct", "columns"),
    [
        (
            "contact",
            {
                "firstName": "Ann",
                "surName": "Lee",
                "companyName": "Acme",
                "emailAddresses": [{"address": "x@y"}, {"name": "z"}, {"address": "z@y"}],
                "phoneNumbers": [{"type": "TypeMobile", "number": "1"}, {"number": "2"}],
                "birthDay": "19700102",
                "comment": "Tall",
            },
            {
                "text": "Tall",
                "details": {
                    "first_name": "Ann",
                    "last_name": "Lee",
                    "company": "Acme",
                    "addresses": "x@y, z@y",
                    "phones": "1, 2",
                    "birthday": "19700102",
                },
            },
        ),
        (
            "contact",
            {"emailAddresses": [], "firstName": "", "surName": None},
            {"text": None, "details": {"first_name": ""}},
        ),
        (
            "event",
            {"location": "Brno", "isAllDay": False, "rule": {"isSet": True}, "description": "Bring tea"},
            {"text": "Bring tea", "details": {"location": "Brno", "all_day": False, "recurring": True}},
        ),
        ("event", {"rule": None, "isAllDay": "perhaps"}, {"text": None, "details": {}}),
        (
            "task",
            {"status": "tsInProgress", "done": 40, "priority": "High", "description": ""},
            {"text": "", "details": {"status": "tsInProgress", "done": 40, "priority": "High"}},
        ),
        ("note", {"text": " first\nsecond", "color": "Blue"}, {"text": " first\nsecond", "details": {"color": "Blue"}}),
        (
            "contact",
            {
                "commonName": "Ann",
                "emailAddresses": [{"address": "x@y"}, {"address": "z@y"}],
                "photo": {"id": "p", "url": "/p"},
            },
            {
                "title": "Ann",
                "who": "x@y",
                "recipients": "z@y",
                "attachments": (Attachment("p", "/p", "", role="photo"),),
            },
        ),
        ("contact", {"photo": {"id": "", "url": ""}}, {"attachments": ()}),
        ("contact", {"photo": {"url": "/p"}}, {"attachments": (Attachment("i#photo", "/p", "", role="photo"),)}),
        (
            "event",
            {
                "summary": "Sitzung",
                "start": "20251217",
                "end": "20251218T090000+0100",
                "attendees": [
                    {"role": "RoleRequiredAttendee", "displayName": "B", "emailAddress": "b@x"},
                    {"role": "RoleOrganizer", "displayName": "A", "emailAddress": "a@x"},
                ],
            },
            {
                "title": "Sitzung",
                "who": "A <a@x>",
                "recipients": "B <b@x>",
                "date": "2025-12-17",
                "end": "2025-12-18T08:00:00Z",
            },
        ),
        (
            "task",
            {"summary": "T", "due": "", "start": "20251217T000000Z", "end": ""},
            {"title": "T", "date": "2025-12-17T00:00:00Z", "end": None},
        ),
        ("task", {"due": "20251218"}, {"date": "2025-12-18"}),
        ("note", {"text": "\n first\nsecond", "createDate": "20251217"}, {"title": "first", "date": "2025-12-17"}),
        ("note", {"text": ""}, {"title": "", "date": None}),
    ],
)
def test_the_other_kinds(kind: Kind, struct: dict[str, Any], columns: dict[str, Any]) -> None:
    item = one(kind, {"id": "i", "watermark": 1, **struct})
    found = {name: getattr(item, name) for name in columns}
    if "details" in found:
        found["details"] = json.loads(item.details)
    assert found == columns


@pytest.mark.parametrize(
    "sloppy",
    [
        {"subject": None},
        {"from": None},
        {"to": None, "cc": 3},
        {"to": [None]},
        {"size": "18244"},
        {"size": -1},
        {"isSeen": "maybe"},
        {"attachments": "none"},
        {"attachments": [{"url": 3}]},
        {"headers": [{"type": None}]},
        {"receiveDate": "yesterday"},
        {"receiveDate": 20251210},
        {"subject": "a\0b"},
        {"subject": "a\ud800b"},
    ],
)
def test_what_is_merely_sloppy_costs_a_column_only(sloppy: dict[str, Any]) -> None:
    value = {**MAIL, **sloppy}
    data = json.dumps({"list": [MAIL, value]}).encode()
    parsed_value, write = parse_json(data)
    items, malformed = parse_items("mail", parsed_value["list"], write)
    assert not malformed
    assert [item.id for item in items] == ["m1", "m1"]
    assert parse_json(items[1].payload)[0] == value
    assert "\0" not in items[1].title
    items[1].title.encode()


@pytest.mark.parametrize(
    "wrong",
    [
        None,
        7,
        "m1",
        [],
        {},
        {**MAIL, "id": None},
        {**MAIL, "id": ""},
        {**MAIL, "id": "a\0b"},
        {**MAIL, "id": "a\ud800"},
        {**MAIL, "watermark": None},
        {**MAIL, "watermark": 2**63},
        {**MAIL, "watermark": 1e30},
        {**MAIL, "watermark": "soon"},
        {"subject": "no id", "watermark": 1},
    ],
)
def test_what_can_be_no_item_harms_no_other(wrong: Any) -> None:
    items, malformed = parse_items("mail", [MAIL, wrong, {**MAIL, "id": "m2"}], canonical_json)
    assert [item.id for item in items] == ["m1", "m2"]
    assert len(malformed) == 1
    assert malformed[0].reason.startswith("invalid")
    rows, unlisted = parse_rows([MAIL, wrong])
    assert len(rows) == len(unlisted) == 1


def test_a_number_that_is_none_spoils_its_item_only() -> None:
    value, write = parse_json(b'[{"id":"a","watermark":1,"priority":NaN},{"id":"b","watermark":2}]')
    items, malformed = parse_items("note", value, write)
    assert [item.id for item in items] == ["b"]
    assert [one.id for one in malformed] == ["a"]


def test_rows() -> None:
    rows, malformed = parse_rows(
        [MAIL, {"id": "x", "watermark": 3, "size": None, "receiveDate": None, "hasAttachment": "?"}]
    )
    assert not malformed
    assert rows == (ListedItem("m1", "12", 18244, "2025-12-10T11:03:55Z", False), ListedItem("x", "3"))
    assert LIGHT["mail"][:3] == ("id", "folderId", "watermark")


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("20251210T110355Z", "2025-12-10T11:03:55Z"),
        ("20200806T180000-0700", "2020-08-07T01:00:00Z"),
        ("20200806T180000+0530", "2020-08-06T12:30:00Z"),
        ("20200806T180000", "2020-08-06T18:00:00Z"),
        ("20251217", "2025-12-17"),
        ("20240229", "2024-02-29"),
        ("00010101T000000Z", "0001-01-01T00:00:00Z"),
        ("00010101T000000+0100", None),
        ("99991231T235959-0100", None),
        ("20250229", None),
        ("20251310T110355Z", None),
        ("20251210T250355Z", None),
        ("20251210T110360Z", None),
        ("20251210T240000Z", None),
        ("00000101T000000Z", None),
        ("20251210T110355+9999", None),
        ("", None),
        ("2025-12-10", None),
        ("20251210T110355z", None),
        ("２０２５１２１０", None),
        ("20251210T110355Z\n", None),
        ("x" * 5000, None),
    ],
)
def test_times(text: str, time: str | None) -> None:
    assert iso(text) == time


def test_a_member_nested_without_end_costs_a_column_only() -> None:
    deep = "[" * 200 + "]" * 200
    value, write = parse_json(f'{{"id":"m","watermark":1,"size":{deep},"subject":"a\\ud800b"}}'.encode())
    (item,), malformed = parse_items("mail", [value], write)
    assert not malformed
    assert (item.title, item.size) == ("a?b", 0)
    assert parse_json(item.payload)[0] == value
