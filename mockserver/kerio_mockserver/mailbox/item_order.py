"""The ids of a folder's items in some order, kept as a list of their numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import overload


class ItemOrder(Sequence[str]):
    """A read-only list of item ids: `prefix` followed by each of `numbers`."""

    def __init__(self, prefix: str, numbers: list[int]) -> None:
        self._prefix = prefix
        self.numbers = numbers

    def __len__(self) -> int:
        return len(self.numbers)

    @overload
    def __getitem__(self, at: int) -> str: ...
    @overload
    def __getitem__(self, at: slice) -> list[str]: ...
    def __getitem__(self, at: int | slice) -> str | list[str]:
        if isinstance(at, slice):
            return [f"{self._prefix}{number}" for number in self.numbers[at]]
        return f"{self._prefix}{self.numbers[at]}"

    def __contains__(self, item_id: object) -> bool:
        return self._number(item_id) in self.numbers

    def index(self, item_id: object, start: int = 0, stop: int | None = None) -> int:
        """Return the position of an id; raise ValueError if it is unknown."""
        try:
            return self.numbers.index(self._number(item_id), start, len(self) if stop is None else stop)
        except ValueError:
            raise ValueError(f"{item_id!r} is not in this folder") from None

    def reversed(self) -> ItemOrder:
        """Return the same items in the opposite order, also where they are equal."""
        return ItemOrder(self._prefix, self.numbers[::-1])

    def _number(self, item_id: object) -> int:
        """Return the number in an id of this folder; 0, which no item has, otherwise."""
        if not isinstance(item_id, str) or not item_id.startswith(self._prefix):
            return 0
        digits = item_id.removeprefix(self._prefix)
        is_number = digits.isascii() and digits.isdigit() and digits[0] != "0"
        return int(digits) if is_number else 0
