"""Checksums: what makes a stored row trustworthy years later, and how they are computed.

An item's sum covers everything of `model.Item`, its attachments' descriptions included, so that a lost or damaged row
of either table shows. It is SHA-256 over one line of JSON (an array in the order below, ASCII, Python's default
spacing), a newline, the payload, and the extra members. A chunk has its CRC-32 (zlib), a whole content its SHA-256.

Python's hashes let other threads run when they get more than 2,047 bytes (CRC-32: 5 KiB). Getting back in costs up to
5 ms while the event loop is computing: with rows of 25 KB a busy loop slows the writer down to a tenth. So the data is
fed in slices below that size; only what is large enough to be worth the wait is fed whole.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from typing import Final

from kerio_resync.model import Item

_HASH_SLICE: Final = 2047
_CRC_SLICE: Final = 4096
_WHOLE: Final = 4 * 1024 * 1024


def item_sum(item: Item) -> bytes:
    """The 32 bytes that stand in `item.checksum`."""
    head = [
        item.kind,
        item.id,
        item.folder_id,
        item.watermark,
        item.date,
        item.end,
        int(item.seen),
        int(item.flagged),
        int(item.answered),
        int(item.draft),
        item.size,
        item.title,
        item.who,
        item.recipients,
        item.message_id,
        [[a.id, a.url, a.name, a.content_type, a.content_id, a.size, a.role] for a in item.attachments],
        len(item.payload),
        item.extra is not None,
    ]
    return sha256(json.dumps(head).encode() + b"\n", item.payload, item.extra or b"")


def sha256(*parts: bytes) -> bytes:
    """SHA-256 over the parts, one after the other."""
    digest = hashlib.sha256()
    for part in parts:
        if len(part) <= _HASH_SLICE or len(part) >= _WHOLE:
            digest.update(part)
            continue
        view = memoryview(part)
        for start in range(0, len(part), _HASH_SLICE):
            digest.update(view[start : start + _HASH_SLICE])
    return digest.digest()


def crc32(data: bytes) -> int:
    """CRC-32 of one chunk, 0 to 2**32-1."""
    view, crc = memoryview(data), 0
    for start in range(0, len(data), _CRC_SLICE):
        crc = zlib.crc32(view[start : start + _CRC_SLICE], crc)
    return crc
