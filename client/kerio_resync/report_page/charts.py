"""Charts as HTML with SVG, for pages that need no script.

The plots stretch with the page, and their labels are HTML, so that they are readable at any width. Colours come from
`base.html.j2`. All texts are escaped here. Values are plain numbers; a `Format` turns one into a label. Where the
middle of an axis has no meaning, for example with a gap, `ticks` say what to write below it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from html import escape
from math import floor, isnan, log10
from typing import Final, NamedTuple

WIDTH: Final = 1000  # of a plot, in units of its own
HEIGHT: Final = 200
COLOURS: Final = 4  # classes s0 to s3 of the style sheet
Format = Callable[[float], str]
Point = tuple[float, float]


class Line(NamedTuple):
    """A named series of points (x, y), in order of x; a y of NaN interrupts it.

    `filled`: as an area. `limit`: dashed, in the colour of what must not be. `colour`: 0 to 3, else by its place.
    """

    name: str
    points: Sequence[Point]
    filled: bool = False
    limit: bool = False
    colour: int | None = None


class Lane(NamedTuple):
    """A row of a timeline: intervals (start, end), and a text at its end.

    `ranges`: intervals drawn lighter, where something is possible but not expected. `colour`: 0 to 3, else by its row.
    """

    name: str
    intervals: Sequence[Point]
    note: str
    ranges: Sequence[Point] = ()
    colour: int | None = None


class Tick(NamedTuple):
    """A label below an axis, at `x`; `minor`: left out where there is little room.

    `rule`: what is right of `x` has this label, and a line through the plot begins it.
    """

    x: float
    label: str
    minor: bool = False
    rule: bool = False


class Bar(NamedTuple):
    """A row of a bar chart; `notes` are further columns."""

    name: str
    value: float
    label: str
    notes: tuple[str, ...] = ()


def ceiling(value: float, base: int = 10) -> float:
    """Return the least round number (1, 2 or 5 of its magnitude) from `value` on.

    `base` 1024: round as a number of bytes; 60: as seconds, minutes or hours.
    """
    if value <= 0:
        return 1.0
    unit = 1.0
    while base != 10 and value / unit >= base:
        unit *= base
    magnitude = 10.0 ** floor(log10(value / unit))
    return float(next(step * magnitude * unit for step in (1, 2, 5, 10) if value / unit <= step * magnitude * 1.0001))


def line_chart(
    title: str,
    lines: Sequence[Line],
    end: float,
    x: Format | Sequence[Tick],
    y_format: Format,
    *,
    base: int = 10,
    top: float | None = None,
) -> str:
    """Return lines over x from 0 to `end`.

    y is from 0 to `top`, or to a round number.

    `x`: the format of the labels below, or the labels. Lines that are higher than `top` are cut off.
    """
    if top is None:
        room = 1.02 if any(line.limit for line in lines) else 1.0  # a limit stays visible below the upper edge
        top = ceiling(room * max((y for line in lines for _, y in line.points if not isnan(y)), default=0.0), base)
    shapes = "".join(_line(colour, line, end, top) for colour, line in zip(_colours(lines), lines, strict=True))
    grid = "".join(f'<path class="grid" d="M0 {y}H{WIDTH}"/>' for y in (0, HEIGHT // 2, HEIGHT))
    rules = "" if callable(x) else _rules(x, end, HEIGHT)
    return _figure(
        title,
        _svg(title, grid + rules + shapes, HEIGHT, "plot"),
        y_labels=(y_format(top), y_format(top / 2), y_format(0)),
        x_axis=_x_axis(end, x),
        legend=list(zip(_colours(lines), (line.name for line in lines), strict=True)) if len(lines) > 1 else [],
    )


def column_chart(
    title: str, columns: Iterable[tuple[float, float, float]], end: float, x_format: Format, y_format: Format
) -> str:
    """Return columns (start, width, value) over x from 0 to `end`."""
    columns = list(columns)
    top = ceiling(max((value for _, _, value in columns), default=0.0))
    shapes = "".join(
        f'<rect class="s0" x="{_x(start, end):.1f}" y="{HEIGHT - HEIGHT * value / top:.1f}"'
        f' width="{max(2.0, _x(width, end)):.1f}" height="{HEIGHT * value / top:.1f}"/>'
        for start, width, value in columns
    )
    grid = "".join(f'<path class="grid" d="M0 {y}H{WIDTH}"/>' for y in (0, HEIGHT // 2, HEIGHT))
    labels = (y_format(top), y_format(top / 2), y_format(0))
    return _figure(title, _svg(title, grid + shapes, HEIGHT, "plot"), labels, _x_axis(end, x_format))


def timeline(title: str, lanes: Sequence[Lane], end: float, x: Format | Sequence[Tick]) -> str:
    """Return one row per lane, with its intervals between 0 and `end`."""
    rules = "" if callable(x) else _rules(x, end, 20)
    rows = []
    for number, lane in enumerate(lanes):
        colour = f"s{(number if lane.colour is None else lane.colour) % COLOURS}"
        shapes = _strips(lane.ranges, end, f"range {colour}") + _strips(lane.intervals, end, colour)
        frame = f'<rect class="lane" width="{WIDTH}" height="20"/>{rules}'
        rows.append(
            f'<div class="row"><span>{escape(lane.name)}</span>{_svg(lane.name, frame + shapes, 20, "strip")}'
            f'<span class="number">{escape(lane.note)}</span></div>'
        )
    axis = f'<div class="row axis"><span></span>{_x_axis(end, x)}<span></span></div>'
    return f'<figure class="timeline" aria-label="{escape(title)}">{"".join(rows)}{axis}</figure>'


def bar_chart(heads: Sequence[str], bars: Sequence[Bar]) -> str:
    """Return a table with a bar in each row.

    `heads` has the titles of name, value and notes.
    """
    top = max((bar.value for bar in bars), default=0.0) or 1.0
    notes = "".join(f'<th class="number">{escape(head)}</th>' for head in heads[2:])
    head = f'<tr><th>{escape(heads[0])}</th><th class="number">{escape(heads[1])}</th><th class="bar"></th>{notes}</tr>'
    rows = []
    for bar in bars:
        shape = f'<rect class="s0" width="{WIDTH * max(0.0, bar.value) / top:.1f}" height="20"/>'
        cells = "".join(f'<td class="number">{escape(note)}</td>' for note in bar.notes)
        rows.append(
            f'<tr><td>{escape(bar.name)}</td><td class="number">{escape(bar.label)}</td>'
            f'<td class="bar">{_svg(bar.label, shape, 20, "strip")}</td>{cells}</tr>'
        )
    return f'<div class="scroll"><table>{head}{"".join(rows)}</table></div>'


def _colours(lines: Sequence[Line]) -> list[str]:
    """Return the class of each line; limits take no colour from the others."""
    plain = [line for line in lines if not line.limit]
    numbers = (number if line.colour is None else line.colour for number, line in enumerate(plain))
    return ["limit" if line.limit else f"s{next(numbers) % COLOURS}" for line in lines]


def _line(colour: str, line: Line, end: float, top: float) -> str:
    return "".join(_part(colour, part, end, top, filled=line.filled) for part in _parts(line.points))


def _parts(points: Sequence[Point]) -> list[list[Point]]:
    """Return the parts between points without a value."""
    parts: list[list[Point]] = [[]]
    for point in points:
        if isnan(point[1]):
            parts.append([])
        else:
            parts[-1].append(point)
    return [part for part in parts if part]


def _part(colour: str, points: Sequence[Point], end: float, top: float, *, filled: bool) -> str:
    places = [f"{_x(x, end):.1f} {HEIGHT - HEIGHT * min(y, top) / top:.1f}" for x, y in points]
    path = "M" + "L".join(places)
    first, last = (_x(points[place][0], end) for place in (0, -1))
    area = f'<path class="area {colour}" d="{path}L{last:.1f} {HEIGHT}L{first:.1f} {HEIGHT}Z"/>' if filled else ""
    return f'{area}<path class="line {colour}" d="{path}"/>'


def _strips(intervals: Sequence[Point], end: float, kind: str) -> str:
    return "".join(
        f'<rect class="{kind}" x="{_x(start, end):.1f}" y="0" height="20"'
        f' width="{max(3.0, _x(stop, end) - _x(start, end)):.1f}"/>'
        for start, stop in intervals
    )


def _rules(ticks: Sequence[Tick], end: float, height: int) -> str:
    return "".join(f'<path class="grid" d="M{_x(tick.x, end):.1f} 0V{height}"/>' for tick in ticks if tick.rule)


def _x(value: float, end: float) -> float:
    return WIDTH * min(1.0, max(0.0, value / end)) if end > 0 else 0.0


def _x_axis(end: float, x: Format | Sequence[Tick]) -> str:
    if callable(x):
        labels = "".join(f"<span>{escape(x(value))}</span>" for value in (0, end / 2, end))
        return f'<div class="x">{labels}</div>'
    labels = "".join(
        f'<span class="{_place(tick, end)}" style="left:{_x(tick.x, end) / WIDTH:.1%}">{escape(tick.label)}</span>'
        for tick in x
    )
    return f'<div class="x ticks">{labels}</div>'


def _place(tick: Tick, end: float) -> str:
    """Return the classes of a label, which must not leave its axis at either end."""
    place = _x(tick.x, end) / WIDTH
    side = "left" if place < 0.04 or tick.rule else "right" if place > 0.96 else "middle"
    return f"{side} minor" if tick.minor else side


def _svg(title: str, shapes: str, height: int, kind: str) -> str:
    return (
        f'<svg class="{kind}" viewBox="0 0 {WIDTH} {height}" preserveAspectRatio="none" role="img"'
        f' aria-label="{escape(title)}">{shapes}</svg>'
    )


def _figure(title: str, plot: str, y_labels: Sequence[str], x_axis: str, legend: Sequence[tuple[str, str]] = ()) -> str:
    y_axis = "".join(f"<span>{escape(label)}</span>" for label in y_labels)
    keys = "".join(f'<span><i class="{kind}"></i>{escape(name)}</span>' for kind, name in legend)
    caption = f'<figcaption class="legend">{keys}</figcaption>' if keys else ""
    return (
        f'<figure class="chart" aria-label="{escape(title)}">{caption}<div class="y">{y_axis}</div>{plot}'
        f"{x_axis}</figure>"
    )
