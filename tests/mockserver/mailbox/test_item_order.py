"""An item order behaves as the list of its ids."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kerio_mockserver.mailbox.item_order import ItemOrder


@given(
    st.lists(st.integers(1, 99), unique=True),
    st.integers(-50, 50),
    st.integers(-50, 50),
    st.sampled_from([None, 1, 2, -1]),
)
def test_order_equals_list_of_ids(numbers: list[int], start: int, stop: int, step: Any) -> None:
    ascending = ItemOrder("p/", numbers)
    expected = [f"p/{number}" for number in numbers]
    for order, ids in ((ascending, expected), (ascending.reversed(), expected[::-1])):
        assert len(order) == len(ids)
        assert list(order) == ids
        assert order[start:stop:step] == ids[start:stop:step]
        assert [order.index(item_id) for item_id in ids] == list(range(len(ids)))
        assert [order[at] for at in range(-len(ids), len(ids))] == ids * 2
        assert all(item_id in order for item_id in ids)


@pytest.mark.parametrize("stranger", ["p/0", "p/6", "p/2", "p/01", "p/", "q/1", 7, "p/٣"])
def test_index_refuses_unknown_id(stranger: object) -> None:
    order = ItemOrder("p/", [1, 3, 4, 5])
    assert stranger not in order
    with pytest.raises(ValueError, match="is not in this folder"):
        order.index(stranger)
    with pytest.raises(IndexError):
        order[4]
