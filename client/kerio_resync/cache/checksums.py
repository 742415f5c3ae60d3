"""Checksums of stored rows, and how they are computed.

An item's checksum covers every field of `model.Item`, with the descriptions of its attachments, so that a lost or
damaged row of any table shows. It is the SHA-256 of one line of JSON (an array in the order below, ASCII, Python's
default spacing) that ends in the lengths of payload, extra members and details, and the CRC-32 of text and html (UTF-8;
null: there is none), a newline, the payload, the extra members and the details. A chunk has a CRC-32 (zlib) of what is
stored, an attachment a SHA-256. Texts have a CRC-32 only, because most of them are a part of the payload.

Python's hashes release the interpreter's lock for more than 2,047 bytes (CRC-32: 5 KiB). Acquiring it again takes up to
5 ms while the event loop computes: with rows of 25 KB a busy loop slows the writer down to a tenth. So data is hashed
in smaller slices, unless it is so large that hashing takes longer than the wait. The line of JSON is written by hand,
because a general encoder takes four times as long.
"""

from __future__ import annotations

import hashlib
import json
from json.encoder import encode_basestring_ascii as _quoted
from typing import Final

from kerio_resync.cache.mutations import LocalChange
from kerio_resync.model import Attachment, Item

try:
    from isal.isal_zlib import crc32 as _crc32  # four times as fast
except ImportError:  # pragma: no cover - not available for every processor
    from zlib import crc32 as _crc32

plain_crc32: Final = _crc32
GIL_RELEASE_LIMIT_BYTES: Final = 2047
_CRC_SLICE_BYTES: Final = 4096
THREAD_MIN_BYTES: Final = 4 * 1024 * 1024


def item_checksum(item: Item) -> bytes:
    """Return the 32 bytes of the column `item.checksum`."""
    q, folder_ids, extra, details = _quoted, item.folder_ids, item.extra, item.details
    folders = q(folder_ids[0]) if len(folder_ids) == 1 else ", ".join(map(q, sorted({*folder_ids})))
    head = (
        f"[{q(item.kind)}, {q(item.id)}, [{folders}], {q(item.version)}, {_quoted_or_null(item.date)},"
        f" {_quoted_or_null(item.end)}, {item.seen:d}, {item.flagged:d}, {item.answered:d}, {item.draft:d},"
        f" {item.size}, {q(item.title)}, {q(item.who)}, {q(item.recipients)}, {q(item.message_id)},"
        f" [{', '.join(map(_description, item.attachments))}], {len(item.payload)},"
        f" {'null' if extra is None else len(extra)}, {'null' if details is None else len(details)},"
        f" {_crc_or_null(item.text)}, {_crc_or_null(item.html)}]\n"
    )
    parts = [head.encode(), item.payload]
    parts += filter(None, (extra, details))
    return sha256(*parts)


def change_checksum(change: LocalChange) -> bytes:
    """Return the column `outbox.checksum`.

    It covers what was made offline, not the state of the change. SHA-256 over a JSON array, a newline and the struct.
    The array ends with a list of the files: name, content type, content id, size and SHA-256 (hex) of each.
    """
    files = [(file.name, file.content_type, file.content_id, file.size, file.sha256.hex()) for file in change.files]
    head = [
        change.uuid, change.action, change.kind, change.item_id, change.folder_id, change.target_id, change.version,
        change.made, files,
    ]  # fmt: skip
    return sha256(json.dumps(head).encode() + b"\n", change.struct)


def _description(attachment: Attachment) -> str:
    q, size = _quoted, "null" if attachment.size is None else attachment.size
    return (
        f"[{q(attachment.id)}, {q(attachment.url)}, {q(attachment.name)}, {q(attachment.content_type)},"
        f" {q(attachment.content_id)}, {size}, {q(attachment.role)}]"
    )


def _quoted_or_null(text: str | None) -> str:
    return "null" if text is None else _quoted(text)


def _crc_or_null(text: str | None) -> str:
    return "null" if text is None else str(crc32(text.encode()))


def sha256(*parts: bytes) -> bytes:
    """Return the SHA-256 of the concatenated parts."""
    digest = hashlib.sha256()
    for part in parts:
        if len(part) <= GIL_RELEASE_LIMIT_BYTES or len(part) >= THREAD_MIN_BYTES:
            digest.update(part)
            continue
        view = memoryview(part)
        for start in range(0, len(part), GIL_RELEASE_LIMIT_BYTES):
            digest.update(view[start : start + GIL_RELEASE_LIMIT_BYTES])
    return digest.digest()


def crc32(data: bytes) -> int:
    """Return the CRC-32 of one chunk, 0 to 2**32-1."""
    if len(data) <= _CRC_SLICE_BYTES:
        return plain_crc32(data)
    view, crc = memoryview(data), 0
    for start in range(0, len(data), _CRC_SLICE_BYTES):
        crc = plain_crc32(view[start : start + _CRC_SLICE_BYTES], crc)
    return crc
