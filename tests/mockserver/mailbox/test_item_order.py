"""The lazy order, held against a list that is written out."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kerio_mockserver.mailbox.item_order import ItemOrder


@st.composite
def orders(draw: st.DrawFn) -> tuple[ItemOrder, list[str]]:
    base = draw(st.integers(0, 30))
    holes = sorted(draw(st.sets(st.integers(0, base - 1)))) if base else []
    ranks = sorted(draw(st.lists(st.integers(0, base), max_size=12)))
    extras = [1000 + n for n in range(len(ranks))]
    plain: list[int] = []
    for k in range(base + 1):
        plain += [number for number, rank in zip(extras, ranks, strict=True) if rank == k]
        plain += [k + 1] if k < base and k not in holes else []
    return ItemOrder("p/", base, holes, extras, ranks), [f"p/{number}" for number in plain]


@given(orders(), st.integers(-50, 50), st.integers(-50, 50), st.sampled_from([None, 1, 2, -1]))
def test_it_is_the_list_it_stands_for(made: tuple[ItemOrder, list[str]], start: int, stop: int, step: Any) -> None:
    for order, plain in (made, (made[0].reversed(), made[1][::-1])):
        assert len(order) == len(plain)
        assert list(order) == plain
        assert order[start:stop:step] == plain[start:stop:step]
        assert [order.index(one) for one in plain] == list(range(len(plain)))
        assert [order[at] for at in range(-len(plain), len(plain))] == plain * 2
        assert all(one in order for one in plain)


@pytest.mark.parametrize("stranger", ["p/0", "p/6", "p/2", "p/01", "p/", "q/1", 7, "p/٣"])
def test_strangers_are_not_in_it(stranger: object) -> None:
    order = ItemOrder("p/", 5, [1])
    assert stranger not in order
    with pytest.raises(ValueError, match="is not in this folder"):
        order.index(stranger)
    with pytest.raises(IndexError):
        order[4]


def test_it_does_not_write_a_hundred_million_down() -> None:
    began = time.process_time()
    order = ItemOrder("p/", 100_000_000, [5, 99_999_999], [200_000_000], [50_000_000])
    assert len(order) == 99_999_999
    assert order[49_999_998:50_000_001] == ["p/50000000", "p/200000000", "p/50000001"]
    assert order.reversed()[:2] == ["p/99999999", "p/99999998"]
    assert order.index("p/99999999") == 99_999_998
    assert time.process_time() - began < 0.5
