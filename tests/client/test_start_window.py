"""When a run may begin: the bounds as they are written, and what they mean at a time."""

from __future__ import annotations

import os
import time as clock
from collections.abc import Iterator
from datetime import UTC, datetime, time, timedelta

import pytest

from kerio_resync.start_window import MAX_SPLAY_SECONDS, StartWindow, parse_bound, parse_duration

pytestmark = pytest.mark.skipif(not hasattr(clock, "tzset"), reason="this system has no tzset")


@pytest.fixture(autouse=True)
def prague() -> Iterator[None]:
    """The local time of Prague: +01:00, from 2026-03-29 to 2026-10-25 +02:00."""
    before = os.environ.get("TZ")
    os.environ["TZ"] = "CET-1CEST,M3.5.0,M10.5.0/3"
    clock.tzset()
    yield
    if before is None:
        del os.environ["TZ"]
    else:
        os.environ["TZ"] = before
    clock.tzset()


def at(text: str) -> datetime:
    """Return a local time, or one with an offset."""
    return datetime.fromisoformat(text).astimezone()


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0), ("90", 90), ("90s", 90), ("30m", 1800), ("30 min", 1800), ("2h", 7200), ("1h30m", 5400),
        ("1h 30min", 5400), ("1.5h", 5400), ("1d", 86_400), (" 2H ", 7200), ("31d", MAX_SPLAY_SECONDS),
    ],
)  # fmt: skip
def test_duration_is_read(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "m", "-1m", "1x", "1h30", "1:30", "ten", "1 2", "32d", "١m", "1h,30m"])
def test_duration_that_makes_no_sense_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"must be (a duration|at most 31 days)"):
        parse_duration(text)


def test_bound_is_a_time_of_day_or_a_moment() -> None:
    assert parse_bound("22:00") == time(22)
    assert parse_bound(" 8:05:30 ") == time(8, 5, 30)
    assert parse_bound("2026-12-01T22:00") == datetime(2026, 12, 1, 22)  # noqa: DTZ001 - local time
    assert parse_bound("2026-12-01 22:00:05") == datetime(2026, 12, 1, 22, 0, 5)  # noqa: DTZ001
    assert parse_bound("2026-12-01t22:00z") == datetime(2026, 12, 1, 22, tzinfo=UTC)
    offset = parse_bound("22:00+01:00")
    assert isinstance(offset, time)
    assert offset.utcoffset() == timedelta(hours=1)
    assert parse_bound("") is None


@pytest.mark.parametrize(
    "text", ["22", "25:00", "22:60", "noon", "2026-12-01", "2026-13-01T22:00", "22:00 Prague", "0001-01-01T00:00+23:00"]
)
def test_bound_that_makes_no_sense_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="must be a time such as 22:00 or 2026-12-01T22:00"):
        parse_bound(text)


