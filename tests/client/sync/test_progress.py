"""The time left: on a link that fills slowly, and while it cannot be known."""

from __future__ import annotations

import pytest

from kerio_resync.cache.queries import Totals
from kerio_resync.events import Event, Progress
from kerio_resync.model import ListedItem
from kerio_resync.sync.progress import ProgressTracker


class Watch:
    """A tracker with a clock moved by hand, its traffic, and its last event."""

    def __init__(self) -> None:
        self.now = 0.0
        self.in_flight = self.wire_bytes = self.arriving = 0
        self.min_latency = 0.01
        self.last: Progress | None = None
        self.tracker = ProgressTracker(self.hear, lambda: self.now, self)

    def hear(self, event: Event) -> None:
        assert isinstance(event, Progress)
        self.last = event

    def receive(self, seconds: float, rate: float) -> None:
        """Contents arrive at `rate` bytes/s for `seconds`."""
        for _ in range(int(seconds / 0.1)):
            self.now += 0.1
            self.wire_bytes += int(rate / 10)
            self.tracker.chunk(int(rate / 10))


def begun(size: int) -> Watch:
    watch = Watch()
    watch.tracker.work.attachment_bytes_left = size
    return watch


def test_time_left_is_unknown_before_anything_arrived() -> None:
    watch = begun(1000)
    watch.tracker.queued([ListedItem("a", "1", 500)])
    watch.tracker.emit(now=True)
    assert watch.last is not None
    assert watch.last.seconds_left is None
    assert watch.last.bytes_total > 1000


@pytest.mark.parametrize("fill", [0.0, 1.0, 4.0])
def test_time_left_forgets_a_slow_start_after_a_tenth(fill: float) -> None:
    """A link that takes `fill` seconds to fill: after a tenth of the bytes the rate is what it is then."""
    watch = begun(60_000_000)
    watch.receive(fill, 50_000)
    watch.receive(6.0, 1_000_000)
    assert watch.last is not None
    left = watch.tracker.work.attachment_bytes_left / 1_000_000
    assert watch.last.seconds_left == pytest.approx(left, rel=0.1)


def test_time_left_is_unknown_until_the_rate_is_steady_over_three_round_trips() -> None:
    watch = begun(500_000_000)
    watch.min_latency = 1.0
    watch.receive(3.0, 100_000)
    watch.receive(2.8, 200_000)  # steady for the last second
    assert watch.last is not None
    assert watch.last.seconds_left is None
    watch.receive(1.0, 200_000)
    assert watch.last.seconds_left is not None


def test_time_left_follows_a_falling_rate() -> None:
    watch = begun(100_000_000)
    watch.receive(10.0, 2_000_000)
    watch.receive(40.0, 500_000)
    assert watch.last is not None
    assert watch.last.seconds_left == pytest.approx(watch.tracker.work.attachment_bytes_left / 500_000, rel=0.1)


def test_finish_pending_sets_the_time_left_to_zero() -> None:
    watch = begun(5_000)
    watch.receive(2.0, 1_000)
    watch.tracker.finish_pending()
    watch.tracker.emit(now=True)
    assert watch.last is not None
    assert watch.last.seconds_left == 0


def test_time_left_counts_bytes_of_incomplete_replies() -> None:
    """Replies that all end at once, after ten seconds: meanwhile the time left falls all the same."""
    watch = begun(0)
    watch.tracker.listed("folder", [ListedItem(str(n), "1", 1_000_000) for n in range(20)], done=True)
    watch.tracker.reply(1_000_000, 1_000_000)
    left = []
    for _ in range(100):
        watch.now += 0.1
        watch.wire_bytes += 100_000
        watch.arriving += 100_000
        watch.tracker.emit()
        assert watch.last is not None
        left.append(watch.last.seconds_left)
    assert left[-1] is not None
    assert left[5] is None  # the first second says nothing
    assert left[14] is not None
    assert left[14] - left[-1] == pytest.approx(8.5, abs=1)


def test_emit_twice_at_one_instant_does_not_divide_by_zero() -> None:
    watch = begun(1_000)
    for _ in range(2):
        watch.tracker.emit(now=True)


def test_time_left_is_unknown_while_the_rate_rises() -> None:
    """A pace that doubles with each half second, and then stays."""
    watch = begun(1_000_000_000)
    for rate in (10_000, 20_000, 40_000, 80_000, 160_000):
        watch.receive(0.5, rate)
        assert watch.last is not None
        assert watch.last.seconds_left is None
    watch.receive(3.0, 160_000)
    left = watch.tracker.work.attachment_bytes_left / 160_000
    assert watch.last is not None
    assert watch.last.seconds_left == pytest.approx(left, rel=0.2)


def test_time_left_is_unknown_while_requests_in_flight_increase() -> None:
    watch = begun(1_000_000_000)
    for in_flight in (8, 16, 32, 64):
        watch.in_flight = in_flight
        watch.receive(0.6, 10_000)
        assert watch.last is not None
        assert watch.last.seconds_left is None
    watch.receive(1.2, 10_000)
    assert watch.last is not None
    assert watch.last.seconds_left is not None


def test_time_left_is_given_after_a_tenth_although_the_rate_rises() -> None:
    watch = begun(2_000_000)
    watch.receive(1.0, 10_000)
    watch.receive(1.0, 1_000_000)
    assert watch.last is not None
    assert watch.last.seconds_left is not None


def test_time_left_is_unknown_while_only_lists_arrive() -> None:
    watch = begun(1_000_000)

    def lists_come(seconds: float) -> None:
        for _ in range(int(seconds / 0.1)):
            watch.now += 0.1
            watch.wire_bytes += 500
            watch.tracker.emit()

    with watch.tracker.listing_only():
        lists_come(5.0)
        assert watch.last is not None
        assert watch.last.seconds_left is None
    watch.receive(1.0, 100_000)
    assert watch.last.seconds_left is None
    watch.receive(2.0, 100_000)
    assert watch.last.seconds_left == pytest.approx(7, rel=0.1)


def test_bytes_of_an_earlier_run_do_not_count_towards_that_tenth() -> None:
    watch = begun(0)
    watch.tracker.resume(
        Totals(
            folders=1, folders_listed=1, items={"mail": 9}, item_bytes=2 * 10**9, queued_items=0, queued_item_bytes=0,
            attachments=10, attachment_bytes=10**9, queued_attachments=1, queued_attachment_bytes=10**9, skipped=0,
        )
    )  # fmt: skip
    watch.receive(0.8, 10_000)
    watch.receive(0.8, 100_000)
    assert watch.last is not None
    assert watch.last.seconds_left is None
