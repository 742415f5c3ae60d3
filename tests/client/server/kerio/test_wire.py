from __future__ import annotations

import json
import math
import tracemalloc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kerio_resync.errors import FolderDenied, ItemGone, ProtocolError
from kerio_resync.model import RemoteChange
from kerio_resync.server import json_codec
from kerio_resync.server.kerio import wire

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)


def plainly(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


@given(JSON)
def test_canonical_json_is_what_json_says(value: Any) -> None:
    assert json_codec.canonical_json(value) == plainly(value)
    assert json_codec.exact_json(value) == plainly(value)
    assert json_codec.parse_json(plainly(value))[0] == value


@pytest.mark.parametrize("value", [{"a": 2**70}, [-(2**64)], {"b": {"z": 1, "a": "\x7f\u2028é😀\x01"}}])
def test_numbers_beyond_64_bits_and_odd_characters(value: Any) -> None:
    assert json_codec.canonical_json(value) == plainly(value)


def test_lone_surrogates_survive() -> None:
    value, write = json_codec.parse_json(b'{"a":"x\\ud83dy","b":"\\ud83d\\ude00"}')
    assert value["b"] == "😀"
    payload = write(value)
    assert payload == b'{"a":"x\\ud83dy","b":"\xf0\x9f\x98\x80"}'
    again, write = json_codec.parse_json(payload)
    assert write(again) == payload


def test_numbers_that_are_none_are_read_but_not_written() -> None:
    value, write = json_codec.parse_json(b'{"a":NaN,"b":1e400}')
    assert math.isnan(value["a"])
    with pytest.raises(ValueError, match="JSON compliant"):
        write(value)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b'{"a":',
        b'{"a":1}x',
        b"<html>",
        b"\xff\xfe{}",
        b'"\xed\xa0\x80"',
        b"nul",
        b"[" * 100_000,
        b"[" * 100_000 + b"]" * 100_000,
        b'{"a":' * 2000 + b"1" + b"}" * 2000,
        b'["\\ud800",' + b"[" * 100_000,
        b'["\\ud800",' + b"1" * 10_000 + b"]",
    ],
)
def test_what_is_no_json_is_said_to_be_none(data: bytes) -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        json_codec.parse_json(data)
    assert len(str(caught.value)) < 200


def test_messages_about_broken_json_quote_nothing() -> None:
    with pytest.raises(ValueError, match="at byte") as caught:
        json_codec.parse_json(b'{"subject":"very private" oops}')
    assert "private" not in str(caught.value)


def test_a_written_struct_takes_no_more_memory_than_it_has_bytes() -> None:
    texts = [f"{number:05}" * 1000 for number in range(100)]
    tracemalloc.start()
    try:
        kept = [json_codec.canonical_json({"text": text}) for text in texts]
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < 1.1 * sum(map(len, kept))


def test_duplicate_keys_are_no_trouble() -> None:
    assert json_codec.parse_json(b'{"a":1,"a":2}')[0] == {"a": 2}


@pytest.mark.parametrize(
    ("value", "error"),
    [
        (
            {"code": 1002, "message": "Item %1.", "data": {"messageParameters": {"positionalParameters": ["x"]}}},
            (1002, "Item x."),
        ),
        (
            {"code": 1002, "message": "Item %1.", "messageParameters": {"positionalParameters": ["x"]}},
            (1002, "Item x."),
        ),
        ({"code": 7, "message": "Item %1."}, (7, "Item %1.")),
        ({"code": 7}, (7, "")),
        ({"code": 7, "message": None, "data": 3}, (7, "")),
        ({"code": "x"}, (0, "an error without a code")),
        ("boom", (0, "an error without a code")),
        (None, (0, "an error without a code")),
        ([], (0, "an error without a code")),
    ],
)
def test_errors(value: Any, error: tuple[int, str]) -> None:
    assert wire.parse_error(value) == error


def test_outcomes_in_the_order_of_asking() -> None:
    result = {
        "result": [{"inputIndex": 2, "id": "c", "watermark": 9}, {"inputIndex": 0, "id": "a", "watermark": 8}, "junk"],
        "errors": [{"inputIndex": 1, "code": 1003, "message": "no"}],
    }
    found = wire.parse_write_results("Mails.create", result, 4, names_successes=True)
    assert [(one.index, one.id, one.version) for one in found] == [
        (0, "a", "8"),
        (1, "", ""),
        (2, "c", "9"),
        (3, "", ""),
    ]
    assert [type(one.error) for one in found] == [type(None), FolderDenied, type(None), ProtocolError]
    removed = wire.parse_write_results(
        "Mails.remove", {"errors": [{"inputIndex": 1, "code": 1002, "message": ""}]}, 2, names_successes=False
    )
    assert [type(one.error) for one in removed] == [type(None), ItemGone]
    with pytest.raises(ProtocolError):
        wire.parse_write_results("Mails.create", {"errors": []}, 1, names_successes=True)


def folder(**members: Any) -> dict[str, Any]:
    return {"id": "f1", "parentId": "f0", "name": "Inbox", "type": "FMail", "subType": "FSubInbox", **members}


def test_folders() -> None:
    found = wire.parse_folder(
        folder(messageCount=7, messageSize=900, placeType="FPlacePublic", new=1), "own", json_codec.canonical_json
    )
    assert found is not None
    assert (found.id, found.parent_id, found.kind, found.role, found.place) == ("f1", "f0", "mail", "inbox", "public")
    assert (found.count, found.size, found.unread, found.readable) == (7, 900, 0, True)
    assert found.extra == b'{"new":1}'
    assert b'"new"' not in found.payload
    denied = wire.parse_folder(
        folder(access="FAccessListingOnly", type="FRoot", messageCount=None), "shared", json_codec.canonical_json
    )
    assert denied is not None
    assert (denied.readable, denied.kind, denied.place, denied.count) == (False, None, "shared", 0)


