"""Decides how many bytes of items to request at once. Pure.

A batch should take about a second: then a slow link shows progress and a lost reply costs little, and a fast link is
not held up by round trips. A call that occupies one of the server's workers for long is worse for other users than
several short ones: their waits grow with the square of its duration. So where calls wait for the server, batches
shrink.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Self

from kerio_resync.cache.queries import QueuedItem
from kerio_resync.model import Traits
from kerio_resync.sync.work_estimate import TEXT_RATIO, TEXT_RATIO_WITH_ATTACHMENTS, WorkEstimate

TARGET_SECONDS = 1.0  # of one batch
TARGET_SERVER_SECONDS = 0.05  # of one batch in the server, its queue included
DEFAULT_BYTES = 48 * 1024  # never less for the server's sake: the round trips would cost more than the contents
DEFAULT_BYTES_WITH_SOURCES = 512 * 1024
MIN_BYTES = 16 * 1024
MAX_BYTES = 512 * 1024  # over a long link; bounds the memory of the replies in flight
MAX_BYTES_SHORT_LINK = 128 * 1024  # over a short link, where more round trips cost nothing
LONG_LINK_SECONDS = 0.02  # minimum latency of a long link
CHEAP_SERVER_SECONDS = 0.02  # from here on each batch costs the server something, so larger ones help
MAX_ITEMS = 500
MAX_TEXT_BYTES = 16 * 1024.0  # expected at most of the text of a mail with attachments
ITEM_OVERHEAD_BYTES = 512
ATTACHMENT_OVERHEAD_BYTES = 512
UNKNOWN_ITEM_BYTES = 2048.0  # expected of an item of unknown size
INLINE_RATIO = 1.6  # bytes of JSON per byte of a source: it comes in base64, or escaped, and beside its text


@dataclass(frozen=True, slots=True)
class BatchSize:
    """`bytes`: uncompressed JSON to request at once.

    `default`: the bytes to begin with, and those to which a busy server reduces them at most.
    """

    bytes: float = DEFAULT_BYTES
    default: float = DEFAULT_BYTES

    @classmethod
    def begin(cls, traits: Traits) -> Self:
        """Return the size for the first batch of a mailbox.

        Sources that come with the items cost the server little per byte, and much per call.
        """
        default = DEFAULT_BYTES_WITH_SOURCES if traits.inline_bytes else DEFAULT_BYTES
        return cls(default, default)

    def after(
        self,
        plain_bytes: int,
        seconds: float,
        server_seconds: float = 0.0,
        min_latency: float = LONG_LINK_SECONDS,
    ) -> BatchSize:
        """Return the size after a reply; it at most doubles or halves.

        The reply had `plain_bytes` and took `seconds`, of them `server_seconds` in the server. `min_latency`: the
        seconds that any reply takes at least.
        """
        if plain_bytes < self.bytes / 4:
            return self  # too small a reply to tell
        wanted = plain_bytes / max(seconds, 0.001) * TARGET_SECONDS
        if server_seconds > 0:
            wanted = min(wanted, max(self.default, plain_bytes / server_seconds * TARGET_SERVER_SECONDS))
        size = min(2 * self.bytes, max(self.bytes / 2, wanted))
        if server_seconds < CHEAP_SERVER_SECONDS:
            enough = max(MAX_BYTES_SHORT_LINK, self.default, MAX_BYTES * min_latency / LONG_LINK_SECONDS)
            size = min(size, max(self.bytes, enough))
        return replace(self, bytes=min(max(MAX_BYTES, 2 * self.default), max(MIN_BYTES, size)))

    def packing(self, work: WorkEstimate, traits: Traits) -> Callable[[list[QueuedItem], QueuedItem], bool]:
        """Return a function for one batch: whether a row fits with the rows taken so far.

        Call it for each row in turn.
        """
        counted = 0
        total = 0.0

        def fits(taken: list[QueuedItem], row: QueuedItem) -> bool:
            nonlocal counted, total
            if row.kind != taken[0].kind or len(taken) >= min(MAX_ITEMS, traits.max_batch_items):
                return False
            for item in (*taken[counted:], row):
                total += expected_bytes(item, work, traits.inline_bytes)
                counted += 1
            return total <= self.bytes

        return fits


def expected_bytes(row: QueuedItem, work: WorkEstimate, inline_bytes: int = 0) -> float:
    """Return the bytes of JSON to expect for a listed item.

    The estimate follows from the items that were fetched so far. `inline_bytes`: see `Traits`.
    """
    if not row.size:
        return UNKNOWN_ITEM_BYTES
    if inline_bytes:
        return INLINE_RATIO * row.size + ITEM_OVERHEAD_BYTES if row.size <= inline_bytes else MAX_TEXT_BYTES
    if row.has_attachment:
        text, _ = work.rich.expect(row.size, text=TEXT_RATIO_WITH_ATTACHMENTS, attached=0.0)
        return min(text, MAX_TEXT_BYTES) + ATTACHMENT_OVERHEAD_BYTES + ITEM_OVERHEAD_BYTES
    text, _ = work.plain.expect(row.size, text=TEXT_RATIO, attached=0.0)
    return text + ITEM_OVERHEAD_BYTES
