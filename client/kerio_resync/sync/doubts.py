"""Failures whose cause is unknown.

The cause is the item itself, or a proxy between client and server.

Examples are an error page instead of a download, a content of another length than its struct states, and a reply that
one item seems to break. Such work is set aside and stays queued. It is tried again at the end of the run, until it
succeeds, or until the same failure occurred several times over MIN_PERIOD_SECONDS while the server demonstrably served
similar work. Only then is the failure believed, and the item is skipped. If that cannot be shown within the retry
timeout, the run ends with a ForeignReply, and the work stays queued.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from kerio_resync.errors import ForeignReply
from kerio_resync.model import Attachment

MIN_PERIOD_SECONDS: Final = 60.0  # from the first failure to the believed one, or the retry timeout if it is shorter
MIN_REFUSALS: Final = 3  # failures while similar work succeeded
RETRY_WAIT_SECONDS: Final = (2.0, 8.0, 20.0, 30.0)  # before each round; the last one repeats
CONTROL_BYTES: Final = 1 << 20  # a control of at most this size is preferred
MIN_WAIT_SECONDS: Final = 0.5

Content = tuple[bytes, int]  # sha256, size


class Control(NamedTuple):
    """A content that was downloaded completely once.

    It shows whether the server serves contents at all.
    """

    attachment: Attachment
    sha256: bytes
    size: int


@dataclass(slots=True)
class Doubt:
    """The failures of one item or attachment.

    `first`: time of the first failure; `since`: of the first one with this `content`, which arrived each time, if any.
    `tries`: later failures that count. `fresh`: it failed in this round.
    """

    first: float
    since: float
    reason: str
    content: Content | None = None
    tries: int = 0
    fresh: bool = True


@dataclass(slots=True)
class Doubts:
    """The failures of a run that are not believed yet, by item id or attachment key.

    `clock` returns seconds.
    """

    clock: Callable[[], float]
    retry_timeout: float
    open: dict[Hashable, Doubt] = field(default_factory=dict)
    control: Control | None = None
    items_answered: float = float("-inf")  # time of the latest answered batch of items
    odd: set[Content] = field(default_factory=set)  # contents that contradict their structs
    refused_in_a_row: int = 0  # downloads without a success in between
    serving: bool = False  # the control was served in this round
    begun: float = float("-inf")  # time of the latest round

    @property
    def period(self) -> float:
        """Seconds from the first failure to the one that is believed."""
        return min(MIN_PERIOD_SECONDS, self.retry_timeout)

    def believes(self, key: Hashable, reason: str, content: Content | None = None) -> bool:
        """Record a failure; True if it is believed now."""
        doubt = self.open.get(key)
        if content is not None:
            self.odd.add(content)
        if doubt is None or doubt.content != content:
            now = self.clock()
            self.open[key] = Doubt(doubt.first if doubt else now, now, reason, content)
            return False
        doubt.reason, doubt.fresh = reason, True
        doubt.tries += self._counts(key, doubt)
        if doubt.tries < MIN_REFUSALS or self.clock() - doubt.since < self.period:
            return False
        del self.open[key]
        return True

    def _counts(self, key: Hashable, doubt: Doubt) -> bool:
        if isinstance(key, str):  # an item id
            return self.items_answered >= doubt.since
        if doubt.content is None or self.control is not None:
            return self.serving
        # No content has ever matched its struct: they are believed unless they are all the same page.
        return len(self.odd) > 1 or len(self.open) == 1

    def served(self, attachment: Attachment, sha256: bytes, size: int) -> None:
        """Record a content that matches its struct."""
        self.refused_in_a_row = 0
        if size and (self.control is None or size <= CONTROL_BYTES < self.control.size):
            self.control = Control(attachment, sha256, size)

    def begin_round(self, *, serving: bool) -> None:
        """Begin to try everything again; `serving`: the control was served just now."""
        self.serving, self.begun = serving, self.clock()
        for doubt in self.open.values():
            doubt.fresh = False

    def end_round(self) -> None:
        """Drop what did not fail again."""
        self.serving = False
        self.open = {key: doubt for key, doubt in self.open.items() if doubt.fresh}

    def wait(self, rounds: int) -> float:
        """Return the seconds until the next round.

        ForeignReply if a failure was as old as the retry timeout when the latest round began: what a long round tries
        early may not be old enough to be believed.
        """
        now, oldest = self.clock(), min(self.open.values(), key=lambda failure: failure.first)
        if rounds >= MIN_REFUSALS and self.begun - oldest.first >= self.retry_timeout:
            raise ForeignReply(f"{oldest.reason}; {len(self.open)} failures of this kind, and no success")
        due = RETRY_WAIT_SECONDS[min(rounds, len(RETRY_WAIT_SECONDS) - 1)]
        return max(MIN_WAIT_SECONDS, min(due, oldest.first + self.retry_timeout - now))
