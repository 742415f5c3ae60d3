"""Chooses the cases of a matrix that a test tries by default; `make soak` tries the others."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from _pytest.mark import ParameterSet


def covering(rows: Sequence[str], columns: Sequence[str], per_row: int) -> list[ParameterSet]:
    """Pairs each row with each column; marks all but `per_row` pairs of each row `soak`.

    The columns are used about equally often by the pairs that are not marked.
    """

    def is_default(row: int, column: int) -> bool:
        return (column - row * per_row) % len(columns) < per_row

    return [
        pytest.param(row, column, marks=() if is_default(number, place) else pytest.mark.soak)
        for number, row in enumerate(rows)
        for place, column in enumerate(columns)
    ]
