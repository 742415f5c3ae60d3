"""Chooses the cases of a matrix that run by default; the soak runs the others."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from _pytest.mark import ParameterSet


def covering(rows: Sequence[str], columns: Sequence[str], per_row: int) -> list[ParameterSet]:
    """Pairs rows with columns; marks all but `per_row` pairs of a row `soak`.

    The columns are used about equally often by the pairs that are not marked.
    """

    def is_default(row: int, column: int) -> bool:
        return (column - row * per_row) % len(columns) < per_row

    return [
        pytest.param(row, column, marks=() if is_default(number, place) else pytest.mark.soak)
        for number, row in enumerate(rows)
        for place, column in enumerate(columns)
    ]
