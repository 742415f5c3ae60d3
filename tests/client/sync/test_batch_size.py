"""How much is asked for at once."""

from __future__ import annotations

import pytest

from kerio_resync.sync.batch_size import (
    CHEAP_SERVER_SECONDS,
    DEFAULT_BYTES,
    LONG_LINK_SECONDS,
    MAX_BYTES,
    MAX_BYTES_SHORT_LINK,
    MIN_BYTES,
    TARGET_SERVER_SECONDS,
    BatchSize,
)


def after(*replies: tuple[int, float], held: float = 0.0, way: float = 1.0) -> int:
    size = BatchSize()
    for plain, seconds in replies:
        size = size.after(plain, seconds, held, way)
    return int(size.bytes)


def test_a_batch_comes_to_take_about_a_second() -> None:
    assert after(*[(100_000, 1.0)] * 10) == 100_000
    assert after(*[(100_000, 10.0)] * 10) == MIN_BYTES
    assert after(*[(100_000, 0.01)] * 10) == MAX_BYTES


def test_it_doubles_or_halves_at_most() -> None:
    assert after((DEFAULT_BYTES, 0.001)) == 2 * DEFAULT_BYTES
    assert after((DEFAULT_BYTES, 100.0)) == DEFAULT_BYTES // 2


def test_a_small_reply_says_nothing() -> None:
    assert after((DEFAULT_BYTES // 5, 0.001)) == DEFAULT_BYTES


def test_a_server_that_holds_calls_is_asked_for_less() -> None:
    assert after(*[(200_000, 0.5)] * 5, held=0.1) == 200_000 / 0.1 * TARGET_SERVER_SECONDS
    assert after(*[(200_000, 0.5)] * 5, held=10.0) == DEFAULT_BYTES


@pytest.mark.parametrize(
    ("way", "most"),
    [
        (0.0, MAX_BYTES_SHORT_LINK),
        (LONG_LINK_SECONDS / 8, MAX_BYTES_SHORT_LINK),
        (LONG_LINK_SECONDS / 2, MAX_BYTES // 2),
        (LONG_LINK_SECONDS, MAX_BYTES),
        (1.0, MAX_BYTES),
    ],
)
def test_over_a_short_way_less_is_on_its_way_at_once(way: float, most: int) -> None:
    assert after(*[(10**6, 0.01)] * 10, way=way) == most


def test_what_a_busy_server_made_large_stays_so() -> None:
    """There each call costs something; one that came quickly is no reason for smaller ones."""
    large = [(MAX_BYTES, 1.0)] * 10
    size = BatchSize()
    for plain, seconds in large:
        size = size.after(plain, seconds, CHEAP_SERVER_SECONDS, 0.001)
    assert size.bytes > MAX_BYTES_SHORT_LINK
    assert size.after(MAX_BYTES, 1.0, CHEAP_SERVER_SECONDS / 2, 0.001).bytes == size.bytes
