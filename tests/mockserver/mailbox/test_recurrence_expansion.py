"""A series of events within a window, against the plain rule followed from its beginning."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from itertools import takewhile
from typing import Any

import pytest
from dateutil import rrule
from hypothesis import given
from hypothesis import strategies as st

from kerio_mockserver.mailbox import recurrence_expansion
from kerio_mockserver.mailbox.api_structs import blank
from kerio_mockserver.mailbox.recurrence_expansion import MAX_WINDOW, Window, length, moment, starts

FREQUENCIES = {"Daily": rrule.DAILY, "Weekly": rrule.WEEKLY, "Monthly": rrule.MONTHLY, "Yearly": rrule.YEARLY}
DAYS = (rrule.SU, rrule.MO, rrule.TU, rrule.WE, rrule.TH, rrule.FR, rrule.SA)


def event(start: str, end: str, frequency: str = "", until: str = "", **by: Any) -> dict[str, Any]:
    rule: dict[str, Any] = blank("RecurrenceRule")
    if frequency:
        rule |= {"isSet": True, "frequency": frequency, "preciseBy": rule["preciseBy"] | by}
    if until:
        rule["endBy"] = {"type": "ByRecurrenceDate", "date": until}
    return {**blank("Event"), "start": start, "end": end, "rule": rule}


def at(text: str) -> datetime:
    found = moment(text)
    assert found is not None
    return found.at


def keys(series: dict[str, Any], lower: str = "", upper: str = "") -> list[str]:
    window = Window(at(lower) if lower else None, at(upper) if upper else None)
    return [str(one) for one in starts(series, window)]


RULES = st.fixed_dictionaries(
    {"frequency": st.sampled_from(sorted(FREQUENCIES)), "byInterval": st.integers(0, 5)},
    optional={
        "byDay": st.lists(st.integers(1, 7), max_size=3, unique=True),
        "byMonthDay": st.lists(st.sampled_from([-31, -1, 1, 2, 15, 29, 30, 31]), max_size=2, unique=True),
        "byMonth": st.lists(st.integers(1, 12), max_size=3, unique=True),
    },
)


@given(
    rule=RULES,
    first=st.datetimes(datetime(2000, 1, 1), datetime(2005, 12, 31)).map(lambda one: one.replace(microsecond=0)),  # noqa: DTZ001
    hours=st.integers(0, 80),
    since=st.integers(-100, 4_000),
    days=st.integers(0, 800),
    offset=st.sampled_from(["Z", "+0530", "-0800"]),
)
def test_starts_are_those_of_the_rule_followed_from_its_beginning(
    rule: dict[str, Any], first: datetime, hours: int, since: int, days: int, offset: str
) -> None:
    by = {name: value for name, value in rule.items() if name != "frequency"}
    last = first + timedelta(hours=hours)
    series = event(f"{first:%Y%m%dT%H%M%S}{offset}", f"{last:%Y%m%dT%H%M%S}{offset}", rule["frequency"], **by)
    zone = at(series["start"]).tzinfo
    lower = first.replace(tzinfo=zone) + timedelta(days=since, hours=7)
    upper = lower + timedelta(days=days)
    plain = rrule.rrule(
        FREQUENCIES[rule["frequency"]],
        dtstart=first,
        interval=max(by["byInterval"], 1),
        byweekday=[DAYS[one - 1] for one in by.get("byDay", ())] or None,
        bymonthday=by.get("byMonthDay") or None,
        bymonth=by.get("byMonth") or None,
        until=upper.replace(tzinfo=None),
    )
    takes = timedelta(hours=hours)
    expected = [
        one
        for one in takewhile(lambda one: one < upper.replace(tzinfo=None), plain)
        if one + takes > lower.replace(tzinfo=None) or (not takes and one == lower.replace(tzinfo=None))
    ]
    found = [one.at.replace(tzinfo=None) for one in starts(series, Window(lower.astimezone(UTC), upper))]
    assert found == expected


def test_starts_of_a_single_event_do_not_depend_on_the_window() -> None:
    assert keys(event("20260301T090000Z", "20260301T100000Z"), "20300101", "20300102") == ["20260301T090000Z"]


def test_starts_keep_the_offset_and_the_form_of_the_first() -> None:
    series = event("20260301T233000-0700", "20260302T003000-0700", "Daily")
    assert keys(series, "20260303T060000Z", "20260304T070000Z") == ["20260302T233000-0700", "20260303T233000-0700"]
    assert [one.key for one in starts(series, Window())] == ["20260302T063000Z"]
    days = event("20260301", "20260302", "Weekly")
    assert length(days) == timedelta(days=2)
    assert keys(days, "20260309", "20260316") == ["20260308", "20260315"]
    assert keys(days, "20260310", "20260315") == []


@pytest.mark.parametrize(("until", "count"), [("20260303", 3), ("20260303T090000Z", 3), ("20260303T085959Z", 2)])
def test_starts_end_with_the_series(until: str, count: int) -> None:
    assert len(keys(event("20260301T090000Z", "20260301T100000Z", "Daily", until), "20260101", "20270101")) == count


@pytest.mark.parametrize(
    ("lower", "upper", "count"), [("", "", 1), ("20260301", "", 366), ("", "20260310", 9), ("20260301", "20260302", 1)]
)
def test_starts_without_an_end_are_those_of_a_year(lower: str, upper: str, count: int) -> None:
    assert len(keys(event("20260301T090000Z", "20260301T100000Z", "Daily"), lower, upper)) == count


def test_starts_take_positions_within_the_month() -> None:
    second_monday = event("20260112T090000Z", "20260112T100000Z", "Monthly", byDay=[2], byPosition=[2])
    assert keys(second_monday, "20260301", "20260501") == ["20260309T090000Z", "20260413T090000Z"]


@pytest.mark.parametrize(
    "series",
    [
        event("00010101T000000Z", "00010101T010000Z", "Daily", byMonth=[2], byMonthDay=[30]),
        event("20260101T000000Z", "99991231T000000Z", "Yearly", byMonth=[2], byMonthDay=[30], byInterval=10**9),
        event("00010101T000000+1400", "00010102T000000+1400", "Daily"),
        event("99991231T235959Z", "99991231T235959Z", "Daily"),
        event("20260101T000000Z", "20260102T000000Z", "Weekly", byDay=[0, 9], byMonth=[13], byPosition=[999]),
        event("", "", "Daily"),
        event("nonsense", "20260101", "Daily"),
        event("20260101T000000Z", "20250101T000000Z", "Daily", "nonsense"),
    ],
)
@pytest.mark.parametrize("window", [("", ""), ("20260101", ""), ("", "99991231"), ("00010101", "99991231")])
def test_starts_of_any_series_are_found_in_bounded_work(series: dict[str, Any], window: tuple[str, str]) -> None:
    """The days looked at are those of the window."""
    assert len(keys(series, *window)) <= MAX_WINDOW.days + 1


def test_rule_that_is_never_met_is_not_looked_for_beyond_the_window(monkeypatch: pytest.MonkeyPatch) -> None:
    looked_at = 0

    def counted(number: int, count: int) -> list[date]:
        nonlocal looked_at
        looked_at += count
        return [date.fromordinal(one) for one in range(number, number + count)]

    monkeypatch.setattr(recurrence_expansion, "_days", counted)
    for frequency in FREQUENCIES:
        series = event("00010101T000000Z", "00010101T010000Z", frequency, byMonth=[2], byMonthDay=[30])
        assert keys(series, "20260101", "20270101") == []
        assert looked_at <= 3 * 366
        looked_at = 0
