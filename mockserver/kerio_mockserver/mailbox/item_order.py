"""A folder's items in some order, without writing the order down.

A folder is a range of computed items (numbers 1..base) with holes, and a few items that are stored. The computed ones
are in order by themselves; the stored ones are merged in by position. So a slice costs what it holds, and finding where
an item stands costs a few bisections, however many items there are. An `Order` is a snapshot: it stays as it was.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from typing import overload


class ItemOrder(Sequence[str]):
    """Ids in order. `base`: how many computed items there are (0-based k is number k + 1); `holes`: the sorted k's of
    those left out; `extras`: the stored numbers in order; `ranks`: before which k each of them stands (rising).
    """

    def __init__(
        self,
        prefix: str,
        base: int,
        holes: Sequence[int] = (),
        extras: Sequence[int] = (),
        ranks: Sequence[int] = (),
        descending: bool = False,
    ) -> None:
        self._prefix = prefix
        self._holes = list(holes)
        self._extras = list(extras)
        self._kept = base - len(self._holes)
        self._places = [rank - bisect_left(self._holes, rank) + j for j, rank in enumerate(ranks)]
        self._total = self._kept + len(self._extras)
        self._base = base
        self._descending = descending
        self._where: dict[int, int] | None = None

    def __len__(self) -> int:
        return self._total

    def reversed(self) -> ItemOrder:
        """The same, in the opposite direction (ties too)."""
        other = ItemOrder.__new__(ItemOrder)
        other.__dict__.update(self.__dict__)
        other._descending = not self._descending
        return other

    @overload
    def __getitem__(self, at: int) -> str: ...
    @overload
    def __getitem__(self, at: slice) -> list[str]: ...
    def __getitem__(self, at: int | slice) -> str | list[str]:
        if isinstance(at, int):
            place = range(self._total)[at]
            return f"{self._prefix}{self.numbers(place, place + 1)[0]}"
        start, stop, step = at.indices(self._total)
        if step != 1:
            return [self[place] for place in range(start, stop, step)]
        return [f"{self._prefix}{number}" for number in self.numbers(start, stop)]

    def __iter__(self) -> Iterator[str]:
        for start in range(0, self._total, 4096):
            yield from self[start : start + 4096]

    def __contains__(self, item_id: object) -> bool:
        return self._find(item_id) is not None

    def index(self, item_id: object, start: int = 0, stop: int | None = None) -> int:
        """Where an id stands; ValueError if it doesn't."""
        place = self._find(item_id)
        if place is None or not start <= place < (self._total if stop is None else stop):
            raise ValueError(f"{item_id!r} is not in this folder")
        return place

    def numbers(self, start: int, stop: int) -> list[int]:
        """The item numbers from place `start` to before `stop`."""
        stop = min(stop, self._total)
        if start >= stop:
            return []
        if self._descending:
            return self._forward(self._total - stop, self._total - start)[::-1]
        return self._forward(start, stop)

    def _forward(self, start: int, stop: int) -> list[int]:
        found: list[int] = []
        j = bisect_left(self._places, start)
        while start < stop:
            until = min(self._places[j], stop) if j < len(self._places) else stop
            found.extend(self._computed(start - j, until - j))
            start = until
            if start < stop:
                found.append(self._extras[j])
                j += 1
                start += 1
        return found

    def _computed(self, start: int, stop: int) -> Iterator[int]:
        """Numbers of the computed items that are left, from the `start`-th to before the `stop`-th."""
        while start < stop:
            k = self._select(start)
            hole = bisect_left(self._holes, k)
            run = self._holes[hole] if hole < len(self._holes) else self._base
            run = min(run, k + stop - start)
            yield from range(k + 1, run + 1)
            start += run - k

    def _select(self, place: int) -> int:
        """The k of the `place`-th computed item that is left: the k with as many holes before it as it is ahead."""
        before = bisect_left(range(len(self._holes)), place + 1, key=lambda j: self._holes[j] - j)
        return place + before

    def _find(self, item_id: object) -> int | None:
        if not isinstance(item_id, str) or not item_id.startswith(self._prefix):
            return None
        digits = item_id[len(self._prefix) :]
        if not (digits.isascii() and digits.isdigit()) or digits[0] == "0":
            return None
        place = self._place_of(int(digits))
        if place is None or not self._descending:
            return place
        return self._total - 1 - place

    def _place_of(self, number: int) -> int | None:
        if self._where is None:
            self._where = dict(zip(self._extras, self._places, strict=True))
        if number in self._where:
            return self._where[number]
        k = number - 1
        hole = bisect_left(self._holes, k)
        if k >= self._base or (hole < len(self._holes) and self._holes[hole] == k):
            return None
        rank = k - hole
        # The j-th stored item stands before this one if its place is at most that of the computed ones before plus j.
        return rank + bisect_left(range(len(self._places)), rank + 1, key=lambda j: self._places[j] - j)
