"""report.html: one page without scripts.

All that comes from logs is untrusted; the templates escape it.

Its size is bounded: each table has its first rows, and report.csv has all machines.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from kerio_resync.fleet.report.causes import title_of
from kerio_resync.fleet.report.make import slowest_tenth
from kerio_resync.fleet.report.pictures import durations, ready_over_time
from kerio_resync.fleet.report.result import Cause, FleetReport, Machine
from kerio_resync.fleet.report.text import STATE_WORDS, lines_of_inputs, lines_of_plan
from kerio_resync.plain_text import format_duration, format_rate, format_size, pluralize, printable
from kerio_resync.report_page import charts
from kerio_resync.report_page.page import environment

if TYPE_CHECKING:
    from markupsafe import Markup

MAX_ROWS: Final = 100  # of a table
MAX_OF_CAUSE: Final = 50
MAX_SLOWEST: Final = 50
_FILES: Final = (
    ("report.csv", "One line per machine, with everything that is known of it."),
    ("report.json", "Everything on this page, for programs."),
)
Row = tuple[str, ...]


def render(report: FleetReport, *, refresh: float | None = None) -> str:
    """Return the page. `refresh`: a browser loads it again after so many seconds."""
    return _Page(report).render(refresh)


class _Page:
    def __init__(self, report: FleetReport) -> None:
        self._report, self._rows = report, report.machines

    def render(self, refresh: float | None) -> str:
        from markupsafe import Markup

        report, folder = self._report, Path(__file__).parent / "templates"
        tables = [table for table in self._tables() if table["rows"]]
        return environment(folder).get_template("report.html.j2").render(
            title=self._title(),
            ok=report.ok,
            refresh=max(1, round(refresh)) if refresh else 0,
            last_end=self._last_end(),
            plan_lines=lines_of_plan(report.against_plan) if report.against_plan else [],
            cards=[(words.capitalize(), f"{report.counts[state]:,}") for state, words in STATE_WORDS.items()
                   if report.counts[state]],
            next_steps=[_marked(step) for step in report.next_steps],
            progress=Markup(ready_over_time(report)),
            causes=[self._cause(cause) for cause in report.causes],
            tables=tables,
            durations=Markup(durations(self._rows)),
            slowest=Markup(self._slowest()),
            slowest_text=self._slowest_text(),
            inputs=[printable(line) for line in lines_of_inputs(report.inputs)[:1]],
            since=f"Older runs than {_time(report.inputs.since)} are left out." if report.inputs.since else "",
            problems=[(printable(file.file), printable(file.problem or "–"), f"{file.damaged:,}", f"{file.foreign:,}",
                       f"{file.long:,}") for file in report.inputs.problems],
            folders=printable(", ".join(report.inputs.folders)),
            files=_FILES,
            footer=f"{report.made_by}, {report.made.astimezone():%Y-%m-%d %H:%M %Z}. Times are those of the machines'"
            " clocks, shown in this computer's time zone. Sizes are in powers of 1024.",
        )  # fmt: skip

    def _title(self) -> str:
        report = self._report
        return f"{report.counts['ready']:,} of {pluralize(len(report.machines), 'machine')} are ready"

    def _last_end(self) -> str:
        left = self._report.last_end_s
        return (
            f"The last of those rebuilding is expected to end in {format_duration(left)}." if left is not None else ""
        )

    def _cause(self, cause: Cause) -> dict[str, Any]:
        rows = [row for row in self._rows if row.state == "failed" and row.cause == cause.kind]
        return {
            "title": printable(cause.title),
            "count": pluralize(cause.count, "machine"),
            "advice": _marked(cause.advice),
            "rows": [
                (printable(row.machine), printable(row.user), _time(row.seen), row.command, printable(row.sentence))
                for row in rows[:MAX_OF_CAUSE]
            ],
            "more": _more(len(rows) - MAX_OF_CAUSE),
        }

    def _tables(self) -> Iterable[dict[str, Any]]:
        now = self._report.made
        rooms = [row for row in self._rows if row.state in ("postponed", "failed") and row.needed_bytes]
        yield self._table(
            "No room on the disk", "Postponed upgrades and failed rebuilds. Nothing was changed there.",
            ("Machine", "User", "#Needs", "#Free", "#Missing", "Where", "#Times", "@Last"), rooms, _room_row,
        )  # fmt: skip
        others = [row for row in self._rows if row.state == "postponed" and not row.needed_bytes]
        yield self._table(
            "Postponed", "", ("Machine", "User", "Why", "@Last"), others,
            lambda row: (row.machine, row.user, row.sentence, _time(row.seen)),
        )  # fmt: skip
        working = sorted(self._in("working", "waiting"), key=lambda row: -(row.seconds_left or 0.0))
        yield self._table(
            "Rebuilding", "What is left is the machine's own estimate, less the time since then.",
            ("Machine", "User", "Phase", "#Done", "#Left", "#Last line"), working,
            lambda row: _working_row(row, now),
        )  # fmt: skip
        missing = sorted(self._in("not-reported"), key=lambda row: row.planned.start if row.planned else now)
        yield self._table(
            "Not reported", "Planned, and their start has passed.", ("Machine", "User", "Site", "#Wave", "@Start"),
            missing, _planned_row,
        )  # fmt: skip
        late = [row for row in self._in("ready", "unsent", "working", "waiting", "not-started") if row.late]
        yield self._table(
            "Late", "Not ready at the latest likely end of the plan.",
            ("Machine", "User", "State", "#Wave", "@Latest end", "@Ended"), late, _late_row,
        )  # fmt: skip
        unsent = [row for row in self._rows if row.unsent or row.refused or row.conflicts]
        yield self._table(
            "Changes not yet sent", "Local changes that the server does not have. They are kept; a rebuild sends them.",
            ("Machine", "User", "#Pending", "#Refused", "#Conflicts", "State"), unsent, _changes_row,
        )  # fmt: skip
        yield self._table(
            "Not started", "Their logs have no run that concerns the cache.", ("Machine", "User", "@Last line"),
            self._in("not-started"), lambda row: (row.machine, row.user, _time(row.seen)),
        )  # fmt: skip
        yield self._table(
            "Clocks that are ahead", "Times of these machines are later than the time of this computer.",
            ("Machine", "#Ahead by"), [row for row in self._rows if row.clock_ahead_s],
            lambda row: (row.machine, format_duration(row.clock_ahead_s)),
        )  # fmt: skip

    def _in(self, *states: str) -> list[Machine]:
        return [row for row in self._rows if row.state in states]

    def _table(
        self, title: str, about: str, heads: Row, rows: Sequence[Machine], cells: Callable[[Machine], Row]
    ) -> dict[str, Any]:
        return {
            "title": f"{title} ({len(rows):,})",
            "about": about,
            "heads": heads,
            "rows": [tuple(map(printable, cells(row))) for row in rows[:MAX_ROWS]],
            "more": _more(len(rows) - MAX_ROWS),
        }

    def _slowest(self) -> str:
        bars = []
        for row in slowest_tenth(self._rows)[:MAX_SLOWEST]:
            seconds = row.seconds or 0.0
            rate = format_rate(row.bytes / seconds) if seconds and row.bytes else "–"
            notes = (format_size(row.bytes), rate, f"{row.items:,}", f"{row.retries:,}")
            bars.append(charts.Bar(printable(row.machine), seconds, format_duration(seconds), notes))
        return charts.bar_chart(("Machine", "Time", "Size", "Rate", "Items", "Retries"), bars) if bars else ""

    def _slowest_text(self) -> str:
        slow = slowest_tenth(self._rows)
        if not slow:
            return ""
        more = _more(len(slow) - MAX_SLOWEST)
        return (
            f"{pluralize(len(slow), 'machine')} took {format_duration(slow[-1].seconds or 0.0)} or more. {more}".strip()
        )


def _marked(text: str) -> Markup:
    """Return a text as HTML, with the commands in it marked."""
    from markupsafe import Markup, escape

    return Markup(re.sub("`([^`]+)`", r"<code>\1</code>", str(escape(printable(text)))))


def _room_row(row: Machine) -> Row:
    needed, free = row.needed_bytes or 0, row.free_bytes or 0
    sizes = (format_size(needed), format_size(free), format_size(max(0, needed - free)))
    return (row.machine, row.user, *sizes, row.where, f"{max(1, row.attempts):,}", _time(row.seen))


def _working_row(row: Machine, now: datetime) -> Row:
    left = format_duration(row.seconds_left) if row.seconds_left is not None else "–"
    share = f"{row.share:.0%}" if row.share is not None else "–"
    ago = max(timedelta(0), now - row.seen) if row.seen else None
    last = f"{format_duration(ago.total_seconds())} ago" if ago is not None else "–"
    return (row.machine, row.user, "waits for its turn" if row.state == "waiting" else row.phase, share, left, last)


def _changes_row(row: Machine) -> Row:
    return (row.machine, row.user, f"{row.unsent:,}", f"{row.refused:,}", f"{row.conflicts:,}", _state(row))


def _planned_row(row: Machine) -> Row:
    planned = row.planned
    if planned is None:
        return (row.machine, row.user, "", "", "")
    return (row.machine, row.user, planned.site, f"{planned.wave}", _time(planned.start))


def _late_row(row: Machine) -> Row:
    planned = row.planned
    wave, end = (f"{planned.wave}", _time(planned.end_high)) if planned else ("", "")
    return (row.machine, row.user, _state(row), wave, end, _time(row.ended))


def _state(row: Machine) -> str:
    words = STATE_WORDS[row.state]
    return f"{words}: {title_of(row.cause)}" if row.cause else words


def _time(instant: datetime | None) -> str:
    return f"{instant.astimezone():%a %d %b %H:%M}" if instant is not None else "–"


def _more(count: int) -> str:
    return f"{count:,} more are in report.csv." if count > 0 else ""
