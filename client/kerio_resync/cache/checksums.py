"""Checksums: what makes a stored row trustworthy years later, and how they are computed.

An item's sum covers everything of `model.Item`, its attachments' descriptions included, so that a lost or damaged row
of either table shows. It is SHA-256 over one line of JSON (an array in the order below, ASCII, Python's default
spacing), a newline, the payload, and the extra members. A chunk has its CRC-32 (zlib), a whole content its SHA-256.

Python's hashes let other threads run when they get more than 2,047 bytes (CRC-32: 5 KiB). Getting back in costs up to
5 ms while the event loop is computing: with rows of 25 KB a busy loop slows the writer down to a tenth. So the data is
fed in slices below that size; only what is large enough to be worth the wait is fed whole. The line is put together
here because an encoder that has to find out what each member is takes four times as long, for each of a million items.
"""

from __future__ import annotations

import hashlib
from json.encoder import encode_basestring_ascii as _quoted
from typing import Final

from kerio_resync.model import Attachment, Item

try:
    from isal.isal_zlib import crc32 as _crc32  # four times as fast
except ImportError:  # pragma: no cover - a machine that it is not made for
    from zlib import crc32 as _crc32

plain_crc32: Final = _crc32
GIL_RELEASE_LIMIT_BYTES: Final = 2047  # bytes
_CRC_SLICE_BYTES: Final = 4096
THREAD_MIN_BYTES: Final = 4 * 1024 * 1024  # bytes that are worth the wait


def item_checksum(item: Item, piece: int = GIL_RELEASE_LIMIT_BYTES) -> bytes:
    """The 32 bytes that stand in `item.checksum`. `piece`: bytes hashed at once; many where no thread waits."""
    q, texts = _quoted, (item.title, item.who, item.recipients, item.message_id)
    head = (
        f"[{q(item.kind)}, {q(item.id)}, {q(item.folder_id)}, {item.watermark}, {_maybe(item.date)},"
        f" {_maybe(item.end)}, {item.seen:d}, {item.flagged:d}, {item.answered:d}, {item.draft:d}, {item.size},"
        f" {', '.join(map(q, texts))}, [{', '.join(map(_described, item.attachments))}],"
        f" {len(item.payload)}, {'false' if item.extra is None else 'true'}]\n"
    )
    return sha256(head.encode(), item.payload, item.extra or b"", piece=piece)


def _described(each: Attachment) -> str:
    q, size = _quoted, "null" if each.size is None else each.size
    return (
        f"[{q(each.id)}, {q(each.url)}, {q(each.name)}, {q(each.content_type)}, {q(each.content_id)}, {size},"
        f" {q(each.role)}]"
    )


def _maybe(text: str | None) -> str:
    return "null" if text is None else _quoted(text)


def sha256(*parts: bytes, piece: int = GIL_RELEASE_LIMIT_BYTES) -> bytes:
    """SHA-256 over the parts, one after the other."""
    digest = hashlib.sha256()
    for part in parts:
        if len(part) <= piece or len(part) >= THREAD_MIN_BYTES:
            digest.update(part)
            continue
        view = memoryview(part)
        for start in range(0, len(part), piece):
            digest.update(view[start : start + piece])
    return digest.digest()


def crc32(data: bytes) -> int:
    """CRC-32 of one chunk, 0 to 2**32-1."""
    view, crc = memoryview(data), 0
    for start in range(0, len(data), _CRC_SLICE_BYTES):
        crc = plain_crc32(view[start : start + _CRC_SLICE_BYTES], crc)
    return crc
