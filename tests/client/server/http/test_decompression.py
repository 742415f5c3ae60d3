from __future__ import annotations

import gzip
import time
import tracemalloc
import zlib
from collections.abc import Callable

import pytest
import zstandard

from kerio_resync.errors import ForeignReply, OutcomeUnknown, ProtocolError
from kerio_resync.server.http.decompression import TooLong, decoder

TEXT = "".join(f"line {n}: grüße\n" for n in range(5000)).encode()
RAW = zlib.compressobj(9, zlib.DEFLATED, -15)
PACKED = {
    "": TEXT,
    "identity": TEXT,
    "gzip": gzip.compress(TEXT),
    "x-gzip": gzip.compress(TEXT[:100]) + gzip.compress(TEXT[100:]),
    "deflate": zlib.compress(TEXT),
    " Deflate ": RAW.compress(TEXT) + RAW.flush(),
    "zstd": zstandard.ZstdCompressor().compress(TEXT),
}


def unpacked(encoding: str, data: bytes, step: int, limit: int | None = None) -> bytes:
    decode = decoder(encoding, limit)
    out = [piece for at in range(0, len(data), step) for piece in decode.feed(data[at : at + step])]
    decode.end()
    assert all(out)
    return b"".join(out)


@pytest.mark.parametrize("step", [1, 7, 1000, 1 << 20])
@pytest.mark.parametrize("encoding", PACKED)
def test_what_was_packed_comes_out(encoding: str, step: int) -> None:
    assert unpacked(encoding, PACKED[encoding], step) == TEXT


@pytest.mark.parametrize("encoding", PACKED)
def test_the_limit_counts_decoded_bytes(encoding: str) -> None:
    assert unpacked(encoding, PACKED[encoding], 64, limit=len(TEXT)) == TEXT
    with pytest.raises(TooLong, match="more than"):
        unpacked(encoding, PACKED[encoding], 64, limit=len(TEXT) - 1)


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "zstd"])
def test_a_stream_that_is_cut_is_not_whole(encoding: str) -> None:
    with pytest.raises(OutcomeUnknown):
        unpacked(encoding, PACKED[encoding][:-9], 512)


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "zstd"])
def test_garbage_is_nonsense(encoding: str) -> None:
    with pytest.raises(ForeignReply, match="decompressed"):
        unpacked(encoding, b"\x78" + b"this is no compressed stream" * 9, 512)


@pytest.mark.parametrize("encoding", ["br", "compress", "gzip, gzip", "\x00"])
def test_encodings_nobody_asked_for_are_refused(encoding: str) -> None:
    with pytest.raises(ForeignReply, match="not requested"):
        decoder(encoding)


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "zstd"])
def test_an_empty_body_needs_no_stream(encoding: str) -> None:
    assert unpacked(encoding, b"", 1) == b""


@pytest.mark.parametrize(
    ("encoding", "pack", "room"),
    [
        ("gzip", gzip.compress, 4 << 20),
        ("zstd", zstandard.ZstdCompressor().compress, 24 << 20),
    ],
    ids=["gzip", "zstd"],
)
def test_a_bomb_ends_soon_and_in_little_memory(encoding: str, pack: Callable[[bytes], bytes], room: int) -> None:
    bomb = pack(bytes(100_000_000))
    assert len(bomb) < 200_000
    decode = decoder(encoding, 1 << 20)
    tracemalloc.start()
    try:
        with pytest.raises(TooLong):
            for _ in decode.feed(bomb):
                pass
        assert tracemalloc.get_traced_memory()[1] < room
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("step", [1, 1 << 20])
@pytest.mark.parametrize("encoding", ["deflate", "zstd"])
def test_what_follows_the_end_of_a_stream_is_let_go(encoding: str, step: int) -> None:
    assert unpacked(encoding, PACKED[encoding] + b"padding", step) == TEXT


@pytest.mark.parametrize("step", [1, 7, 4096, 1 << 20])
@pytest.mark.parametrize("count", [1, 3, 40])
def test_members_and_frames_are_joined(count: int, step: int) -> None:
    text, skippable = TEXT[:3000], b"\x50\x2a\x4d\x18\x03\x00\x00\x00abc"
    assert unpacked("gzip", (gzip.compress(b"") + gzip.compress(text)) * count, step) == text * count
    frame = zstandard.ZstdCompressor().compress(text)
    assert unpacked("zstd", (skippable + frame) * count, step) == text * count


@pytest.mark.parametrize(
    ("encoding", "empty"),
    [
        ("gzip", gzip.compress(b"")),
        ("zstd", zstandard.ZstdCompressor().compress(b"")),
        ("zstd", b"\x50\x2a\x4d\x18\x00\x00\x00\x00"),
        ("zstd", b"\x5f\x2a\x4d\x18\x03\x00\x00\x00abc"),
    ],
    ids=["gzip", "zstd", "skippable", "skippable with content"],
)
def test_an_endless_row_of_empty_members_is_refused_soon(encoding: str, empty: bytes) -> None:
    """In one piece of many megabytes too: it must not be copied for each member."""
    decode = decoder(encoding)
    with pytest.raises(ProtocolError, match="without content"):
        for _ in decode.feed(empty * 400_000):
            pass


def test_many_small_members_take_linear_time() -> None:
    took = {}
    for count in (4_000, 32_000):
        data = gzip.compress(b"x") * count
        start = time.process_time()
        assert len(b"".join(decoder("gzip").feed(data))) == count
        took[count] = time.process_time() - start
    assert took[32_000] < 40 * max(took[4_000], 0.002)
