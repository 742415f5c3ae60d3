"""How much to ask for at once: a batch should take about a second, and keep the server at it for much less. Pure.

Then a slow link shows progress and a lost reply costs little, and a fast one is not held up by round trips. But a call
that keeps one of a server's workers for long is worse for the people who wait for the next one to be free than many
short calls that come to the same: the users' waits grow with the square of what a call takes. So where calls wait for
the server, batches shrink to what costs it no longer than their answer to a person does.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from kerio_resync.cache.queries import QueuedItem
from kerio_resync.sync.progress import WorkEstimate, has_attachments

TARGET_SECONDS = 1.0  # seconds a batch should take
TARGET_SERVER_SECONDS = 0.05  # seconds that the server should be at it, waits in its queue included
DEFAULT_BYTES = 48 * 1024  # bytes that no server is spared: for less the trips would cost more than the contents
MIN_BYTES = 16 * 1024
MAX_BYTES = 512 * 1024  # bytes; bounds the memory of the replies in flight, over a long way
MAX_BYTES_SHORT_LINK = 128 * 1024  # the same over a short one: there more trips cost nothing
LONG_LINK_SECONDS = 0.02  # seconds from which on a way is long
CHEAP_SERVER_SECONDS = (
    0.02  # seconds; to a server that is at a batch for longer each one costs something, so that fewer help
)
MAX_ITEMS = 500  # items
MAX_TEXT_BYTES = (
    16 * 1024.0
)  # bytes that the text of a mail with attachments is taken to have at most, however large they are


@dataclass(frozen=True, slots=True)
class BatchSize:
    """`bytes`: plain bytes of JSON to ask for at once."""

    bytes: float = DEFAULT_BYTES

    def after(self, plain: int, seconds: float, held: float = 0.0, way: float = LONG_LINK_SECONDS) -> BatchSize:
        """The size after a reply of `plain` bytes that took `seconds`, of them `held` seconds in the server; at most
        doubled or halved at a time. `way`: the seconds that any reply takes at the least."""
        if plain < self.bytes / 4:
            return self  # too small a reply to tell
        wanted = plain / max(seconds, 0.001) * TARGET_SECONDS
        if held > 0:
            wanted = min(wanted, max(DEFAULT_BYTES, plain / held * TARGET_SERVER_SECONDS))
        step = min(2 * self.bytes, max(self.bytes / 2, wanted))
        enough = max(MAX_BYTES_SHORT_LINK, MAX_BYTES * way / LONG_LINK_SECONDS)
        if held < CHEAP_SERVER_SECONDS:
            step = min(step, max(self.bytes, enough))  # nothing to be gained by more
        return BatchSize(min(MAX_BYTES, max(MIN_BYTES, step)))

    def packing(self, tally: WorkEstimate) -> Callable[[list[QueuedItem], QueuedItem], bool]:
        """For one batch: whether a row goes into it with those already taken. To be asked of each row in turn."""
        weights: list[float] = []
        total = 0.0

        def fits(taken: list[QueuedItem], row: QueuedItem) -> bool:
            nonlocal total
            if row.kind != taken[0].kind or len(taken) >= MAX_ITEMS:
                return False
            for each in (*taken[len(weights) :], row):
                weights.append(expected_bytes(each, tally))
                total += weights[-1]
            return total <= self.bytes

        return fits


def expected_bytes(row: QueuedItem, tally: WorkEstimate) -> float:
    """The bytes of JSON to expect for a listed item, from what listed bytes turned out to hold so far."""
    if not row.size:
        return 2048.0
    if has_attachments(row.size, row.has_attachment):
        return min(tally.rich.expect(row.size, text=0.2, attached=0.6)[0], MAX_TEXT_BYTES) + 1024
    return tally.plain.expect(row.size, text=1.2, attached=0.0)[0] + 512
