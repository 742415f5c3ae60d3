"""Writes the report page of a run: one HTML file without scripts.

The page needs Jinja2 (extra `report`). It holds counts, ids, names of folders and reasons, no text of a mail; secrets
were removed from the events before they come here. Whatever fails is a notice, and changes nothing in the run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Final

from kerio_resync.cli.run_report.series import MAX_ENTRIES, RunSeries
from kerio_resync.errors import Exit, ResyncError
from kerio_resync.events import Event
from kerio_resync.os_errors import reason_of
from kerio_resync.plain_text import format_duration, format_rate, format_size, pluralize, printable
from kerio_resync.report_page import charts
from kerio_resync.report_page.page import environment, write_page
from kerio_resync.version import VERSION

MAX_FOLDERS: Final = 40  # rows of the table
MAX_PAUSES: Final = 20
MAX_PREDICTED: Final = 3  # times the run; the chart cuts off higher estimates
FORECASTS: Final = (0.1, 0.25, 0.5, 0.75, 0.9)  # of the run
FOLDERS_QUERY: Final = """
SELECT folder.id, folder.path, count(item.number), coalesce(sum(item.size), 0)
FROM folder LEFT JOIN placement ON placement.folder = folder.number LEFT JOIN item ON item.number = placement.item
WHERE folder.kind IS NOT NULL GROUP BY folder.number
"""
NAMES_QUERY: Final = "SELECT id, path, count, size FROM folder WHERE kind IS NOT NULL"
FolderRow = tuple[str, str, int, int]  # id, path, items, bytes


class ReportPage:
    """Records a run, and writes its page when it is closed.

    `profile` returns the profile's folder. `report` shows a sentence.
    """

    def __init__(self, path: Path, profile: Callable[[], Path], report: Callable[[str], None]) -> None:
        self._path, self._profile, self._report = path, profile, report
        self._series = RunSeries()

    def __call__(self, event: Event) -> None:
        self._series(event)

    def close(self) -> None:
        """Write the page, once."""
        series, self._series = self._series, RunSeries()
        if series.finished is None:
            return
        try:
            text = render(series, _folders(self._profile(), series))
            write_page(self._path, text)
        except OSError as error:
            self._report(f"The report {self._path} cannot be written ({reason_of(error)}). Name another file.")
        except Exception as error:  # the run is over, and its result stands
            self._report(f"The report {self._path} was not written ({type(error).__name__}).")


def _folders(profile: Path, series: RunSeries) -> list[FolderRow]:
    """Return the folders of the cache that the run wrote; [] if it cannot be read.

    An interrupted process ends soon: then the sizes are those that the server states.
    """
    from kerio_resync.cache.query_readonly import query_readonly
    from kerio_resync.filesystem import real_place

    assert series.finished is not None
    cache = real_place(profile / "cache.db")
    unfinished = cache.with_name(f"{cache.name}.next")
    query = NAMES_QUERY if series.finished.exit_code == Exit.INTERRUPTED else FOLDERS_QUERY
    try:
        rows = query_readonly(unfinished if unfinished.exists() else cache, query)
        return [(str(row[0]), str(row[1]), int(str(row[2])), int(str(row[3]))) for row in rows]
    except (ResyncError, OSError, ValueError):
        return []


def render(series: RunSeries, folders: Sequence[FolderRow] = ()) -> str:
    """Return the page of a finished run. `folders`: (id, path, items, bytes)."""
    from markupsafe import Markup

    assert series.finished is not None
    finished, end, summary = series.finished, max(series.ended, 1e-3), series.finished.summary
    who = f"{series.started.user} at {series.started.server}" if series.started else "a mailbox"
    shown = {
        "phases": charts.timeline("Phases", _lanes(series), end, format_duration),
        "rate": _rate(series, end),
        "in_flight": _in_flight(series, end),
        "retries": _retries(series, end),
        "estimate": _estimate(series, end),
        "folders": _folder_table(series, folders),
    }
    skipped = [tuple(map(printable, entry)) for entry in _skipped(series)]
    count = len(summary["skipped"]) if "skipped" in summary else series.skipped_count
    return environment(Path(__file__).parent / "templates").get_template("run.html.j2").render(
        **{name: Markup(text) for name, text in shown.items()},
        title=printable(f"Rebuild of {who}"),
        run={"ok": finished.ok, "ended": _ending(finished.exit_code, end, has_excluded=bool(summary.get("excluded")))},
        error=printable(str(summary.get("error", ""))) if finished.exit_code != Exit.INTERRUPTED else "",
        cards=_cards(series, end),
        retry_text=f"{pluralize(series.retries_count, 'retry', 'retries')}; waits of "
        f"{format_duration(series.waited)}, of all requests together.",
        reasons=[((printable(m), printable(r)), n) for (m, r), n in series.reasons.most_common(20)],
        pause_text=f"The server asked for pauses of {format_duration(series.paused)} in all.",
        pauses=[
            (format_duration(at), format_duration(seconds), printable(reason))
            for at, seconds, reason in series.pauses[:MAX_PAUSES]
        ],
        more_pauses=_more("more pause", series.pause_count - MAX_PAUSES),
        forecasts=_forecasts(series) if finished.ok else [],
        no_estimate="No estimate was made: the run was too short, or little was fetched.",
        more_folders=_more("smaller folder", len(folders) - MAX_FOLDERS),
        excluded=[(printable(str(path)), f"{count:,}") for path, count in summary.get("excluded", ())],
        skipped=skipped,
        more_skipped=_more("more entry", count - len(skipped), "more entries"),
        notices=[printable(text) for text in series.notices],
        footer=f"kerio-resync {VERSION}, {datetime.now().astimezone():%Y-%m-%d %H:%M %Z}. Sizes are in powers of 1024.",
    )  # fmt: skip


def _more(noun: str, count: int, plural: str = "") -> str:
    return f"… and {pluralize(count, noun, plural)}." if count > 0 else ""


def _ending(code: int, seconds: float, *, has_excluded: bool) -> str:
    duration = format_duration(seconds)
    if code == Exit.DONE:
        less = ", except what was left out as asked" if has_excluded else ""
        return f"Done after {duration}: the cache equals the server{less}."
    if code == Exit.INTERRUPTED:
        return f"Interrupted after {duration}. Run the command again to resume."
    return f"Ended with exit code {code} after {duration}."


def _cards(series: RunSeries, end: float) -> list[tuple[str, str]]:
    assert series.finished is not None
    summary, fetched = series.finished.summary, series.samples[-1].fetched if series.samples else 0
    plain = summary.get("plain_bytes", fetched)
    cards = [("Time", format_duration(end))]
    if "items" in summary:
        cards.append(("Items", f"{sum(summary['items'].values()):,}"))
        cards.append(("Attachments", f"{summary['attachments']:,}"))
    elif series.last is not None:
        cards.append(("Items so far", f"{series.last.items_done:,} of {series.last.items_total:,}"))
    cards.append(("Fetched", format_size(plain)))
    if "wire_bytes" in summary:
        cards.append(("On the wire", format_size(summary["wire_bytes"])))
    cards.append(("Mean rate", format_rate(plain / end)))
    if summary.get("salvaged"):
        cards.append(("Reused from the old cache", f"{summary['salvaged']:,} items"))
    cards.append(("Retries", f"{max(series.retries_count, summary.get('retries', 0)):,}"))
    if summary.get("resumed") or (series.started and series.started.resumed):
        cards.append(("Resumed", "an earlier run"))
    if series.started:
        cards.append(("Protocol", series.started.protocol))
    return cards


def _lanes(series: RunSeries) -> list[charts.Lane]:
    return [
        charts.Lane(
            PHASES.get(phase, phase), intervals, format_duration(sum(stop - start for start, stop in intervals))
        )
        for phase, intervals in series.lanes().items()
    ]


PHASES: Final[Mapping[str, str]] = {
    "session": "Log in",
    "rescue": "Save changes",
    "folders": "Folders",
    "fetch": "Fetch",
    "catch-up": "Catch up",
    "verify": "Compare",
    "swap": "Check and swap",
    "replay": "Send changes",
}


def _rate(series: RunSeries, end: float) -> str:
    rates = series.rates()
    if not any(rate for _, rate in rates):
        return ""
    return charts.line_chart(
        "Rate", [charts.Line("rate", rates, filled=True)], end, format_duration, format_rate, base=1024
    )


def _in_flight(series: RunSeries, end: float) -> str:
    points = [(sample.at, float(sample.in_flight)) for sample in series.samples]
    if not points:
        return ""
    line = charts.Line("in flight", points, filled=True)
    return charts.line_chart("Requests in flight", [line], end, format_duration, lambda value: f"{value:,.3g}")


def _retries(series: RunSeries, end: float) -> str:
    if not series.reasons:
        return ""
    columns = series.retries.columns()
    return charts.column_chart("Retries", columns, end, format_duration, lambda value: f"{value:,.3g}")


def _estimate(series: RunSeries, end: float) -> str:
    known = [(sample.at, sample.predicted) for sample in series.samples if sample.predicted is not None]
    points = [(at, min(predicted, MAX_PREDICTED * end)) for at, predicted in known]
    if not points:
        return ""
    lines = [charts.Line("expected end", points), charts.Line("end of the run", [(0.0, end), (end, end)])]
    return charts.line_chart("Estimate and truth", lines, end, format_duration, format_duration)


def _forecasts(series: RunSeries) -> list[tuple[str, str, str, str]]:
    """Return rows (time, estimated and true seconds left, error) of parts of the run."""
    known = [(sample.at, sample.predicted) for sample in series.samples if sample.predicted is not None]
    rows: dict[float, tuple[str, str, str, str]] = {}
    for share in FORECASTS:
        found = next(((at, predicted) for at, predicted in known if at >= share * series.ended), None)
        if found is None or found[0] >= series.ended:
            continue
        at, left, true = found[0], found[1] - found[0], series.ended - found[0]
        error = f"{left / true - 1:+.0%}" if true > 0 else ""
        rows[at] = (format_duration(at), format_duration(left), format_duration(true), error)
    return list(rows.values())


def _folder_table(series: RunSeries, folders: Sequence[FolderRow]) -> str:
    rows = sorted(folders, key=lambda row: (-row[3], -row[2], row[1]))[:MAX_FOLDERS]
    bars = []
    for folder_id, path, items, size in rows:
        listed = series.listed.get(folder_id)
        notes = (f"{items:,}", format_duration(listed[1]) if listed else "–")
        bars.append(charts.Bar(printable(path), float(size or 0), format_size(size), notes))
    return charts.bar_chart(("Folder", "Size", "Items", "Listed after"), bars) if bars else ""


def _skipped(series: RunSeries) -> list[tuple[str, str, str]]:
    """Return (scope, id, reason): what is still left out at the end, if it is known."""
    assert series.finished is not None
    summary = series.finished.summary
    if "skipped" in summary:
        return [(str(scope), str(id_), str(reason)) for scope, id_, reason in summary["skipped"][:MAX_ENTRIES]]
    return [(event.scope, event.id, event.reason) for event in series.skipped]
