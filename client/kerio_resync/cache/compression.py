"""Compresses chunks of mail sources with Zstandard (RFC 8878).

A chunk that does not become shorter is stored as it is, so a stored chunk is compressed exactly if it is shorter than
its content.
"""

from __future__ import annotations

import threading
from typing import Final

import zstandard

from kerio_resync.errors import CacheDamaged

LEVEL: Final = 1  # level 3 takes a third longer; texts become 2 % shorter, base64 does not


class _PerThread(threading.local):
    """A compressor and a decompressor.

    Each serves one thread at a time, and takes long to create.
    """

    def __init__(self) -> None:
        self.compressor = zstandard.ZstdCompressor(level=LEVEL)
        self.decompressor = zstandard.ZstdDecompressor()


_per_thread = _PerThread()


def compress(content: bytes) -> bytes:
    """Return the compressed content, or `content` itself if that is not longer."""
    compressed = _per_thread.compressor.compress(content)
    return compressed if len(compressed) < len(content) else content


def decompress(stored: bytes, size: int) -> bytes:
    """Return the content of `size` bytes. CacheDamaged if it has another size.

    A damaged file may claim any size, so no more memory is used than for `size`.
    """
    if len(stored) == size:
        return stored
    try:
        if len(stored) < size == zstandard.frame_content_size(stored):
            return _per_thread.decompressor.decompress(stored)
    except zstandard.ZstdError:
        pass
    raise CacheDamaged("a compressed chunk of a mail's source is damaged")
