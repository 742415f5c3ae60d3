"""The tables of a plan's page.

All cells are plain texts, which the template escapes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any, Final, NamedTuple
from zoneinfo import ZoneInfo

from kerio_resync.fleet.inputs.units import format_link_rate
from kerio_resync.fleet.outputs.clock import Clock, format_wait
from kerio_resync.fleet.outputs.pictures import allowed, link_peaks
from kerio_resync.fleet.plan import Plan, PlannedUser, Problem, Series, Wave
from kerio_resync.plain_text import format_duration, format_rate, format_size, pluralize, printable

MAX_WAVES: Final = 60  # rows
MAX_SITES: Final = 60
MAX_USERS: Final = 20
MAX_NAMED: Final = 3  # names in a sentence; in a cell one less
_KINDS: Final = {
    "window": "Too little time in the windows",
    "mailbox": "Mailboxes that take longer than a window",
    "server": "No capacity of the server left",
    "room": "No room on the disk",
}
_FULL: Final = 0.995  # of a link


class Table(NamedTuple):
    """Heads and rows; a head that begins with `#` is that of a column of numbers.

    `more`: what was left out.
    """

    heads: Sequence[str]
    rows: Sequence[Sequence[str]]
    more: str = ""


def cards(plan: Plan) -> list[tuple[str, str]]:
    """Return (name, value) of the most important counts."""
    totals = plan.totals
    always = [("Users", totals.users), ("Waves", len(plan.waves)), ("Rebuild", totals.rebuild)]
    others = [("Convert locally", totals.upgrade), ("Nothing to do", totals.nothing), ("Need room", totals.needs_room)]
    counts = always + [(name, count) for name, count in (*others, ("Do not fit", totals.unplaced)) if count]
    return [(name, f"{count:,}") for name, count in counts] + [("Fetched", format_size(totals.bytes))]


def problem_groups(plan: Plan) -> list[Mapping[str, Any]]:
    """Return users who do not fit, one group per kind of problem."""
    groups: list[Mapping[str, Any]] = []
    for kind, title in _KINDS.items():
        problems = [problem for problem in plan.problems if problem.kind == kind]
        if problems:
            users = sum(len(problem.users) for problem in problems)
            groups.append({
                "title": title,
                "lines": [
                    (printable(problem.sentence), f"{pluralize(len(problem.users), 'user')}: {named(problem.users)}")
                    for problem in problems[:MAX_SITES]
                ],
                "more": _more(len(problems) - MAX_SITES, "more site", "plan.csv"),
                "remedies": _remedies(problems),
                "them": "this user" if users == 1 else "these users",
                "table": room_table(plan) if kind == "room" else Table((), ()),
            })  # fmt: skip
    return groups


def _remedies(problems: Sequence[Problem]) -> list[str]:
    """Return each remedy once, with the sites that it helps unless it helps all."""
    sites: dict[str, list[str]] = {}
    for problem in problems:
        for remedy in problem.remedies:
            sites.setdefault(printable(remedy), []).append(problem.site)
    shown = sorted(sites.items(), key=lambda entry: -len(entry[1]))[:MAX_USERS]
    return [text if len(helped) == len(problems) else f"{named(helped)}: {text}" for text, helped in shown]


def waves_table(plan: Plan, clock: Clock) -> Table:
    """Return a row per wave."""
    heads = ("#Wave", "Starts", "Ready", "At the latest", "#Users", "#Fetched", "#--splay", "#--bwlimit", "Sites")
    rows = [_wave(wave, clock) for wave in plan.waves[:MAX_WAVES]]
    return Table(heads, rows, _more(len(plan.waves) - MAX_WAVES, "more wave", "plan.csv"))


def _wave(wave: Wave, clock: Clock) -> tuple[str, ...]:
    limits = sorted({site.bwlimit for site in wave.sites if site.bwlimit})
    limit = _rates(limits[0], limits[-1]) if limits else "–"
    return (
        f"{wave.number}", clock.short(wave.start), clock.short(wave.end), clock.time(wave.end_high),
        f"{sum(site.users for site in wave.sites):,}", format_size(wave.bytes), f"{wave.splay_s / 60:.0f} min", limit,
        named([site.site for site in wave.sites], MAX_NAMED - 1),
    )  # fmt: skip


def sites_table(plan: Plan, clock: Clock) -> Table:
    """Return a row per site; its times are in its own time zone."""
    several = len({site.time_zone for site in plan.sites}) > 1
    users: dict[str, list[PlannedUser]] = {}
    for wave in plan.waves:
        for user in wave.users:
            users.setdefault(user.site, []).append(user)
    peaks, rows = link_peaks(plan.load), []
    for site in plan.sites[:MAX_SITES]:
        here, local = users.get(site.name, []), Clock(ZoneInfo(site.time_zone))
        starts, ends = [user.start for user in here if user.start], [user.end for user in here if user.end]
        fetched = format_size(sum(user.bytes for user in here))
        rows.append([
            printable(site.name), f"{site.machines:,}", f"{len(here):,}", fetched,
            f"{format_link_rate(site.down)}, {site.round_trip_s * 1000:.0f} ms", f"{peaks.get(site.name, 0.0):.0%}",
            local.short(min(starts)) if starts else "–", local.short(max(ends)) if ends else "–",
            *[site.time_zone] * several,
        ])  # fmt: skip
    zone = ["Time zone"] * several
    heads = ("Site", "#Users", "#In waves", "#Fetched", "#Link", "#Peak", "First start",
             "Last ready", *zone)  # fmt: skip
    return Table(heads, rows, _more(len(plan.sites) - MAX_SITES, "more site", "plan.json"))


def room_table(plan: Plan) -> Table:
    """Return a row for each user without room on the disk."""
    users = [user for user in plan.others if user.action == "needs-room"]
    rows = [
        (printable(user.user), printable(user.machine), printable(user.site), format_size(user.needed_bytes),
         "unknown" if user.free_bytes is None else format_size(user.free_bytes))
        for user in users[:MAX_USERS]
    ]  # fmt: skip
    heads = ("User", "Machine", "Site", "#Needed", "#Free")
    return Table(heads, rows, _more(len(users) - MAX_USERS, "more user", "plan.csv"))


def comparison_table(plan: Plan, clock: Clock) -> Table:
    """Return rows (what, of this plan, of the start of all at once)."""
    naive = plan.naive
    if naive is None or not plan.waves:
        return Table((), ())
    users = [user for wave in plan.waves for user in wave.users]
    times = [(user.end - user.start).total_seconds() for user in users if user.start and user.end] or [0.0]
    naive_last = clock.short(naive.end) if naive.end else f"{pluralize(naive.unfinished, 'user')} not in time"
    full = max((sum(_seconds_full(load, site.name) for load in plan.load) for site in plan.sites), default=0.0)
    rows = [
        ("Last user ready", clock.short(max(wave.end for wave in plan.waves)), naive_last),
        ("Time of the median user", _time(median(times)), _time(naive.median_s)),
        ("Time of the slowest user", _time(max(times)), _time(naive.slowest_s)),
        ("Webmail users’ p95, at worst", format_wait(plan.peak_p95_s), format_wait(naive.worst_p95_s)),
        ("Webmail users’ p95 above the limit", _time(_seconds_over(plan)), _time(naive.over_limit_s)),
        ("Busiest link full", _time(full), _time(max(naive.links_full_s.values(), default=0.0))),
    ]
    return Table(("", "#This plan", "#All at once"), rows)


def inputs_table(plan: Plan, clock: Clock) -> Table:
    """Return rows (name, value) of everything that the plan was made from."""
    inputs, server, limits = plan.inputs, plan.server, plan.limits
    seed = f", seed {inputs.seed}" if inputs.seed is not None else ""
    rows = [("Inventory", f"{printable(inputs.inventory)}{seed}")]
    rows += [("Settings", printable(inputs.settings))] * bool(inputs.settings)
    rows += [("Capacity file", printable(inputs.capacity))] * bool(inputs.capacity)
    per_request = f"{server.call_s * 1000:.3g} ms for each request"
    per_kb = f"{server.kb_s * 1000:.3g} ms for each KiB of its reply"
    rows.append(("Server", f"{server.workers:g} workers, {per_request} and {per_kb} ({printable(server.source)})"))
    busiest = max(server.webmail_per_second, default=0.0)
    hour = server.webmail_per_second.index(busiest) if busiest else 0
    webmail = f"up to {busiest:.3g} requests a second, most from {hour:02}:00 {server.time_zone}"
    rows.append(("Webmail users", f"{webmail}, each {server.webmail_service_s * 1000:.3g} ms on average"))
    rows.append(("Webmail address", printable(server.webmail_url) or "not given"))
    windows = plan.windows[:MAX_USERS]
    rows += [("Window", f"{clock.full(window.start)} to {clock.full(window.end)}") for window in windows]
    p95 = f"webmail users’ p95 at most {limits.users_p95:g} times as long"
    unnoticed = f"{format_wait(limits.unnoticed_s)} always allowed"
    rows.append(("Limits", f"{p95}, {unnoticed}; share of a link at most {limits.link_share:.0%}"))
    assumed = [site for site in plan.sites if site.assumed][:MAX_USERS]
    rows += [("Assumed, not given", f"{printable(site.name)}: {', '.join(site.assumed)}") for site in assumed]
    return Table(("Input", "Value"), rows)


def named(names: Sequence[str], most: int = MAX_NAMED) -> str:
    """Return the first names, and how many more there are."""
    first = ", ".join(printable(name) for name in names[:most])
    more = len(names) - most
    return f"{first} and {more:,} more" if more > 0 else first


def _rates(low: float, high: float) -> str:
    """Return a range of rates, with the unit once if it is the same."""
    (first, unit), (last, other) = (format_rate(rate).split(" ") for rate in (low, high))
    if (first, unit) == (last, other):
        return f"{last} {other}"
    return f"{first} to {last} {other}" if unit == other else f"{first} {unit} to {last} {other}"


def _time(seconds: float) -> str:
    return format_duration(seconds) if seconds else "none"


def _seconds_over(plan: Plan) -> float:
    """Return how long the webmail users' p95 is above its limit."""
    return sum(
        load.step_s * sum(p95 > limit * 1.001 for p95, limit in zip(load.users_p95_s, limits, strict=True))
        for load, limits in ((load, allowed(load, plan.limits)) for load in plan.load)
    )


def _seconds_full(load: Series, site: str) -> float:
    return load.step_s * sum(share >= _FULL for share in load.links.get(site, ()))


def _more(count: int, noun: str, where: str) -> str:
    return f"{pluralize(count, noun)} in {where}." if count > 0 else ""
