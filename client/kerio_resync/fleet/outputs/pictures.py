"""The pictures of a plan.

Waves over time, loads with their limits, and the start of all at once beside them.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from math import ceil
from typing import Final
from zoneinfo import ZoneInfo

from kerio_resync.fleet.outputs.axis import Axis, axis_of, axis_of_loads
from kerio_resync.fleet.outputs.clock import format_wait
from kerio_resync.fleet.plan import Limits, Plan, Series, Wave
from kerio_resync.plain_text import pluralize, printable
from kerio_resync.report_page import charts
from kerio_resync.report_page.charts import Lane, Line, ceiling

MAX_LANES: Final = 40
MAX_LINKS: Final = 9
_P95: Final = "Webmail users’ p95 wait"
_Row = tuple[str, Sequence[Sequence[float]], Sequence[Sequence[float]], charts.Format, float | None]


class Pictures:
    """All pictures of one plan, with times in `zone`."""

    def __init__(self, plan: Plan, zone: ZoneInfo) -> None:
        self._plan, self.axis = plan, axis_of(plan, zone)
        self._zone = zone

    def waves(self) -> str:
        """Return a row per wave, or per some waves of one window if there are many."""
        size = ceil(len(self._plan.waves) / MAX_LANES)
        lanes = []
        for _, window in groupby(self._plan.waves, lambda wave: wave.window):
            waves = list(window)
            lanes += [self._lane(waves[place : place + size]) for place in range(0, len(waves), size)]
        return charts.timeline("Waves", lanes, self.axis.length, self.axis.ticks())

    def _lane(self, waves: Sequence[Wave]) -> Lane:
        x, first, last = self.axis.x, waves[0], waves[-1]
        name = f"Wave {first.number}" if len(waves) == 1 else f"Waves {first.number}–{last.number}"
        users = sum(site.users for wave in waves for site in wave.sites)
        end, high = max(wave.end for wave in waves), max(wave.end_high for wave in waves)
        span = (x(first.start), x(end))
        return Lane(name, [span], pluralize(users, "user"), [(x(end), x(high))], first.window)

    def clients(self) -> str:
        """Return the number of clients that rebuild."""
        lines = [Line("clients", self._points([load.active for load in self._plan.load]), filled=True)]
        return self._chart("Clients that rebuild", lines, _count)

    def server(self) -> str:
        """Return the share of the server's workers in use."""
        load = self._plan.load
        lines = [
            Line("webmail users and clients", self._points([part.server_load for part in load]), filled=True),
            Line("webmail users alone", self._points([part.webmail_load for part in load]), colour=2),
        ]
        return self._chart("Load of the server", lines, _percent, top=1.0)

    def links(self) -> list[tuple[str, str]]:
        """Return (site, chart) of the sites with the busiest links, the busiest first."""
        peaks = link_peaks(self._plan.load)
        names = sorted(peaks, key=lambda name: (-peaks[name], name))[:MAX_LINKS]
        return [(f"{printable(name)}: up to {peaks[name]:.0%}", self._link(name)) for name in names]

    def _link(self, name: str) -> str:
        shares = self._points([load.links.get(name, ()) for load in self._plan.load])
        lines = [Line("clients", shares, filled=True), self._flat(self.axis, self._plan.limits.link_share)]
        return self._chart(f"Share of the link, {name}", lines, _percent, top=1.0)

    def users(self) -> str:
        """Return the webmail users' p95 with its limit."""
        load = self._plan.load
        lines = [
            Line("with the upgrade", self._points([part.users_p95_s for part in load]), filled=True),
            Line("without", self._points([part.alone_p95_s for part in load]), colour=2),
            Line("limit", self._points([allowed(part, self._plan.limits) for part in load]), limit=True),
        ]
        return self._chart("Webmail users' p95", lines, format_wait)

    def comparison(self) -> list[tuple[str, str, str]]:
        """Return (title, chart of the plan, chart of the start of all at once).

        Both charts have the same scales.
        """
        if self._plan.naive is None or not self._plan.load:
            return []
        naive, loads = self._plan.naive.series, self._plan.load
        axis, naive_axis = axis_of_loads(loads, self._zone), axis_of_loads([naive], self._zone)
        p95 = [part.users_p95_s for part in loads]
        rows: list[_Row] = [
            (_P95, p95, [naive.users_p95_s], format_wait, None),
            ("Clients that rebuild", [part.active for part in loads], [naive.active], _count, None),
            ("Busiest link, share in use", _busiest(loads), _busiest([naive]), _percent, 1.0),
        ]
        length = max(axis.length, naive_axis.length)
        found = []
        for title, planned, all_at_once, form, fixed in rows:
            highest = max((value for part in (*planned, *all_at_once) for value in part), default=0.0)
            top = fixed or ceiling(highest, 60 if title == _P95 else 10)
            pair = []
            for place, parts, values in ((axis, loads, planned), (naive_axis, [naive], all_at_once)):
                lines = [Line(title, place.points(parts, values), filled=True)]
                if title == _P95:
                    limits = [allowed(part, self._plan.limits) for part in parts]
                    lines.append(Line("limit", place.points(parts, limits), limit=True))
                pair.append(charts.line_chart(title, lines, length, place.ticks(length), form, top=top))
            found.append((title, pair[0], pair[1]))
        return found

    def _points(self, values: Sequence[Sequence[float]]) -> list[charts.Point]:
        return self.axis.points(self._plan.load, values)

    def _flat(self, axis: Axis, value: float) -> Line:
        return Line("limit", [(0.0, value), (axis.length, value)], limit=True)

    def _chart(self, title: str, lines: Sequence[Line], form: charts.Format, top: float | None = None) -> str:
        return charts.line_chart(title, lines, self.axis.length, self.axis.ticks(), form, top=top)


def allowed(load: Series, limits: Limits) -> list[float]:
    """Return the highest allowed p95 at each step, in seconds."""
    return [max(limits.unnoticed_s, limits.users_p95 * alone) for alone in load.alone_p95_s]


def link_peaks(loads: Sequence[Series]) -> dict[str, float]:
    """Return the highest share of each site's link."""
    peaks: dict[str, float] = {}
    for load in loads:
        for name, shares in load.links.items():
            peaks[name] = max(peaks.get(name, 0.0), max(shares, default=0.0))
    return peaks


def _busiest(loads: Sequence[Series]) -> list[Sequence[float]]:
    """Return the share of the busiest link at each step."""
    return [[max(shares) for shares in zip(*load.links.values(), strict=True)] for load in loads]


def _count(value: float) -> str:
    return f"{value:,.3g}" if value < 1000 else f"{value:,.0f}"


def _percent(value: float) -> str:
    return f"{value:.0%}"
