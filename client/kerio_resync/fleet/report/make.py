"""Makes the report from what was read."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from kerio_resync.fleet.plan import Plan
from kerio_resync.fleet.report.against_plan import compare
from kerio_resync.fleet.report.causes import advice_for, can_run_again, title_of
from kerio_resync.fleet.report.collect import Reading
from kerio_resync.fleet.report.machines import Clock, judge_machine
from kerio_resync.fleet.report.result import STATES, AgainstPlan, Cause, FleetReport, Inputs, Machine
from kerio_resync.plain_text import format_duration, format_size, pluralize
from kerio_resync.version import VERSION

SILENCE: Final = timedelta(minutes=15)
_SLOWEST: Final = 0.1


def make_report(
    reading: Reading,
    now: datetime,
    *,
    folders: Sequence[Path] = (),
    plan: Plan | None = None,
    plan_name: str = "",
    since: datetime | None = None,
    silence: timedelta = SILENCE,
) -> FleetReport:
    """Return the report.

    With a plan, runs from before it was made are ignored unless `since` is given.
    """
    since = since or (plan.made if plan is not None else None)
    clock = Clock(now, silence, since)
    machines = [row for name, logs in reading.machines.items() for row in judge_machine(name, logs, clock)]
    against = None
    if plan is not None:
        machines, against = compare(plan, machines, now)
    machines.sort(key=lambda row: (_natural(row.machine), row.machine, row.user))
    counts = Counter(row.state for row in machines)
    causes = tuple(_causes(machines))
    lasts = [row.seconds_left for row in machines if row.state == "working" and row.seconds_left is not None]
    return FleetReport(
        made=now,
        made_by=f"kerio-resync {VERSION}",
        ok=counts["ready"] == len(machines) > 0,
        inputs=_inputs(reading, folders, since, plan_name),
        counts={state: counts[state] for state in STATES},
        causes=causes,
        unsent_changes=sum(row.unsent + row.refused for row in machines),
        last_end_s=max(lasts, default=None),
        slowest=tuple(row.machine for row in slowest_tenth(machines)),
        against_plan=against,
        next_steps=tuple(_next_steps(machines, causes, against)),
        machines=tuple(machines),
    )


def _natural(name: str) -> list[tuple[int, str]]:
    """Return a key that sorts `pc-9` before `pc-10`."""
    parts = re.findall(r"\d{1,9}|\D+|\d+", name.casefold())
    return [(int(part), "") if part.isdecimal() and len(part) < 10 else (-1, part) for part in parts]


def slowest_tenth(machines: Sequence[Machine]) -> list[Machine]:
    """Return the slowest tenth of the machines that did work, the slowest first.

    One at least.
    """
    done = [row for row in machines if row.seconds is not None and row.state in ("ready", "unsent")]
    done.sort(key=lambda row: (-(row.seconds or 0.0), row.machine))
    return done[: -(-len(done) * int(_SLOWEST * 100) // 100)]


def _inputs(reading: Reading, folders: Sequence[Path], since: datetime | None, plan_name: str) -> Inputs:
    return Inputs(
        folders=tuple(map(str, folders)),
        files=reading.files,
        bytes=reading.bytes,
        lines=reading.lines,
        damaged_lines=reading.damaged,
        foreign_lines=reading.foreign,
        long_lines=reading.long,
        other_files=reading.other_files,
        unread_files=reading.unread_files,
        problems=tuple(reading.problems),
        since=since,
        plan=plan_name,
    )


def _causes(machines: Sequence[Machine]) -> Iterator[Cause]:
    groups: dict[str, list[Machine]] = {}
    for row in machines:
        if row.state == "failed":
            groups.setdefault(row.cause, []).append(row)
    for kind, rows in sorted(groups.items(), key=lambda pair: (-len(pair[1]), pair[0])):
        sentence = max(Counter(row.sentence for row in rows).items(), key=lambda pair: (pair[1], pair[0]))[0]
        yield Cause(
            kind=kind,
            title=title_of(kind),
            advice=advice_for(kind, sentence),
            sentence=sentence,
            again=can_run_again(kind),
            count=len(rows),
            machines=tuple(row.machine for row in rows),
        )


def _next_steps(machines: Sequence[Machine], causes: Sequence[Cause], against: AgainstPlan | None) -> Iterator[str]:
    """Yield what to do now, what helps most machines first."""
    by_state: dict[str, list[Machine]] = {}
    for row in machines:
        by_state.setdefault(row.state, []).append(row)
    again = sum(cause.count for cause in causes if cause.again) + len(by_state.get("unsent", ()))
    steps = [
        (cause.count, f"{cause.title} on {_machines(cause.count)}: {cause.advice}")
        for cause in causes
        if not cause.again
    ]
    if again:
        steps.append((again, f"Run the same command again on {_machines(again)}: {_why_again(causes, by_state)}."))
    steps += _about_postponed(by_state.get("postponed", ()))
    if not_started := by_state.get("not-started"):
        steps.append(
            (len(not_started), f"Start the upgrade on {_machines(len(not_started))}: no run is in the logs yet.")
        )
    if missing := by_state.get("not-reported"):
        steps.append(
            (len(missing), f"Look at {_machines(len(missing))} without a log: were they on, and did the command run?")
        )
    yield from (text for _, text in sorted(steps, key=lambda step: -step[0]))
    if working := by_state.get("working"):
        lefts = [row.seconds_left for row in working if row.seconds_left is not None]
        end = f"; the last is expected to end in {format_duration(max(lefts))}" if lefts else ""
        yield f"Wait for {_machines(len(working))} at work{end}."
    waiting = len(by_state.get("waiting", ())) + len(by_state.get("not-due", ()))
    if waiting:
        yield f"Nothing to do about {_machines(waiting)} whose turn comes later."
    if against is not None and against.without_wave:
        yield f"The plan has no wave for {pluralize(against.without_wave, 'user')}: see the plan for what would help."


def _machines(count: int) -> str:
    return pluralize(count, "machine")


def _why_again(causes: Sequence[Cause], by_state: dict[str, list[Machine]]) -> str:
    reasons = [(cause.count, cause.title.partition(" (")[0]) for cause in causes if cause.again]
    if unsent := by_state.get("unsent"):
        reasons.append((len(unsent), "Changes not sent"))
    return ", ".join(f"{title[:1].lower()}{title[1:]} ({count:,})" for count, title in sorted(reasons, reverse=True))


def _about_postponed(postponed: Sequence[Machine]) -> Iterator[tuple[int, str]]:
    missing = [
        row.needed_bytes - row.free_bytes
        for row in postponed
        if row.needed_bytes is not None and row.free_bytes is not None and row.needed_bytes > row.free_bytes
    ]
    if missing:
        least, most = format_size(min(missing)), format_size(max(missing))
        amount = most if least == most else f"{least} to {most}"
        yield (
            len(missing),
            f"Free {amount} more on {_machines(len(missing))}, or run `kerio-resync rebuild --drop-first` there; with"
            " `--attachments inbox` or `--attachments none` it needs less.",
        )
    others = len(postponed) - len(missing)
    if others:
        yield others, f"Start the command earlier on {_machines(others)} that came too late for the window."
