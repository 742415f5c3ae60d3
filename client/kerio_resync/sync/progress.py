"""Tracks a run, and emits `Progress` events with an estimate of the time left.

The time left is the wire bytes still to come over their recent rate. It is None until the rate is steady.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from math import isfinite
from typing import Protocol

from kerio_resync.cache.queries import Totals
from kerio_resync.events import Listener, Progress
from kerio_resync.model import Item, ListedItem
from kerio_resync.sync.rate_estimator import MIN_WINDOW_SECONDS, RISING_RATIO, RateEstimator
from kerio_resync.sync.work_estimate import WorkEstimate

EVENT_INTERVAL_SECONDS = 0.25  # between two events
SETTLING_ROUND_TRIPS = 3  # the number of requests in flight grows at most every second round trip
EARLY_SHARE = 0.1  # of the bytes; until then there is no time left while the rate still rises


class Traffic(Protocol):
    """Counters of the wire, as `Mailbox` has them.

    `in_flight`: requests; `wire_bytes`: body bytes so far; `arriving`: the part of them in replies that are not
    complete yet. `min_latency`: the shortest time to a reply, in seconds; infinite before the first one.
    """

    @property
    def min_latency(self) -> float: ...

    @property
    def in_flight(self) -> int: ...

    @property
    def wire_bytes(self) -> int: ...

    @property
    def arriving(self) -> int: ...


class ProgressTracker:
    """Counts work, and emits events a few times a second.

    `clock` returns seconds. `work` may be read and changed directly.
    """

    def __init__(self, listen: Listener, clock: Callable[[], float], traffic: Traffic) -> None:
        self.work = WorkEstimate()
        self._listen = listen
        self._clock = clock
        self._traffic = traffic
        self._started = clock()
        self._emitted = float("-inf")
        self._wire = RateEstimator(self._started)
        self._plain = RateEstimator(self._started)
        self._in_flight: deque[tuple[float, int]] = deque()  # samples of the last `_settling_seconds`
        self._eta_is_reliable = False
        self._listing_only = False
        self._unlisted: dict[str, tuple[int, int]] = {}  # items and bytes not listed yet, by folder id

    def expect(self, folder_id: str, count: int, size: int) -> None:
        """Announce the listing of a folder of `count` items with `size` bytes in all."""
        self._unlisted[folder_id] = (count, size)
        self.work.items_total += count
        self.work.unlisted_bytes += size

    def listed(self, folder_id: str, rows: Sequence[ListedItem], *, done: bool) -> None:
        """Rows of a folder's listing were queued.

        What was expected of the folder shrinks by them.
        """
        count, size = self._unlisted.pop(folder_id, (0, 0))
        known = sum(row.size for row in rows)
        left = (0, 0) if done else (max(0, count - len(rows)), max(0, size - known))
        if not done:
            self._unlisted[folder_id] = left
        self.work.items_total -= count - left[0]
        self.work.unlisted_bytes -= size - left[1]
        self.queued(rows)
        self.emit()

    def queued(self, rows: Sequence[ListedItem]) -> None:
        """Items were queued. A size of 0 means that it is unknown, as in the change feed."""
        self.work.items_total += len(rows)
        for row in rows:
            self.work.queue(row.size, row.has_attachment)

    @contextmanager
    def listing_only(self) -> Iterator[None]:
        """Mark a time in which only lists arrive.

        Their rate says nothing about the rate of contents.
        """
        self._listing_only = True
        try:
            yield
        finally:
            self._listing_only = False
            self._reset_rates()

    def reset(self) -> None:
        """Start counting other work from zero."""
        self.work = WorkEstimate()
        self._unlisted.clear()
        self._eta_is_reliable = False
        self._reset_rates()

    def folders_found(self, count: int) -> None:
        """Add `count` folders to those that are to be listed."""
        self.work.folders_total += count

    def finish_pending(self) -> None:
        """Nothing is queued any more: drops what the estimates still expect."""
        self.work.finish_queued()
        self._unlisted.clear()

    def resume(self, totals: Totals) -> None:
        """Take over what an earlier run stored and queued."""
        work, items = self.work, sum(totals.items.values())
        work.items_done, work.items_total = items, items + totals.queued_items
        work.attachments_done = totals.attachments - totals.queued_attachments
        work.attachments_total = totals.attachments
        work.bytes_done = work.bytes_reused = totals.bytes_here
        work.queued_plain = totals.queued_item_bytes
        work.attachment_bytes_left = totals.queued_attachment_bytes

    def stored(self, item: Item, size: int, has_attachment: bool, *, fetch_attachments: bool) -> None:
        """Count a queued item of listed `size` as fetched.

        With `fetch_attachments` its attachments are queued.
        """
        work = self.work
        work.queue(size, has_attachment, -1)
        text = len(item.payload) + len(item.extra or b"") + sum(len(part.data or b"") for part in item.attachments)
        to_fetch = [part for part in item.attachments if part.data is None and not part.in_source]
        attached = sum(part.size or 0 for part in to_fetch) if fetch_attachments else 0
        if size:  # an item of unknown size teaches nothing about listed bytes
            ratio = work.rich if has_attachment else work.plain
            ratio.listed += size
            ratio.text += text
            ratio.attached += attached
        work.items_done += 1
        work.bytes_done += text
        if fetch_attachments:
            in_source = sum(part.in_source for part in item.attachments)
            work.attachments_total += in_source + sum(part.role != "source" for part in to_fetch)
            work.attachments_done += in_source
            work.attachment_bytes_left += attached
        self.emit()

    def dropped(self, size: int, has_attachment: bool) -> None:
        """Count a queued item that was deleted or skipped."""
        self.work.queue(size, has_attachment, -1)
        self.work.items_total -= 1

    def reply(self, plain: int, wire: int) -> None:
        """Count a reply with items: `plain` bytes of JSON that took `wire` bytes."""
        self.work.text_bytes += plain
        self.work.text_wire_bytes += wire

    def chunk(self, size: int) -> None:
        """Count `size` bytes of an attachment that arrived."""
        self.work.bytes_done += size
        self.work.attachment_bytes_left = max(0.0, self.work.attachment_bytes_left - size)
        self.emit()

    def attachment_done(self) -> None:
        """One attachment is complete."""
        self.work.attachments_done += 1
        self.emit()

    def emit(self, *, now: bool = False) -> None:
        """Emit a `Progress` event if one is due, or if `now`.

        One is due EVENT_INTERVAL_SECONDS after the last one.
        """
        moment = self._clock()
        if not now and moment - self._emitted < EVENT_INTERVAL_SECONDS:
            return
        self._emitted = moment
        self._wire.add(moment, self._traffic.wire_bytes)
        self._plain.add(moment, self.work.bytes_done)
        self._in_flight.append((moment, self._traffic.in_flight))
        while len(self._in_flight) > 1 and self._in_flight[1][0] <= moment - self._settling_seconds:
            self._in_flight.popleft()
        self._eta_is_reliable = self._eta_is_reliable or self._has_settled(moment)
        self._listen(self.snapshot(moment))

    def snapshot(self, moment: float) -> Progress:
        """Return the event for `moment` (seconds of the clock)."""
        work = self.work
        text, attached = work.bytes_left()
        wire_left = max(0.0, work.wire_bytes_left() - self._traffic.arriving)
        return Progress(
            folders_done=work.folders_done,
            folders_total=work.folders_total,
            items_done=work.items_done,
            items_total=max(work.items_total, work.items_done),
            attachments_done=work.attachments_done,
            attachments_total=max(work.attachments_total, work.attachments_done),
            bytes_done=work.bytes_done,
            bytes_total=int(work.bytes_done + text + attached),
            rate=self._plain.rate,
            seconds_left=self._wire.seconds_left(wire_left) if self._eta_is_reliable else None,
            in_flight=self._traffic.in_flight,
            elapsed=moment - self._started,
            wire_left=int(wire_left),
        )

    def _has_settled(self, moment: float) -> bool:
        """Return whether the rate is steady enough to predict the rest of the run.

        Neither the rate nor the number of requests in flight rises any more.

        From EARLY_SHARE of the bytes on it has to, settled or not.
        """
        before, in_flight = self._in_flight[0]
        if self._listing_only or moment - before < self._settling_seconds:
            return False
        fetched = self.work.bytes_done - self.work.bytes_reused
        if fetched >= EARLY_SHARE * (fetched + sum(self.work.bytes_left())):
            return True
        steady = self._wire.is_steady(self._settling_seconds)
        return steady and self._traffic.in_flight <= RISING_RATIO * in_flight

    @property
    def _settling_seconds(self) -> float:
        """Seconds for which a rate that no longer rises counts as steady."""
        latency = self._traffic.min_latency
        return max(MIN_WINDOW_SECONDS, SETTLING_ROUND_TRIPS * latency if isfinite(latency) else 0.0)

    def _reset_rates(self) -> None:
        self._wire.reset()
        self._plain.reset()
        self._in_flight.clear()
