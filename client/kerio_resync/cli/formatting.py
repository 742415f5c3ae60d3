"""Formats results and states as lines of text.

Every skipped entry is named or counted. Mail text is never passed in.
"""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Mapping, Sequence
from typing import IO, Any

from kerio_resync.errors import end_sentence
from kerio_resync.plain_text import format_duration, format_rate, format_size, pluralize

MIN_COLUMNS = 20  # some terminals report 0 or 1; a live view needs more

_MAX_NAMED = 10  # rows of a list that are shown
_DIFFERS = "Run `kerio-resync verify --repair` to fetch what differs again."
_LEFT = "The remaining differences cannot be repaired in place. Run `kerio-resync rebuild`."


def fit(line: str, out: IO[str], indent: str = "  ") -> str:
    """Wrap a line that is too long for the terminal `out`; leave others as they are.

    `indent`: of the further lines, beyond that of the first.
    """
    width = shutil.get_terminal_size().columns if out.isatty() else 0
    if not MIN_COLUMNS <= width < len(line):
        return line
    begins = len(line) - len(line.lstrip())
    return wrap(line, width, " " * begins + indent)


def wrap(line: str, width: int, indent: str = "  ") -> str:
    """Wrap a line at `width` characters; a longer word, such as a path, stays whole."""
    return textwrap.fill(
        line, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False, replace_whitespace=False
    )


def summary_of_rebuild(report: Mapping[str, Any]) -> list[str]:
    """Return the lines for the report of a rebuild, as JSON has it."""
    items = ", ".join(pluralize(count, kind) for kind, count in report["items"].items() if count) or "no items"
    folders, attachments = pluralize(report["folders"], "folder"), _attachments(report)
    lines = [f"Rebuilt in {format_duration(report['seconds'])}: {items} in {folders}, {attachments}.", _fetched(report)]
    sent, pending, conflicts = report["outbox_sent"], report["outbox_pending"], report["conflicts"]
    refused = report.get("outbox_refused", 0)
    if sent or pending or conflicts or refused:
        counts = [f"{sent:,} sent", f"{pending:,} pending", pluralize(conflicts, "conflict")]
        lines.append(f"Local changes: {', '.join(counts + [f'{refused:,} refused'] * bool(refused))}.")
    if report.get("unfinished"):
        lines.append("Some local changes are not settled yet. Run again.")
    lines += _named("Problems", [str(problem) for problem in report["problems"]])
    lines += _named("Skipped", [f"{scope} {item}: {reason}" for scope, item, reason in report["skipped"]])
    excluded = report.get("excluded", ())
    lines += _named("Left out as asked", [f"{path}: {pluralize(count, 'item')}" for path, count in excluded])
    return [*lines, f"Database: {report['cache']}"]


def lines_of_plan(plan: Mapping[str, Any]) -> list[str]:
    """Return the lines for `rebuild --dry-run`."""
    size = f", {format_size(plan['bytes'])} at most" if plan["bytes"] else ", of unknown size" * bool(plan["items"])
    folders = plan["folders"]
    rows = [f"{row['path']}: {pluralize(row['items'], 'item')}{_stated(row['bytes'])}" for row in folders]
    counted = f"{pluralize(plan['items'], 'item')} in {pluralize(len(folders), 'folder')}{size}"
    lines = [f"A rebuild of {plan['user']} at {plan['server']} would fetch {counted}.", *_named("Folders", rows)]
    lines += _named("Left out as asked", [f"{path}: {pluralize(count, 'item')}" for path, count in plan["excluded"]])
    lines += [f"--exclude-folder: {end_sentence(sentence)}" for sentence in plan["unknown"]]
    if plan["has_cache"]:
        lines.append("What the present cache has unchanged is copied from it, not fetched.")
    if plan["rebuild"]:
        time = plan["rebuild"]
        bounds = f"{format_duration(time['low'])} to {format_duration(time['high'])}"
        what = "A rebuild of all folders" if plan["partial"] else "It"
        lines.append(
            f"{what} would take about {format_duration(time['seconds'])} ({bounds}) without a cache to copy from."
        )
        lines.append(f"Measured: round trip {plan['round_trip'] * 1000:.0f} ms, {format_rate(plan['rate'])}.")
    else:
        lines.append(f"How long it would take is unknown: {end_sentence(plan['rebuild_problem'])}")
    return [*lines, _room(plan), *_turn(plan), "Nothing was changed."]


