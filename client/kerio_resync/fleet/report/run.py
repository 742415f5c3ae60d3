"""`fleet report` from its options to its files.

Reads, writes, and reads again if it is to watch.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from kerio_resync.diagnose.monitoring import write_metrics
from kerio_resync.errors import BadSettings
from kerio_resync.events import Listener, Notice, PhaseChanged, Progress
from kerio_resync.filesystem import translate_os_error
from kerio_resync.fleet.plan import Plan, read_plan
from kerio_resync.fleet.report.collect import Collector
from kerio_resync.fleet.report.make import SILENCE, make_report
from kerio_resync.fleet.report.metrics import metrics_of
from kerio_resync.fleet.report.result import FleetReport
from kerio_resync.fleet.report.text import headline
from kerio_resync.report_page.page import require_jinja, write_page

FILES = ("report.html", "report.csv", "report.json")


@dataclass(frozen=True, slots=True)
class ReportOptions:
    """What to read and to write.

    `out`: a folder for FILES. `plan`: plan.json or its folder. `since`: older runs are ignored. `silence`: after so
    long without a line, a run is taken to be dead. `watch`: seconds between two readings; None to read once.
    """

    folders: tuple[Path, ...]
    out: Path | None = None
    plan: Path | None = None
    prometheus: Path | None = None
    since: datetime | None = None
    silence: timedelta = SILENCE
    watch: float | None = None


def utc_now() -> datetime:
    """Return the time."""
    return datetime.now(UTC)


def report_on_fleet(
    options: ReportOptions,
    listen: Listener,
    *,
    now: Callable[[], datetime] = utc_now,
    sleep: Callable[[float], None] = time.sleep,
) -> FleetReport:
    """Read the logs and write the report.

    With `watch` again and again, until all are ready.

    BadSettings without a folder, a log in it, or a package that is needed; and errors of writing.
    """
    if options.out is not None:
        require_jinja("--out", "fleet")
    plan = read_plan(options.plan) if options.plan is not None else None
    own = [options.out / name for name in FILES] if options.out is not None else []
    own += [path for path in (options.prometheus, options.plan) if path is not None]
    collector, told = Collector(options.folders, own), ""
    listen(PhaseChanged("logs"))
    while True:
        report = _read(options, collector, plan, now(), listen)
        if options.watch is None and plan is None and not report.machines:
            raise BadSettings(_nothing_found(options, report))
        _write(options, report)
        if options.watch is None or report.ok:
            return report
        if told != (told := headline(report)):
            listen(Notice(told))
        sleep(options.watch)


def _read(
    options: ReportOptions, collector: Collector, plan: Plan | None, now: datetime, listen: Listener
) -> FleetReport:
    reading = collector.read(now, lambda done, total: listen(Progress(bytes_done=done, bytes_total=total)))
    return make_report(
        reading,
        now,
        folders=options.folders,
        plan=plan,
        plan_name=str(options.plan or ""),
        since=options.since,
        silence=options.silence,
    )


def _nothing_found(options: ReportOptions, report: FleetReport) -> str:
    where = ", ".join(map(str, options.folders))
    if options.since is not None and report.inputs.lines:
        return f"the logs in {where} have no run since {options.since:%Y-%m-%d %H:%M %Z}; name an earlier time"
    return (
        f"no log of kerio-resync is in {where}: name the folder with the files of --log-file, the output of --json, or"
        " kerio-resync.log of each profile"
    )


def _write(options: ReportOptions, report: FleetReport) -> None:
    if options.out is not None:
        _write_files(options.out, report, options.watch)
    if options.prometheus is not None:
        write_metrics(options.prometheus, metrics_of(report))


def _write_files(out: Path, report: FleetReport, refresh: float | None) -> None:
    from kerio_resync.fleet.report.page import render
    from kerio_resync.fleet.report.table import machine_table

    texts = (
        render(report, refresh=refresh),
        machine_table(report).decode(),
        report.model_dump_json(indent=1),
    )
    try:
        out.mkdir(mode=0o700, parents=True, exist_ok=True)
        for name, text in zip(FILES, texts, strict=True):
            write_page(out / name, text)
    except OSError as error:
        raise translate_os_error(error, out) from error
