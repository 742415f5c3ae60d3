"""report.csv: one line per machine, the failed ones first."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from kerio_resync.fleet.outputs.cells import Cell, write_csv
from kerio_resync.fleet.report.causes import advice_for
from kerio_resync.fleet.report.result import FleetReport, Machine

HEADS: Final = (
    "machine", "user", "server", "state", "cause", "exit_code", "advice", "sentence", "command", "started", "ended",
    "seen", "seconds", "bytes", "items", "retries", "needed_bytes", "free_bytes", "attempts", "unsent", "refused",
    "conflicts", "seconds_left", "wave", "planned_start", "planned_end", "late", "version",
)  # fmt: skip
_ORDER: Final = (
    "failed", "postponed", "not-reported", "not-started", "unsent", "working", "waiting", "not-due", "ready"
)  # fmt: skip


def machine_table(report: FleetReport) -> bytes:
    """Return the table in CSV. Times are in UTC."""
    rows = sorted(report.machines, key=lambda row: _ORDER.index(row.state))
    return write_csv(HEADS, map(_row, rows))


def _row(row: Machine) -> Sequence[Cell]:
    advice = advice_for(row.cause, row.sentence) if row.state == "failed" else ""
    texts = (row.machine, row.user, row.server, row.state, row.cause)
    times = (each.isoformat(timespec="seconds") if each else "" for each in (row.started, row.ended, row.seen))
    planned = row.planned
    waves: Iterator[Cell] = iter(("", "", ""))
    if planned is not None:
        waves = iter((planned.wave, *(each.isoformat(timespec="seconds") for each in (planned.start, planned.end))))
    return (
        *texts, row.exit_code, advice, row.sentence, row.command, *times,
        row.seconds, row.bytes, row.items, row.retries, row.needed_bytes, row.free_bytes, row.attempts, row.unsent,
        row.refused, row.conflicts, row.seconds_left, *waves, "yes" if row.late else "", row.version,
    )  # fmt: skip
