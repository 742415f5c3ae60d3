"""The pictures of report.html.

How many machines were ready when, and how long they took.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

from kerio_resync.fleet.report.result import FleetReport, Machine
from kerio_resync.plain_text import format_duration
from kerio_resync.report_page import charts

MAX_POINTS: Final = 200
COLUMNS: Final = 40
_OUTLIERS: Final = 0.02  # of the machines that were ready first; days before the others, they would fill the axis


def ready_over_time(report: FleetReport) -> str:
    """Return how many machines were ready when, and how many were to be.

    "" if fewer than two were.
    """
    ended = sorted(row.ended for row in report.machines if row.ended and row.state in ("ready", "unsent"))
    planned = sorted(row.planned.end for row in report.machines if row.planned)
    starts = [row.planned.start for row in report.machines if row.planned]
    if len(ended) + len(planned) < 2:
        return ""
    begin = min([*ended[int(len(ended) * _OUTLIERS) :], *starts])
    last = max([*ended, *planned])
    end = max((min(last, report.made) if not planned else last) - begin, timedelta(minutes=1))
    lines = [charts.Line("ready", _steps(ended, begin, min(begin + end, report.made)), filled=True)]
    if planned:
        lines.append(charts.Line("planned", _steps(planned, begin, begin + end)))

    def label(seconds: float) -> str:
        return f"{(begin + timedelta(seconds=seconds)).astimezone():%a %H:%M}"

    return charts.line_chart("Ready over time", lines, end.total_seconds(), label, lambda value: f"{value:,.3g}")


def _steps(times: Sequence[datetime], begin: datetime, end: datetime) -> list[charts.Point]:
    """Return points of the count over seconds, at most MAX_POINTS."""
    points = [(0.0, float(sum(time <= begin for time in times)))]
    every = max(1, len(times) // MAX_POINTS)
    for number, time in enumerate(times, 1):
        if begin < time <= end and (number % every == 0 or number == len(times)):
            points.append(((time - begin).total_seconds(), float(number)))
    if end > begin:
        points.append(((end - begin).total_seconds(), float(sum(time <= end for time in times))))
    return points


def durations(machines: Sequence[Machine]) -> str:
    """Return how many machines took how long; "" if fewer than two did work."""
    taken = [row.seconds for row in machines if row.seconds is not None and row.state in ("ready", "unsent")]
    if len(taken) < 2:
        return ""
    end = charts.ceiling(max(taken))
    width, counts = end / COLUMNS, [0] * COLUMNS
    for seconds in taken:
        counts[min(COLUMNS - 1, int(seconds / width))] += 1
    columns = [(place * width, width * 0.9, float(count)) for place, count in enumerate(counts) if count]
    return charts.column_chart("How long it took", columns, end, format_duration, lambda value: f"{value:,.3g}")
