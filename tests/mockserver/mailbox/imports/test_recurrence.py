"""Recurrence rules as the API's struct."""

from __future__ import annotations

import time
from datetime import UTC, date, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from kerio_mockserver.mailbox.imports.calendars import moment
from kerio_mockserver.mailbox.imports.recurrence import rule_of

START = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)  # a Monday


@pytest.mark.parametrize(
    ("parts", "frequency", "precise", "whole"),
    [
        ({"FREQ": ["DAILY"]}, "Daily", {}, True),
        ({"FREQ": ["WEEKLY"], "BYDAY": ["MO", "SA"], "INTERVAL": [2]}, "Weekly",
         {"byDay": [2, 7], "byInterval": 2}, True),
        ({"FREQ": ["MONTHLY"], "BYDAY": ["2MO"]}, "Monthly", {"byDay": [2], "byPosition": [2]}, True),
        ({"FREQ": ["MONTHLY"], "BYDAY": ["-1FR"]}, "Monthly", {"byDay": [6], "byPosition": [-1]}, True),
        ({"FREQ": ["MONTHLY"], "BYDAY": ["MO"], "BYSETPOS": [3]}, "Monthly", {"byDay": [2], "byPosition": [3]}, True),
        ({"FREQ": ["MONTHLY"], "BYDAY": ["1MO", "3FR"]}, "Monthly", {"byDay": [2, 6], "byPosition": [1, 3]}, False),
        ({"FREQ": ["MONTHLY"], "BYMONTHDAY": [-1, 15]}, "Monthly", {"byMonthDay": [-1, 15]}, True),
        ({"FREQ": ["YEARLY"], "BYMONTH": [11], "BYDAY": ["4TH"]}, "Yearly",
         {"byMonth": [11], "byDay": [5], "byPosition": [4]}, True),
        ({"FREQ": ["YEARLY"], "BYWEEKNO": [20]}, "Yearly", {}, False),
        ({"FREQ": ["DAILY"], "INTERVAL": [0]}, "Daily", {}, True),
    ],
)  # fmt: skip
def test_rules(parts: dict[str, Any], frequency: str, precise: dict[str, Any], whole: bool) -> None:
    rule, says_all = rule_of(parts, START, moment)
    nothing = {"byDay": [], "byMonthDay": [], "byMonth": [], "byPosition": [], "byInterval": 1}
    assert (rule["isSet"], rule["frequency"], rule["preciseBy"]) == (True, frequency, nothing | precise)
    assert says_all == whole


@pytest.mark.parametrize("frequency", ["HOURLY", "SECONDLY", "FORTNIGHTLY", ""])
def test_unsupported_rule_is_no_rule(frequency: str) -> None:
    rule, whole = rule_of({"FREQ": [frequency], "COUNT": [10**9]}, START, moment)
    assert (rule["isSet"], whole) == (False, False)


@pytest.mark.parametrize(
    ("parts", "start", "end"),
    [
        ({"FREQ": ["DAILY"], "UNTIL": [date(2026, 5, 1)]}, START, "20260501"),
        ({"FREQ": ["DAILY"], "UNTIL": [datetime(2026, 5, 1, 9, tzinfo=UTC)]}, START, "20260501T090000Z"),
        ({"FREQ": ["DAILY"], "COUNT": [3]}, START, "20260304T090000Z"),
        ({"FREQ": ["WEEKLY"], "BYDAY": ["MO", "WE"], "COUNT": [3]}, START, "20260309T090000Z"),
        ({"FREQ": ["MONTHLY"], "COUNT": [2]}, date(2026, 1, 31), "20260331"),
        ({"FREQ": ["WEEKLY"], "COUNT": [10]}, datetime(2026, 3, 2, 19, 30, tzinfo=ZoneInfo("Europe/Prague")),
         "20260504T193000+0200"),
        ({"FREQ": ["YEARLY"], "BYMONTH": [2], "BYMONTHDAY": [30], "COUNT": [5]}, START, "20260302T090000Z"),
        ({"FREQ": ["DAILY"], "COUNT": [10**9]}, START, "20860416T090000Z"),
    ],
)  # fmt: skip
def test_ends(parts: dict[str, Any], start: date, end: str) -> None:
    started = time.process_time()
    rule, _ = rule_of(parts, start, moment)
    assert rule["endBy"] == {"type": "ByRecurrenceDate", "date": end}
    assert time.process_time() - started < 5
