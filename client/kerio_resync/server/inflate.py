"""Undoes the compression of a reply, piece by piece, never holding more than a bounded piece at a time.

Promises: what is decoded is counted while it is decoded, so that a bomb of a few KB ends in `TooLong` after at most one
piece beyond the limit (256 KiB with zlib, 8 MiB with zstd). Refuses encodings that were not asked for, and garbage, as
`ServerNonsense`; a stream that ends before its end mark as `Interrupted`. Why not the HTTP library's own: it decodes
before anybody can count.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Protocol

from kerio_resync.errors import Interrupted, ServerNonsense

PIECE = 256 * 1024
# A zstd block of 4 bytes can stand for 128 KiB: what goes in at once must be small for what comes out to be bounded.
SLICE = 256
ZSTD_WINDOW = 8 << 20  # RFC 9659: the most that HTTP allows


class TooLong(ServerNonsense):
    """The body is longer than the caller has room for."""


class Decoder(Protocol):
    def feed(self, data: bytes) -> Iterator[bytes]:
        """The decoded pieces that `data` completes, none of them empty. ServerNonsense, TooLong."""
        ...

    def end(self) -> None:
        """To be called once the body has ended. Interrupted if the stream has not."""
        ...


def decoder(encoding: str, limit: int | None = None) -> Decoder:
    """The decoder for a `Content-Encoding`; `limit` in decoded bytes, None for a stream that is not kept."""
    match encoding.strip().lower():
        case "" | "identity":
            return Plain(limit)
        case "gzip" | "x-gzip":
            return Inflate(limit, gzip=True)
        case "deflate":
            return Inflate(limit, gzip=False)
        case "zstd":
            return Zstd(limit)
        case _:
            raise ServerNonsense("a reply in an encoding that was not asked for")


class Plain:
    def __init__(self, limit: int | None) -> None:
        self._limit = limit
        self._total = 0

    def _count(self, piece: bytes) -> bytes:
        self._total += len(piece)
        if self._limit is not None and self._total > self._limit:
            raise TooLong(f"a reply of more than {self._limit:,} bytes")
        return piece

    def feed(self, data: bytes) -> Iterator[bytes]:
        if data:
            yield self._count(data)

    def end(self) -> None:
        return


class Inflate(Plain):
    """gzip (RFC 1952, of several members if need be) and deflate (RFC 1950; raw RFC 1951 is taken, as browsers do)."""

    def __init__(self, limit: int | None, *, gzip: bool) -> None:
        super().__init__(limit)
        self._bits = 31 if gzip else 15
        self._stream = zlib.decompressobj(self._bits)
        self._begun = False

    def feed(self, data: bytes) -> Iterator[bytes]:
        if not self._begun and data:
            self._begun = True
            # the first byte of RFC 1950 names method 8 in its low half and a window in the other
            if self._bits == 15 and (data[0] & 0x0F != 8 or data[0] >> 4 > 7):
                self._stream = zlib.decompressobj(-15)
        try:
            yield from self._pieces(data)
        except zlib.error as error:
            raise ServerNonsense("a compressed reply that can't be decompressed") from error

    def _pieces(self, data: bytes) -> Iterator[bytes]:
        while True:
            if self._stream.eof:
                data = self._stream.unused_data or data
                if self._bits != 31 or not data:
                    return
                self._stream = zlib.decompressobj(self._bits)
            piece = self._stream.decompress(data, PIECE)
            if piece:
                yield self._count(piece)
            data = self._stream.unconsumed_tail
            if not self._stream.eof and not data and len(piece) < PIECE:
                return
            if self._stream.eof and not self._stream.unused_data:
                return

    def end(self) -> None:
        if self._begun and not self._stream.eof:
            raise Interrupted("a compressed reply was cut short")


class Zstd(Plain):
    """zstd (RFC 8878), one frame, its window no larger than RFC 9659 allows."""

    def __init__(self, limit: int | None) -> None:
        import zstandard  # only a server that has it makes us load it

        super().__init__(limit)
        self._error = zstandard.ZstdError
        self._stream = zstandard.ZstdDecompressor(max_window_size=ZSTD_WINDOW).decompressobj(write_size=PIECE // 8)
        self._begun = False

    def feed(self, data: bytes) -> Iterator[bytes]:
        view = memoryview(data)
        for start in range(0, len(data), SLICE):
            if self._stream.eof:
                return
            self._begun = True
            try:
                piece = self._stream.decompress(view[start : start + SLICE])
            except self._error as error:
                raise ServerNonsense("a compressed reply that can't be decompressed") from error
            if piece:
                yield self._count(piece)

    def end(self) -> None:
        if self._begun and not self._stream.eof:
            raise Interrupted("a compressed reply was cut short")
