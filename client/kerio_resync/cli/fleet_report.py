"""The command `fleet report`: its options and its exit code."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from kerio_resync.cli import display
from kerio_resync.cli.display import View
from kerio_resync.cli.options import Json, Quiet, located, parse_path
from kerio_resync.cli.process import run_command
from kerio_resync.errors import Exit
from kerio_resync.events import Listener, RunFinished

if TYPE_CHECKING:
    from kerio_resync.fleet.report.result import FleetReport


def parse_time(text: str) -> datetime:
    """Parse a date or a time; without an offset it is this computer's."""
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError):
        raise typer.BadParameter(f"{text!r} is not a time such as 2026-11-28 or 2026-11-28T22:00") from None


def report(
    folder: Annotated[
        list[Path], typer.Argument(metavar="FOLDER...", parser=parse_path, help="Folders with the logs, or files.")
    ],
    plan: Annotated[
        Path | None,
        typer.Option("--plan", metavar="FILE", parser=parse_path, help="Compare with this plan.json of `fleet plan`."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", metavar="DIR", parser=parse_path, help="Write report.html, report.csv and report.json there."
        ),
    ] = None,
    prometheus: Annotated[
        Path | None,
        typer.Option("--prometheus", metavar="FILE", parser=parse_path, help="Write metrics for a textfile collector."),
    ] = None,
    since: Annotated[
        datetime | None,
        typer.Option("--since", metavar="TIME", parser=parse_time, help="Ignore older runs. Default: the plan's time."),
    ] = None,
    silent_after: Annotated[
        float,
        typer.Option(
            "--silent-after", metavar="MINUTES", min=0.1, help="Take a run to be dead after so long without a line."
        ),
    ] = 15,
    watch: Annotated[
        float | None,
        typer.Option("--watch", metavar="SECONDS", min=1, help="Read again so often, until all machines are ready."),
    ] = None,
    json: Json = False,
    quiet: Quiet = False,
) -> NoReturn:
    """Tell from their logs which machines are ready.

    Reads the files of --log-file, the output of --json, and the logs of profiles, also while they arrive. A machine is
    named by its file, or by the folder of kerio-resync.log. Ends with 0 if all machines are ready, else with 4.
    """
    from kerio_resync.fleet.report.text import lines_of_report

    made: list[FleetReport] = []

    def run(shown: Listener) -> int:
        from kerio_resync.fleet.report.run import ReportOptions, report_on_fleet

        options = ReportOptions(
            tuple(located(path, "FOLDER") for path in folder),
            located(out, "--out") if out else None,
            located(plan, "--plan") if plan else None,
            located(prometheus, "--prometheus") if prometheus else None,
            since,
            timedelta(minutes=silent_after),
            watch,
        )
        made.append(report_on_fleet(options, shown))
        code = Exit.DONE if made[0].ok else Exit.UNFINISHED
        shown(RunFinished(ok=made[0].ok, exit_code=code, summary=made[0].model_dump(mode="json")))
        return code

    with display.open_display(View(json, quiet), lambda _: lines_of_report(made[0])) as shown:
        code = run_command(lambda: run(shown), Path, shown)
    raise typer.Exit(code)
