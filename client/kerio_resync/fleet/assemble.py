"""Puts a plan together: waves of users with times and ranges, series, totals."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

import numpy as np

from kerio_resync.fleet.make_plan import Fleet, PlanInput, limits_of, naive, schedule, survey
from kerio_resync.fleet.plan import (
    Inputs,
    Limits,
    Plan,
    PlannedUser,
    ServerModel,
    Site,
    Totals,
    Wave,
    WaveSite,
)
from kerio_resync.fleet.remedies import find_problems
from kerio_resync.fleet.schedule import Schedule, SitePlan, share_sites
from kerio_resync.fleet.series import make_series
from kerio_resync.version import VERSION

Array = Any
UPGRADE_SPREAD: Final = 0.5  # of the window: upgrades start evenly over its first half
Times = tuple[int, float, float]  # window, start and end, in seconds from the first window
Progress = Callable[[str], None]


def make_plan(given: PlanInput, inputs: Inputs, progress: Progress = lambda _: None) -> Plan:
    """Plan a fleet.

    `inputs` names the files. `progress` receives a sentence on each step.
    """
    progress("Reading what each cache needs")
    fleet = survey(given)
    progress("Planning the waves")
    planned = schedule(given, fleet, given.windows)
    upgrades, late = _place_upgrades(given, fleet, planned.begin)
    progress("Looking for what would help those who do not fit")
    problems = find_problems(given, fleet, planned, late)
    progress("Simulating a start of all at once")
    without = naive(given, fleet)
    progress("Putting the plan together")
    times = dict(upgrades)
    for number, place in enumerate(fleet.rebuilding):
        if planned.window[number] >= 0:
            times[place] = (int(planned.window[number]), float(planned.start[number]), float(planned.end[number]))
    users = [_user(given, fleet, place, planned.begin, times.get(place)) for place in range(len(fleet.people))]
    waves = _waves(given, fleet, users, times, planned.begin)
    names = [site.name for site in fleet.sites]
    load = tuple(make_series(trace, planned.begin, names, fleet.links) for _, trace in planned.traces)
    unplaced = sum(work.action in ("rebuild", "upgrade") for work in fleet.works) - len(times)
    totals = _totals(fleet, waves, unplaced)
    peak_s, peak = _peaks(planned, limits_of(given.settings))
    share = given.settings.uncertainty
    return Plan(
        made=given.now, made_by=f"kerio-resync {VERSION}", ok=not unplaced and not totals.needs_room,
        inputs=inputs.model_copy(update={"notices": (*inputs.notices, *fleet.notices)}),
        limits=limits_of(given.settings), server=_server(given), sites=_sites(given, fleet), windows=given.windows,
        totals=totals, waves=waves, others=tuple(user for user in users if user.start is None), problems=problems,
        range=f"A client may take {share:.0%} longer than expected, or need {1 / (1 + share):.0%} of the time: for"
        " sizes that were estimated, and for links and servers that vary.",
        peak_p95_s=peak_s, peak_p95=peak, load=load, naive=without,
    )  # fmt: skip


def _place_upgrades(given: PlanInput, fleet: Fleet, begin: datetime) -> tuple[dict[int, Times], list[int]]:
    """Spread the upgrades over the first window in which each fits.

    Return also those that fit in none.

    They need neither server nor link, so any number may run at once.
    """
    margin = 1 + given.settings.uncertainty
    waiting = sorted(
        (place for place, work in enumerate(fleet.works) if work.action == "upgrade"),
        key=lambda place: (-fleet.works[place].seconds, place),
    )
    times: dict[int, Times] = {}
    for index, window in enumerate(given.windows):
        first = max(window.start, given.now)
        room = (window.end - first).total_seconds()
        fitting = [place for place in waiting if fleet.works[place].seconds * margin <= room]
        for number, place in enumerate(fitting):
            seconds = fleet.works[place].seconds
            spread = min(room * UPGRADE_SPREAD, room - seconds * margin)
            start = (first - begin).total_seconds() + spread * number / len(fitting)
            times[place] = (index, start, start + seconds)
        waiting = [place for place in waiting if place not in times]
    return times, waiting


def _user(given: PlanInput, fleet: Fleet, place: int, begin: datetime, time: Times | None) -> PlannedUser:
    person, work = fleet.people[place], fleet.works[place]
    margin = 1 + given.settings.uncertainty
    start = end = low = high = None
    if time is not None:
        _, first, last = time
        start, end = _instant(begin, first), _instant(begin, last)
        low, high = _instant(begin, first + (last - first) / margin), _instant(begin, first + (last - first) * margin)
    return PlannedUser(
        user=person.user, email=person.email, language=person.language, site=person.site, machine=person.machine,
        action=work.action, reason=work.reason, bytes=round(work.wire), items=work.items,
        cache_bytes=person.cache_bytes, free_bytes=person.free_bytes, needed_bytes=work.needed,
        drop_first=work.drop_first, start=start, end=end, end_low=low, end_high=high,
    )  # fmt: skip


def _instant(begin: datetime, seconds: float) -> datetime:
    return begin + timedelta(seconds=round(seconds))


def _waves(
    given: PlanInput, fleet: Fleet, users: Sequence[PlannedUser], times: dict[int, Times], begin: datetime
) -> tuple[Wave, ...]:
    """Group users by the slice of a window in which they start."""
    slices: dict[tuple[int, int], list[int]] = {}
    length = given.settings.wave_minutes * 60
    firsts = [(window.start - begin).total_seconds() for window in given.windows]
    for place, (window, begins, _) in times.items():
        slices.setdefault((window, int((begins - firsts[window] + 0.5) // length)), []).append(place)
    shared = share_sites(fleet.rebuilds, fleet.links, limits_of(given.settings))
    waves = []
    for number, ((window, part), places) in enumerate(sorted(slices.items()), 1):
        start = max(given.now, given.windows[window].start + timedelta(seconds=part * length))
        members = [users[place] for place in sorted(places, key=lambda place: times[place][1:])]
        waves.append(_wave(number, window, start, members, fleet, shared))
    return tuple(waves)


def _wave(
    number: int, window: int, start: datetime, members: list[PlannedUser], fleet: Fleet, shared: SitePlan
) -> Wave:
    by_site: dict[str, list[PlannedUser]] = {}
    for user in members:
        by_site.setdefault(user.site, []).append(user)
    last = max(user.start for user in members if user.start)
    parts = []
    for place, site in enumerate(fleet.sites):
        if not (here := by_site.get(site.name)):
            continue
        limit = float(shared.bwlimits[place])
        is_limited = np.isfinite(limit) and any(user.action == "rebuild" for user in here)
        size = sum(user.bytes for user in here)
        parts.append(WaveSite(site=site.name, users=len(here), bytes=size, bwlimit=int(limit) if is_limited else None))
    return Wave.model_construct(
        number=number, window=window, start=start, splay_s=max(0.0, (last - start).total_seconds()),
        end=max(user.end for user in members if user.end),
        end_low=max(user.end_low for user in members if user.end_low),
        end_high=max(user.end_high for user in members if user.end_high),
        bytes=sum(user.bytes for user in members), sites=tuple(sorted(parts, key=lambda part: part.site)),
        users=tuple(members),
    )  # fmt: skip


def _totals(fleet: Fleet, waves: Sequence[Wave], unplaced: int) -> Totals:
    count = dict.fromkeys(("rebuild", "upgrade", "nothing", "needs-room"), 0)
    for work in fleet.works:
        count[work.action] += 1
    return Totals(
        users=len(fleet.people), rebuild=count["rebuild"], upgrade=count["upgrade"], nothing=count["nothing"],
        needs_room=count["needs-room"], unplaced=unplaced, bytes=sum(wave.bytes for wave in waves),
        end=max((wave.end for wave in waves), default=None),
    )  # fmt: skip


def _peaks(planned: Schedule, limits: Limits) -> tuple[float, float]:
    """Return the users' highest p95, and its highest ratio to that without clients.

    Only a p95 that users notice counts for the ratio.
    """
    if not planned.traces:
        return 0.0, 1.0
    p95 = np.concatenate([trace.p95 for _, trace in planned.traces])
    alone = np.concatenate([trace.alone for _, trace in planned.traces])
    least = limits.unnoticed_s / limits.users_p95
    ratios = np.where(p95 > limits.unnoticed_s, p95 / np.maximum(alone, max(least, 1e-6)), 1.0)
    return round(float(p95.max()), 4), round(float(max(1.0, ratios.max())), 3)


def _server(given: PlanInput) -> ServerModel:
    server = given.settings.server
    source = given.capacity.server if given.capacity else "settings"
    return ServerModel(
        source=f"capacity of {source}" if given.capacity else source, workers=server.workers, call_s=server.call_s,
        kb_s=server.kb_s, webmail_per_second=server.webmail.by_hour(), webmail_service_s=server.webmail.service_s,
        time_zone=server.time_zone, webmail_url=server.webmail_url,
    )  # fmt: skip


def _sites(given: PlanInput, fleet: Fleet) -> tuple[Site, ...]:
    counts: dict[str, int] = {}
    for person in fleet.people:
        counts[person.site] = counts.get(person.site, 0) + 1
    return tuple(
        Site(
            name=site.name, down=site.down, up=site.up or site.down, round_trip_s=site.round_trip,
            time_zone=site.time_zone or given.settings.server.time_zone, machines=counts.get(site.name, 0),
            assumed=tuple(name for name in ("up", "round_trip", "time_zone") if name not in site.model_fields_set),
        )
        for site in fleet.sites
    )  # fmt: skip
