from __future__ import annotations

import hashlib
import zlib
from dataclasses import replace
from typing import Any

import pytest

from kerio_resync.cache.sums import crc32, item_sum, sha256
from kerio_resync.model import Item
from tests.client.cache.world import attachment, mail

WHOLE = replace(mail("1", attached=(attachment("a"),), extra=b"{}"), end="2026")


@pytest.mark.parametrize("size", [0, 1, 2047, 2048, 5000, 4 * 1024 * 1024 + 1])
def test_slices_make_no_difference(size: int) -> None:
    data = bytes(range(256)) * (size // 256 + 1)
    data = data[:size]
    assert sha256(b"a", data) == hashlib.sha256(b"a" + data).digest()
    assert crc32(data) == zlib.crc32(data)


@pytest.mark.parametrize("name", Item.__slots__)
def test_every_member_counts(name: str) -> None:
    value = getattr(WHOLE, name)
    match value:
        case bool():
            other: object = not value
        case int():
            other = value + 1
        case bytes():
            other = value + b" "
        case tuple():
            other = (replace(value[0], content_type="text/plain"),)
        case _:
            other = value + "x"
    changed: dict[str, Any] = {name: other}
    assert item_sum(replace(WHOLE, **changed)) != item_sum(WHOLE)


def test_what_moves_between_members_counts() -> None:
    assert item_sum(replace(WHOLE, title="ab", who="c")) != item_sum(replace(WHOLE, title="a", who="bc"))
    assert item_sum(replace(WHOLE, payload=b"{}", extra=b"x")) != item_sum(replace(WHOLE, payload=b"{}x", extra=b""))
    assert item_sum(replace(WHOLE, extra=None)) != item_sum(replace(WHOLE, extra=b""))


def test_the_sum_is_the_same_for_ever() -> None:
    assert item_sum(WHOLE).hex() == "3f8274c34f8afe674971b221043758cb44a6e0fd7134106770ad8da17129d02c"
