"""Compares what the logs say with the plan.

Who has not reported, who is late, and how true the estimates were.

A planned user is found by the name of the machine, else by the user of the runs; upper and lower case are the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from statistics import median
from typing import Final

from kerio_resync.fleet.plan import Plan, PlannedUser, Wave
from kerio_resync.fleet.report.result import AgainstPlan, Machine, Planned

GRACE: Final = timedelta(minutes=5)  # between clocks, and until a log arrives


def compare(plan: Plan, machines: Sequence[Machine], now: datetime) -> tuple[list[Machine], AgainstPlan]:
    """Return the machines with what was planned for them, and the comparison.

    Machines without a log are among them.
    """
    by_name: dict[str, list[int]] = {}
    for place, machine in enumerate(machines):
        for name in _names(machine.machine, machine.user):
            by_name.setdefault(name, []).append(place)
    rows, without_log, used = list(machines), list[Machine](), set[int]()
    for wave, user in _planned(plan):
        planned = _value(wave, user)
        match = _find(user, by_name, machines, used)
        if match is None:
            without_log.append(_missing(user, planned, now))
            continue
        used.add(match)
        row = rows[match]
        known = {"planned": planned, "late": _is_late(row, planned, now), "user": row.user or user.user}
        rows[match] = row.model_copy(update=known)
    others = {name for user in plan.others for name in _names(user.machine, user.user, user.email)}
    unplanned = [
        row for place, row in enumerate(rows) if place not in used and not others & set(_names(row.machine, row.user))
    ]
    every = rows + without_log
    return every, _summary(plan, every, len(unplanned), now)


def _names(*names: str) -> Iterator[str]:
    for name in names:
        if name:
            yield name.casefold()
            if "/" in name:
                yield name.rpartition("/")[2].casefold()


def _planned(plan: Plan) -> Iterator[tuple[Wave, PlannedUser]]:
    for wave in plan.waves:
        for user in wave.users:
            yield wave, user


def _value(wave: Wave, user: PlannedUser) -> Planned:
    return Planned(
        wave=wave.number,
        site=user.site,
        start=user.start or wave.start,
        end=user.end or wave.end,
        end_high=user.end_high or wave.end_high,
    )


def _find(user: PlannedUser, by_name: dict[str, list[int]], machines: Sequence[Machine], used: set[int]) -> int | None:
    """Return the machine of a planned user.

    Of several, the one whose run is of this user.
    """
    own = set(_names(user.user, user.email))
    found = []
    for place in (place for name in _names(user.machine, user.user, user.email) for place in by_name.get(name, ())):
        runs_of = machines[place].user.casefold()
        is_of_another = bool(user.machine and runs_of) and runs_of not in own
        if place not in used and not is_of_another:
            found.append(place)
    return min(found, key=lambda place: machines[place].user.casefold() not in own) if found else None


def _missing(user: PlannedUser, planned: Planned, now: datetime) -> Machine:
    due = planned.start + GRACE < now
    return Machine(
        machine=user.machine or user.user,
        user=user.user,
        state="not-reported" if due else "not-due",
        planned=planned,
        late=planned.end_high + GRACE < now,
    )


def _is_late(machine: Machine, planned: Planned, now: datetime) -> bool:
    ended = machine.ended if machine.state in ("ready", "unsent") else None
    return (ended or now) > planned.end_high + GRACE


def _summary(plan: Plan, machines: Sequence[Machine], unplanned: int, now: datetime) -> AgainstPlan:
    rows = [(machine, machine.planned) for machine in machines if machine.planned is not None]
    done = [(machine, planned) for machine, planned in rows if machine.state in ("ready", "unsent")]
    ratios = [
        machine.seconds / (planned.end - planned.start).total_seconds()
        for machine, planned in done
        if machine.seconds and planned.end > planned.start
    ]
    errors = [(machine.ended - planned.end).total_seconds() for machine, planned in done if machine.ended is not None]
    missing = sum(machine.state == "not-reported" for machine in machines)
    reported = sum(machine.state not in ("not-reported", "not-due") for machine, _ in rows)
    return AgainstPlan(
        planned=len(rows),
        reported=reported,
        due=sum(planned.start + GRACE < now for _, planned in rows),
        not_reported=missing,
        ready=len(done),
        late=sum(machine.late for machine, _ in rows),
        unplanned=unplanned,
        without_wave=sum(user.action != "nothing" for user in plan.others),
        time_ratio=median(ratios) if ratios else None,
        end_error_s=median(errors) if errors else None,
        planned_end=plan.totals.end,
    )
