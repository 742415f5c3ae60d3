"""Checksums of stored rows, and how they are computed.

An item's checksum covers every field of `model.Item`, with the descriptions of its attachments, so that a lost or
damaged row of any table shows. It is the SHA-256 of one line of JSON (an array in the order below, UTF-8, no spaces), a
newline, the payload, the extra members and the details. The line ends in the lengths of these three and an entry for
each of text and html: their place in the payload (`shared_text`) as `[first byte, bytes]`, the CRC-32 of a text that is
stored apart, or null. A chunk has a CRC-32 (zlib) of what is stored, an attachment a SHA-256.

Python's hashes release the interpreter's lock for more than 2,047 bytes (CRC-32: 5 KiB). Acquiring it again takes up to
5 ms while the event loop computes: with rows of 25 KB a busy loop slows the writer down to a tenth. So data is hashed
in smaller slices, unless it is so large that hashing takes longer than the wait.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any, Final

import orjson

from kerio_resync.cache.mutations import LocalChange
from kerio_resync.cache.shared_text import StoredText, place_text
from kerio_resync.model import Attachment, Item

try:
    from isal.isal_zlib import crc32 as _crc32  # four times as fast
except ImportError:  # pragma: no cover - not available for every processor
    from zlib import crc32 as _crc32

plain_crc32: Final = _crc32
GIL_RELEASE_LIMIT_BYTES: Final = 2047
_CRC_SLICE_BYTES: Final = 4096
THREAD_MIN_BYTES: Final = 4 * 1024 * 1024
_DESCRIPTION: Final = Attachment._fields.index("data")  # the members of an attachment before its content


def item_checksum(item: Item) -> bytes:
    """Return the 32 bytes of the column `item.checksum`."""
    return checksum_of(item, place_text(item.text, item.payload), place_text(item.html, item.payload))


def checksum_of(item: Item, text: StoredText, html: StoredText) -> bytes:
    """Return `item_checksum(item)`, given the columns of its text and html."""
    folder_ids, extra, details = item.folder_ids, item.extra, item.details
    head = orjson.dumps([
        item.kind, item.id, folder_ids if len(folder_ids) == 1 else sorted({*folder_ids}), item.version, item.date,
        item.end, item.seen, item.flagged, item.answered, item.draft, item.size, item.title, item.who, item.recipients,
        item.message_id, [attachment[:_DESCRIPTION] for attachment in item.attachments], len(item.payload),
        None if extra is None else len(extra), None if details is None else len(details), _entry(text), _entry(html),
    ])  # fmt: skip
    return sha256(head + b"\n", item.payload, *filter(None, (extra, details)))


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


def _entry(stored: StoredText) -> Any:
    text, at, size = stored
    if text is not None:
        return crc32(text.encode())
    return None if at is None else [at, size]


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
