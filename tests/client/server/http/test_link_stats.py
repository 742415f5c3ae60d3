from __future__ import annotations

import pytest

from kerio_resync.server.http.link_stats import COMPRESSED, COMPRESSED_SOURCE, PLAIN, LinkStats, worth_compressing


@pytest.mark.parametrize(
    ("rate", "ratio", "decoding", "worth"),
    [
        (0.0, 0.3, 400e6, True),  # nothing known yet
        (1.25e6, 0.3, 400e6, True),  # 10 Mbit/s
        (12.5e6, 0.3, 400e6, True),  # 100 Mbit/s
        (125e6, 0.3, 400e6, False),  # 1 Gbit/s
        (1e9, 0.3, 400e6, False),
        (30e6, 0.3, 50e6, False),  # a slow processor
        (12.5e6, 0.99, 400e6, False),  # nothing to gain
    ],
)
def test_worth_compressing(rate: float, ratio: float, decoding: float, worth: bool) -> None:
    assert worth_compressing(rate, ratio, decoding) is worth


def test_how_long_bodies_were_on_their_way() -> None:
    stats = LinkStats()
    assert stats.busy(5.0) == 0.0
    stats.began(10.0)
    stats.began(11.0)
    assert stats.busy(12.0) == 2.0
    stats.ended(13.0, 100, 3.0)
    assert stats.busy(14.0) == 4.0  # one is still coming
    stats.ended(15.0, 100, 4.0)
    assert stats.busy(99.0) == 5.0
    stats.began(100.0)
    assert stats.busy(101.0) == 6.0


def bodies(stats: LinkStats, n: int, size: int, seconds: float) -> str:
    for _ in range(n):
        stats.began(0.0)
        stats.ended(seconds, size, seconds)
    return stats.accept_encoding()


def test_compression_is_asked_for_until_bodies_prove_the_link_fast() -> None:
    stats = LinkStats()
    assert stats.accept_encoding() == COMPRESSED
    assert bodies(stats, 9, 500, 0.0) == COMPRESSED  # small ones come at once on any link
    assert bodies(stats, 31, 60_000, 0.05) == COMPRESSED  # 1.2 MB/s
    assert bodies(stats, 7, 60_000, 0.0) == COMPRESSED  # some that had piled up while we were busy
    stats.decoded(250_000, 1_000_000, 1 / 400)
    assert bodies(stats, 31, 60_000, 0.0003) == PLAIN  # 200 MB/s
    assert bodies(stats, 31, 600_000, 0.06) == COMPRESSED  # the link has become slow


def test_accept_encoding_of_source_offers_zstd_alone_over_slow_links() -> None:
    stats = LinkStats()
    assert stats.accept_encoding_of_source() == COMPRESSED_SOURCE == "zstd"
    bodies(stats, 31, 600_000, 0.06)  # 10 MB/s
    assert stats.accept_encoding_of_source() == COMPRESSED_SOURCE
    bodies(stats, 31, 600_000, 0.012)  # 50 MB/s, where JSON is still worth compressing
    assert (stats.accept_encoding_of_source(), stats.accept_encoding()) == (PLAIN, COMPRESSED)
