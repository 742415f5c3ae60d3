"""The commands for many machines.

`fleet plan`, `fleet measure` and `fleet report` need no profile. The packages that they use are imported
when a command runs.
"""

from __future__ import annotations

import typer

from kerio_resync.cli import fleet_measure, fleet_plan, fleet_report

fleet_app = typer.Typer(help="Plan, measure and follow the rebuild of many machines.", no_args_is_help=True)


@fleet_app.callback()
def fleet() -> None:
    """Plan, measure and follow the rebuild of many machines."""


fleet_app.command("plan")(fleet_plan.plan)
fleet_app.command("measure")(fleet_measure.measure)
fleet_app.command("report")(fleet_report.report)
