"""Chooses the cases that run by default; the soak runs the others.

`KERIO_EXAMPLES`: how many examples Hypothesis tries of each property (default 25; `make soak`: 1,000).
"""

from __future__ import annotations

import os
from collections.abc import Sequence

import pytest
from _pytest.mark import ParameterSet

EXAMPLES = int(os.environ.get("KERIO_EXAMPLES", "25"))


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
