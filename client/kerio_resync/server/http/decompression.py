"""Undoes the compression of a reply, piece by piece, never holding more than a bounded piece at a time.

Promises: what is decoded is counted while it is decoded, so that a bomb of a few KB ends in `TooLong` after at most one
piece beyond the limit (256 KiB with zlib, 8 MiB with zstd); its time is linear in
what comes in. Refuses encodings that were not asked for, and garbage, as
`ForeignReply`; a stream that ends before its end mark as `Interrupted`. Why not the HTTP library's own: it decodes
before anybody can count.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Protocol

from kerio_resync.errors import ForeignReply, OutcomeUnknown, ProtocolError

OUTPUT_BYTES = 256 * 1024
# A zstd block of 4 bytes can stand for 128 KiB: what goes in at once must be small for what comes out to be bounded.
INPUT_SLICE_BYTES = 256
SHORT = 4096
MAX_EMPTY_MEMBERS = 256
MAX_ZSTD_WINDOW_BYTES = 8 << 20  # RFC 9659: the most that HTTP allows


class TooLong(ProtocolError):
    """The body is longer than the caller has room for."""


class Decoder(Protocol):
    def feed(self, data: bytes) -> Iterator[bytes]:
        """The decoded pieces that `data` completes, none of them empty. ProtocolError, TooLong."""
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
            raise ForeignReply("a reply in an encoding that was not asked for")


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


class _Members:
    """Counts members or frames in a row that hold nothing: a few are allowed, an endless row of them is an attack."""

    __slots__ = ("_empty",)

    def __init__(self) -> None:
        self._empty = 0

    def begin(self) -> None:
        self._empty += 1
        if self._empty > MAX_EMPTY_MEMBERS:
            raise ProtocolError("a compressed reply that goes on without holding anything")

    def has_content(self) -> None:
        self._empty = 0

    @property
    def hold_something(self) -> bool:
        """Whether the one that was begun last has held something so far."""
        return not self._empty


class Inflate(Plain):
    """gzip (RFC 1952, of several members if need be) and deflate (RFC 1950; raw RFC 1951 is taken, as browsers do)."""

    def __init__(self, limit: int | None, *, gzip: bool) -> None:
        super().__init__(limit)
        self._bits = 31 if gzip else 15
        self._stream = zlib.decompressobj(self._bits)
        self._members = _Members()
        self._begun, self._is_first = False, True

    def feed(self, data: bytes) -> Iterator[bytes]:
        if not self._begun and data:
            self._begun = True
            # the first byte of RFC 1950 names method 8 in its low half and a window in the other
            if self._bits == 15 and (data[0] & 0x0F != 8 or data[0] >> 4 > 7):
                self._stream = zlib.decompressobj(-15)
        try:
            yield from self._pieces(data)
        except zlib.error as error:
            raise ForeignReply("a compressed reply that can't be decompressed") from error

    def _pieces(self, data: bytes) -> Iterator[bytes]:
        rest = memoryview(data)
        while rest and not (self._stream.eof and self._bits != 31):  # what follows on a deflate stream is nothing
            if self._stream.eof:
                self._members.begin()
                self._stream = zlib.decompressobj(self._bits)
                self._is_first = False
            # later members in short slices: what follows on the end of one is copied, with each that ends
            part: bytes | memoryview = rest if self._is_first else rest[:SHORT]
            while True:
                piece = self._stream.decompress(part, OUTPUT_BYTES)
                if piece:
                    self._members.has_content()
                    yield self._count(piece)
                part = self._stream.unconsumed_tail
                if self._stream.eof or (not part and len(piece) < OUTPUT_BYTES):
                    break
            used = rest if self._is_first else rest[:SHORT]
            rest = rest[len(used) - len(self._stream.unused_data) :]

    def end(self) -> None:
        if self._begun and not self._stream.eof:
            raise OutcomeUnknown("a compressed reply was cut short")


class Zstd(Plain):
    """zstd (RFC 8878), of several frames if need be, their windows no larger than RFC 9659 allows."""

    def __init__(self, limit: int | None) -> None:
        import zstandard  # only a server that has it makes us load it

        super().__init__(limit)
        self._error = zstandard.ZstdError
        self._decompressor = zstandard.ZstdDecompressor(max_window_size=MAX_ZSTD_WINDOW_BYTES)
        self._stream = self._decompressor.decompressobj(write_size=OUTPUT_BYTES // 8)
        self._members = _Members()
        self._begun, self._is_first, self._is_over = False, True, False

    def feed(self, data: bytes) -> Iterator[bytes]:
        view = memoryview(data)
        for start in range(0, len(data), INPUT_SLICE_BYTES):
            rest = view[start : start + INPUT_SLICE_BYTES]
            while rest:
                piece, rest = self._step(rest)
                if piece:
                    self._members.has_content()
                    yield self._count(piece)

    def _step(self, data: memoryview) -> tuple[bytes, memoryview]:
        """What the data gives, and what follows on the end of a frame in it."""
        if self._is_over:
            return b"", memoryview(b"")
        if self._stream.eof:
            self._members.begin()
            self._stream = self._decompressor.decompressobj(write_size=OUTPUT_BYTES // 8)
            self._is_first = False
        self._begun = True
        try:
            piece = self._stream.decompress(data)
        except self._error as error:
            if self._is_first or self._members.hold_something:
                raise ForeignReply("a compressed reply that can't be decompressed") from error
            self._is_over = True  # padding
            return b"", memoryview(b"")
        return piece, memoryview(self._stream.unused_data if self._stream.eof else b"")

    def end(self) -> None:
        if self._begun and not self._stream.eof and not self._is_over:
            raise OutcomeUnknown("a compressed reply was cut short")
