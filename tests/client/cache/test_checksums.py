from __future__ import annotations

import hashlib
import json
import zlib
from typing import Any

import pytest

from kerio_resync.cache.checksums import crc32, item_checksum, plain_crc32, sha256
from kerio_resync.model import Item
from tests.support.cache import attachment, mail

WHOLE = mail("1", attached=(attachment("a"),), extra=b"{}")._replace(end="2026", html="<b>Hello</b>", details=b"{}")


@pytest.mark.parametrize("size", [0, 1, 2047, 2048, 5000, 4 * 1024 * 1024 + 1])
def test_sha256_and_crc32_in_slices_equal_those_of_hashlib_and_zlib(size: int) -> None:
    data = bytes(range(256)) * (size // 256 + 1)
    data = data[:size]
    assert sha256(b"a", data) == hashlib.sha256(b"a" + data).digest()
    assert crc32(data) == plain_crc32(data) == zlib.crc32(data)


@pytest.mark.parametrize("name", Item._fields)
def test_item_checksum_covers_every_field(name: str) -> None:
    value = getattr(WHOLE, name)
    match value:
        case bool():
            other: object = not value
        case int():
            other = value + 1
        case bytes():
            other = value + b" "
        case (str(), *_):
            other = ("work",)
        case tuple():
            other = (value[0]._replace(content_type="text/plain"),)
        case _:
            other = value + "x"
    changed: dict[str, Any] = {name: other}
    assert item_checksum(WHOLE._replace(**changed)) != item_checksum(WHOLE)


def test_item_checksum_separates_fields() -> None:
    assert item_checksum(WHOLE._replace(title="ab", who="c")) != item_checksum(WHOLE._replace(title="a", who="bc"))
    assert item_checksum(WHOLE._replace(payload=b"{}", extra=b"x")) != item_checksum(
        WHOLE._replace(payload=b"{}x", extra=b"")
    )
    assert item_checksum(WHOLE._replace(text="ab", html="c")) != item_checksum(WHOLE._replace(text="a", html="bc"))
    empty: dict[str, Any] = {"extra": b"", "details": b"", "text": "", "html": ""}
    for name, value in empty.items():
        missing: dict[str, Any] = {name: None}
        present: dict[str, Any] = {name: value}
        assert item_checksum(WHOLE._replace(**missing)) != item_checksum(WHOLE._replace(**present))


def test_item_checksum_ignores_order_of_folders() -> None:
    assert item_checksum(WHOLE._replace(folder_ids=("b", "a", "b"))) == item_checksum(
        WHOLE._replace(folder_ids=("a", "b"))
    )


def test_item_checksum_stays_the_same() -> None:
    assert item_checksum(WHOLE).hex() == "024d4c1a17c028700090b0c03f0f5a9791445aac51da2d4a290925375a25113f"


@pytest.mark.parametrize("text", ["", "a", 'quote " slash / back \\', "tab\t line\n nul\0 \x7f", "müde ✓ 𝄞", "\u2028"])
def test_item_checksum_hashes_the_line_that_json_writes(text: str) -> None:
    one = attachment("a")
    odd = tuple(one._replace(id=text, url=text, name=text, content_type=text, size=size) for size in (None, 0, 7))
    for item in (
        WHOLE._replace(
            id=text,
            folder_ids=(text, "f"),
            version=text,
            title=text,
            who=text,
            date=text,
            end=None,
            attachments=odd,
            text=text,
        ),
        WHOLE._replace(recipients=text, message_id=text, seen=False, flagged=True, extra=None, attachments=()),
    ):
        rest = [item.payload, item.extra, item.details]
        texts = [None if part is None else zlib.crc32(part.encode()) for part in (item.text, item.html)]
        assert item_checksum(item) == hashlib.sha256(line_of(item, texts) + b"".join(filter(None, rest))).digest()


def line_of(item: Item, texts: list[Any]) -> bytes:
    head = [
        item.kind, item.id, sorted(item.folder_ids), item.version, item.date, item.end, item.seen, item.flagged,
        item.answered, item.draft, item.size, item.title, item.who, item.recipients, item.message_id,
        [[a.id, a.url, a.name, a.content_type, a.content_id, a.size, a.role] for a in item.attachments],
        *(None if part is None else len(part) for part in (item.payload, item.extra, item.details)), *texts,
    ]  # fmt: skip
    return json.dumps(head, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def test_item_checksum_covers_place_of_text_in_payload() -> None:
    one, other = "a" * 100, "b" * 100
    payload = f'{{"parts":["{one}","{other}"]}}'.encode()
    item = WHOLE._replace(text=one, html=other, payload=payload, extra=None, details=None)
    line = line_of(item, [[12, 100], [115, 100]])
    assert item_checksum(item) == hashlib.sha256(line + payload).digest()
    assert item_checksum(item._replace(text=other, html=one)) != item_checksum(item)
    assert item_checksum(item._replace(text=one[1:])) != item_checksum(item)