@pytest.mark.parametrize(
    ("not_before", "not_after", "now", "begins", "closes"),
    [
        ("", "", "2026-12-01T12:00", "2026-12-01T12:00", None),
        # a time of day is today's
        ("22:00", "", "2026-12-01T01:00", "2026-12-01T22:00", None),
        ("22:00", "", "2026-12-01T23:00", "2026-12-01T23:00", None),
        ("", "06:00", "2026-12-01T05:00", "2026-12-01T05:00", "2026-12-01T06:00"),
        ("", "06:00", "2026-12-01T07:00", "2026-12-01T07:00", "2026-12-01T06:00"),
        ("22:00Z", "", "2026-12-01T00:30", "2026-11-30T23:00", None),  # it is still yesterday in UTC
        # over midnight
        ("22:00", "06:00", "2026-12-01T21:00", "2026-12-01T22:00", "2026-12-02T06:00"),
        ("22:00", "06:00", "2026-12-01T23:00", "2026-12-01T23:00", "2026-12-02T06:00"),
        ("22:00", "06:00", "2026-12-01T05:59:59", "2026-12-01T05:59:59", "2026-12-01T06:00"),
        ("22:00", "06:00", "2026-12-01T06:00", "2026-12-01T22:00", "2026-12-02T06:00"),
        # within one day
        ("20:00", "22:00", "2026-12-01T19:00", "2026-12-01T20:00", "2026-12-01T22:00"),
        ("20:00", "22:00", "2026-12-01T23:00", "2026-12-01T23:00", "2026-12-01T22:00"),
        # with a date
        ("2026-12-01T22:00", "06:00", "2026-11-20T12:00", "2026-12-01T22:00", "2026-12-02T06:00"),
        ("2026-12-01T22:00", "06:00", "2026-12-02T07:00", "2026-12-02T07:00", "2026-12-02T06:00"),
        ("2026-12-01T22:00", "2026-12-04T06:00", "2026-12-03T12:00", "2026-12-03T12:00", "2026-12-04T06:00"),
        ("22:00", "2026-12-04T06:00", "2026-12-03T12:00", "2026-12-03T22:00", "2026-12-04T06:00"),
        ("2026-12-01T22:00+05:00", "", "2026-12-01T12:00", "2026-12-01T18:00", None),
        # 02:00 to 03:00 of 29 March is left out
        ("02:30", "", "2026-03-29T01:00", "2026-03-29T03:30+02:00", None),
        ("2026-03-29T02:30", "", "2026-03-28T12:00", "2026-03-29T03:30+02:00", None),
        ("22:00", "02:30", "2026-03-28T23:00", "2026-03-28T23:00", "2026-03-29T03:30+02:00"),
        ("22:00", "06:00", "2026-03-28T22:00", "2026-03-28T22:00", "2026-03-29T06:00+02:00"),
        # 02:00 to 03:00 of 25 October comes twice
        ("02:30", "", "2026-10-25T01:00+02:00", "2026-10-25T02:30+02:00", None),
        ("22:00", "06:00", "2026-10-24T22:00+02:00", "2026-10-24T22:00+02:00", "2026-10-25T06:00+01:00"),
    ],
)  # fmt: skip
def test_turn_is_in_the_window_that_counts(
    not_before: str, not_after: str, now: str, begins: str, closes: str | None
) -> None:
    turn = StartWindow(not_before, not_after).turn(at(now), at(now))
    assert max(turn.begins, at(now)) == max(at(begins), at(now))
    assert turn.closes == (at(closes) if closes else None)


@pytest.mark.parametrize(
    ("not_before", "started", "begins"),
    [
        ("", "2026-12-01T12:00", "2026-12-01T12:30"),
        ("22:00", "2026-12-01T12:00", "2026-12-01T22:30"),  # the same however often it is started before
        ("22:00", "2026-12-01T22:29", "2026-12-01T22:30"),
        ("22:00", "2026-12-01T23:00", "2026-12-01T23:30"),  # late starters are spread too
    ],
)
def test_delay_counts_from_the_opening_or_from_a_late_start(not_before: str, started: str, begins: str) -> None:
    window = StartWindow(not_before, delay=1800)
    assert window.turn(at(started), at(started)).begins == at(begins)


def test_turn_does_not_move_while_the_run_waits() -> None:
    window, started = StartWindow("22:00", "06:00", 3 * 3600), at("2026-12-01T21:00")
    turns = {window.turn(started + timedelta(hours=hours), started) for hours in range(5)}
    assert [turn.begins for turn in turns] == [at("2026-12-02T01:00")]


@pytest.mark.parametrize(
    ("not_before", "not_after", "hours"),
    [
        ("22:00", "06:00", 8), ("06:00", "22:00", 16), ("06:00", "06:00", 24), ("22:00", "", None), ("", "06:00", None),
        ("2026-12-01T22:00", "2026-12-04T06:00", 56), ("2026-12-01T22:00Z", "2026-12-01T22:30", -0.5),
        ("2026-12-01T22:00", "06:00", None), ("22:00+01:00", "06:00+01:00", 8), ("22:00", "06:00Z", None),
    ],
)  # fmt: skip
def test_length_of_a_window_is_known_from_two_bounds_alike(
    not_before: str, not_after: str, hours: float | None
) -> None:
    assert StartWindow(not_before, not_after).seconds() == (None if hours is None else hours * 3600)
