"""How far a run has got and how long it will take: counters, and an estimate that is honest from the first seconds.

A listing tells what a mail weighs as MIME, which is neither what its text weighs as JSON nor what its attachments
weigh; so the estimate learns, from what has been fetched, how many text bytes and attachment bytes a listed byte stands
for, and how many bytes on the wire a text byte costs (replies may be compressed). Time left is the wire bytes still to
come over the rate of the last seconds. Pure: every method takes the time; `Meter` sends the events.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol

from kerio_resync.events import Listener, Progress
from kerio_resync.model import Item, ListedItem

EVENT_INTERVAL_SECONDS = 0.25  # seconds between two events
MAX_WINDOW_SECONDS = 20.0  # seconds the rate looks back at most
WINDOW_SHARE = 0.5  # the share of the time so far that it looks back: how a run begins says little about how it goes on
MIN_WINDOW_SECONDS = 1.0  # seconds it looks back at least; nothing is foretold before
RECENT_SHARE = 0.2  # the share of the time so far that tells whether the rate has risen
RISING_RATIO = 1.2  # and from how many times on it has: what was before was the beginning
EARLY_SHARE = 0.1  # the share of the bytes before which nothing is foretold while the pace still grows


@dataclass(slots=True)
class SizeRatio:
    """What listed bytes turned out to hold, for mails with or without attachments."""

    listed: float = 0.0
    text: float = 0.0
    attached: float = 0.0

    def expect(self, listed: float, *, text: float, attached: float) -> tuple[float, float]:
        """(text, attachment) bytes behind `listed` bytes; the given ratios until enough was seen."""
        if self.listed < 1:
            return listed * text, listed * attached
        return listed * self.text / self.listed, listed * self.attached / self.listed


@dataclass(slots=True)
class WorkEstimate:
    """What is known of the work. All sizes in bytes; `pending_*` are listed sizes of what is wanted and not here."""

    folders_total: int = 0
    folders_done: int = 0
    items_total: int = 0
    items_done: int = 0
    attachments_total: int = 0
    attachments_done: int = 0
    bytes_done: int = 0
    bytes_kept: int = 0  # of those, what an earlier run fetched or the old cache had
    attached_wanted: float = 0.0
    pending_plain: float = 0.0
    pending_attached: float = 0.0
    unlisted: float = 0.0
    plain: SizeRatio = field(default_factory=SizeRatio)
    rich: SizeRatio = field(default_factory=SizeRatio)
    text_plain: float = 0.0
    text_wire: float = 0.0

    def ahead(self) -> tuple[float, float]:
        """(text, attachment) bytes still to fetch."""
        plain_text, _ = self.plain.expect(self.pending_plain, text=1.2, attached=0.0)
        rich_text, rich_attached = self.rich.expect(self.pending_attached, text=0.2, attached=0.6)
        listed = self.plain.listed + self.rich.listed
        if listed >= 1:
            text = self.unlisted * (self.plain.text + self.rich.text) / listed
            attached = self.unlisted * self.rich.attached / listed
        else:
            text, attached = self.unlisted * 0.5, self.unlisted * 0.4
        return plain_text + rich_text + text, rich_attached + attached + self.attached_wanted

    def wire_ahead(self) -> float:
        text, attached = self.ahead()
        ratio = self.text_wire / self.text_plain if self.text_plain else 1.0
        return text * ratio + attached


def has_attachments(size: int, has_attachment: bool) -> bool:
    return has_attachment and size > 0


class Traffic(Protocol):
    """What goes over the wire, as `Mailbox` tells it: requests, body bytes so far, and of those what counts only once
    the rest has come."""

    @property
    def in_flight(self) -> int: ...

    @property
    def wire_bytes(self) -> int: ...

    @property
    def arriving(self) -> int: ...


class ProgressTracker:
    """Counts, and tells the listener a few times a second. `clock` in seconds; `traffic` is asked when telling."""

    def __init__(self, listen: Listener, clock: Callable[[], float], traffic: Traffic) -> None:
        self.tally = WorkEstimate()
        self._listen = listen
        self._clock = clock
        self._traffic = traffic
        self._started = clock()
        self._told = -EVENT_INTERVAL_SECONDS
        self._marks: deque[tuple[float, float, int]] = deque()
        self._paces: deque[tuple[float, float, int]] = deque()
        self._foretells = False
        self._only_lists = False
        self._unlisted: dict[str, tuple[int, int]] = {}

    def expect(self, folder_id: str, count: int, size: int) -> None:
        """A folder is going to be listed; the server says that it holds `count` items of `size` bytes in all."""
        self._unlisted[folder_id] = (count, size)
        self.tally.items_total += count
        self.tally.unlisted += size

    def listed(self, folder_id: str, rows: Sequence[ListedItem], *, done: bool) -> None:
        """Rows of a folder's listing came, and became wanted; what was expected of it shrinks by them."""
        count, size = self._unlisted.pop(folder_id, (0, 0))
        known = sum(row.size for row in rows)
        left = (0, 0) if done else (max(0, count - len(rows)), max(0, size - known))
        if not done:
            self._unlisted[folder_id] = left
        self.tally.items_total += len(rows) - (count - left[0])
        self.tally.unlisted -= size - left[1]
        for row in rows:
            self._pend(row.size, row.has_attachment, +1)
        self.emit()

    def queued(self, rows: Sequence[ListedItem]) -> None:
        """Items became wanted outside a listing; a change tells no size, a second listing does."""
        self.tally.items_total += len(rows)
        for row in rows:
            self._pend(row.size, row.has_attachment, +1)

    @contextmanager
    def only_lists(self) -> Iterator[None]:
        """Nothing but lists comes meanwhile: their pace says nothing about how contents will come."""
        self._only_lists = True
        try:
            yield
        finally:
            self._only_lists = False
            self._begin_pace()

    def reset(self) -> None:
        """What is counted from now on is other work."""
        self.tally = WorkEstimate()
        self._unlisted.clear()
        self._foretells = False
        self._begin_pace()

    def _begin_pace(self) -> None:
        """What came so far says nothing about what comes from now on."""
        self._marks.clear()
        self._paces.clear()

    def folders_found(self, count: int) -> None:
        """So many folders more are to be listed than were known of at first."""
        self.tally.folders_total += count

    def finish_pending(self) -> None:
        """Nothing is wanted any more: whatever the estimates still hold was none."""
        tally = self.tally
        tally.pending_plain = tally.pending_attached = tally.attached_wanted = tally.unlisted = 0.0
        self._unlisted.clear()

    def resume(
        self,
        *,
        items: int,
        attachments: int,
        attachments_wanted: int,
        stored: int,
        wanted: int,
        wanted_bytes: int,
        attached_wanted: int,
    ) -> None:
        """What an earlier run left: items and bytes stored, and still wanted."""
        tally = self.tally
        tally.items_done, tally.items_total = items, items + wanted
        tally.attachments_done, tally.attachments_total = attachments, attachments + attachments_wanted
        tally.bytes_done, tally.pending_plain, tally.attached_wanted = stored, wanted_bytes, attached_wanted
        tally.bytes_kept = stored

    def _pend(self, size: int, has_attachment: bool, sign: int) -> None:
        """What is taken off may have been added to the other sum, by an earlier run that could not tell, or to none."""
        tally, change = self.tally, sign * size
        if has_attachments(size, has_attachment):
            rich = tally.pending_attached + change
            plain = tally.pending_plain + min(rich, 0)
        else:
            plain = tally.pending_plain + change
            rich = tally.pending_attached + min(plain, 0)
        tally.pending_attached, tally.pending_plain = max(rich, 0.0), max(plain, 0.0)

    def stored(self, item: Item, size: int, has_attachment: bool, *, fetch_attachments: bool) -> None:
        """Counts an item that was fetched; its attachments are still to come if they are fetched at all."""
        tally = self.tally
        self._pend(size, has_attachment, -1)
        text = len(item.payload) + len(item.extra or b"")
        attached = sum(each.size or 0 for each in item.attachments) if fetch_attachments else 0
        share = tally.rich if has_attachments(size, has_attachment) else tally.plain
        if size:  # what no size was told of says nothing about those with one
            share.listed += size
            share.text += text
            share.attached += attached
        tally.items_done += 1
        tally.bytes_done += text
        if fetch_attachments:
            tally.attachments_total += len(item.attachments)
            tally.attached_wanted += attached
        self.emit()

    def dropped(self, size: int, has_attachment: bool) -> None:
        """A wanted item went away or was left out."""
        self._pend(size, has_attachment, -1)
        self.tally.items_total -= 1

    def reply(self, plain: int, wire: int) -> None:
        """A reply of details came: `plain` bytes of JSON that took `wire` bytes."""
        self.tally.text_plain += plain
        self.tally.text_wire += wire

    def chunk(self, size: int) -> None:
        """Bytes of an attachment came."""
        self.tally.bytes_done += size
        self.tally.attached_wanted = max(0.0, self.tally.attached_wanted - size)
        self.emit()

    def attachment_done(self) -> None:
        self.tally.attachments_done += 1
        self.emit()

    def emit(self, *, now: bool = False) -> None:
        moment = self._clock()
        if not now and moment - self._told < EVENT_INTERVAL_SECONDS:
            return
        self._told = moment
        self._marks.append((moment, self._traffic.wire_bytes, self.tally.bytes_done))
        self._foretells = self._foretells or self._has_begun(moment)
        elapsed = moment - self._started
        self._forget(moment - min(MAX_WINDOW_SECONDS, max(MIN_WINDOW_SECONDS, elapsed * WINDOW_SHARE)))
        recent = moment - max(MIN_WINDOW_SECONDS, elapsed * RECENT_SHARE)
        if self._wire_rate(recent) > RISING_RATIO * self._wire_rate():
            self._forget(recent)
        self._listen(self.snapshot(moment))

    def _has_begun(self, moment: float) -> bool:
        """Whether what comes a second tells how it goes on. It doesn't while more and more is in flight, or comes, nor
        in the first second; after a tenth of the bytes it has to."""
        paces, traffic, tally = self._paces, self._traffic, self.tally
        paces.append((moment, traffic.wire_bytes, traffic.in_flight))
        while len(paces) > 1 and paces[1][0] <= moment - MIN_WINDOW_SECONDS:
            paces.popleft()
        before, bytes_before, in_flight = paces[0]
        if self._only_lists or moment - before < MIN_WINDOW_SECONDS:
            return False
        come = tally.bytes_done - tally.bytes_kept
        if come >= EARLY_SHARE * (come + sum(tally.ahead())):
            return True
        middle, bytes_then, _ = next(pace for pace in paces if pace[0] >= (before + moment) / 2)
        recent = (traffic.wire_bytes - bytes_then) * (moment - before)
        whole = (traffic.wire_bytes - bytes_before) * (moment - middle)
        return 0 < recent <= RISING_RATIO * whole and traffic.in_flight <= RISING_RATIO * in_flight

    def _forget(self, before: float) -> None:
        """What came until `before` says nothing about the rate any more."""
        while len(self._marks) > 2 and self._marks[0][0] < before:
            self._marks.popleft()

    def _wire_rate(self, since: float = float("-inf")) -> float:
        """Bytes/s on the wire from the first mark not before `since` to the last."""
        last = self._marks[-1]
        first = next(mark for mark in self._marks if mark[0] >= since or mark is last)
        span = last[0] - first[0]
        return (last[1] - first[1]) / span if span > 0 else 0.0

    def snapshot(self, moment: float) -> Progress:
        tally = self.tally
        text, attached = tally.ahead()
        wire_left = max(0.0, tally.wire_ahead() - self._traffic.arriving)
        wire_done = self._traffic.wire_bytes
        before, wire, plain = self._marks[0] if self._marks else (moment, wire_done, tally.bytes_done)
        span = moment - before
        rate = (tally.bytes_done - plain) / span if span > 0 else 0.0
        wire_rate = (wire_done - wire) / span if span > 0 else 0.0
        return Progress(
            folders_done=tally.folders_done,
            folders_total=tally.folders_total,
            items_done=tally.items_done,
            items_total=max(tally.items_total, tally.items_done),
            attachments_done=tally.attachments_done,
            attachments_total=max(tally.attachments_total, tally.attachments_done),
            bytes_done=tally.bytes_done,
            bytes_total=int(tally.bytes_done + text + attached),
            rate=rate,
            seconds_left=wire_left / wire_rate if wire_rate > 0 and self._foretells else None,
            in_flight=self._traffic.in_flight,
            elapsed=moment - self._started,
            wire_left=int(wire_left),
        )
