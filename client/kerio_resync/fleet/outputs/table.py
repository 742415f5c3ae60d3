"""plan.csv: one line per user, in order of start, and then those without a wave."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from kerio_resync.fleet.outputs.cells import Cell, local_time, write_csv
from kerio_resync.fleet.plan import Plan, PlannedUser, Wave

HEADS: Final = (
    "user", "wave", "start", "end", "end_low", "end_high", "time_zone", "site", "machine", "action", "reason",
    "problem", "splay_s", "bwlimit", "drop_first", "bytes", "items", "cache_bytes", "needed_bytes", "free_bytes",
    "email", "language",
)  # fmt: skip


def user_table(plan: Plan) -> bytes:
    """Return the table.

    Times are those of the user's site, with their offset from UTC.
    """
    return write_csv(HEADS, _rows(plan))


def _rows(plan: Plan) -> Iterator[tuple[Cell, ...]]:
    zones = {site.name: site.time_zone for site in plan.sites}
    problems = {user: problem.sentence for problem in plan.problems for user in problem.users}
    for wave in plan.waves:
        limits = {site.site: site.bwlimit for site in wave.sites}
        for user in sorted(wave.users, key=lambda user: (user.start or wave.start, user.user)):
            yield _row(user, wave, zones, limits.get(user.site) if user.action == "rebuild" else None, "")
    for user in plan.others:
        yield _row(user, None, zones, None, problems.get(user.user, ""))


def _row(
    user: PlannedUser, wave: Wave | None, zones: dict[str, str], limit: int | None, problem: str
) -> tuple[Cell, ...]:
    zone = zones.get(user.site, "UTC")
    times = (local_time(instant, zone) for instant in (user.start, user.end, user.end_low, user.end_high))
    return (
        user.user, wave.number if wave else None, *times, zone, user.site, user.machine, user.action, user.reason,
        problem, round(wave.splay_s) if wave else None, limit, "yes" if user.drop_first else "", user.bytes,
        user.items, user.cache_bytes, user.needed_bytes, user.free_bytes, user.email, user.language,
    )  # fmt: skip
