"""How much to ask for at once: a batch should take about a second, whatever the link.

Then a slow link shows progress and a lost reply costs little, and a fast one is not held up by round trips. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass

from kerio_resync.cache.reading import Wanted
from kerio_resync.resync.progress import Tally, is_rich

GOAL = 1.0  # seconds a batch should take
SMALLEST = 16 * 1024
LARGEST = 1024 * 1024  # bytes; bounds the memory of the replies in flight
MOST = 500  # items


@dataclass(frozen=True, slots=True)
class BatchSize:
    """`bytes`: plain bytes of JSON to ask for at once."""

    bytes: float = 128 * 1024

    def after(self, plain: int, seconds: float) -> BatchSize:
        """The size after a reply of `plain` bytes that took `seconds`; at most doubled or halved at a time."""
        if plain < self.bytes / 4:
            return self  # too small a reply to tell
        wanted = plain / max(seconds, 0.001) * GOAL
        step = min(2 * self.bytes, max(self.bytes / 2, wanted))
        return BatchSize(min(LARGEST, max(SMALLEST, step)))

    def fits(self, taken: list[Wanted], row: Wanted, tally: Tally) -> bool:
        """Whether `row` goes into one batch with those already taken."""
        if row.kind != taken[0].kind or len(taken) >= MOST:
            return False
        return sum(weigh(each, tally) for each in taken) + weigh(row, tally) <= self.bytes


def weigh(row: Wanted, tally: Tally) -> float:
    """The bytes of JSON to expect for a listed item, from what listed bytes turned out to hold so far."""
    if not row.size:
        return 2048.0
    if is_rich(row.size, row.has_attachment):
        return min(tally.rich.expect(row.size, text=0.2, attached=0.6)[0], 256 * 1024.0) + 1024
    return tally.plain.expect(row.size, text=1.2, attached=0.0)[0] + 512
