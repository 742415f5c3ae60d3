"""Compression of replies, by `Accept-Encoding` and its q-values.

Only JSON of a kilobyte and more is compressed; attachments are sent as they are. Among codings that the client likes
equally, the server's own order decides. Small bodies are compressed at once, large ones in a thread.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Callable, Sequence

import brotli  # type: ignore[import-untyped]  # it comes without types
import zstandard

from kerio_mockserver.messages import Reply

SMALLEST = 1024
_AT_ONCE = 16 * 1024


def chosen(accept_encoding: str, offered: Sequence[str]) -> str:
    """Return the best of the `offered` codings that this header accepts, or ""."""
    weights: dict[str, float] = {}
    for part in accept_encoding.casefold().split(","):
        coding, *parameters = (piece.strip() for piece in part.split(";"))
        weight = 1.0
        for parameter in parameters:
            name, _, value = parameter.partition("=")
            if name.strip() == "q":
                weight = _weight(value)
        if coding:
            weights["gzip" if coding == "x-gzip" else coding] = weight
    others = weights.get("*", 0.0)
    best = max(offered, key=lambda coding: weights.get(coding, others), default="")
    weight = weights.get(best, others)
    return best if weight > 0 and weight >= weights.get("identity", 0.0) else ""


def compressor(coding: str, level: int) -> Callable[[bytes], bytes]:
    """Return the function for a coding, at `level` of gzip's scale of 1 to 9."""
    match coding:
        case "gzip":
            return lambda data: _zlib(data, level, 31)
        case "deflate":
            return lambda data: _zlib(data, level, 15)
        case "br":
            return lambda data: brotli.compress(data, quality=min(level, 5))
        case "zstd":
            return lambda data: zstandard.ZstdCompressor(level=min(level, 3)).compress(data)
        case _:
            raise ValueError(f"no such coding: {coding}")


async def compressed(reply: Reply, accept_encoding: str, offered: Sequence[str], level: int) -> Reply:
    """Return the reply, compressed if the client accepts it and it saves bytes."""
    body = reply.body
    if not offered or not isinstance(body, bytes) or not _is_json(reply) or "Content-Encoding" in reply.headers:
        return reply
    reply.headers["Vary"] = "Accept-Encoding"
    coding = chosen(accept_encoding, offered)
    if not coding or len(body) < SMALLEST:
        return reply
    squeeze = compressor(coding, level)
    reply.body = squeeze(body) if len(body) <= _AT_ONCE else await asyncio.to_thread(squeeze, body)
    reply.headers["Content-Encoding"] = coding
    return reply


def _is_json(reply: Reply) -> bool:
    return reply.headers.get("Content-Type", "").startswith("application/json")


def _weight(text: str) -> float:
    try:
        return min(max(float(text), 0.0), 1.0)
    except ValueError:
        return 0.0


def _zlib(data: bytes, level: int, window: int) -> bytes:
    squeezer = zlib.compressobj(level, zlib.DEFLATED, window)
    return squeezer.compress(data) + squeezer.flush()