def _turn(plan: Mapping[str, Any]) -> list[str]:
    """Return when the rebuild would begin, if a setting says anything about it."""
    if "begins" not in plan:
        return []
    if plan["begins"] is None:
        return [f"It would not begin now. {plan['postponed']}"]
    stop = f", and stop at {_clock(plan['closes'])} at the latest" if plan["closes"] else ""
    return [f"It would begin at {_clock(plan['begins'])}{stop}."]


def _clock(moment: str) -> str:
    return f"{moment[:10]} {moment[11:19]}"


def _stated(size: int) -> str:
    return f", {format_size(size)}" if size else ""


def _room(plan: Mapping[str, Any]) -> str:
    needed, free = format_size(plan["needed_bytes"]), format_size(plan["free_bytes"])
    if plan["needed_bytes"] > plan["free_bytes"]:
        return f"It needs {needed} on the disk; {free} are free: NOT ENOUGH."
    if plan["items"] and not plan["bytes"]:
        return f"How much room it needs is unknown, because the server states no sizes; {free} are free."
    return f"It needs {needed} on the disk; {free} are free: enough."


def lines_of_settings(summary: Mapping[str, Any]) -> list[str]:
    """Return one line per setting: name, value, and where it comes from."""
    rows = [(name, row["value"] or "-", row["source"]) for name, row in summary["settings"].items()]
    name_width, value_width = (max(len(row[place]) for row in rows) for place in (0, 1))
    value_width = min(value_width, 40)
    return [f"{name:<{name_width}}  {value:<{value_width}}  {source}" for name, value, source in rows]


def _attachments(counts: Mapping[str, Any]) -> str:
    """Return the stored attachments, and those that the settings left out."""
    stored, omitted = pluralize(counts["attachments"], "attachment"), counts.get("attachments_omitted", 0)
    return f"{stored}; left out as asked: {pluralize(omitted, 'attachment')}" if omitted else stored


def _fetched(report: Mapping[str, Any]) -> str:
    seconds, plain, wire = report["seconds"], report["plain_bytes"], report["wire_bytes"]
    parts = [
        f"Fetched {format_size(plain)} ({format_size(wire)} on the wire)",
        format_rate(plain / seconds if seconds else 0),
    ]
    if report["resumed"]:
        parts.append("resumed an earlier run")
    if report["retries"]:
        parts.append(pluralize(report["retries"], "retry", "retries"))
    if report["salvaged"]:
        parts.append(f"{pluralize(report['salvaged'], 'item')} reused from the old cache")
    return ", ".join(parts) + "."


def summary_of_verify(verdict: Mapping[str, Any], *, repair: bool = False) -> list[str]:
    """Return the lines for a verification; `repair`: differences were to be repaired."""
    count, repaired = verdict["count"], verdict["repaired"]
    found = pluralize(count, "difference") if count else "no difference"
    mended = f", {repaired:,} repaired" if repaired else ""
    compared = pluralize(verdict["checked"], "item")
    return [
        f"Compared {compared} with the server: {found}{mended}.",
        *_named("Differences", [str(line) for line in verdict["differences"]], count),
        *([] if verdict["ok"] else [_LEFT if repair else _DIFFERS]),
    ]


def summary_of_export(report: Mapping[str, Any]) -> list[str]:
    """Return the lines for an export, target by target."""
    lines = []
    for target in report["targets"]:
        items = ", ".join(pluralize(count, kind) for kind, count in target["items"].items() if count) or "no items"
        verb = "Would export" if report["dry_run"] else "Exported"
        lines.append(f"{verb} {items} in {pluralize(target['folders'], 'folder')} to {target['path']}.")
        counts = [f"{target['written']:,} {'new' if report['dry_run'] else 'written'}"]
        counts += [f"{target[name]:,} {text}" for name, text in _EXPORT_COUNTS if target[name]]
        about = "about " if report["dry_run"] else ""
        lines.append(f"  {', '.join(counts)}; {about}{format_size(target['bytes'])}")
        lost = [
            f"{count:,} × {reason}{_examples(target['examples'].get(reason, ()))}"
            for reason, count in target["lost"].items()
        ]
        lines += _named("Not expressed", lost)
        lines += _named("Skipped", [f"{scope} {item}: {reason}" for scope, item, reason in target["skipped"]])
    return [*lines, f"Finished in {format_duration(report['seconds'])}."]


