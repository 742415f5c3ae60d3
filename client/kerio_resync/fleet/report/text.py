"""Tells a report as lines of text.

Counts, the worst causes with the advice, and what to do next.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from kerio_resync.errors import end_sentence
from kerio_resync.fleet.report.make import slowest_tenth
from kerio_resync.fleet.report.result import AgainstPlan, FleetReport, Inputs, Machine, State
from kerio_resync.plain_text import format_duration, format_size, pluralize

MAX_NAMED: Final = 5  # machines of a cause
MAX_CAUSES: Final = 12
MAX_FILES: Final = 5
STATE_WORDS: Final[dict[State, str]] = {
    "ready": "ready",
    "unsent": "with changes not sent",
    "working": "rebuilding",
    "waiting": "waiting for their turn",
    "postponed": "postponed",
    "failed": "failed",
    "not-started": "not started",
    "not-reported": "not reported",
    "not-due": "planned for later",
}


def headline(report: FleetReport) -> str:
    """Return the counts as one sentence."""
    if not report.machines:
        return "No machine has reported."
    counts = [f"{report.counts[state]:,} {words}" for state, words in STATE_WORDS.items() if report.counts[state]]
    return f"{pluralize(len(report.machines), 'machine')}: {', '.join(counts)}."


def lines_of_report(report: FleetReport) -> list[str]:
    """Return the lines, without colours; each may be longer than a terminal."""
    rows = report.machines
    lines = [headline(report)]
    if report.last_end_s is not None:
        lines.append(f"The last of those rebuilding is expected to end in {format_duration(report.last_end_s)}.")
    if report.against_plan is not None:
        lines += lines_of_plan(report.against_plan)
    if report.causes:
        lines.append(f"Failed ({report.counts['failed']:,}):")
        for cause in report.causes[:MAX_CAUSES]:
            lines.append(f"  {cause.count:5,}  {cause.title}: {named(cause.machines)}")
            lines.append(f"         {cause.advice}")
        lines += _more("cause", len(report.causes) - MAX_CAUSES)
    postponed = [row for row in rows if row.state == "postponed"]
    if postponed:
        lines.append(f"Postponed ({len(postponed):,}):")
        lines += [f"  {row.machine}: {room(row)}" for row in postponed[:MAX_NAMED]]
        lines += _more("machine", len(postponed) - MAX_NAMED)
    unsent = [row for row in rows if row.unsent or row.refused]
    if unsent:
        changes = pluralize(report.unsent_changes, "local change")
        lines.append(f"Not yet sent: {changes} on {named([row.machine for row in unsent])}.")
    slow = slowest_tenth(rows)
    if len(slow) > 1:
        lines.append(f"Slowest tenth: {format_duration(slow[-1].seconds or 0)} and more; {_times(slow)}.")
    if report.next_steps:
        lines.append("What to do:")
        lines += [f"  {number}. {end_sentence(step)}" for number, step in enumerate(report.next_steps, 1)]
    return [*lines, *lines_of_inputs(report.inputs)]


def lines_of_plan(against: AgainstPlan) -> list[str]:
    """Return how the machines stand against the plan."""
    lines = [
        f"Of {pluralize(against.planned, 'planned user')}, {against.due:,} should have begun and reported by now;"
        f" {against.reported:,} have reported, {against.ready:,} are ready, {against.late:,} are late."
    ]
    if against.time_ratio is not None:
        lines.append(f"Those that are ready took {against.time_ratio:.0%} of the planned time (median).")
    if against.unplanned:
        lines.append(f"{pluralize(against.unplanned, 'machine is', 'machines are')} not in the plan.")
    return lines


def lines_of_inputs(inputs: Inputs) -> list[str]:
    """Return what was read, and the first files with lines that were not used."""
    lines = [f"Read {pluralize(inputs.lines, 'line')} in {pluralize(inputs.files, 'file')}{_unused(inputs)}."]
    for file in inputs.problems[:MAX_FILES]:
        counts = [
            f"{number:,} {word}"
            for number, word in ((file.damaged, "damaged"), (file.foreign, "foreign"), (file.long, "too long"))
            if number
        ]
        lines.append(f"  {file.file}: {'; '.join([*([file.problem] if file.problem else []), *counts])}")
    return lines


def room(row: Machine) -> str:
    """Return what a machine needs and has on its disk, or what the program said."""
    if not row.needed_bytes or row.free_bytes is None:
        return row.sentence or "postponed to the next start"
    times = f", postponed {pluralize(row.attempts, 'time')}" if row.attempts > 1 else ""
    return f"needs {format_size(row.needed_bytes)}, {format_size(row.free_bytes)} are free at {row.where}{times}"


def named(machines: Sequence[str], limit: int = MAX_NAMED) -> str:
    """Return the first names, and how many more there are."""
    more = len(machines) - limit
    return ", ".join(machines[:limit]) + (f" and {more:,} more" if more > 0 else "")


def _times(rows: Sequence[Machine]) -> str:
    return ", ".join(f"{row.machine} {format_duration(row.seconds or 0)}" for row in rows[:3])


def _unused(inputs: Inputs) -> str:
    counts = (
        (inputs.damaged_lines, "damaged line"),
        (inputs.foreign_lines, "foreign line"),
        (inputs.long_lines, "line that was too long", "lines that were too long"),
        (inputs.other_files, "file of something else", "files of something else"),
        (inputs.unread_files, "file that could not be read", "files that could not be read"),
    )
    words = [pluralize(*each) for each in counts if each[0]]
    return f"; {', '.join(words)}" if words else ""


def _more(noun: str, count: int) -> Iterator[str]:
    if count > 0:
        yield f"  and {pluralize(count, f'more {noun}')}"
