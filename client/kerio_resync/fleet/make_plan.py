"""Makes waves, problems and the naive start from inventory and settings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

import numpy as np

from kerio_resync.errors import BadSettings
from kerio_resync.fleet.capacity import Capacity
from kerio_resync.fleet.inputs.inventory import Inventory, Person
from kerio_resync.fleet.inputs.settings import PlanSettings, SiteSettings
from kerio_resync.fleet.inputs.windows import working_morning
from kerio_resync.fleet.model.fluid import Rebuilds
from kerio_resync.fleet.model.server import MAX_IN_FLIGHT, MeasuredServer, QueueServer, ServerCurve
from kerio_resync.fleet.model.work import Work, mean_mailbox, work_of
from kerio_resync.fleet.naive import naive_start
from kerio_resync.fleet.plan import Limits, NaiveStart, Window
from kerio_resync.fleet.schedule import Planner, Schedule, share_sites
from kerio_resync.plain_text import format_size, pluralize
from kerio_resync.sync.listing.concurrency import CONCURRENT_LISTINGS

Array = Any
START_ROUND_TRIPS: Final = 15.0  # calls that wait for each other: connection, login, key, folders, first and last lists
LIST_BYTES: Final = 2_000.0  # of a list of a usual folder, compressed
MAX_LISTS: Final = 0.25  # of a rebuild's bytes, at each end
MIN_WIRE: Final = 10_000.0  # bytes of an empty mailbox's rebuild


@dataclass(frozen=True)
class PlanInput:
    """All that a plan is made from, checked."""

    inventory: Inventory
    settings: PlanSettings
    windows: tuple[Window, ...]
    now: datetime
    capacity: Capacity | None = None


@dataclass
class Fleet:
    """The users with their work, and the rebuilds among them as arrays.

    `rebuilding`: the index in `people` of each rebuild. `notices`: what was assumed.
    """

    people: tuple[Person, ...]
    works: list[Work]
    sites: tuple[SiteSettings, ...]
    rebuilding: list[int]
    rebuilds: Rebuilds
    links: Array
    curve: ServerCurve
    notices: list[str] = field(default_factory=list)


def survey(given: PlanInput) -> Fleet:
    """Find each user's work and site; BadSettings if a site is not in the settings."""
    settings, people = given.settings, given.inventory.people
    names = {site.name: place for place, site in enumerate(settings.site)}
    missing = sorted({person.site for person in people} - set(names))
    if missing:
        shown = ", ".join(f'"{name}"' for name in missing[:10]) + (
            f" and {len(missing) - 10} more" * (len(missing) > 10)
        )
        raise BadSettings(f"the settings have no site {shown}; add a [[site]] with its link for each of them")
    usual = mean_mailbox(people, settings.mailbox.bytes_per_mail * 8000)
    works = [work_of(person, settings, usual) for person in people]
    rebuilding = [place for place, work in enumerate(works) if work.action == "rebuild"]
    site = np.array([names[people[place].site] for place in rebuilding], dtype=np.int64)
    wire = np.array([max(MIN_WIRE, works[place].wire) for place in rebuilding])
    calls = np.array([works[place].calls for place in rebuilding])
    items = np.array([works[place].items for place in rebuilding])
    curve = _curve(given, wire, calls)
    listing = np.array([works[place].list_calls for place in rebuilding])
    lists = np.minimum(listing / 2 * LIST_BYTES, wire * MAX_LISTS)
    cost, turns = curve.cost(wire - 2 * lists, calls - listing) if len(wire) else (wire, wire)
    list_cost, list_turns = curve.cost(2 * lists, listing) if len(wire) else (wire, wire)
    links = np.array([one.down for one in settings.site])
    trips = np.array([one.round_trip for one in settings.site])[site] if len(site) else np.empty(0)
    with np.errstate(divide="ignore"):
        own = np.minimum(wire / np.maximum(items * settings.client.item_s, 0.05), MAX_IN_FLIGHT * wire / calls / trips)
    fixed = settings.client.start_s + START_ROUND_TRIPS * (trips + settings.server.call_s)
    with np.errstate(divide="ignore"):
        list_own = CONCURRENT_LISTINGS * 2 * lists / np.maximum(listing, 1) / np.maximum(trips, 1e-4)
    rebuilds = Rebuilds(site, wire, cost, turns, own, fixed, lists, list_cost, list_turns, list_own)
    fleet = Fleet(people, works, settings.site, rebuilding, rebuilds, links, curve)
    fleet.notices = _notices(given, fleet, usual)
    return fleet


def schedule(given: PlanInput, fleet: Fleet, windows: Sequence[Window]) -> Schedule:
    """Plan the rebuilds of a fleet into windows."""
    settings = given.settings
    limits = limits_of(settings)
    sites = share_sites(fleet.rebuilds, fleet.links, limits)
    zone = ZoneInfo(settings.server.time_zone)
    planner = Planner(fleet.rebuilds, sites, fleet.curve, limits, zone, settings.uncertainty)
    return planner.plan(windows, given.now)


def naive(given: PlanInput, fleet: Fleet) -> NaiveStart | None:
    """Simulate the naive start; None without rebuilds."""
    if not fleet.rebuilding:
        return None
    zone = given.settings.server.time_zone
    start = working_morning(max(given.windows[0].start, given.now), zone)
    return naive_start(
        fleet.rebuilds, fleet.curve, fleet.links, [site.name for site in fleet.sites], start, ZoneInfo(zone),
        limits_of(given.settings),
    )  # fmt: skip


def limits_of(settings: PlanSettings) -> Limits:
    """Return the limits as plan.json has them."""
    return Limits.model_validate(settings.limits.model_dump())


def _curve(given: PlanInput, wire: Array, calls: Array) -> ServerCurve:
    if given.capacity is not None:
        return MeasuredServer(given.capacity)
    mean = float(wire.sum() / calls.sum()) if len(wire) else 50_000.0
    return QueueServer(given.settings, mean, sorted(_hours(given)))


def _hours(given: PlanInput) -> set[int]:
    """Return the hours of the day that windows and the naive start touch.

    They are those of the server's time zone.
    """
    zone = ZoneInfo(given.settings.server.time_zone)
    hours = set(range(24)) if len(given.inventory.people) > 2000 else set(range(7, 19))
    for window in given.windows:
        instant = window.start
        while instant < window.end + timedelta(hours=1):
            hours.add(instant.astimezone(zone).hour)
            instant += timedelta(hours=1)
    return hours


def _notices(given: PlanInput, fleet: Fleet, usual: float) -> list[str]:
    found = list(given.inventory.notices)
    works = fleet.works
    unsized = sum(person.mailbox_bytes is None for person in fleet.people)
    if unsized:
        count = pluralize(unsized, "mailbox", "mailboxes")
        found.append(f"{count} of unknown size: taken as {format_size(usual)} each.")
    unknown = sum(work.reason == "the state of the cache is unknown" for work in works)
    if unknown:
        found.append(f"{pluralize(unknown, 'cache')} of unknown state: planned as rebuilds, which take longest.")
    unchecked = sum(p.free_bytes is None and w.action in ("rebuild", "upgrade")
                    for p, w in zip(fleet.people, works, strict=True))  # fmt: skip
    if unchecked:
        found.append(f"{pluralize(unchecked, 'machine')} of unknown free room: taken as enough.")
    if not fleet.curve.has_waits:
        found.append(
            "The capacity file has no waits of users at all its points, so the limit on them could not be applied;"
            " the number of clients is limited to what was measured."
        )
    return found