_EXPORT_COUNTS = (("replaced", "changed"), ("unchanged", "already there"))


def _examples(names: Sequence[str]) -> str:
    return f" (for example {names[0]})" if names else ""


def lines_of_status(state: Mapping[str, Any]) -> list[str]:
    """Return the lines for a status: each file with its state."""
    lines = [f"Profile: {state['profile']}"]
    lines += _file("Cache", state["cache"]) + _file("Unfinished cache", state["building"])
    changes = [" ".join(str(value) for value in row.values() if value not in ("", None)) for row in state["outbox"]]
    aside = [_aside(file) for file in state.get("set_aside", ())]
    lines += _named("Local changes", changes) or ["Local changes: none"] * (not aside)
    lines += _named("Files with local changes that the cache lacks", aside)
    lines += _named("Last runs", [line_of_run(run) for run in state.get("runs", ())])
    lines.append(f"In use by: {state['holder'] or 'no process'}")
    return [*lines, f"Free on the disk: {format_size(state['free_bytes'])}"]


def line_of_run(run: Mapping[str, Any]) -> str:
    """Return one line for a run of the log: when, what, and how it ended."""
    begun = f"{run['started'][:10]} {run['started'][11:16]} UTC  {run['command']}"
    if not run["ended"]:
        return f"{begun}: no end recorded (it was killed, or is still working)"
    duration = f" after {format_duration(run['seconds'])}" if run["seconds"] is not None else ""
    if run["exit_code"]:
        return f"{begun}: exit code {run['exit_code']}{duration}" + (f": {run['error']}" if run["error"] else "")
    return f"{begun}: done{duration}"


def _aside(file: Mapping[str, Any]) -> str:
    if file["changes"] is None:
        return f"{file['path']}: unreadable"
    owner = f", of {file['owner']}" if file["owner"] else ""
    return f"{file['path']}: {pluralize(file['changes'], 'change')} not sent{owner}"


def _file(title: str, file: Mapping[str, Any]) -> list[str]:
    if file["state"] == "absent":
        return [f"{title}: none"]
    if file["problem"]:
        return [f"{title}: {file['state']}, {format_size(file['bytes'])}: {file['problem']}"]
    items = ", ".join(pluralize(count, kind) for kind, count in file["items"].items() if count) or "no items"
    folders = pluralize(file["folders"], "folder")
    finished = f", finished {file['finished_at']}" if file["finished_at"] else ""
    lines = [
        f"{title}: {file['state']}, {format_size(file['bytes'])}{finished}",
        f"  {file['account']} at {file['server']}",
        f"  {items} in {folders}, {_attachments(file)}",
    ]
    if file["wanted"] or file["attachments_wanted"] or file["state"] == "building":
        lines.append(
            f"  still to fetch: {pluralize(file['wanted'], 'item')},"
            f" {pluralize(file['attachments_wanted'], 'attachment')};"
            f" {file['folders_listed']:,} of {folders} listed"
        )
    if file["skipped"]:
        lines.append(f"  {file['skipped']:,} skipped")
    return lines


SIGNS = {"ok": "✓", "warning": "!", "failure": "✗", "skipped": "-"}


def lines_of_check(finding: Mapping[str, Any]) -> list[str]:
    """Return the lines for a finding of `doctor`.

    They are sign, check and what was found; then what to do.
    """
    lines = [f"{SIGNS[finding['level']]} {finding['check']:<10}  {finding['found']}"]
    return [*lines, f"{'':<12}  → {finding['advice']}."] if finding["advice"] else lines


def conclusion_of_doctor(summary: Mapping[str, Any]) -> str:
    """Return the last line of `doctor`."""
    warnings = pluralize(summary["warnings"], "warning")
    if summary["cause"]:
        return f"Begin with: {summary['cause']}. {pluralize(summary['failures'], 'failure')}, {warnings}."
    return f"Nothing prevents a rebuild. {warnings}." if summary["warnings"] else "Everything is in order."


def _named(title: str, rows: Sequence[str], count: int = 0) -> list[str]:
    """List the first rows under a title; `count`: of all, if `rows` has fewer."""
    count = max(count, len(rows))
    if not count:
        return []
    more = [f"  and {count - _MAX_NAMED:,} more"] if count > _MAX_NAMED else []
    return [f"{title} ({count:,}):", *(f"  {row}" for row in rows[:_MAX_NAMED]), *more]
