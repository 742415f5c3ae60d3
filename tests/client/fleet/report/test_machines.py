from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kerio_resync.fleet.report.machines import Clock, MachineLog, judge_machine
from kerio_resync.fleet.report.result import Machine
from kerio_resync.fleet.report.runs import LogFold
from tests.support.fleet_logs import NIGHT, log_of, sample
from tests.support.fleet_samples import RECIPES

STATES = {
    "rebuilt": ("ready", ""), "upgraded": ("ready", ""), "unsent": ("unsent", ""), "postponed": ("postponed", ""),
    "damaged": ("failed", "upgrade-failed"), "no-room": ("failed", "not-enough-space"),
    "wrong-password": ("failed", "bad-credentials"), "unreachable": ("failed", "unreachable"),
    "overloaded": ("failed", "overloaded"), "in-use": ("failed", "cache-in-use"),
    "other-account": ("failed", "other-account"), "unverified": ("failed", "verification-failed"),
    "unexpected": ("failed", "protocol-error"), "internal": ("failed", "internal-error"),
    "interrupted": ("failed", "interrupted"), "killed": ("failed", "no-end"),
}  # fmt: skip
MORNING = NIGHT + timedelta(hours=5)
CLOCK = Clock(MORNING, timedelta(minutes=15))


def read(*parts: bytes, modified: datetime = MORNING, grew: datetime | None = None) -> MachineLog:
    fold = LogFold()
    for line in b"".join(parts).split(b"\n"):
        fold.take(line)
    return MachineLog(fold, modified, grew)


def judge(*logs: MachineLog, clock: Clock = CLOCK) -> Machine:
    [machine] = judge_machine("pc", logs, clock)
    return machine


def at(kind: str, begin: datetime = NIGHT, number: int = 1, user: str = "a@example.com") -> bytes:
    return log_of(kind, number, user, begin)


@pytest.mark.parametrize("kind", RECIPES)
def test_each_true_log_has_its_state_and_cause(kind: str) -> None:
    machine = judge(read(at(kind)))
    assert (machine.state, machine.cause) == STATES[kind]
    assert bool(machine.sentence) == (machine.state in ("failed", "postponed"))


def test_causes_of_the_true_logs_are_all_different() -> None:
    causes = [cause for state, cause in STATES.values() if state == "failed"]
    assert len(set(causes)) == len(causes) >= 9


@pytest.mark.parametrize("kind", RECIPES)
@pytest.mark.parametrize("before", ["rebuilt", "killed", "wrong-password"])
def test_last_run_of_a_log_counts(before: str, kind: str) -> None:
    machine = judge(read(at(before), at(kind, NIGHT + timedelta(hours=1), 2)))
    assert (machine.state, machine.cause) == STATES[kind]
    assert machine.runs >= 2


@pytest.mark.parametrize("kind", RECIPES)
def test_last_run_counts_also_where_the_clock_was_set_back(kind: str) -> None:
    machine = judge(read(at("rebuilt"), at(kind, NIGHT - timedelta(hours=3), 2)))
    assert (machine.state, machine.cause) == STATES[kind]


def test_last_run_of_several_logs_counts() -> None:
    older, newer = read(at("wrong-password")), read(at("rebuilt", NIGHT + timedelta(hours=1), 2))
    assert judge(older, newer) == judge(newer, older)
    assert judge(older, newer).state == "ready"


def test_one_run_in_two_logs_is_one_run() -> None:
    whole, cut = read(at("rebuilt")), read(b"\n".join(at("rebuilt").split(b"\n")[:-2]))
    for logs in ((whole, cut), (cut, whole)):
        assert judge(*logs).state == "ready"


def test_run_without_an_end_works_until_it_has_been_silent() -> None:
    log = at("killed", MORNING - timedelta(minutes=2))
    working = judge(read(log))
    assert (working.state, working.phase, working.user) == ("working", "fetch", "a@example.com")
    assert working.share == pytest.approx(0.03, abs=0.01)
    silent = judge(read(log), clock=Clock(MORNING + timedelta(minutes=20), timedelta(minutes=15)))
    assert (silent.state, silent.cause) == ("failed", "no-end")


def test_time_left_shrinks_while_no_line_arrives() -> None:
    log = read(at("killed", MORNING - timedelta(seconds=10)))
    lefts = [judge(log, clock=Clock(MORNING + timedelta(seconds=s), CLOCK.silence)).seconds_left for s in (0, 60, 500)]
    first, second, third = lefts
    assert first is not None
    assert second is not None
    assert first - second == pytest.approx(60)
    assert third == 0


def test_log_that_was_seen_to_grow_is_alive_whatever_its_clock_says() -> None:
    log = at("killed", MORNING - timedelta(hours=7))
    assert judge(read(log)).state == "failed"
    assert judge(read(log, grew=MORNING - timedelta(minutes=1))).state == "working"


def test_clock_that_is_ahead_is_named_and_the_files_time_counts() -> None:
    log = at("killed", MORNING + timedelta(hours=2))
    fresh, old = (judge(read(log, modified=MORNING - timedelta(minutes=m))) for m in (1, 40))
    assert (fresh.state, old.state, old.cause) == ("working", "failed", "no-end")
    assert fresh.clock_ahead_s == pytest.approx(7200, abs=60)


def test_run_that_found_the_cache_in_use_does_not_end_the_one_at_work() -> None:
    start = MORNING - timedelta(minutes=2)
    log = read(at("killed", start), at("in-use", start + timedelta(minutes=1), 2))
    assert judge(log).state == "working"
    later = Clock(MORNING + timedelta(hours=1), timedelta(minutes=15))
    assert judge(log, clock=later).cause == "cache-in-use"


