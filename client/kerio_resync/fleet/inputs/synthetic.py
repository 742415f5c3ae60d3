"""A made inventory for `--users N`: sizes from a seeded distribution.

Sizes of mailboxes are log-normal: most are small and a few are very large. The default, a median of 300 MB and a sigma
of 1.2, has a mean of 616 MB, and 5 in 100 mailboxes have more than 2.2 GB. Equal arguments give equal users.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from random import Random
from typing import Final

from kerio_resync.errors import BadSettings
from kerio_resync.fleet.inputs.inventory import Inventory, Person
from kerio_resync.fleet.inputs.settings import SiteSettings

MEDIAN_BYTES: Final = 300e6
SIGMA: Final = 1.2
MAX_BYTES: Final = 100e9
MAX_USERS: Final = 1_000_000


def make_people(
    count: int,
    sites: Sequence[SiteSettings],
    *,
    seed: int = 1,
    median_bytes: float = MEDIAN_BYTES,
    sigma: float = SIGMA,
    upgrade_share: float = 0.0,
) -> Inventory:
    """Make `count` users, spread over the sites by their `machines`.

    `upgrade_share` of them have an old cache that can be upgraded locally; the others have none. BadSettings.
    """
    if not 1 <= count <= MAX_USERS:
        raise BadSettings(f"--users: give a number between 1 and {MAX_USERS:,}")
    rng = Random(f"kerio-resync fleet {seed}")
    people: list[Person] = []
    for site, machines in zip(sites, _shares(count, sites), strict=True):
        for _ in range(machines):
            size = min(MAX_BYTES, rng.lognormvariate(math.log(median_bytes), sigma))
            is_old = rng.random() < upgrade_share
            name = f"user{len(people) + 1:0{len(str(count))}}"
            people.append(
                Person(
                    name,
                    site.name,
                    round(size),
                    language=site.language,
                    state="old" if is_old else "absent",
                    version="7.2" if is_old else "",
                    cache_bytes=round(size) if is_old else None,
                )
            )
    rule = f"sizes are log-normal with a median of {median_bytes / 1e6:,.0f} MB and a sigma of {sigma:g}, seed {seed}"
    return Inventory(tuple(people), (f"The {count:,} users are made up: {rule}.",))


def _shares(count: int, sites: Sequence[SiteSettings]) -> list[int]:
    """Divide `count` in proportion to the sites' machines, by largest remainders."""
    weights = [site.machines if site.machines is not None else 0 for site in sites]
    if not sum(weights):
        weights = [1] * len(sites)
    exact = [count * weight / sum(weights) for weight in weights]
    whole = [int(share) for share in exact]
    order = sorted(range(len(sites)), key=lambda place: (whole[place] - exact[place], place))
    for place in order[: count - sum(whole)]:
        whole[place] += 1
    return whole
