"""A report as metrics for Prometheus."""

from __future__ import annotations

from kerio_resync.diagnose.monitoring import MetricsPage
from kerio_resync.fleet.report.result import FleetReport
from kerio_resync.version import VERSION


def metrics_of(report: FleetReport) -> str:
    """Return the metrics in the text format of Prometheus."""
    page, inputs = MetricsPage("kerio_resync_fleet"), report.inputs
    page.add("info", "The version.", [({"version": VERSION}, 1)])
    page.add("report_timestamp_seconds", "When the report was made.", [({}, report.made.timestamp())])
    page.add("machines", "Machines by state.", [({"state": state}, n) for state, n in report.counts.items()])
    page.add("failed", "Failed machines by cause.", [({"cause": cause.kind}, cause.count) for cause in report.causes])
    page.add("unsent_changes", "Local changes that the server lacks.", [({}, report.unsent_changes)])
    if report.last_end_s is not None:
        page.add("seconds_left", "Until the last working machine is expected to be ready.", [({}, report.last_end_s)])
    if report.against_plan is not None:
        page.add("late", "Machines that the plan expected to be ready.", [({}, report.against_plan.late)])
    lines = (("read", inputs.lines), ("damaged", inputs.damaged_lines), ("foreign", inputs.foreign_lines))
    page.add("lines", "Lines of the logs.", [({"kind": kind}, count) for kind, count in lines])
    page.add("unread_files", "Files that could not be read.", [({}, inputs.unread_files)])
    return page.text()