def test_run_that_waits_for_its_turn_is_not_dead() -> None:
    line = {
        "time": "2026-11-28T02:00:00Z", "run": "a1", "version": "1", "command": "rebuild", "event": "waiting",
        "until": "2026-11-28T09:00:00+01:00", "seconds": 21600, "reason": "not before 09:00",
    }  # fmt: skip
    log = read(orjson.dumps(line))
    waiting = judge(log)
    assert (waiting.state, waiting.seconds_left) == ("waiting", 3600.0)
    assert judge(log, clock=Clock(MORNING + timedelta(hours=3), CLOCK.silence)).cause == "no-end"


def test_users_of_one_machine_have_a_state_each() -> None:
    logs = [read(at("rebuilt", user="a@example.com")), read(at("overloaded", number=2, user="b@example.com"))]
    found = judge_machine("pc", logs, CLOCK)
    assert [(each.user, each.state) for each in found] == [("a@example.com", "ready"), ("b@example.com", "failed")]


def test_run_before_a_login_belongs_to_the_only_user() -> None:
    machine = judge(read(at("rebuilt")), read(at("wrong-password", NIGHT + timedelta(hours=1), 2)))
    assert (machine.user, machine.cause) == ("a@example.com", "bad-credentials")


def test_failure_keeps_what_was_done_before() -> None:
    machine = judge(read(at("unsent"), at("unreachable", NIGHT + timedelta(hours=1), 2)))
    assert (machine.state, machine.unsent) == ("failed", 1)
    assert machine.seconds == pytest.approx(4.75, 0.01)


def test_older_runs_are_ignored() -> None:
    clock = Clock(MORNING, timedelta(minutes=15), since=NIGHT + timedelta(minutes=30))
    log = read(at("rebuilt"), at("wrong-password", NIGHT + timedelta(hours=1), 2))
    assert judge(log, clock=clock).seconds is None
    assert judge(read(at("rebuilt")), clock=clock).state == "not-started"


def status(**cache: Any) -> bytes:
    summary = {
        "cache": {"account": "a@example.com", "server": "https://x", **cache}, "holder": "",
        "building": {"state": "absent"}, "outbox": [{"state": "pending"}] * 3,
    }  # fmt: skip
    return orjson.dumps({**summary, "event": "run-finished", "ok": True, "exit_code": 0, "summary": summary})


def test_status_tells_the_state_without_a_run_and_the_unsent_changes() -> None:
    assert judge(read(status(state="ready"))).state == "unsent"
    assert judge(read(status(state="old"))).state == "not-started"
    both = judge(read(at("rebuilt")), read(status(state="ready")))
    assert (both.state, both.unsent, both.user) == ("ready", 3, "a@example.com")


ALLOWED = {
    "unsent": {"ready", "working"}, "postponed": {"postponed", "working"}, "other-account": {"working"},
}  # fmt: skip


@given(st.sampled_from(list(RECIPES)), st.integers(0, 10_000))
def test_any_prefix_of_a_log_gives_a_state_consistent_with_it(kind: str, cut: int) -> None:
    data = sample(kind)
    shift = MORNING - timedelta(minutes=1)
    data = log_of(kind, 1, "a@example.com", shift)[: cut % (len(data) + 1)]
    log = read(data)
    found = judge_machine("pc", [log], CLOCK)
    assert len(found) == 1
    machine = found[0]
    ends = data.count(b'"run-finished"') and len(log.fold.ended)
    if not log.fold.runs:
        assert machine.state == "not-started"
    elif log.fold.open:
        assert machine.state == "working"
    else:
        assert ends
        assert machine.state in {STATES[kind][0], *ALLOWED.get(kind, ())}
    assert log.fold.counts.damaged <= 1  # the last line, which `read_file` leaves for the next time


@given(st.binary(max_size=200), st.sampled_from(list(RECIPES)), st.integers(0, 20))
def test_damage_between_lines_changes_nothing(noise: bytes, kind: str, place: int) -> None:
    lines = at(kind).split(b"\n")
    place %= len(lines)
    noisy = b"\n".join([*lines[:place], noise, *lines[place:]])
    assert judge(read(noisy)).model_dump(exclude={"runs"}) == judge(read(at(kind))).model_dump(exclude={"runs"})


def test_verification_that_found_differences_says_how_many() -> None:
    row = orjson.loads(at("in-use", NIGHT + timedelta(hours=1), 2))
    row |= {"command": "verify", "exit_code": 9, "summary": {"ok": False, "checked": 500, "count": 3, "repaired": 0}}
    machine = judge(read(at("rebuilt"), orjson.dumps(row)))
    assert (machine.cause, machine.sentence) == (
        "verification-failed",
        "The cache and the server differ in 3 items.",
    )


def test_upgrade_with_unsent_changes_is_ready_or_unsent() -> None:
    row = orjson.loads(at("upgraded").splitlines()[-1])
    row["summary"]["upgraded"]["pending"] = 2
    assert (judge(read(orjson.dumps(row))).state, judge(read(orjson.dumps(row))).unsent) == ("ready", 2)
    row |= {"exit_code": 4, "ok": False}
    row["summary"] |= {"unfinished": True, "rebuild": {"outbox_pending": 3, "seconds": 9.0, "items": {"mail": 4}}}
    machine = judge(read(orjson.dumps(row)))
    assert (machine.state, machine.unsent, machine.items) == ("unsent", 3, 4)


def test_time_zones_do_not_matter() -> None:
    row = orjson.loads(at("rebuilt").splitlines()[-1])
    row["time"] = "2026-11-28T12:00:00+09:00"
    assert judge(read(orjson.dumps(row))).ended == datetime(2026, 11, 28, 3, tzinfo=UTC)
