from __future__ import annotations

import pytest

from kerio_resync.model import Traits
from kerio_resync.sync.batch_size import (
    CHEAP_SERVER_SECONDS,
    DEFAULT_BYTES,
    DEFAULT_BYTES_WITH_SOURCES,
    LONG_LINK_SECONDS,
    MAX_BYTES,
    MAX_BYTES_SHORT_LINK,
    MIN_BYTES,
    TARGET_SERVER_SECONDS,
    BatchSize,
)


def after(*replies: tuple[int, float], server_seconds: float = 0.0, min_latency: float = 1.0) -> int:
    size = BatchSize()
    for plain, seconds in replies:
        size = size.after(plain, seconds, server_seconds, min_latency)
    return int(size.bytes)


def test_busy_server_gets_larger_batches_if_sources_come_with_items() -> None:
    size = BatchSize.begin(Traits(inline_bytes=1))
    for _ in range(9):
        size = size.after(600_000, 0.6, 0.5)
    assert size.bytes == DEFAULT_BYTES_WITH_SOURCES
    assert BatchSize.begin(Traits()).bytes == DEFAULT_BYTES


def test_batches_converge_to_about_a_second() -> None:
    assert after(*[(100_000, 1.0)] * 10) == 100_000
    assert after(*[(100_000, 10.0)] * 10) == MIN_BYTES
    assert after(*[(100_000, 0.01)] * 10) == MAX_BYTES


def test_one_reply_at_most_doubles_or_halves_the_size() -> None:
    assert after((DEFAULT_BYTES, 0.001)) == 2 * DEFAULT_BYTES
    assert after((DEFAULT_BYTES, 100.0)) == DEFAULT_BYTES // 2


def test_small_reply_changes_nothing() -> None:
    assert after((DEFAULT_BYTES // 5, 0.001)) == DEFAULT_BYTES


def test_busy_server_gets_smaller_batches() -> None:
    assert after(*[(200_000, 0.5)] * 5, server_seconds=0.1) == 200_000 / 0.1 * TARGET_SERVER_SECONDS
    assert after(*[(200_000, 0.5)] * 5, server_seconds=10.0) == DEFAULT_BYTES


@pytest.mark.parametrize(
    ("min_latency", "most"),
    [
        (0.0, MAX_BYTES_SHORT_LINK),
        (LONG_LINK_SECONDS / 8, MAX_BYTES_SHORT_LINK),
        (LONG_LINK_SECONDS / 2, MAX_BYTES // 2),
        (LONG_LINK_SECONDS, MAX_BYTES),
        (1.0, MAX_BYTES),
    ],
)
def test_short_link_gets_smaller_batches_than_a_long_one(min_latency: float, most: int) -> None:
    assert after(*[(10**6, 0.01)] * 10, min_latency=min_latency) == most


def test_batch_grown_for_a_busy_server_is_kept_after_one_quick_reply() -> None:
    large = [(MAX_BYTES, 1.0)] * 10
    size = BatchSize()
    for plain, seconds in large:
        size = size.after(plain, seconds, CHEAP_SERVER_SECONDS, 0.001)
    assert size.bytes > MAX_BYTES_SHORT_LINK
    assert size.after(MAX_BYTES, 1.0, CHEAP_SERVER_SECONDS / 2, 0.001).bytes == size.bytes
