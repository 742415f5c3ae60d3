"""Who does not fit, and what would make them fit.

Each remedy is tried: the fleet is planned again with it, and it is named only if then all at the site have a wave.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from kerio_resync.fleet.inputs.units import format_link_rate
from kerio_resync.fleet.inputs.windows import another
from kerio_resync.fleet.make_plan import Fleet, PlanInput, limits_of, schedule, survey
from kerio_resync.fleet.plan import Problem, Window
from kerio_resync.fleet.schedule import Schedule, share_sites
from kerio_resync.plain_text import format_size, pluralize

MAX_TRIALS: Final = 12  # plans that are made to find remedies
TRIED_REBUILDS: Final = 60_000  # in all these plans together, so that a large fleet does not take minutes
MAX_REMEDIES: Final = 3  # that are named for one problem
MORE_HOURS: Final = (1, 2, 4, 8)
LINKS: Final = (10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000)  # Mbit/s, as they are sold
Array = Any


@dataclass(frozen=True)
class _Remedy:
    """A change, as a sentence; and the plan's input and windows with it."""

    sentence: str
    given: PlanInput
    windows: tuple[Window, ...]


class _Trials:
    """Plans with remedies, as many as are allowed; each is planned once for all sites."""

    def __init__(self, rebuilds: int) -> None:
        self.left = min(MAX_TRIALS, max(2, TRIED_REBUILDS // max(1, rebuilds)))
        self._known: dict[str, set[str] | None] = {}

    def may(self, remedy: _Remedy) -> bool:
        """Return whether a remedy can be tried, or was."""
        return self.left > 0 or remedy.sentence in self._known

    def sites_left(self, remedy: _Remedy) -> set[str] | None:
        """Return the sites that still have users without a place.

        None if no trial is left.
        """
        if remedy.sentence not in self._known:
            if not self.left:
                return None
            self.left -= 1
            fleet = survey(remedy.given)
            planned = schedule(remedy.given, fleet, remedy.windows)
            self._known[remedy.sentence] = {
                fleet.people[fleet.rebuilding[number]].site for number in np.flatnonzero(planned.window < 0).tolist()
            }
        return self._known[remedy.sentence]


def find_problems(
    given: PlanInput, fleet: Fleet, planned: Schedule, late_upgrades: Sequence[int]
) -> tuple[Problem, ...]:
    """Return one problem per site and kind, with remedies that were tried."""
    problems: list[Problem] = []
    trials = _Trials(len(fleet.rebuilding))
    unplaced = np.flatnonzero(planned.window < 0)
    longest = max((window.end - window.start).total_seconds() for window in given.windows)
    rooms = _room_problems(fleet)
    for place, site in enumerate(fleet.sites):
        here = unplaced[fleet.rebuilds.site[unplaced] == place]
        alone = _seconds_alone(given, fleet, here)
        too_long = alone * (1 + given.settings.uncertainty) > longest
        for kind, members in (("mailbox", here[too_long]), ("window", here[~too_long])):
            if len(members):
                cause = "server" if planned.blocked and kind == "window" else kind
                problems.append(_rebuild_problem(given, fleet, cause, place, members, trials, alone))
        users = [fleet.people[number].user for number in late_upgrades if fleet.people[number].site == site.name]
        if users:
            problems.append(_upgrade_problem(site.name, users))
        if site.name in rooms:
            problems.append(rooms[site.name])
    return tuple(problems)


def _seconds_alone(given: PlanInput, fleet: Fleet, members: Array) -> Array:
    """Return how long each rebuild takes on an idle server.

    The rate is that which the plan of its site gives it.
    """
    if not len(members):
        return np.empty(0)
    shared = share_sites(fleet.rebuilds, fleet.links, limits_of(given.settings))
    site = fleet.rebuilds.site[members]
    rate = np.minimum(fleet.rebuilds.own[members], np.minimum(shared.bwlimits[site], fleet.links[site]))
    return fleet.rebuilds.fixed[members] + fleet.rebuilds.wire[members] / rate


def _rebuild_problem(
    given: PlanInput, fleet: Fleet, kind: Any, place: int, members: Array, trials: _Trials, alone: Array
) -> Problem:
    site = fleet.sites[place]
    users = tuple(sorted(fleet.people[fleet.rebuilding[number]].user for number in members.tolist()))
    size = float(fleet.rebuilds.wire[members].sum())
    count = f"{pluralize(len(users), 'rebuild')} at {site.name} ({format_size(size)} to fetch)"
    verb = "does" if len(users) == 1 else "do"
    sentence = {
        "mailbox": f"{count} {verb} not fit: the longest takes {float(alone.max()) / 3600:.1f} h over this link, more"
        " than any window has.",
        "server": f"{count} {verb} not fit: the webmail users' wait leaves the server no place for a single client.",
        "window": f"{count} {verb} not fit into the windows.",
    }[kind]
    found: list[str] = []
    for remedy in _remedies(given, fleet, place):
        if len(found) == MAX_REMEDIES:
            break
        if not trials.may(remedy):
            continue
        left = trials.sites_left(remedy)
        if left is not None and site.name not in left:
            found.append(remedy.sentence)
    if not found:
        found.append(
            "No single change of those that were tried makes them all fit; combine several, or plan fewer users."
        )
    return Problem(kind=kind, site=site.name, users=users, sentence=sentence, remedies=tuple(found))


def _remedies(given: PlanInput, fleet: Fleet, place: int) -> Iterator[_Remedy]:
    """Yield changes to try, the cheapest first."""
    settings, windows = given.settings, given.windows
    zone = settings.server.time_zone
    for hours in MORE_HOURS:
        more = another(windows[-1], hours, zone, windows)
        yield _Remedy(f"Another window of {hours} h ({more.name}).", given, (*windows, more))
    if settings.mailbox.attachments_kept == "all":
        kept = _changed(given, mailbox=settings.mailbox.model_copy(update={"attachments_kept": "inbox"}))
        yield _Remedy('`attachments = "inbox"` in the profiles, which leaves out other attachments.', kept, windows)
    site = fleet.sites[place]
    for rate in [rate for rate in LINKS if rate * 125_000 > site.down * 1.2][:3]:
        faster = site.model_copy(update={"down": rate * 125_000.0})
        sites = tuple(faster if one.name == site.name else one for one in settings.site)
        yield _Remedy(
            f"{format_link_rate(faster.down)} instead of {format_link_rate(site.down)} at {site.name}.",
            _changed(given, site=sites), windows,
        )  # fmt: skip
    if given.capacity is None:
        for times in (2, 4):
            count = min(256, settings.server.workers * times)
            server = settings.server.model_copy(update={"workers": count})
            yield _Remedy(f"{count} workers instead of {settings.server.workers} on the server.",
                          _changed(given, server=server), windows)  # fmt: skip
    factor = settings.limits.users_p95 * 1.5
    limits = settings.limits.model_copy(update={"users_p95": factor})
    yield _Remedy(f"Webmail users' p95 at most × {factor:g} instead of × {settings.limits.users_p95:g}.",
                  _changed(given, limits=limits), windows)  # fmt: skip


def _changed(given: PlanInput, **parts: Any) -> PlanInput:
    settings = given.settings.model_copy(update=parts)
    return PlanInput(given.inventory, settings, given.windows, given.now, given.capacity)


def _upgrade_problem(site: str, users: Sequence[str]) -> Problem:
    count = f"{pluralize(len(users), 'upgrade')} at {site}"
    return Problem(
        kind="mailbox", site=site, users=tuple(sorted(users)),
        sentence=f"{count}: the old cache is so large that the upgrade takes longer than any window.",
        remedies=("Let these upgrades run over a weekend; they need neither the server nor the link.",),
    )  # fmt: skip


def _room_problems(fleet: Fleet) -> dict[str, Problem]:
    """Return for each site with machines that have too little room its problem."""
    missing: dict[str, list[tuple[str, int]]] = {}
    for person, work in zip(fleet.people, fleet.works, strict=True):
        if work.action == "needs-room":
            missing.setdefault(person.site, []).append((person.user, work.needed - (person.free_bytes or 0)))
    return {site: _room_problem(site, found) for site, found in missing.items()}


def _room_problem(site: str, found: list[tuple[str, int]]) -> Problem:
    machines = f"{pluralize(len(found), 'machine')} at {site}"
    return Problem(
        kind="room", site=site, users=tuple(sorted(user for user, _ in found)),
        sentence=f"{machines} {'has' if len(found) == 1 else 'have'} too little room on the disk.",
        remedies=(
            _free_room([missing for _, missing in found]),
            '`attachments = "inbox"` or `"none"` in their profiles, which needs less room.',
        ),
    )  # fmt: skip


def _free_room(missing: Sequence[int]) -> str:
    if len(missing) == 1:
        return f"Free at least {format_size(missing[0])} on it."
    return f"Free {format_size(min(missing))} to {format_size(max(missing))} on each of them; plan.csv has the figures."
