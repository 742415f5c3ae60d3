"""The time that is left, told honestly: on a link that is slow to fill, and where nothing is known yet."""

from __future__ import annotations

import pytest

from kerio_resync.events import Event, Progress
from kerio_resync.model import ListedItem
from kerio_resync.sync.progress import ProgressTracker


class Watch:
    """A meter whose clock is moved by hand, its traffic, and what it told last."""

    def __init__(self) -> None:
        self.now = 0.0
        self.in_flight = self.wire_bytes = self.arriving = 0
        self.told: Progress | None = None
        self.meter = ProgressTracker(self.hear, lambda: self.now, self)

    def hear(self, event: Event) -> None:
        assert isinstance(event, Progress)
        self.told = event

    def come(self, seconds: float, rate: float) -> None:
        """Contents come at `rate` bytes/s for so many seconds."""
        for _ in range(int(seconds / 0.1)):
            self.now += 0.1
            self.wire_bytes += int(rate / 10)
            self.meter.chunk(int(rate / 10))


def begun(size: int) -> Watch:
    watch = Watch()
    watch.meter.tally.attached_wanted = size
    return watch


def test_nothing_is_said_before_anything_came() -> None:
    watch = begun(1000)
    watch.meter.queued([ListedItem("a", 1, 500)])
    watch.meter.emit(now=True)
    assert watch.told is not None
    assert watch.told.seconds_left is None
    assert watch.told.bytes_total > 1000


@pytest.mark.parametrize("fill", [0.0, 1.0, 4.0])
def test_how_a_run_begins_does_not_count_for_long(fill: float) -> None:
    """A link that takes `fill` seconds to fill: after a tenth of the bytes the rate is what it is then."""
    watch = begun(60_000_000)
    watch.come(fill, 50_000)
    watch.come(6.0, 1_000_000)
    assert watch.told is not None
    left = watch.meter.tally.attached_wanted / 1_000_000
    assert watch.told.seconds_left == pytest.approx(left, rel=0.1)


def test_a_rate_that_falls_is_believed_as_time_goes_on() -> None:
    watch = begun(100_000_000)
    watch.come(10.0, 2_000_000)
    watch.come(40.0, 500_000)
    assert watch.told is not None
    assert watch.told.seconds_left == pytest.approx(watch.meter.tally.attached_wanted / 500_000, rel=0.1)


def test_what_was_settled_is_not_waited_for() -> None:
    watch = begun(5_000)
    watch.come(2.0, 1_000)
    watch.meter.finish_pending()
    watch.meter.emit(now=True)
    assert watch.told is not None
    assert watch.told.seconds_left == 0


def test_what_is_on_its_way_counts_though_it_is_not_whole() -> None:
    """Replies that all end at once, after ten seconds: meanwhile the time left falls all the same."""
    watch = begun(0)
    watch.meter.listed("folder", [ListedItem(str(n), 1, 1_000_000) for n in range(20)], done=True)
    watch.meter.reply(1_000_000, 1_000_000)
    left = []
    for _ in range(100):
        watch.now += 0.1
        watch.wire_bytes += 100_000
        watch.arriving += 100_000
        watch.meter.emit()
        assert watch.told is not None
        left.append(watch.told.seconds_left)
    assert left[-1] is not None
    assert left[5] is None  # the first second says nothing
    assert left[14] is not None
    assert left[14] - left[-1] == pytest.approx(8.5, abs=1)


def test_told_twice_at_one_instant_it_has_no_rate() -> None:
    watch = begun(1_000)
    for _ in range(2):
        watch.meter.emit(now=True)


def test_nothing_is_said_while_ever_more_comes() -> None:
    """A pace that doubles with each half second, and then stays."""
    watch = begun(1_000_000_000)
    for rate in (10_000, 20_000, 40_000, 80_000, 160_000):
        watch.come(0.5, rate)
        assert watch.told is not None
        assert watch.told.seconds_left is None
    watch.come(3.0, 160_000)
    left = watch.meter.tally.attached_wanted / 160_000
    assert watch.told is not None
    assert watch.told.seconds_left == pytest.approx(left, rel=0.2)


def test_nothing_is_said_while_ever_more_is_in_flight() -> None:
    watch = begun(1_000_000_000)
    for in_flight in (8, 16, 32, 64):
        watch.in_flight = in_flight
        watch.come(0.6, 10_000)
        assert watch.told is not None
        assert watch.told.seconds_left is None
    watch.come(1.2, 10_000)
    assert watch.told is not None
    assert watch.told.seconds_left is not None


def test_after_a_tenth_it_is_said_however_it_grows() -> None:
    watch = begun(2_000_000)
    watch.come(1.0, 10_000)
    watch.come(1.0, 1_000_000)
    assert watch.told is not None
    assert watch.told.seconds_left is not None


def test_nothing_is_said_while_only_lists_come() -> None:
    watch = begun(1_000_000)

    def lists_come(seconds: float) -> None:
        for _ in range(int(seconds / 0.1)):
            watch.now += 0.1
            watch.wire_bytes += 500
            watch.meter.emit()

    with watch.meter.only_lists():
        lists_come(5.0)
        assert watch.told is not None
        assert watch.told.seconds_left is None
    watch.come(1.0, 100_000)
    assert watch.told.seconds_left is None
    watch.come(2.0, 100_000)
    assert watch.told.seconds_left == pytest.approx(7, rel=0.1)


def test_what_an_earlier_run_fetched_is_no_part_of_that_tenth() -> None:
    watch = begun(0)
    watch.meter.resume(
        items=9, attachments=9, attachments_wanted=1, stored=10**9, wanted=0, wanted_bytes=0, attached_wanted=10**9
    )
    watch.come(0.8, 10_000)
    watch.come(0.8, 100_000)
    assert watch.told is not None
    assert watch.told.seconds_left is None
