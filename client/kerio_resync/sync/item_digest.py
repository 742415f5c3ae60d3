"""The digest of an item, in neutral terms; the mock server computes it on its own."""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha256


def item_digest(payload: bytes, contents: Iterable[tuple[int, bytes]], source: bytes | None = None) -> str:
    """Return the SHA-256 (hex) of an item.

    It is that of its source if there is one. Otherwise it covers the payload and, for each complete content, a line
    with its ordinal and its SHA-256 (hex). `contents` has both, in order; `source` is the SHA-256 of the source.
    """
    if source is not None:
        return source.hex()
    digest = sha256(payload)
    for ordinal, content in contents:
        digest.update(b"\n%d %s" % (ordinal, content.hex().encode()))
    return digest.hexdigest()
