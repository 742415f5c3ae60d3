"""From the options of `fleet plan` to the input of a plan."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from kerio_resync.errors import BadSettings
from kerio_resync.fleet.assemble import make_plan
from kerio_resync.fleet.capacity import read_capacity
from kerio_resync.fleet.inputs.inventory import Inventory, read_inventory
from kerio_resync.fleet.inputs.settings import PlanSettings, read_settings, settings_from
from kerio_resync.fleet.inputs.synthetic import MEDIAN_BYTES, SIGMA, make_people
from kerio_resync.fleet.inputs.units import parse_link_rate, parse_seconds, parse_size
from kerio_resync.fleet.inputs.windows import next_night, parse_window, resolve_windows
from kerio_resync.fleet.make_plan import PlanInput
from kerio_resync.fleet.plan import Inputs, Plan

ONE_SITE = "office"  # the name of the site that `--link` makes


@dataclass(frozen=True)
class PlanRequest:
    """The options as they were given; None or () for those that were not.

    Either `inventory` or `users`. `link`, `rtt` and `workers` replace values of the settings.
    """

    inventory: Path | None = None
    users: int | None = None
    settings: Path | None = None
    capacity: Path | None = None
    windows: Sequence[str] = ()
    link: str | None = None
    rtt: str | None = None
    workers: int | None = None
    time_zone: str | None = None
    seed: int = 1
    median_size: str | None = None
    upgrade_share: float = 0.0


def plan_fleet(request: PlanRequest, now: datetime, progress: Callable[[str], None]) -> Plan:
    """Read the files and plan; BadSettings says what is wrong with them."""
    settings = _settings(request)
    notices: list[str] = []
    zone = settings.server.time_zone
    given = [parse_window(text) for text in request.windows] or list(settings.window)
    if not given:
        given = [next_night(now, zone)]
        notices.append(f"No window was given; the next night is taken ({given[0].date} 22:00-06:00, {zone}).")
    windows = resolve_windows(given, zone, now)
    inventory = _inventory(request, settings)
    capacity = read_capacity(request.capacity) if request.capacity else None
    inputs = Inputs(
        inventory=request.inventory.name if request.inventory else f"--users {request.users}",
        settings=request.settings.name if request.settings else "",
        capacity=request.capacity.name if request.capacity else "",
        seed=None if request.inventory else request.seed,
        notices=tuple(notices),
    )
    return make_plan(PlanInput(inventory, settings, windows, now, capacity), inputs, progress)


def _settings(request: PlanRequest) -> PlanSettings:
    """Return the settings with the options' values in place of the file's."""
    settings = read_settings(request.settings) if request.settings else PlanSettings()
    server: dict[str, Any] = {}
    if request.workers is not None:
        server["workers"] = request.workers
    if request.time_zone is not None:
        server["time_zone"] = request.time_zone
    site: dict[str, Any] = {}
    if request.link is not None:
        site["down"] = _parsed("--link", parse_link_rate, request.link)
    if request.rtt is not None:
        site["round_trip"] = _parsed("--rtt", _milliseconds, request.rtt)
    found = settings.model_dump(by_alias=True, exclude_unset=True)
    if server:
        found["server"] = found.get("server", {}) | server
    if site:
        if len(settings.site) > 1:
            raise BadSettings("--link and --rtt are for one site; change the sites in the settings instead")
        known = found["site"][0] if settings.site else {"name": ONE_SITE}
        if "down" not in site and "down" not in known:
            raise BadSettings("--rtt needs the rate of the link, too: add --link 20")
        found["site"] = [known | site]
    if not found.get("site"):
        raise BadSettings(
            "no site is known: give --link RATE for one site, or --settings FILE with all;"
            " `fleet plan --example DIR` writes files to start from"
        )
    return settings_from(found, str(request.settings or "the options"))


def _inventory(request: PlanRequest, settings: PlanSettings) -> Inventory:
    if (request.inventory is None) == (request.users is None):
        raise BadSettings("give either an inventory (a CSV or JSON file) or --users N")
    if request.inventory is not None:
        sites = [site.name for site in settings.site]
        return read_inventory(request.inventory, sites[0] if len(sites) == 1 else "", sites)
    assert request.users is not None
    median = MEDIAN_BYTES
    if request.median_size is not None:
        median = _parsed("--median-size", parse_size, request.median_size)
        if median <= 0:
            raise BadSettings("--median-size: give a size above 0")
    return make_people(
        request.users, settings.site, seed=request.seed, median_bytes=median, sigma=SIGMA,
        upgrade_share=request.upgrade_share,
    )  # fmt: skip


def _milliseconds(text: str) -> float:
    """Parse a round trip; a number without a unit is in milliseconds."""
    try:
        return float(text.replace(",", ".")) / 1000
    except ValueError:
        return float(parse_seconds(text))


def _parsed(option: str, parse: Callable[[str], float], text: str) -> float:
    try:
        return parse(text)
    except ValueError as error:
        raise BadSettings(f"{option} {text}: {error}") from None
