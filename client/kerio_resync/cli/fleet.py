"""The commands for many machines.

`fleet plan`, `fleet measure` and `fleet report`.

They need no profile. The packages that they use are imported when a command runs.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import typer

from kerio_resync.cli import display, fleet_measure, fleet_plan, fleet_report
from kerio_resync.cli.display import Summarise, View
from kerio_resync.cli.process import run_command
from kerio_resync.events import Listener

fleet_app = typer.Typer(help="Plan, measure and follow the rebuild of many machines.", no_args_is_help=True)


@fleet_app.callback()
def fleet() -> None:
    """Plan, measure and follow the rebuild of many machines."""


fleet_app.command("plan")(fleet_plan.plan)
fleet_app.command("measure")(fleet_measure.measure)
fleet_app.command("report")(fleet_report.report)


def run_and_exit(command: Callable[[Listener], int], view: View, summarise: Summarise) -> NoReturn:
    """Run a command that has no profile, show it, and exit with its code."""
    with display.open_display(view, summarise) as shown:
        code = run_command(lambda: command(shown), Path, shown)
    raise typer.Exit(code)
