"""The time axes of the pictures.

Hours from their left end, with a gap where days lie between two windows.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from math import ceil, nan
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo

from kerio_resync.fleet.plan import Plan, Series
from kerio_resync.report_page.charts import Point, Tick

MAX_POINTS: Final = 240  # of a line
_GAP: Final = 0.02  # of the windows' length, between two of them
_MIN_USED: Final = 0.4  # of a window; of a longer one the end is left out
_HOUR_WIDTHS: Final = (0.11, 0.24)  # of a label as a share of the axis, on a wide screen and on a narrow one
_DAY_WIDTHS: Final = (0.11, 0.3)
_STEPS: Final = (0.25, 0.5, 1, 2, 3, 6, 12, 24, 48, 96)  # hours


class Segment(NamedTuple):
    """A span of time that begins at `x`."""

    start: datetime
    end: datetime
    x: float

    @property
    def hours(self) -> float:
        return (self.end - self.start).total_seconds() / 3600


class Axis:
    """Spans of time beside each other.

    `length`: in hours, with the gaps; `zone`: of its labels.
    """

    def __init__(self, spans: Sequence[tuple[datetime, datetime]], zone: ZoneInfo) -> None:
        self.zone, self.segments, place = zone, list[Segment](), 0.0
        total = sum((end - start).total_seconds() / 3600 for start, end in spans)
        gap = total * _GAP if len(spans) <= 10 else 0.0
        for start, end in spans:
            self.segments.append(Segment(start, end, place))
            place += self.segments[-1].hours + gap
        self.length = max(place - gap, 0.01)

    def x(self, instant: datetime) -> float:
        """Return the place of an instant.

        One between two segments is at the end of the earlier.
        """
        found = self.segments[0]
        for segment in self.segments:
            if segment.start <= instant:
                found = segment
        hours = (instant - found.start).total_seconds() / 3600
        return found.x + min(max(hours, 0.0), found.hours)

    def points(self, loads: Sequence[Series], values: Sequence[Sequence[float]]) -> list[Point]:
        """Return the line of one value of all series.

        Where there are many steps, a point is the highest of several.
        """
        points: list[Point] = []
        for load, numbers in zip(loads, values, strict=True):
            width = ceil(sum(map(len, values)) / MAX_POINTS) or 1
            for place in range(0, len(numbers), width):
                instant = load.start + timedelta(seconds=load.step_s * place)
                if any(segment.start <= instant <= segment.end for segment in self.segments):
                    points.append((self.x(instant), max(numbers[place : place + width])))
            points.append((points[-1][0] if points else 0.0, nan))
        return points

    def ticks(self, length: float | None = None) -> list[Tick]:
        """Return the labels: hours of one segment, or the days on which several begin.

        `length`: of the axis where it is longer than this one.
        """
        length = length or self.length
        if len(self.segments) == 1:
            return _spaced(self._hours(self.segments[0], length), length, _HOUR_WIDTHS)
        days = [Tick(part.x, f"{part.start.astimezone(self.zone):%d %b}", rule=True) for part in self.segments]
        return _spaced(days, length, _DAY_WIDTHS)

    def _hours(self, segment: Segment, length: float) -> list[Tick]:
        """Return the start, and all hours of a step that has room."""
        step = next((step for step in _STEPS if step / length >= _HOUR_WIDTHS[0]), _STEPS[-1])
        local = segment.start.astimezone(self.zone)
        midnight = local.replace(hour=0, minute=0, second=0, microsecond=0)
        ticks, hours = [Tick(0.0, f"{local:%H:%M}")], step
        while (instant := (midnight + timedelta(hours=hours)).astimezone(UTC)) <= segment.end:
            if instant > segment.start:
                ticks.append(
                    Tick(self.x(instant), f"{instant.astimezone(self.zone):{'%H:%M' if step < 24 else '%d %b'}}")
                )
            hours += step
        return ticks


def _spaced(ticks: Sequence[Tick], length: float, widths: Sequence[float]) -> list[Tick]:
    """Return the ticks that have room.

    Those without room on a narrow screen are minor. Rules stay without a label.

    `widths`: of a label as a share of the axis, on a wide and on a narrow screen.
    """
    shown: list[Tick] = []
    ends = [-1.0, -1.0]
    for tick in ticks:
        spans = [_span(tick, length, width) for width in widths]
        fits = [span[0] >= end and span[1] <= 1.001 for span, end in zip(spans, ends, strict=True)]
        if not fits[0]:
            shown += [tick._replace(label="")] * tick.rule
            continue
        shown.append(tick._replace(minor=not fits[1]))
        ends = [span[1] if fit else end for span, fit, end in zip(spans, fits, ends, strict=True)]
    return shown


def _span(tick: Tick, length: float, width: float) -> tuple[float, float]:
    """Return where a label begins and ends, as shares of the axis.

    The charts keep it inside.
    """
    place = tick.x / length
    start = place if tick.rule or place < 0.04 else place - width if place > 0.96 else place - width / 2
    return start, start + width


def axis_of(plan: Plan, zone: ZoneInfo) -> Axis:
    """Return the axis of the windows that have waves."""
    spans = []
    for number, window in enumerate(plan.windows):
        waves = [wave for wave in plan.waves if wave.window == number]
        if not waves:
            continue
        start, last = window.start, max(wave.end_high for wave in waves)
        used = max(last - start, timedelta(minutes=15))
        end = max(window.end, last) if used >= _MIN_USED * (window.end - start) else start + used * 1.2
        spans.append((start, end))
    return Axis(spans or [(plan.made, plan.made + timedelta(hours=1))], zone)


def axis_of_loads(loads: Sequence[Series], zone: ZoneInfo) -> Axis:
    """Return the axis of the times in which there is load."""
    spans = [(load.start, load.start + timedelta(seconds=load.step_s * max(1, len(load.active)))) for load in loads]
    return Axis(spans, zone)
