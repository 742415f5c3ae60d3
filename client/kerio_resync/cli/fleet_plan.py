"""The command `fleet plan`: its options, its table, and its exit code."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from zoneinfo import ZoneInfo

import typer

from kerio_resync.cli import display
from kerio_resync.cli.display import View
from kerio_resync.cli.options import Json, LogFile, Quiet, located, parse_path
from kerio_resync.cli.process import run_command
from kerio_resync.errors import BadSettings, Exit
from kerio_resync.events import Listener, Notice, RunFinished
from kerio_resync.plain_text import format_duration, format_size, pluralize

if TYPE_CHECKING:
    from kerio_resync.fleet.outputs.write import PlanWriter
    from kerio_resync.fleet.plan import Plan
    from kerio_resync.fleet.request import PlanRequest

_SHOWN_USERS = 8  # of those who do not fit
_NOT_PLANNED = Exit.POSTPONED  # some users need another window


def plan(
    inventory: Annotated[
        Path | None,
        typer.Argument(metavar="[INVENTORY]", parser=parse_path, help="The users: CSV or JSON, one row per cache."),
    ] = None,
    users: Annotated[
        int | None, typer.Option("--users", metavar="N", help="Instead of an inventory: so many made users.")
    ] = None,
    settings: Annotated[
        Path | None,
        typer.Option(
            "--settings", metavar="FILE", parser=parse_path, help="Server, sites, windows, limits: TOML, JSON."
        ),
    ] = None,
    capacity: Annotated[
        Path | None,
        typer.Option("--capacity", metavar="FILE", parser=parse_path, help="What `fleet measure` found out."),
    ] = None,
    window: Annotated[
        list[str] | None,
        typer.Option("--window", metavar="WINDOW", help='Such as "2026-12-04 22:00-06:00"; repeatable.'),
    ] = None,
    link: Annotated[
        str | None, typer.Option("--link", metavar="RATE", help="The link of the one site: Mbit/s, or with a unit.")
    ] = None,
    rtt: Annotated[
        str | None, typer.Option("--rtt", metavar="TIME", help="Its round trip: milliseconds, or with a unit.")
    ] = None,
    workers: Annotated[
        int | None, typer.Option("--workers", metavar="N", help="Requests that the server serves at once.")
    ] = None,
    time_zone: Annotated[
        str | None, typer.Option("--time-zone", metavar="ZONE", help="Of the windows, such as Europe/Prague.")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", metavar="N", help="Of the made users.")] = 1,
    median_size: Annotated[
        str | None, typer.Option("--median-size", metavar="SIZE", help="Of the made users' mailboxes: 300 MB.")
    ] = None,
    upgrade_share: Annotated[
        float,
        typer.Option("--upgrade-share", metavar="X", min=0, max=1, help="Of the made users: with an upgradable cache."),
    ] = 0.0,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", parser=parse_path, help="Write the plan into this folder.")
    ] = None,
    templates: Annotated[
        Path | None,
        typer.Option("--templates", metavar="DIR", parser=parse_path, help="Your templates for the notices."),
    ] = None,
    language: Annotated[
        str, typer.Option("--language", metavar="TAG", help="Of users whose language is unknown, such as de.")
    ] = "en",
    sender: Annotated[
        str, typer.Option("--sender", metavar="ADDRESS", help="Of the notices: IT Helpdesk <helpdesk@example.com>.")
    ] = "",
    example: Annotated[
        Path | None,
        typer.Option("--example", metavar="DIR", parser=parse_path, help="Write files to start from, and exit."),
    ] = None,
    json: Json = False,
    quiet: Quiet = False,
    log_file: LogFile = None,
) -> None:
    """Plan who upgrades when.

    Reads who has which cache at which site, and plans waves that leave links and server to their users. Nothing is
    started. The exit code is 3 if users are left who do not fit.
    """

    def run(shown: Listener) -> int:
        _require_packages()
        if example is not None:
            return _write_example(located(example, "--example"), shown)
        from kerio_resync.fleet.request import PlanRequest

        request = PlanRequest(
            located(inventory, "INVENTORY") if inventory else None, users,
            located(settings, "--settings") if settings else None,
            located(capacity, "--capacity") if capacity else None, tuple(window or ()), link, rtt, workers, time_zone,
            seed, median_size, upgrade_share,
        )  # fmt: skip
        return _plan(request, writer(), shown)

    def writer() -> PlanWriter | None:
        if out is None:
            return None
        from kerio_resync.fleet.outputs.write import PlanWriter

        folder = located(templates, "--templates") if templates else None
        return PlanWriter(located(out, "--out"), templates=folder, language=language, sender=sender)

    with display.open_display(View(json, quiet, log_file), _lines) as shown:
        code = run_command(lambda: run(shown), Path, shown)
    raise typer.Exit(code)


def _require_packages() -> None:
    if find_spec("numpy") is None:
        raise BadSettings("`fleet plan` needs the package numpy: run `pip install 'kerio-resync[fleet]'`")


def _write_example(folder: Path, shown: Listener) -> int:
    from kerio_resync.fleet.inputs.example import write_example
    from kerio_resync.fleet.outputs.template_files import write_templates

    settings, inventory = write_example(folder, date.today())  # noqa: DTZ011 - a date for the user's calendar
    templates = folder / "templates"
    write_templates(templates)
    command = f"kerio-resync fleet plan {inventory} --settings {settings} --templates {templates} --out plan"
    example = [str(settings), str(inventory), str(templates), command]
    shown(RunFinished(ok=True, exit_code=Exit.DONE, summary={"example": example}))
    return Exit.DONE


def _plan(request: PlanRequest, writer: PlanWriter | None, shown: Listener) -> int:
    from kerio_resync.fleet.request import plan_fleet

    made = plan_fleet(request, datetime.now(UTC).replace(microsecond=0), lambda text: shown(Notice(f"{text} …")))
    written = writer.write(made) if writer else None
    for sentence in written.notices if written else ():
        shown(Notice(sentence))
    code = Exit.DONE if made.ok else _NOT_PLANNED
    shown(RunFinished(ok=made.ok, exit_code=code, summary=_summary(made, str(written.folder) if written else "")))
    return code


def _summary(made: Plan, out: str) -> dict[str, Any]:
    """Return the plan without users and series."""
    found = made.model_dump(mode="json", exclude={"others", "load", "naive", "waves", "server", "sites", "inputs"})
    waves = [
        wave.model_dump(mode="json", exclude={"users"})
        | {"users": len(wave.users), "rebuilds": sum(user.action == "rebuild" for user in wave.users)}
        for wave in made.waves
    ]
    naive = made.naive.model_dump(mode="json", exclude={"series", "links_full_s"}) if made.naive else None
    return found | {
        "waves": waves, "naive": naive, "notices": list(made.inputs.notices), "time_zone": made.server.time_zone,
        "out": out,
    }  # fmt: skip


def _lines(summary: Mapping[str, Any]) -> Sequence[str]:
    """Return the lines for the terminal."""
    if "example" in summary:
        settings, inventory, templates, command = summary["example"]
        return [
            f"Wrote {settings}, {inventory}, and the texts of notices into {templates}. Edit them, then run:",
            f"  {command}",
        ]
    totals, zone = summary["totals"], ZoneInfo(summary["time_zone"])
    planned = " by those that fit" if totals["unplaced"] else ""
    counts = [
        f"{pluralize(totals['rebuild'], 'rebuild')} ({format_size(totals['bytes'])} to fetch{planned})",
        pluralize(totals["upgrade"], "local upgrade"),
        f"{totals['nothing']:,} up to date",
    ]
    lines = [*summary["notices"], f"{pluralize(totals['users'], 'user')}: {', '.join(counts)}.", ""]
    if summary["waves"]:
        lines.append(f"{'wave':>4}  {'starts':<16}  {'done (likely latest)':<22}  {'users':>7}  {'rebuilds':>8}  fetch")
        lines += [_wave_line(wave, zone) for wave in summary["waves"]]
        lines += [f"Times are those of {summary['time_zone']}.", ""]
    lines += _load_lines(summary)
    for problem in summary["problems"]:
        names = problem["users"][:_SHOWN_USERS]
        more = f" and {len(problem['users']) - len(names):,} more" if len(problem["users"]) > len(names) else ""
        lines += ["", f"DOES NOT FIT: {problem['sentence']}", f"  {', '.join(names)}{more}"]
        lines += [f"  → {remedy}" for remedy in problem["remedies"]]
    if summary["out"]:
        lines += ["", f"Written to {summary['out']}; open plan.html in a browser."]
    return lines


def _wave_line(wave: Mapping[str, Any], zone: ZoneInfo) -> str:
    start, end, high = (datetime.fromisoformat(wave[name]).astimezone(zone) for name in ("start", "end", "end_high"))
    done = f"{end:%a %H:%M} ({high:%H:%M})"
    return (
        f"{wave['number']:>4}  {start:%Y-%m-%d %H:%M}  {done:<22}  {wave['users']:>7,}  {wave['rebuilds']:>8,}"
        f"  {format_size(wave['bytes'])}"
    )


def _load_lines(summary: Mapping[str, Any]) -> list[str]:
    naive, limits = summary["naive"], summary["limits"]
    if naive is None:
        return []
    ratio = f", {summary['peak_p95']:.1f} times that without clients" if summary["peak_p95"] > 1 else ""
    lines = [f"Webmail users wait at most {summary['peak_p95_s']:.2f} s (p95){ratio}; the limit is"
             f" {limits['users_p95']:g} times, or {limits['unnoticed_s']:g} s."]  # fmt: skip
    start = datetime.fromisoformat(naive["start"]).astimezone(ZoneInfo(summary["time_zone"]))
    end = f"the last is done after {format_duration(naive['slowest_s'])}" if naive["end"] else "not all end in a week"
    return [
        *lines,
        f"All at once on {start:%Y-%m-%d %H:%M}: {end}, and webmail users wait up to"
        f" {format_duration(naive['worst_p95_s'])} (p95).",
    ]