@pytest.mark.parametrize(
    "value", [None, 3, "f", [], {}, folder(id=None), folder(id=""), folder(id="a\0b"), folder(id=["x"])]
)
def test_what_is_no_folder(value: Any) -> None:
    assert wire.parse_folder(value, "own", json_codec.canonical_json) is None


def change(**members: Any) -> dict[str, Any]:
    return {"isFolder": False, "type": "chtNewMail", "itemType": "itMail", "itemId": "m1", "watermark": 5, **members}


KEY = {"id": 1, "watermark": 7}


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        ({}, RemoteChange("created", "m1", "", False, "mail", "5")),
        ({"type": "chtCopied", "parentId": "f"}, RemoteChange("created", "m1", "f", False, "mail", "5")),
        ({"type": "chtReadFlagChanged"}, RemoteChange("flags", "m1", "", False, "mail", "5")),
        ({"type": "chtStatus"}, RemoteChange("flags", "m1", "", False, "mail", "5")),
        ({"type": "chtModifiedContent", "itemType": "itNote"}, RemoteChange("modified", "m1", "", False, "note", "5")),
        ({"type": "chtModifiedMetadata", "itemType": "itTask"}, RemoteChange("flags", "m1", "", False, "task", "5")),
        ({"type": "chtDeleted", "itemType": "itDelegation"}, RemoteChange("deleted", "m1", "", False, None, "5")),
        (
            {"type": "chtMoved", "origId": "m0", "origParentId": "g", "isFolder": True},
            RemoteChange("moved", "m1", "", True, "mail", "5", "m0", "g"),
        ),
        ({"origId": None, "parentId": None, "itemType": None}, RemoteChange("created", "m1", "", False, None, "5")),
    ],
)
def test_changes(members: dict[str, Any], expected: RemoteChange) -> None:
    found = wire.parse_changes("Changes.get", {"list": [change(**members)], "syncKey": KEY}, json_codec.canonical_json)
    assert found.changes == (expected,)
    assert wire.key_struct(found.key) == KEY


def test_changes_leave_out_lines_that_only_count() -> None:
    """A change of the folder would explain any difference in it."""
    counts = change(isFolder=True, type="chtModifiedContent", messageUnread=3)
    read = change(type="chtReadFlagChanged", messageUnread=1)
    found = wire.parse_changes("Changes.get", {"list": [read, counts], "syncKey": KEY}, json_codec.canonical_json)
    assert [(one.type, one.is_folder) for one in found.changes] == [("flags", False)]
    renamed = change(isFolder=True, type="chtModified")
    found = wire.parse_changes("Changes.get", {"list": [renamed], "syncKey": KEY}, json_codec.canonical_json)
    assert [one.is_folder for one in found.changes] == [True]


@pytest.mark.parametrize(
    "result",
    [
        {},
        {"list": []},
        {"syncKey": KEY},
        {"list": [], "syncKey": "x"},
        {"list": [change(type="chtUnheardOf")], "syncKey": KEY},
        {"list": [change(itemId="")], "syncKey": KEY},
        {"list": [change(watermark=2**63)], "syncKey": KEY},
        {"list": [change(), None], "syncKey": KEY},
    ],
)
def test_a_feed_that_can_not_be_understood_is_nonsense(result: dict[str, Any]) -> None:
    with pytest.raises(ProtocolError):
        wire.parse_changes("Changes.get", result, json_codec.canonical_json)


@pytest.mark.parametrize("key", ["", "x", "3", "[]"])
def test_keys_that_are_none(key: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        wire.key_struct(key)


def test_texts_a_database_can_hold() -> None:
    assert wire.require_text("a\0b") == "ab"
    assert wire.require_text("a\ud800b") == "a?b"
    assert wire.require_text(7) == ""
    assert [wire.require_int(value) for value in (3, -1, 2**63, True, "3", 1.5, None)] == [3, 0, 0, 0, 0, 0, 0]


def test_a_reply_of_more_values_than_memory_holds_is_not_parsed() -> None:
    with pytest.raises(ValueError, match="values"):
        json_codec.parse_json(b"[" + b"0," * json_codec.MAX_VALUES + b"0]")
    assert (
        len(json_codec.parse_json(b"[" + b"0," * 1000 + b"0" + b" " * json_codec.UNCHECKED_BYTES + b"]")[0]) == 1001
    )  # long, yet few


@pytest.mark.parametrize("write", [json_codec.canonical_json, json_codec.exact_json])
def test_what_is_nested_too_deeply_can_not_be_written(write: json_codec.Canonical) -> None:
    value: list[Any] = []
    for _ in range(100_000):
        value = [value]
    with pytest.raises(ValueError, match="too deeply"):
        write(value)


@pytest.mark.parametrize(
    ("key", "match"),
    [({"id": math.nan}, "an invalid key"), ({"id": "x" * json_codec.UNCHECKED_BYTES}, "a key of 1,04")],
)
def test_keys_that_can_not_be_kept(key: Any, match: str) -> None:
    with pytest.raises(ProtocolError, match=match):
        wire.parse_sync_key("Changes.getSyncKey", {"syncKey": key}, json_codec.exact_json)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_byte_order_mark_before_json_is_accepted(encoding: str) -> None:
    assert json_codec.parse_json('{"a":"ü"}'.encode(encoding))[0] == {"a": "ü"}
