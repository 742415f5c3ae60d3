"""Windows: local times to instants."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kerio_resync.errors import BadSettings
from kerio_resync.fleet.inputs.windows import another, next_night, parse_window, resolve_windows, working_morning
from kerio_resync.fleet.plan import Window

LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
PRAGUE = "Europe/Prague"
INSTANTS = st.integers(1_767_225_600, 1_893_456_000).map(lambda seconds: datetime.fromtimestamp(seconds, UTC))


def one(text: str, zone: str = PRAGUE) -> Window:
    return resolve_windows([parse_window(text)], zone, LONG_AGO)[0]


def hours(window: Window) -> float:
    return (window.end - window.start) / timedelta(hours=1)


def test_window_over_midnight_ends_on_the_next_day() -> None:
    window = one("2026-12-04 22:00-06:00")
    assert window.start == datetime(2026, 12, 4, 21, tzinfo=UTC)
    assert window.end == datetime(2026, 12, 5, 5, tzinfo=UTC)


@pytest.mark.parametrize(("text", "expected"), [
    ("2026-03-28 22:00-06:00", 7),  # clocks go forward
    ("2026-10-24 22:00-06:00", 9),  # clocks go back
    ("2026-10-25 22:00-06:00", 8),
    ("2026-12-04 00:00-24:00", 24),
    ("2026-12-04 08:00 - 12:30", 4.5),
])  # fmt: skip
def test_window_is_as_long_as_clocks_make_it(text: str, expected: float) -> None:
    assert hours(one(text)) == expected


def test_windows_come_in_order_of_time() -> None:
    given_ = [parse_window("2026-12-05 22:00-06:00"), parse_window("2026-12-04 22:00-06:00")]
    assert [window.name[:10] for window in resolve_windows(given_, PRAGUE, LONG_AGO)] == ["2026-12-04", "2026-12-05"]


@pytest.mark.parametrize(
    ("texts", "reason"),
    [
        (["2026-02-30 22:00-06:00"], "is no date"),
        (["2026-12-04 25:00-06:00"], "is no time of day"),
        (["2026-12-04 22:00-06:00", "2026-12-05 05:00-07:00"], "overlap"),
        (["2019-12-04 22:00-06:00"], "is over"),
    ],
)
def test_resolve_windows_says_what_is_wrong(texts: list[str], reason: str) -> None:
    with pytest.raises(BadSettings, match=reason):
        resolve_windows([parse_window(text) for text in texts], PRAGUE, LONG_AGO)


@pytest.mark.parametrize("text", ["", "tonight", "22:00-06:00", "2026-12-04"])
def test_parse_window_shows_how_to_write_one(text: str) -> None:
    with pytest.raises(BadSettings, match="2026-12-04 22:00-06:00"):
        parse_window(text)


@given(INSTANTS, st.sampled_from([PRAGUE, "UTC", "America/New_York"]))
def test_next_night_is_still_to_come(now: datetime, zone: str) -> None:
    (window,) = resolve_windows([next_night(now, zone)], zone, now)
    assert now <= window.start + timedelta(hours=1)
    assert window.start - now < timedelta(hours=25)


@given(INSTANTS)
def test_working_morning_is_eight_o_clock_on_a_working_day(now: datetime) -> None:
    found = working_morning(now, PRAGUE)
    local = found.astimezone(ZoneInfo(PRAGUE))
    assert (local.hour, local.minute, local.weekday() < 5) == (8, 0, True)
    assert timedelta(0) < found - now < timedelta(days=4)


def test_another_window_is_at_the_same_time_on_the_first_free_day() -> None:
    first, second = one("2026-12-04 22:00-06:00"), one("2026-12-05 22:00-06:00")
    more = another(first, 2, PRAGUE, (first, second))
    assert more.start == datetime(2026, 12, 6, 21, tzinfo=UTC)
    assert hours(more) == 2
