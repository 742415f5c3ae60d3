"""Contents of attachments: in memory, or computed when read.

A computed content is a few numbers: its start in a pool of bytes that is made once per process, its length, and a few
bytes of its own at the beginning, so that no two are equal and mixed-up downloads show. Any range is read without
computing the rest. Random pools do not compress, as real attachments do not; the text pool does.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from random import Random
from typing import Literal

from kerio_mockserver.mailbox.text_pool import LANGUAGES, pool
from kerio_mockserver.messages import Blob

PHOTO = "1"  # part number of a contact's photo
_RANDOM_POOL = 4 << 20
_HEADER_BYTES = 900
_PART_HEADER_BYTES = 200


def mime_size(body: int, parts: Iterable[int]) -> int:
    """Return a plausible size of MIME source for the bytes of text and attachments."""
    return _HEADER_BYTES + body * 21 // 20 + sum(size * 137 // 100 + _PART_HEADER_BYTES for size in parts)


class Bytes:
    """Content in memory."""

    __slots__ = ("data",)

    def __init__(self, data: bytes) -> None:
        self.data = data

    def __len__(self) -> int:
        return len(self.data)

    def read(self, start: int, stop: int) -> bytes:
        """Return the bytes from `start` to before `stop`, fewer past the end."""
        return self.data[start:stop]


class Slice:
    """Computed content: `prefix`, then `size` bytes in all of the pool from `offset`."""

    __slots__ = ("compressible", "offset", "prefix", "size")

    def __init__(self, prefix: bytes, offset: int, size: int, *, compressible: bool = False) -> None:
        self.prefix = prefix[:size]
        self.offset = offset
        self.size = size
        self.compressible = compressible

    def __len__(self) -> int:
        return self.size

    def read(self, start: int, stop: int) -> bytes:
        """Return the bytes from `start` to before `stop`, fewer past the end."""
        stop = min(stop, self.size)
        if start >= stop:
            return b""
        head = self.prefix[start:stop]
        source = _text_pool() if self.compressible else _random_pool()
        at = (self.offset + max(start - len(self.prefix), 0)) % len(source)
        wanted = stop - start - len(head)
        pieces = [head]
        while wanted > 0:
            piece = source[at : at + wanted]
            pieces.append(piece)
            wanted -= len(piece)
            at = 0
        return b"".join(pieces)


@dataclass(frozen=True, slots=True)
class Attached:
    """The content of an attachment or photo; `etag` includes its quotes."""

    blob: Blob
    name: str
    content_type: str
    etag: str
    content_id: str = ""


@dataclass(frozen=True, slots=True)
class NewBlob:
    """Content to store with a new item: an attachment of a mail, or a contact's photo."""

    data: bytes | Blob
    name: str = ""
    content_type: str = "application/octet-stream"
    content_id: str = ""
    role: Literal["attachment", "photo"] = "attachment"

    def attached(self) -> Attached:
        if isinstance(self.data, bytes):
            etag = f'"{hashlib.blake2b(self.data, digest_size=12).hexdigest()}"'
            return Attached(Bytes(self.data), self.name, self.content_type, etag, self.content_id)
        etag = f'"{hash_of(self.data, limit=1 << 16)}-{len(self.data)}"'
        return Attached(self.data, self.name, self.content_type, etag, self.content_id)


def hash_of(blob: Blob, limit: int | None = None) -> str:
    """Return the SHA-256 of the content, or of its first `limit` bytes, in hex."""
    digest = hashlib.sha256()
    size = len(blob) if limit is None else min(limit, len(blob))
    for start in range(0, size, 1 << 20):
        digest.update(blob.read(start, min(start + (1 << 20), size)))
    return digest.hexdigest()


@lru_cache(maxsize=1)
def _random_pool() -> bytes:
    return Random("pool of attachment bytes").randbytes(_RANDOM_POOL)


@lru_cache(maxsize=1)
def _text_pool() -> bytes:
    return "\n\n".join(pool(language).text for language in LANGUAGES[:4]).encode()
