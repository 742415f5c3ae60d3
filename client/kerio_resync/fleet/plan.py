"""The result of `fleet plan`: the members of plan.json.

Instants are aware datetimes in UTC; a page shows them in the time zone of the site. Durations end in `_s` and are in
seconds, rates are in bytes per second, sizes in bytes, loads and shares are fractions of 1. Readers ignore members that
they do not know.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Final, Literal

from kerio_resync.fleet.values import Value, read_value

FORMAT: Final = "kerio-resync-plan"
VERSION: Final = 1

Action = Literal["rebuild", "upgrade", "nothing", "needs-room"]


class PlannedUser(Value):
    """One user's cache on one machine.

    `action`: rebuild (fetch everything from the server), upgrade (convert the cache on the machine, without the
    server), nothing (the cache is current), needs-room (neither is possible before room is made on the disk).
    `reason`: why this action, as part of a sentence. `language`: a BCP 47 tag such as `de`, "" if unknown. `machine`:
    its name, "" if unknown. `bytes`: what a rebuild will fetch, 0 for the other actions. `items`: mails and entries to
    fetch; estimated if the inventory has none. `cache_bytes`: of the present cache file, None if unknown. `free_bytes`:
    room on the disk, None if unknown. `needed_bytes`: room that the action needs on the disk beside what is used now.
    `drop_first`: a rebuild that fits only with `rebuild --drop-first`, which deletes the old cache before it begins.

    `start`: the instant the user's client starts. `end`: when it is expected to be done, with the earliest and the
    latest likely instant in `end_low` and `end_high`. All four are None without a wave.
    """

    user: str
    email: str = ""
    language: str = ""
    site: str
    machine: str = ""
    action: Action
    reason: str
    bytes: int = 0
    items: int = 0
    cache_bytes: int | None = None
    free_bytes: int | None = None
    needed_bytes: int = 0
    drop_first: bool = False
    start: datetime | None = None
    end: datetime | None = None
    end_low: datetime | None = None
    end_high: datetime | None = None


class WaveSite(Value):
    """A wave's part at one site.

    `users`: how many. `bytes`: what their rebuilds fetch. `bwlimit`: the value for `rebuild --bwlimit` (or `bwlimit` in
    profile.toml) of each of these clients, in bytes per second; None if no limit is needed to keep the link's share.
    """

    site: str
    users: int
    bytes: int
    bwlimit: int | None = None


class Wave(Value):
    """Users who get one notice.

    Their clients start between `start` and `start` + `splay_s`.

    `number`: from 1, in order of start. `window`: index in `Plan.windows`. `splay_s`: the value for `--splay`; the
    clients' starts are spread evenly over it. `end`: when the last of them is expected to be done, with the range
    `end_low` to `end_high`. `bytes`: what all its rebuilds fetch. `sites`: the parts per site, in order of their names.
    """

    number: int
    window: int
    start: datetime
    splay_s: float
    end: datetime
    end_low: datetime
    end_high: datetime
    bytes: int
    sites: tuple[WaveSite, ...]
    users: tuple[PlannedUser, ...]


class Site(Value):
    """A site, as it was planned with.

    `down`, `up`: the rate of its link, in bytes per second. `round_trip_s`: to the server and back. `time_zone`: an
    IANA name, of the times in notices to its users. `machines`: users in the inventory. `assumed`: members that were
    not given and are assumed.
    """

    name: str
    down: float
    up: float
    round_trip_s: float
    time_zone: str
    machines: int
    assumed: tuple[str, ...] = ()


class Window(Value):
    """A time in which clients may run.

    `name` is as the settings have it, such as `2026-11-28 22:00-06:00`.
    """

    name: str
    start: datetime
    end: datetime


class Limits(Value):
    """What a plan must keep.

    `users_p95`: the webmail users' p95 wait, at most this many times that without the clients. `unnoticed_s`: a p95
    below this is always allowed, also where users alone wait for nothing. `link_share`: the share of a site's link that
    the clients may use, at most.
    """

    users_p95: float
    unnoticed_s: float
    link_share: float


class ServerModel(Value):
    """The server, as it was planned with.

    `source`: "settings" or the name of the capacity file. `workers`: requests served at once. `call_s`: service time of
    a request, and `kb_s`: for each 1,000 bytes of its reply. `webmail_per_second`: requests of webmail users for each
    hour of the day, 24 values from midnight in `time_zone`. `webmail_service_s`: mean service time of one of them.
    `webmail_url`: the address of the webmail that users work with meanwhile, "" if not given.
    """

    source: str
    workers: float
    call_s: float
    kb_s: float
    webmail_per_second: tuple[float, ...]
    webmail_service_s: float
    time_zone: str
    webmail_url: str = ""


class Series(Value):
    """What server, links and webmail users bear over time.

    All lists have one value per step.

    The first value is that of the step that begins at `start`; each step is `step_s` long. `active`: clients that
    rebuild, on average over the step. `server_load`: share of the server's workers in use, with webmail users.
    `webmail_load`: that of webmail users alone. `users_p95_s`: the webmail users' p95 wait, `alone_p95_s`: the same
    without clients. `links`: for each site's name the share of its link (down) in use by clients.
    """

    start: datetime
    step_s: float
    active: tuple[float, ...]
    server_load: tuple[float, ...]
    webmail_load: tuple[float, ...]
    users_p95_s: tuple[float, ...]
    alone_p95_s: tuple[float, ...]
    links: dict[str, tuple[float, ...]]


class NaiveStart(Value):
    """The same rebuilds and upgrades, all started at once, without limits.

    `start`: that instant, usually 08:00 of a working morning. `end`: when the last is done; None if some are not after
    the modelled time, `unfinished` says how many. `median_s`, `slowest_s`: the time of a client. `worst_p95_s`: the
    webmail users' highest p95. `over_limit_s`: how long their p95 is over the limit. `links_full_s`: for each site how
    long its link is full. `series`: over time; its last step contains `end`.
    """

    start: datetime
    end: datetime | None
    unfinished: int
    median_s: float
    slowest_s: float
    worst_p95_s: float
    over_limit_s: float
    links_full_s: dict[str, float]
    series: Series


class Problem(Value):
    """Users who need work but have no wave, for one reason.

    `kind`: "window" (too little time for all in the windows), "mailbox" (one mailbox takes longer than any window),
    "server" (the server has no capacity left for clients), "room" (no room on the disk). `site`: its name.
    `users`: their names. `sentence`: what does not fit. `remedies`: what would make them fit, one sentence each, the
    cheapest first; each was checked by planning with it, except those for "room".
    """

    kind: Literal["window", "mailbox", "server", "room"]
    site: str
    users: tuple[str, ...]
    sentence: str
    remedies: tuple[str, ...]


class Totals(Value):
    """Counts over all users.

    `rebuild`, `upgrade`, `nothing`, `needs_room`: users by action. `unplaced`: of `rebuild` and `upgrade` those without
    a wave. `bytes`: what the planned rebuilds fetch. `end`: of the last wave, None without one.
    """

    users: int
    rebuild: int
    upgrade: int
    nothing: int
    needs_room: int
    unplaced: int
    bytes: int
    end: datetime | None


class Inputs(Value):
    """What the plan was made from.

    `inventory`: the name of the file, or such as `--users 500`. `settings`: the name of the file, "" for options only.
    `capacity`: the name of the file, "" without. `seed`: of the size distribution, None with an inventory. `notices`:
    what was assumed, ignored or unusual in the input, one sentence each.
    """

    inventory: str
    settings: str
    capacity: str
    seed: int | None
    notices: tuple[str, ...]


class Plan(Value):
    """A plan, as plan.json has it.

    `made`: when it was made. `made_by`: program and version. `ok`: each user who needs work has a wave. `range`: how
    the ranges were made, one sentence. `load`: one series per window that is used, in order. `peak_p95_s`: the webmail
    users' highest p95 during the waves. `peak_p95`: the highest ratio of their p95 to that without clients, where it is
    above `limits.unnoticed_s` (1 where it never is); a wait without clients counts as that over `limits.users_p95` at
    least. `naive`: None if there is nothing to do.
    `others`: all users without a wave: nothing to do, no room, or no place in the windows.
    """

    format: Literal["kerio-resync-plan"] = FORMAT
    version: Literal[1] = VERSION
    made: datetime
    made_by: str
    ok: bool
    inputs: Inputs
    limits: Limits
    server: ServerModel
    sites: tuple[Site, ...]
    windows: tuple[Window, ...]
    totals: Totals
    waves: tuple[Wave, ...]
    others: tuple[PlannedUser, ...]
    problems: tuple[Problem, ...]
    range: str
    peak_p95_s: float
    peak_p95: float
    load: tuple[Series, ...]
    naive: NaiveStart | None


def read_plan(path: Path) -> Plan:
    """Read plan.json, or a folder that has it.

    BadSettings if it is unreadable or no plan.
    """
    if path.is_dir():
        path /= "plan.json"
    return read_value(path, Plan, "a plan of `kerio-resync fleet plan`")
