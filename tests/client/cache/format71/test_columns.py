"""The columns of format 7.1: each value that is encoded into a column is decoded to the same value."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.format71_writer import encode_time, split_struct
from kerio_resync.cache.format71.columns import COLUMNS, decode_columns, decode_flags, decode_people, decode_time
from kerio_resync.model import KINDS, Kind


@pytest.mark.parametrize(
    ("sent", "stored"),
    [
        ("20260301T093000Z", "2026-03-01 10:30:00 +0100"),
        ("20251231T233000Z", "2026-01-01 00:30:00 +0100"),
        ("20200806T180000-0700", "2020-08-06 18:00:00 -0700!"),
        ("20200806T180000+0100", "2020-08-06 18:00:00 +0100!"),
        ("20251217", "2025-12-17"),
        ("", ""),
    ],
)
def test_time_is_stored_as_local_time_and_decoded(sent: str, stored: str) -> None:
    assert encode_time(sent) == stored
    assert decode_time(stored) == sent


@pytest.mark.parametrize(
    "invalid", ["tomorrow", "20260230T000000Z", "00010101T000000Z", "99991231T235959Z", "2026", 7, None, "20251217Z"]
)
def test_invalid_time_stays_in_props(invalid: object) -> None:
    stored = encode_time(invalid)
    assert stored is None or decode_time(stored) == invalid


@pytest.mark.parametrize(
    ("stored", "sent"),
    [
        ("2026-03-01 00:30:59 +0100", "20260228T233059Z"),
        ("2026-02-28 23:30:59 -0800", "20260301T073059Z"),
        ("2026-03-01 10:30:00 +0530", "20260301T050000Z"),
    ],
)
def test_decode_time_converts_any_offset_to_utc(stored: str, sent: str) -> None:
    assert decode_time(stored) == sent


@pytest.mark.parametrize(
    "stored",
    [
        "2026-03-01 10:3x:59 +0100", "2026-03-01 10:60:59 +0100", "2026-03-0a 10:30:59 +0100",
        "2026-02-30 10:30:59 +0100", "2026-03-01 10:30:59 +01x0", "2026-03-01 10:30:59 *0100",
        "0001-01-01 00:30:00 +0100", "some day",
    ],
)  # fmt: skip
def test_decode_time_refuses_invalid_time_without_quoting_it(stored: str) -> None:
    with pytest.raises(ValueError, match=r"^a time is invalid$"):
        decode_time(stored)


def test_decode_people_shares_no_list() -> None:
    first, second = decode_people("Ann\ta@b"), decode_people("Ann\ta@b\nBob\tb@b\tc1")
    assert first == [{"name": "Ann", "address": "a@b"}]
    assert second == [*first, {"name": "Bob", "address": "b@b", "contactId": "c1"}]


words = st.text(st.characters(codec="utf-8") | st.sampled_from("\0\t\n\x1f"), max_size=8) | st.just("lone \udc80")
people = st.lists(
    st.fixed_dictionaries({"name": words, "address": words}, optional={"contactId": words, "more": words}), max_size=3
)
values = (
    words | st.integers() | st.booleans() | st.none() | people
    | st.sampled_from(["20260301T093000Z", "20251217", "High", "ctTextHtml"])
    | st.lists(st.fixed_dictionaries({"type": words, "value": words}), max_size=2)
)  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
@given(data=st.data())
def test_split_struct_is_inverse_of_decoding(kind: Kind, data: st.DataObject) -> None:
    names = [column.member for column in COLUMNS[kind]] + ["isSeen", "isDraft", "other"]
    struct = data.draw(st.dictionaries(st.sampled_from(names), values))
    stored, rest = split_struct(kind, struct)
    decoded = decode_columns(kind, [stored[column.name] for column in COLUMNS[kind]]) | json.loads(json.dumps(rest))
    if kind == "mail":
        decoded.update(decode_flags(stored["FLAGS"]))
    assert decoded == struct
