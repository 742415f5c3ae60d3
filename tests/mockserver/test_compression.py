from __future__ import annotations

import zlib

import brotli  # type: ignore[import-untyped]  # it comes without types
import pytest
import zstandard

from kerio_mockserver.compression import chosen, compressed, compressor
from kerio_mockserver.messages import Reply

OFFERED = ("zstd", "br", "gzip", "deflate")
DATA = b'{"a":"text and more text"}' * 5000
INFLATE = {
    "gzip": lambda data: zlib.decompress(data, 31),
    "deflate": lambda data: zlib.decompress(data, 15),
    "br": brotli.decompress,
    "zstd": lambda data: zstandard.ZstdDecompressor().decompress(data),
}


@pytest.mark.parametrize(
    ("accepted", "coding"),
    [
        ("", ""),
        ("identity", ""),
        ("gzip", "gzip"),
        ("x-gzip", "gzip"),
        ("GZIP ; Q=0.5", "gzip"),
        ("gzip, deflate", "gzip"),
        ("deflate, gzip;q=0.5", "deflate"),
        ("gzip, br, zstd", "zstd"),
        ("gzip;q=1.0, zstd;q=0.9", "gzip"),
        ("gzip;q=0", ""),
        ("*", "zstd"),
        ("*;q=0", ""),
        ("zstd;q=0, *", "br"),
        ("gzip;q=0.5, identity", ""),
        ("gzip;q=nonsense", ""),
        ("snappy", ""),
        (";;,,", ""),
    ],
)
def test_chosen_follows_q_values(accepted: str, coding: str) -> None:
    assert chosen(accepted, OFFERED) == coding


def test_chosen_among_what_is_offered() -> None:
    assert chosen("gzip, zstd", ("gzip",)) == "gzip"
    assert chosen("gzip", ()) == ""


@pytest.mark.parametrize("coding", OFFERED)
@pytest.mark.parametrize("level", [1, 6, 9])
def test_round_trip(coding: str, level: int) -> None:
    squeezed = compressor(coding, level)(DATA)
    assert len(squeezed) < len(DATA) / 10
    assert INFLATE[coding](squeezed) == DATA


@pytest.mark.parametrize("size", [5000, 100_000])  # at once, and in a thread
async def test_json_is_compressed(size: int) -> None:
    reply = await compressed(Reply(200, {"Content-Type": "application/json"}, DATA[:size]), "gzip", OFFERED, 6)
    assert isinstance(reply.body, bytes)
    assert zlib.decompress(reply.body, 31) == DATA[:size]
    assert reply.headers["Content-Encoding"] == "gzip"
    assert reply.headers["Vary"] == "Accept-Encoding"


@pytest.mark.parametrize(
    ("kind", "size", "accepted"),
    [("application/pdf", 5000, "gzip"), ("application/json", 100, "gzip"), ("application/json", 5000, "")],
)
async def test_other_replies_are_not_compressed(kind: str, size: int, accepted: str) -> None:
    reply = await compressed(Reply(200, {"Content-Type": kind}, DATA[:size]), accepted, OFFERED, 6)
    assert reply.body == DATA[:size]
    assert "Content-Encoding" not in reply.headers
