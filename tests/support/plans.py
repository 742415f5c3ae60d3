"""Plans for tests of what a plan is written as: small, deterministic, and of the shape that the planner makes."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from math import exp, sin
from typing import Any

from kerio_resync.fleet.plan import (
    Action,
    Inputs,
    Limits,
    NaiveStart,
    Plan,
    PlannedUser,
    Problem,
    Series,
    ServerModel,
    Site,
    Totals,
    Wave,
    WaveSite,
    Window,
)

NIGHT = datetime(2026, 11, 28, 21, tzinfo=UTC)  # a Saturday, 22:00 in Prague
MADE = datetime(2026, 11, 20, 9, 30, tzinfo=UTC)
LANGUAGES = ("de", "cs", "en", "fr", "es", "")
MEBIBYTE = 2**20


def sample_plan(
    users: int = 60,
    sites: Sequence[tuple[str, str]] = (("Praha", "Europe/Prague"), ("Brno", "Europe/Prague")),
    *,
    windows: int = 1,
    waves_per_window: int = 4,
    names: str = "user{:05}",
    webmail: str = "https://mail.example.com/webmail",
    unplaced: int = 0,
    no_room: int = 0,
    made: datetime = MADE,
) -> Plan:
    """Return a plan with this many users in waves; `sites`: names and time zones."""
    starts = [NIGHT + timedelta(days=day) for day in range(windows)]
    count = windows * waves_per_window
    size = -(-users // count)
    waves = []
    for number in range(count):
        start = starts[number // waves_per_window] + timedelta(minutes=90 * (number % waves_per_window))
        members = [user(place, sites, start, names) for place in range(number * size, min(users, (number + 1) * size))]
        if members:
            waves.append(wave(number + 1, number // waves_per_window, start, members, sites))
    others = [other(users + place, sites, names, "rebuild") for place in range(unplaced)]
    others += [other(users + unplaced + place, sites, names, "needs-room") for place in range(no_room)]
    fetched = sum(part.bytes for part in waves)
    return Plan(
        made=made,
        made_by="kerio-resync 0.1.0",
        ok=not unplaced,
        inputs=Inputs(inventory="users.csv", settings="fleet.toml", capacity="", seed=None, notices=(
            "3 users have no mailbox size; the median of their site is assumed.",)),
        limits=Limits(users_p95=2.0, unnoticed_s=0.1, link_share=0.8),
        server=ServerModel(source="fleet.toml", workers=8, call_s=0.01, kb_s=0.0002, webmail_per_second=(1.5,) * 24,
                           webmail_service_s=0.05, time_zone="Europe/Prague", webmail_url=webmail),
        sites=tuple(Site(name=name, down=2.5e6, up=1e6, round_trip_s=0.02, time_zone=zone,
                         machines=(users + unplaced + no_room) // len(sites), assumed=("up",))
                    for name, zone in sites),
        windows=tuple(Window(name=f"{start:%Y-%m-%d} 22:00-06:00", start=start, end=start + timedelta(hours=8))
                      for start in starts),
        totals=Totals(users=users + unplaced + no_room, rebuild=users + unplaced - users // 4, upgrade=users // 4,
                      nothing=0, needs_room=no_room, unplaced=unplaced, bytes=fetched,
                      end=waves[-1].end if waves else None),
        waves=tuple(waves),
        others=tuple(others),
        problems=tuple([problem(others[:unplaced], sites[0][0])] * bool(unplaced)
                       + [room_problem(others[unplaced:], sites[0][0])] * bool(no_room)),
        range="The range is from 0.8 to 1.4 times the expected time.",
        peak_p95_s=0.31,
        peak_p95=1.6,
        load=tuple(night(start, sites, seed) for seed, start in enumerate(starts)),
        naive=naive(sites, windows),
    )  # fmt: skip


def user(number: int, sites: Sequence[tuple[str, str]], start: datetime, names: str) -> PlannedUser:
    action: Action = "upgrade" if number % 4 == 3 else "rebuild"
    seconds = 240 if action == "upgrade" else 300 + number * 613 % 4200
    begin = start + timedelta(seconds=number * 37 % 900)
    name = names.format(number)
    values: dict[str, Any] = {
        "user": name, "email": f"u{number}@example.com", "language": LANGUAGES[number % len(LANGUAGES)],
        "site": sites[number % len(sites)][0], "machine": f"pc-{number}", "action": action,
        "reason": "the cache is damaged", "bytes": (400 + number * 97 % 3000) * MEBIBYTE * (action == "rebuild"),
        "items": 4000, "needed_bytes": 900 * MEBIBYTE, "free_bytes": 9000 * MEBIBYTE, "start": begin,
        "end": begin + timedelta(seconds=seconds), "end_low": begin + timedelta(seconds=seconds * 0.8),
        "end_high": begin + timedelta(seconds=seconds * 1.4),
    }  # fmt: skip
    return PlannedUser(**values)


def other(number: int, sites: Sequence[tuple[str, str]], names: str, action: Action) -> PlannedUser:
    nothing = dict.fromkeys(("start", "end", "end_low", "end_high"))
    room = {"needed_bytes": 3000 * MEBIBYTE, "free_bytes": 400 * MEBIBYTE}
    return user(number, sites, NIGHT, names).model_copy(
        update={**nothing, **room, "action": action, "reason": "the cache has an old format"}
    )


def wave(
    number: int, window: int, start: datetime, members: Sequence[PlannedUser], sites: Sequence[tuple[str, str]]
) -> Wave:
    parts = []
    for name, _ in sorted(sites):
        here = [member for member in members if member.site == name]
        if here:
            fetched = sum(member.bytes for member in here)
            parts.append(WaveSite(site=name, users=len(here), bytes=fetched, bwlimit=250_000))
    return Wave(
        number=number, window=window, start=start, splay_s=900, end=max(m.end for m in members if m.end),
        end_low=max(m.end_low for m in members if m.end_low), end_high=max(m.end_high for m in members if m.end_high),
        bytes=sum(part.bytes for part in parts), sites=tuple(parts), users=tuple(members),
    )  # fmt: skip


def problem(users: Sequence[PlannedUser], site: str) -> Problem:
    return Problem(
        kind="window",
        site=site,
        users=tuple(user.user for user in users),
        sentence=f"{len(users)} users at {site} do not fit: its link is full until 06:00.",
        remedies=("Add another window of 2 hours.", "Raise the link share to 95 %."),
    )


def room_problem(users: Sequence[PlannedUser], site: str) -> Problem:
    return Problem(
        kind="room",
        site=site,
        users=tuple(user.user for user in users),
        sentence=f"{len(users)} users have no room.",
        remedies=("Free up to 2.5 GiB on each of them.",),
    )


def night(start: datetime, sites: Sequence[tuple[str, str]], seed: int, steps: int = 480) -> Series:
    wave = [0.5 + 0.5 * sin(step / 30 + seed) for step in range(steps)]
    fade = [1.0 if step < steps * 0.8 else exp(-(step - steps * 0.8) / 20) for step in range(steps)]
    load = [a * b for a, b in zip(wave, fade, strict=True)]
    return Series(
        start=start,
        step_s=60,
        active=tuple(12 * value for value in load),
        server_load=tuple(0.1 + 0.6 * value for value in load),
        webmail_load=(0.1,) * steps,
        users_p95_s=tuple(0.19 + 0.12 * value for value in load),
        alone_p95_s=(0.19,) * steps,
        links={name: tuple(0.78 * value for value in load) for name, _ in sites},
    )


def naive(sites: Sequence[tuple[str, str]], windows: int) -> NaiveStart:
    start, steps = NIGHT + timedelta(hours=34), 500
    rest = [max(0.0, 1 - step / 470) for step in range(steps)]
    return NaiveStart(
        start=start, end=start + timedelta(seconds=470 * 60), unfinished=0, median_s=12_000, slowest_s=28_200,
        worst_p95_s=14.0, over_limit_s=25_000, links_full_s=dict.fromkeys((name for name, _ in sites), 24_000.0),
        series=Series(
            start=start, step_s=60 * windows, active=tuple(60 * value for value in rest),
            server_load=tuple(min(1.0, 3 * value) for value in rest), webmail_load=(0.3,) * steps,
            users_p95_s=tuple(0.2 + 13.8 * value for value in rest), alone_p95_s=(0.25,) * steps,
            links={name: tuple(min(1.0, 4 * value) for value in rest) for name, _ in sites},
        ),
    )  # fmt: skip
