"""CSV files that a spreadsheet can open without running anything from them.

They are UTF-8 with a byte order mark, so that Excel shows every letter. A text that a spreadsheet would take for a
formula begins with an apostrophe.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Final
from zoneinfo import ZoneInfo

from kerio_resync.plain_text import printable

_FORMULA: Final = tuple("=+-@＝＋－＠\t\r")  # how cells begin that some program evaluates

Cell = str | int | float | None


def write_csv(heads: Sequence[str], rows: Iterable[Sequence[Cell]]) -> bytes:
    """Return a table with a line of heads."""
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(heads)
    writer.writerows([_cell(value) for value in row] for row in rows)
    return text.getvalue().encode("utf-8-sig", "replace")


def local_time(instant: datetime | None, zone: str) -> str:
    """Return an instant as `2026-11-28T22:00:00+01:00`; "" for None."""
    return "" if instant is None else instant.astimezone(ZoneInfo(zone)).isoformat(timespec="seconds")


def _cell(value: Cell) -> Cell:
    if not isinstance(value, str):
        return "" if value is None else value
    if value[:1].isalnum() and value.isprintable():  # most are
        return value
    text = printable(value)
    return f"'{text}" if text.lstrip().startswith(_FORMULA) else text
