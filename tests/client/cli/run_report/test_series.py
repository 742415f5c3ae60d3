"""The series of a run: bounded, and true to its events."""

from __future__ import annotations

from kerio_resync.cli.run_report.series import MAX_ENTRIES, MAX_SAMPLES, OTHERS, Buckets, RunSeries
from kerio_resync.events import (
    Event,
    FolderListed,
    Paused,
    PhaseChanged,
    Progress,
    Retrying,
    RunFinished,
    Skipped,
)


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def recorded(*events: tuple[float, Event]) -> RunSeries:
    clock = Clock()
    series = RunSeries(clock)
    for at, event in events:
        clock.now = 100.0 + at
        series(event)
    return series


def test_series_keeps_the_shape_of_a_long_run_in_bounded_memory() -> None:
    count = 50_000
    series = recorded(
        *((step, Progress(bytes_done=1000 * step, in_flight=9 if step == 40_000 else 2)) for step in range(count)),
        (count, RunFinished(ok=True, exit_code=0)),
    )
    assert MAX_SAMPLES / 4 < len(series.samples) <= MAX_SAMPLES
    assert max(sample.in_flight for sample in series.samples) == 9
    assert all(abs(rate - 1000) < 1 for _, rate in series.rates())
    assert series.samples[-1].fetched > 0.99 * 1000 * count


def test_series_counts_no_bytes_twice_when_the_counter_starts_again() -> None:
    done = [500, 900, 0, 300]
    series = recorded(*((step, Progress(bytes_done=value)) for step, value in enumerate(done)))
    assert series.samples[-1].fetched == 400 + 300  # what was there before the run is not fetched


def test_lanes_join_the_intervals_of_a_phase() -> None:
    series = recorded(
        (0, PhaseChanged("fetch")),
        (3, PhaseChanged("catch-up")),
        (4, PhaseChanged("fetch")),
        (6, RunFinished(ok=True, exit_code=0)),
    )
    assert series.lanes() == {"fetch": [(0, 3), (4, 6)], "catch-up": [(3, 4)]}
    assert recorded((0, RunFinished(ok=False, exit_code=2))).lanes() == {}


def test_predicted_end_is_the_time_plus_what_is_left() -> None:
    series = recorded((0, PhaseChanged("fetch")), (2, Progress(seconds_left=5.0)), (3, Progress()))
    assert [sample.predicted for sample in series.samples] == [7.0, None]


def test_retries_of_many_reasons_are_counted_in_bounded_memory() -> None:
    many = 3 * MAX_ENTRIES
    series = recorded(*((0.1, Retrying("GET", 1, 0.5, f"reason {number}")) for number in range(many)))
    assert len(series.reasons) == MAX_ENTRIES + 1
    assert (series.retries_count, series.waited, series.reasons[OTHERS]) == (many, many / 2, many - MAX_ENTRIES)


def test_buckets_widen_and_keep_their_sum() -> None:
    buckets = Buckets()
    for at in range(10_000):
        buckets.add(at, 2)
    columns = list(buckets.columns())
    assert len(columns) <= MAX_SAMPLES
    assert sum(total for _, _, total in columns) == 20_000
    assert columns[-1][0] <= 9999 < columns[-1][0] + columns[-1][1]


def test_lists_of_entries_are_cut_and_counted() -> None:
    series = recorded(
        *((1, Skipped("item", str(number), "broken")) for number in range(250)),
        *((2, Paused(3.0, "busy")) for _ in range(250)),
        (4, FolderListed("a", 7)),
        (5, FolderListed("a", 7)),
    )
    assert (len(series.skipped), series.skipped_count) == (MAX_ENTRIES, 250)
    assert (len(series.pauses), series.pause_count, series.paused) == (MAX_ENTRIES, 250, 750.0)
    assert series.listed == {"a": (7, 3.0)}
