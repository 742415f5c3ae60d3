"""Work that failed although the server answers: tried again before the failure is believed.

An error page at a download, a content of another length than its struct says, a reply that one item seems to spoil:
each may be the server's word on that item, or the work of something on the way. Such work is set aside. It stays wanted
in the database, and is tried again at the end of the run: until it succeeds, or until the same came of it several times
over `PERIOD` seconds while the server could be seen to serve the like of it. Only then is it left out by name. If that
cannot be seen within the retry timeout, the run ends as with any trouble on the way, and the work stays wanted.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from kerio_resync.errors import ForeignReply
from kerio_resync.model import Attachment

MIN_PERIOD_SECONDS: Final = (
    60.0  # seconds from the first failure to the one that is believed, if the retry timeout is no shorter
)
MIN_REFUSALS: Final = 3  # failures that count: those while the like of it could be had
RETRY_WAIT_SECONDS: Final = (2.0, 8.0, 20.0, 30.0)  # seconds before each new try; the last one again and again
CONTROL_BYTES: Final = 1 << 20  # a content that is not larger is preferred for comparison
MIN_WAIT_SECONDS: Final = 0.5  # seconds

Content = tuple[bytes, int]  # sha256, size


class Control(NamedTuple):
    """A content that was once had whole, for seeing whether the server serves contents at all."""

    attachment: Attachment
    sha256: bytes
    size: int


@dataclass(slots=True)
class DoubtedAttachment:
    """`first`: the first failure; `since`: the first of this sort; `tries`: further ones that count; `content`: what
    came each time, if anything did."""

    first: float
    since: float
    reason: str
    content: Content | None = None
    tries: int = 0
    fresh: bool = True


@dataclass(slots=True)
class DoubtedAttachments:
    """The failures of a run that are not believed yet, by what failed."""

    clock: Callable[[], float]
    retry_timeout: float
    open: dict[Hashable, DoubtedAttachment] = field(default_factory=dict)
    control: Control | None = None
    items_answered: float = float("-inf")  # when a batch of items was last answered
    odd: set[Content] = field(default_factory=set)  # contents that were not as their structs say
    refused_in_a_row: int = 0  # downloads, none of them served in between
    serving: bool = False  # in this round the control came as it should
    begun: float = float("-inf")  # when the latest round began

    @property
    def period(self) -> float:
        return min(MIN_PERIOD_SECONDS, self.retry_timeout)

    def believes(self, key: Hashable, reason: str, content: Content | None = None) -> bool:
        """Notes a failure. True: it is believed from now on, and no doubt is left."""
        doubt = self.open.get(key)
        if content is not None:
            self.odd.add(content)
        if doubt is None or doubt.content != content:
            now = self.clock()
            self.open[key] = DoubtedAttachment(doubt.first if doubt else now, now, reason, content)
            return False
        doubt.reason, doubt.fresh = reason, True
        doubt.tries += self._counts(key, doubt)
        if doubt.tries < MIN_REFUSALS or self.clock() - doubt.since < self.period:
            return False
        del self.open[key]
        return True

    def _counts(self, key: Hashable, doubt: DoubtedAttachment) -> bool:
        if isinstance(key, str):  # an item
            return self.items_answered >= doubt.since
        if doubt.content is None or self.control is not None:
            return self.serving
        # No content ever had the length that was said: they are believed if they are not all the same page.
        return len(self.odd) > 1 or len(self.open) == 1

    def served(self, attachment: Attachment, sha256: bytes, size: int) -> None:
        """A content came whole, as its struct describes it."""
        self.refused_in_a_row = 0
        if size and (self.control is None or size <= CONTROL_BYTES < self.control.size):
            self.control = Control(attachment, sha256, size)

    def begin_round(self, *, serving: bool) -> None:
        self.serving, self.begun = serving, self.clock()
        for doubt in self.open.values():
            doubt.fresh = False

    def end_round(self) -> None:
        """What did not fail again is done."""
        self.serving = False
        self.open = {key: doubt for key, doubt in self.open.items() if doubt.fresh}

    def wait(self, rounds: int) -> float:
        """Seconds until the next round. ForeignReply if a failure was as old as the retry timeout when the latest one
        began: what a long round tries early may not be old enough to be believed."""
        now, oldest = self.clock(), min(self.open.values(), key=lambda each: each.first)
        if rounds >= MIN_REFUSALS and self.begun - oldest.first >= self.retry_timeout:
            raise ForeignReply(f"{oldest.reason}; {len(self.open)} such in all, and nothing of the kind could be had")
        due = RETRY_WAIT_SECONDS[min(rounds, len(RETRY_WAIT_SECONDS) - 1)]
        return max(MIN_WAIT_SECONDS, min(due, oldest.first + self.retry_timeout - now))
