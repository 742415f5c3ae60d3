"""Hostile replies of a server, as bytes: large, endless, cut short, or not HTTP."""

from __future__ import annotations

import asyncio
import gzip
import itertools
import zlib
from collections.abc import Callable, Iterator

BLOCK = 1 << 20
CHUNK = 64 * 1024


def head(*lines: bytes, status: bytes = b"200 OK") -> bytes:
    first = b"HTTP/1.1 " + status
    return b"\r\n".join([first, b"Content-Type: application/json", b"Connection: close", *lines, b"", b""])


def endless(piece: bytes, *lines: bytes, first: bytes = b"") -> Iterator[bytes]:
    yield head(*lines) + first
    yield from itertools.repeat(piece)


def gzip_bomb() -> Iterator[bytes]:
    """A thousand bytes for each million, without an end."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    first = packer.compress(bytes(BLOCK)) + packer.flush(zlib.Z_FULL_FLUSH)
    block = packer.compress(bytes(BLOCK)) + packer.flush(zlib.Z_FULL_FLUSH)
    return endless(block * 16, b"Content-Encoding: gzip", first=first)


def zstd_bomb() -> Iterator[bytes]:
    """Four bytes for each 128 KiB, without an end: a frame with a window of 1 MiB, and blocks of one byte repeated."""
    frame = b"\x28\xb5\x2f\xfd\x00\x50"
    block = (128 * 1024 << 3 | 1 << 1).to_bytes(3, "little") + b"\0"
    return endless(block * 64, b"Content-Encoding: zstd", first=frame)


def cut_gzip() -> Iterator[bytes]:
    packed = gzip.compress(b'{"jsonrpc":"2.0","id":1,"result":{"list":[]}}' * 50_000, 1)
    yield head(b"Content-Encoding: gzip") + packed[:-9]


def wide() -> Iterator[bytes]:
    """Almost as much as is taken, of which each byte needs four in memory once it is read."""
    size = 60 << 20
    yield head() + '{"jsonrpc":"2.0","id":1,"result":{"result":[],"list":[],"more":"\U0001f40c'.encode()
    yield from itertools.repeat(b"x" * CHUNK, size // CHUNK)
    yield b'"}}'


def struct_of_mail() -> Iterator[bytes]:
    """A mail that is one large text."""
    yield head() + b'{"jsonrpc":"2.0","id":1,"result":{"result":[{"id":"x","folderId":"y","subject":"'
    yield from itertools.repeat(b"x" * CHUNK, (40 << 20) // CHUNK)
    yield b'"}],"list":[],"totalItems":1}}'


def crumbs() -> Iterator[bytes]:
    """A body in chunks of one byte. It ends, since each takes the client's processor as long as a kilobyte does."""
    yield head(b"Transfer-Encoding: chunked")
    yield from itertools.repeat(b"1\r\n \r\n" * 10_000, 30)
    yield b"0\r\n\r\n"


def long_size() -> Iterator[bytes]:
    """A chunk whose size does not end."""
    return endless(b"0" * CHUNK, b"Transfer-Encoding: chunked", first=b"1;")


def cookies() -> Iterator[bytes]:
    yield b"HTTP/1.1 200 OK\r\n"
    for n in itertools.count():
        yield b"".join(b"Set-Cookie: c%d=%s\r\n" % (n * 60 + m, b"v" * 900) for m in range(60))


def values() -> Iterator[bytes]:
    """As many values as a reply may hold."""
    yield head() + b'{"jsonrpc":"2.0","id":1,"result":{"result":[' + b"{}," * 450_000 + b'{}],"list":[]}}'


REPLIES: dict[str, Callable[[], Iterator[bytes]]] = {
    "a gzip bomb": gzip_bomb,
    "a zstd bomb": zstd_bomb,
    "a gzip that is cut": cut_gzip,
    "a body without end": lambda: endless(b" " * CHUNK),
    "a body without end of more than was announced": lambda: endless(b" " * CHUNK, b"Content-Length: 10000000000"),
    "JSON without end": lambda: endless(b'{"a":' * 10_000),
    "a text without end": lambda: endless(b"x" * CHUNK, first=b'{"jsonrpc":"2.0","id":1,"result":{"list":["'),
    "lists in lists": lambda: iter([head(), b'{"id":1,"result":', b"[" * 450_000, b"]" * 450_000, b"}"]),
    "a text that grows as it is read": wide,
    "a mail of 40 MB": struct_of_mail,
    "values and more values": values,
    "chunks of a byte": crumbs,
    "a chunk's size without end": long_size,
    "a head without end": cookies,
    "a line without end": lambda: itertools.chain([b"HTTP/1.1 200 OK\r\nX: "], itertools.repeat(b"x" * CHUNK)),
    "a redirect to another server": lambda: iter([head(b"Location: http://evil.test/x", status=b"302 Found")]),
    "a wait of ten years": lambda: iter([head(b"Retry-After: 315360000", b"Content-Length: 0", status=b"503 Busy")]),
    "no HTTP": lambda: iter([b"220 mail.test ESMTP\r\n"]),
    "silence": lambda: iter([head(b"Content-Length: 1000")]),
    "nothing": lambda: iter([]),
}  # fmt: skip


async def send(name: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Sends a reply of the table until the client has enough of it."""
    for piece in REPLIES[name]():
        writer.write(piece)
        await writer.drain()
    if name == "silence":
        await reader.read(1)  # until the client closes the connection
