"""How much is asked for at once."""

from __future__ import annotations

import pytest

from kerio_resync.resync.batch import BRIEF, FAR, GENTLE, LARGEST, MILD, NEAR, SMALLEST, BatchSize


def after(*replies: tuple[int, float], held: float = 0.0, way: float = 1.0) -> int:
    size = BatchSize()
    for plain, seconds in replies:
        size = size.after(plain, seconds, held, way)
    return int(size.bytes)


def test_a_batch_comes_to_take_about_a_second() -> None:
    assert after(*[(100_000, 1.0)] * 10) == 100_000
    assert after(*[(100_000, 10.0)] * 10) == SMALLEST
    assert after(*[(100_000, 0.01)] * 10) == LARGEST


def test_it_doubles_or_halves_at_most() -> None:
    assert after((MILD, 0.001)) == 2 * MILD
    assert after((MILD, 100.0)) == MILD // 2


def test_a_small_reply_says_nothing() -> None:
    assert after((MILD // 5, 0.001)) == MILD


def test_a_server_that_holds_calls_is_asked_for_less() -> None:
    assert after(*[(200_000, 0.5)] * 5, held=0.1) == 200_000 / 0.1 * GENTLE
    assert after(*[(200_000, 0.5)] * 5, held=10.0) == MILD


@pytest.mark.parametrize(
    ("way", "most"), [(0.0, NEAR), (FAR / 8, NEAR), (FAR / 2, LARGEST // 2), (FAR, LARGEST), (1.0, LARGEST)]
)
def test_over_a_short_way_less_is_on_its_way_at_once(way: float, most: int) -> None:
    assert after(*[(10**6, 0.01)] * 10, way=way) == most


def test_what_a_busy_server_made_large_stays_so() -> None:
    """There each call costs something; one that came quickly is no reason for smaller ones."""
    large = [(LARGEST, 1.0)] * 10
    size = BatchSize()
    for plain, seconds in large:
        size = size.after(plain, seconds, BRIEF, 0.001)
    assert size.bytes > NEAR
    assert size.after(LARGEST, 1.0, BRIEF / 2, 0.001).bytes == size.bytes
