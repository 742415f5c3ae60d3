"""How much to ask for at once: a batch should take about a second, and keep the server at it for much less. Pure.

Then a slow link shows progress and a lost reply costs little, and a fast one is not held up by round trips. But a call
that keeps one of a server's workers for long is worse for the people who wait for the next one to be free than many
short calls that come to the same: the users' waits grow with the square of what a call takes. So where calls wait for
the server, batches shrink to what costs it no longer than their answer to a person does.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from kerio_resync.cache.reading import Wanted
from kerio_resync.resync.progress import Tally, is_rich

GOAL = 1.0  # seconds a batch should take
GENTLE = 0.05  # seconds that the server should be at it, waits in its queue included
MILD = 48 * 1024  # bytes that no server is spared: for less the trips would cost more than the contents
SMALLEST = 16 * 1024
LARGEST = 512 * 1024  # bytes; bounds the memory of the replies in flight, over a long way
NEAR = 128 * 1024  # the same over a short one: there more trips cost nothing
FAR = 0.02  # seconds from which on a way is long
BRIEF = 0.02  # seconds; to a server that is at a batch for longer each one costs something, so that fewer help
MOST = 500  # items
TEXT = 16 * 1024.0  # bytes that the text of a mail with attachments is taken to have at most, however large they are


@dataclass(frozen=True, slots=True)
class BatchSize:
    """`bytes`: plain bytes of JSON to ask for at once."""

    bytes: float = MILD

    def after(self, plain: int, seconds: float, held: float = 0.0, way: float = FAR) -> BatchSize:
        """The size after a reply of `plain` bytes that took `seconds`, of them `held` seconds in the server; at most
        doubled or halved at a time. `way`: the seconds that any reply takes at the least."""
        if plain < self.bytes / 4:
            return self  # too small a reply to tell
        wanted = plain / max(seconds, 0.001) * GOAL
        if held > 0:
            wanted = min(wanted, max(MILD, plain / held * GENTLE))
        step = min(2 * self.bytes, max(self.bytes / 2, wanted))
        enough = max(NEAR, LARGEST * way / FAR)
        if held < BRIEF:
            step = min(step, max(self.bytes, enough))  # nothing to be gained by more
        return BatchSize(min(LARGEST, max(SMALLEST, step)))

    def packing(self, tally: Tally) -> Callable[[list[Wanted], Wanted], bool]:
        """For one batch: whether a row goes into it with those already taken. To be asked of each row in turn."""
        weights: list[float] = []
        total = 0.0

        def fits(taken: list[Wanted], row: Wanted) -> bool:
            nonlocal total
            if row.kind != taken[0].kind or len(taken) >= MOST:
                return False
            for each in (*taken[len(weights) :], row):
                weights.append(weigh(each, tally))
                total += weights[-1]
            return total <= self.bytes

        return fits


def weigh(row: Wanted, tally: Tally) -> float:
    """The bytes of JSON to expect for a listed item, from what listed bytes turned out to hold so far."""
    if not row.size:
        return 2048.0
    if is_rich(row.size, row.has_attachment):
        return min(tally.rich.expect(row.size, text=0.2, attached=0.6)[0], TEXT) + 1024
    return tally.plain.expect(row.size, text=1.2, attached=0.0)[0] + 512
