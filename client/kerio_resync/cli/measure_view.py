"""Shows a measurement.

Before it begins, what will be done; a live line per step; and a table at the end.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Sequence
from typing import IO, TYPE_CHECKING, Any

from kerio_resync import streams
from kerio_resync.cli.formatting import MIN_COLUMNS, fit
from kerio_resync.events import Event, Notice
from kerio_resync.plain_text import format_duration, format_rate, format_size, pluralize, printable

if TYPE_CHECKING:
    from kerio_resync.fleet.capacity import Capacity, Point
    from kerio_resync.fleet.measure.run import Prepared

_ERASE = "\r\x1b[K"
_HEAD = ("clients", "MB/s", "items/s", "a rebuild", "slowest", "failed", "refused", "probe p95", "users' p95")


def lines_of_plan(prepared: Prepared, out: str) -> list[str]:
    """Return what the measurement will do, with figures."""
    options, checked = prepared.options, prepared.checked
    counts = ", ".join(f"{count:,}" for count in options.clients)
    where = f"on {pluralize(prepared.workers, 'Dask worker')}" if prepared.workers else "on this machine"
    size = f" of {format_size(checked.bytes)}" if checked.bytes else ""
    mailbox = f"{pluralize(checked.items, 'item')}{size}" if len(checked.accounts) == 1 else (
        f"{pluralize(checked.items, 'item')}{size} each on average"
    )  # fmt: skip
    shared = max(options.clients) > len(checked.accounts)
    lines = [
        f"This measures {options.base.address} with real clients:",
        f"  clients   {counts} at once, {where}",
        f"  accounts  {len(checked.accounts):,}, with {mailbox}"
        + ("; clients share them, which some servers slow down" if shared else ""),
        f"  load      each client downloads its mailbox, again and again, for {options.step_seconds:g} s or longer",
        f"  bounds    {format_size(options.max_bytes)} and {format_duration(options.max_seconds)} in all",
        f"  stops     when other requests wait {options.max_wait:g} times as long, clients fail, or at these bounds",
        f"  result    {out}, after each step; the downloaded copies are removed",
        "The users of this server may have to wait longer meanwhile.",
    ]
    return [printable(line) for line in lines]


def table(capacity: Capacity) -> list[str]:
    """Return the curve as lines of a table."""
    rows = [_HEAD, *(_row(point) for point in capacity.points)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEAD))]
    return ["  ".join(f"{cell:>{width}}" for cell, width in zip(row, widths, strict=True)) for row in rows]


def _row(point: Point) -> tuple[str, ...]:
    seconds = point.seconds
    return (
        f"{point.clients:,}",
        f"{point.bytes_per_s / 1e6:.2f}",
        f"{point.items_per_s:,.0f}",
        format_duration(seconds.median) if seconds else "-",
        format_duration(seconds.slowest) if seconds else "-",
        f"{point.failed:,}",
        f"{point.refused:,}",
        _ms(point.probe_p95_s),
        _ms(point.users_p95_s),
    )


def summary_lines(capacity: Capacity | None, stopped: str, out: str) -> list[str]:
    """Return the lines at the end of a measurement."""
    if capacity is None:
        return [printable(f"Nothing was measured. {stopped}".strip())]
    waits = (("the probe's", capacity.probe_alone_p95_s), ("the webmail users'", capacity.users_alone_p95_s))
    alone = [f"{whose} p95 wait was {_ms(wait)}" for whose, wait in waits if wait is not None]
    lines = table(capacity)
    if alone:
        lines.append(f"Without clients, {' and '.join(alone)}.")
    return [printable(line) for line in (*lines, stopped, f"Capacity file: {out}") if line]


def _ms(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds * 1000:,.0f} ms"


class MeasureView:
    """Shows one line per step on `out`; on a terminal, it lives while the step runs."""

    def __init__(self, out: IO[str]) -> None:
        self._out = out
        capable = os.name == "nt" or os.environ.get("TERM", "dumb") not in ("dumb", "")
        self._live = capable and width_of(out) >= MIN_COLUMNS
        self._drawn = False

    def __call__(self, event: Event) -> None:
        values = event.as_json()
        match event.name:
            case "accounts-checked":
                self._draw(f"Checking the accounts: {values['checked']:,} of {values['total']:,}")
                if values["checked"] == values["total"]:
                    self.close()  # a question may follow
            case "step-started" if not values["clients"]:
                self._draw("no clients: measuring the waits")
            case "step-progress":
                self._draw(_progress(values))
            case "step-measured":
                self._print(_measured(values))
                for error, count in values["errors"].items():
                    self._print(f"  {pluralize(count, 'client')} failed: {error}")
            case "notice":
                assert isinstance(event, Notice)
                self._print(event.text)

    def close(self) -> None:
        """Erase the live line."""
        if self._drawn:
            self._out.write(_ERASE)
            self._out.flush()
            self._drawn = False

    def _draw(self, line: str) -> None:
        if not self._live or streams.is_congested(self._out):
            return
        self._out.write(_ERASE + printable(line)[: width_of(self._out) - 1])
        self._out.flush()
        self._drawn = True

    def _print(self, line: str) -> None:
        self.close()
        print(fit(printable(line), self._out), file=self._out, flush=True)


def width_of(out: IO[str]) -> int:
    """Return the columns of a terminal; 0 for other streams."""
    return shutil.get_terminal_size().columns if out.isatty() else 0


def _progress(values: dict[str, Any]) -> str:
    clients = values["clients"]
    parts = [pluralize(clients, "client") if clients else "no clients"]
    if values["stage"] == "loading":
        return f"{parts[0]}: loading"
    parts.append(format_duration(values["elapsed"]))
    if clients:
        parts += [format_rate(values["bytes_per_s"]), pluralize(values["rounds"], "rebuild")]
    if values["failed"]:
        parts.append(f"{values['failed']:,} failed")
    if values["probe_p95_s"] is not None:
        parts.append(f"probe p95 {_ms(values['probe_p95_s'])}")
    return " · ".join(parts)


def _measured(values: dict[str, Any]) -> str:
    point = values["point"]
    parts = [pluralize(point["clients"], "client"), format_rate(point["bytes_per_s"])]
    if point["seconds"]:
        parts.append(f"{format_duration(point['seconds']['median'])} a rebuild")
    parts += [f"{point[name]:,} {name}" for name in ("failed", "refused") if point[name]]
    named = (("probe p95", "probe_p95_s"), ("users' p95", "users_p95_s"))
    parts += [f"{what} {_ms(point[name])}" for what, name in named if point[name] is not None]
    return " · ".join(parts)


def show(lines: Sequence[str], out: IO[str] | None = None) -> None:
    """Print lines, wrapped to a terminal's width."""
    stream = out or sys.stdout
    for line in lines:
        print(fit(line, stream, "            "), file=stream)
    stream.flush()
