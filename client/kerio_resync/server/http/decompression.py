"""Decompresses a reply piece by piece, holding only a bounded piece at a time.

Decoded bytes are counted while they are decoded, so a decompression bomb ends in `TooLong` after at most one piece
beyond the limit (256 KiB with zlib, 8 MiB with zstd). The time is linear in the input. An encoding that was not
requested, or garbage, is `ForeignReply`; a stream that ends before its end mark is `OutcomeUnknown`. aiohttp's own
decompression cannot be used: it decodes before the bytes can be counted.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Protocol

from kerio_resync.errors import ForeignReply, OutcomeUnknown, ProtocolError

OUTPUT_BYTES = 256 * 1024
# A zstd block of 4 bytes can expand to 128 KiB: only small slices of input keep the output bounded.
INPUT_SLICE_BYTES = 256
MEMBER_SLICE_BYTES = 4096
MAX_EMPTY_MEMBERS = 256
MAX_ZSTD_WINDOW_BYTES = 8 << 20  # RFC 9659


class TooLong(ProtocolError):
    """The body is longer than the caller's limit."""


class Decoder(Protocol):
    """A decoder of one body."""

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield the decoded pieces that `data` completes, none of them empty.

        ProtocolError, TooLong.
        """
        ...

    def end(self) -> None:
        """Call when the body has ended. OutcomeUnknown if the stream has not."""
        ...


def decoder(encoding: str, limit: int | None = None) -> Decoder:
    """Return the decoder for a `Content-Encoding`.

    `limit` in decoded bytes, None for a stream.
    """
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
            raise ForeignReply("a reply in an encoding that was not requested")


class Plain:
    """No encoding; counts the bytes."""

    def __init__(self, limit: int | None) -> None:
        self._limit = limit
        self._total = 0

    def _count(self, piece: bytes) -> bytes:
        self._total += len(piece)
        if self._limit is not None and self._total > self._limit:
            raise TooLong(f"a reply of more than {self._limit:,} bytes")
        return piece

    def feed(self, data: bytes) -> Iterator[bytes]:
        """See `Decoder`."""
        if data:
            yield self._count(data)

    def end(self) -> None:
        """See `Decoder`."""


class _Members:
    """Counts empty members or frames in a row.

    A few are allowed; an endless row is an attack.
    """

    __slots__ = ("_empty",)

    def __init__(self) -> None:
        self._empty = 0

    def begin(self) -> None:
        self._empty += 1
        if self._empty > MAX_EMPTY_MEMBERS:
            raise ProtocolError("a compressed reply without content that does not end")

    def has_content(self) -> None:
        self._empty = 0

    @property
    def latest_has_content(self) -> bool:
        """Return whether the latest member has held any content so far."""
        return not self._empty


class Inflate(Plain):
    """Decodes gzip and deflate.

    gzip is RFC 1952, also with several members. deflate is RFC 1950, or raw RFC 1951 as browsers accept it.
    """

    def __init__(self, limit: int | None, *, gzip: bool) -> None:
        super().__init__(limit)
        self._bits = 31 if gzip else 15
        self._stream = zlib.decompressobj(self._bits)
        self._members = _Members()
        self._begun, self._is_first = False, True

    def feed(self, data: bytes) -> Iterator[bytes]:
        if not self._begun and data:
            self._begun = True
            # RFC 1950 starts with method 8 in the low half of the first byte and the window size in the high half.
            if self._bits == 15 and (data[0] & 0x0F != 8 or data[0] >> 4 > 7):
                self._stream = zlib.decompressobj(-15)
        try:
            yield from self._pieces(data)
        except zlib.error as error:
            raise ForeignReply("a compressed reply that cannot be decompressed") from error

    def _pieces(self, data: bytes) -> Iterator[bytes]:
        rest = memoryview(data)
        while rest and not (self._stream.eof and self._bits != 31):  # bytes after a deflate stream are ignored
            if self._stream.eof:
                self._members.begin()
                self._stream = zlib.decompressobj(self._bits)
                self._is_first = False
            # Later members in short slices: zlib copies what follows the end of each one.
            part: bytes | memoryview = rest if self._is_first else rest[:MEMBER_SLICE_BYTES]
            while True:
                piece = self._stream.decompress(part, OUTPUT_BYTES)
                if piece:
                    self._members.has_content()
                    yield self._count(piece)
                part = self._stream.unconsumed_tail
                if self._stream.eof or (not part and len(piece) < OUTPUT_BYTES):
                    break
            used = rest if self._is_first else rest[:MEMBER_SLICE_BYTES]
            rest = rest[len(used) - len(self._stream.unused_data) :]

    def end(self) -> None:
        if self._begun and not self._stream.eof:
            raise OutcomeUnknown("a compressed reply was cut short")


class Zstd(Plain):
    """zstd (RFC 8878), also several frames, with windows within RFC 9659."""

    def __init__(self, limit: int | None) -> None:
        import zstandard  # loaded only for servers that use it

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
        """Return the decoded bytes, and the input after the end of a frame."""
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
            if self._is_first or self._members.latest_has_content:
                raise ForeignReply("a compressed reply that cannot be decompressed") from error
            self._is_over = True  # padding after the last frame
            return b"", memoryview(b"")
        return piece, memoryview(self._stream.unused_data if self._stream.eof else b"")

    def end(self) -> None:
        if self._begun and not self._stream.eof and not self._is_over:
            raise OutcomeUnknown("a compressed reply was cut short")
