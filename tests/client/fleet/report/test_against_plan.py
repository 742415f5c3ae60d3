from __future__ import annotations

from datetime import timedelta

import pytest

from kerio_resync.fleet.plan import Plan, PlannedUser
from kerio_resync.fleet.report.against_plan import GRACE, compare
from kerio_resync.fleet.report.result import Machine, State
from tests.support.plans import NIGHT, sample_plan

PLAN = sample_plan(users=8, waves_per_window=2)
USERS: list[PlannedUser] = [user for wave in PLAN.waves for user in wave.users]
MORNING = NIGHT + timedelta(hours=12)


def ready(
    user: PlannedUser, share: float = 1.0, *, machine: str = "", name: str = "", state: State = "ready"
) -> Machine:
    assert user.start is not None
    assert user.end is not None
    seconds = (user.end - user.start).total_seconds() * share
    ended = user.start + timedelta(seconds=seconds)
    return Machine(
        machine=machine or user.machine, user=name or user.user, state=state, ended=ended, seen=ended, seconds=seconds
    )


def test_planned_user_is_found_by_machine_or_user_in_any_case() -> None:
    rows = [
        ready(USERS[0], machine="PC-0"),
        ready(USERS[1], machine="vienna/pc-1"),
        ready(USERS[2], machine="laptop-7", name=USERS[2].user.upper()),
        ready(USERS[3], machine="laptop-8", name=USERS[3].email),
        ready(USERS[4], machine=USERS[4].user, name="-"),
    ]
    found, summary = compare(PLAN, rows, MORNING)
    assert [row.planned is not None for row in found[:5]] == [True] * 4 + [False]
    assert (summary.planned, summary.reported, summary.ready, summary.unplanned) == (8, 4, 4, 1)
    assert [row.machine for row in found if row.state == "not-reported"] == [user.machine for user in USERS[4:]]


def test_plan_names_the_user_of_a_run_that_failed_before_its_login() -> None:
    row = Machine(machine=USERS[0].machine, state="failed", cause="bad-credentials")
    assert compare(PLAN, [row], MORNING)[0][0].user == USERS[0].user


def test_machine_with_a_run_of_another_user_is_not_the_planned_one() -> None:
    other = ready(USERS[0], name="someone.else")
    found, summary = compare(PLAN, [other], MORNING)
    assert (found[0].planned, summary.unplanned, summary.not_reported) == (None, 1, 8)
    both, _ = compare(PLAN, [other, ready(USERS[0])], MORNING)
    assert [row.planned is not None for row in both[:2]] == [False, True]


def test_user_whose_start_has_not_come_is_not_missing() -> None:
    second_wave = PLAN.waves[1]
    found, summary = compare(PLAN, [], second_wave.start)
    states = {row.machine: row.state for row in found}
    assert {states[user.machine] for user in PLAN.waves[0].users} == {"not-reported"}
    assert {states[user.machine] for user in second_wave.users} == {"not-due"}
    assert (summary.due, summary.late) == (len(PLAN.waves[0].users), sum(row.late for row in found))


@pytest.mark.parametrize(
    ("share", "state", "late"),
    [(1.0, "ready", False), (1.3, "ready", False), (9.0, "ready", True), (9.0, "unsent", True), (1.0, "failed", True)],
)
def test_late_is_what_was_not_ready_at_the_latest_likely_end(share: float, state: State, late: bool) -> None:
    found, summary = compare(PLAN, [ready(USERS[0], share, state=state)], MORNING)
    assert found[0].late is late
    assert summary.late == 7 + late


def test_machine_at_work_is_late_only_after_its_latest_end() -> None:
    user = USERS[0]
    assert user.end_high is not None
    row = Machine(machine=user.machine, user=user.user, state="working")
    for passed, late in ((timedelta(0), False), (GRACE + timedelta(seconds=1), True)):
        assert compare(PLAN, [row], user.end_high + passed)[0][0].late is late


def test_true_times_are_compared_with_the_planned_ones() -> None:
    rows = [ready(user, share) for user, share in zip(USERS, (0.5, 1.0, 1.5, 2.0, 4.0), strict=False)]
    _, summary = compare(PLAN, rows, MORNING)
    assert summary.time_ratio == pytest.approx(1.5)
    assert summary.end_error_s is not None
    assert summary.end_error_s > 0
    assert summary.planned_end == PLAN.totals.end
    assert compare(PLAN, [], MORNING)[1].time_ratio is None


def test_users_without_a_wave_are_counted_and_not_missing() -> None:
    plan: Plan = sample_plan(users=8, unplaced=3, no_room=2)
    found, summary = compare(plan, [ready(plan.others[0].model_copy(update={"start": NIGHT, "end": NIGHT}))], MORNING)
    assert (summary.without_wave, summary.unplanned, summary.not_reported) == (5, 0, 8)
    assert len(found) == 9
