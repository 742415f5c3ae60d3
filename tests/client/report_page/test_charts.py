"""Charts: round axes, escaped texts, shapes inside their plots."""

from __future__ import annotations

import re
from math import nan

import pytest

from kerio_resync.report_page.charts import (
    Bar,
    Lane,
    Line,
    Tick,
    bar_chart,
    ceiling,
    column_chart,
    line_chart,
    timeline,
)

BAD = '<script>alert("1")</script>'


def plain(value: float) -> str:
    return f"{value:g}"


@pytest.mark.parametrize(
    ("value", "base", "top"),
    [
        (0, 10, 1),
        (0.03, 10, 0.05),
        (1, 10, 1),
        (7, 10, 10),
        (110, 10, 200),
        (1500, 1024, 2048),
        (700, 1024, 1000),
        (354, 60, 600),
        (59, 60, 100),
        (3700, 60, 7200),
    ],
)
def test_ceiling_is_the_next_round_number(value: float, base: int, top: float) -> None:
    assert ceiling(value, base) == pytest.approx(top)


def test_charts_escape_every_text() -> None:
    made = [
        line_chart(BAD, [Line(BAD, [(0, 1)]), Line(BAD, [(0, 1)])], 1, lambda _: BAD, lambda _: BAD),
        column_chart(BAD, [(0, 1, 1)], 1, lambda _: BAD, lambda _: BAD),
        timeline(BAD, [Lane(BAD, [(0, 1)], BAD)], 1, lambda _: BAD),
        timeline(BAD, [Lane(BAD, [(0, 1)], BAD)], 1, [Tick(0, BAD)]),
        bar_chart((BAD, BAD, BAD), [Bar(BAD, 1, BAD, (BAD,))]),
    ]
    assert all("<script" not in text and "&lt;script&gt;" in text for text in made)


def test_line_chart_scales_points_into_the_plot() -> None:
    text = line_chart("t", [Line("a", [(0, 0), (5, 10), (10, 5)])], 10, plain, plain)
    assert 'd="M0.0 200.0L500.0 0.0L1000.0 100.0"' in text
    assert re.findall(r"<span>([^<]*)</span>", text) == ["10", "5", "0", "0", "5", "10"]


def test_charts_of_nothing_are_empty_plots() -> None:
    assert 'class="line' not in line_chart("t", [Line("a", [])], 0, plain, plain)
    assert "<rect" not in column_chart("t", [], 0, plain, plain)
    assert "<td" not in bar_chart(("a", "b"), [])


def test_timeline_shows_short_intervals_too() -> None:
    text = timeline("t", [Lane("short", [(1, 1.0001)], "0 s")], 100, plain)
    assert 'x="10.0" y="0" height="20" width="3.0"' in text


def test_timeline_draws_ranges_behind_intervals_in_the_same_colour() -> None:
    text = timeline("t", [Lane("wave", [(0, 5)], "", ranges=[(5, 10)], colour=2)], 10, plain)
    assert text.index('class="range s2" x="500.0"') < text.index('class="s2" x="0.0"')


def test_line_chart_interrupts_a_line_where_a_value_is_missing() -> None:
    text = line_chart("t", [Line("a", [(0, 1), (1, 1), (2, nan), (3, 1), (4, 1)], filled=True)], 4, plain, plain)
    assert re.findall(r'<path class="line s0" d="([^"]*)"', text) == [
        "M0.0 0.0L250.0 0.0",
        "M750.0 0.0L1000.0 0.0",
    ]
    assert text.count('class="area s0"') == 2


def test_line_chart_cuts_off_what_is_above_a_given_top() -> None:
    assert "M0.0 0.0L1000.0 150.0" in line_chart("t", [Line("a", [(0, 99), (1, 1)])], 1, plain, plain, top=4)


def test_limit_is_drawn_and_named_apart_from_the_colours_of_the_lines() -> None:
    lines = [Line("limit", [(0, 1), (1, 1)], limit=True), Line("load", [(0, 1), (1, 1)])]
    text = line_chart("t", lines, 1, plain, plain)
    assert re.findall(r'<i class="(\w+)">', text) == ["limit", "s0"]
    assert re.findall(r'<path class="line (\w+)"', text) == ["limit", "s0"]


def test_ticks_stay_inside_their_axis_and_rule_the_plot_where_asked() -> None:
    ticks = [Tick(0, "first", rule=True), Tick(5, "middle", minor=True), Tick(10, "last")]
    text = line_chart("t", [Line("a", [(0, 1), (10, 1)])], 10, ticks, plain)
    assert re.findall(r'<span class="([\w ]+)" style="left:([\d.]+%)">(\w+)', text) == [
        ("left", "0.0%", "first"),
        ("middle minor", "50.0%", "middle"),
        ("right", "100.0%", "last"),
    ]
    assert text.count('d="M0.0 0V200"') == 1
