from __future__ import annotations

from collections import Counter

from tests.support.cases import covering


def test_covering_gives_each_row_its_share_and_uses_columns_evenly() -> None:
    pairs = covering([f"row {n}" for n in range(17)], [f"column {n}" for n in range(25)], 6)
    default = [pair.values for pair in pairs if not pair.marks]
    assert len({pair.values for pair in pairs}) == len(pairs) == 17 * 25
    assert set(Counter(row for row, _ in default).values()) == {6}
    assert set(Counter(column for _, column in default).values()) == {4, 5}


def test_covering_marks_nothing_if_there_are_few_columns() -> None:
    assert all(not pair.marks for pair in covering(["a", "b", "c"], ["x", "y"], 9))
