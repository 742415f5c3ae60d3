from __future__ import annotations

import json
import random
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kerio_resync.fleet.report.log_lines import HEAD_BYTES
from kerio_resync.fleet.report.runs import MAX_OPEN, LogFold, Outcome
from tests.support.fleet_logs import NIGHT, log_of, sample
from tests.support.fleet_samples import RECIPES

# Exit code and kind of the last run of each true log.
ENDS = {
    "rebuilt": (0, ""), "upgraded": (0, ""), "unsent": (4, ""), "postponed": (3, ""), "damaged": (10, ""),
    "no-room": (7, "not-enough-space"), "wrong-password": (5, "bad-credentials"), "unreachable": (4, "unreachable"),
    "overloaded": (4, "overloaded"), "in-use": (6, "cache-in-use"), "other-account": (11, "other-account"),
    "unverified": (9, "verification-failed"), "unexpected": (8, "protocol-error"), "internal": (1, "internal-error"),
    "interrupted": (130, "interrupted"), "killed": None,
}  # fmt: skip


def fold(data: bytes) -> LogFold:
    found = LogFold()
    for line in data.split(b"\n"):
        found.take(line)
    return found


def outcome_of(found: LogFold) -> Outcome | None:
    runs = sorted(found.ended.values(), key=lambda run: run.order)
    return runs[-1].outcome if runs else None


@pytest.mark.parametrize("kind", RECIPES)
def test_fold_knows_the_end_of_each_true_log(kind: str) -> None:
    found = fold(sample(kind))
    outcome, end = outcome_of(found), ENDS[kind]
    assert (None if outcome is None else (outcome.exit_code, outcome.kind)) == end
    assert len(found.open) == (end is None)
    assert (found.counts.damaged, found.counts.foreign, found.counts.long) == (0, 0, 0)


def test_fold_keeps_what_was_done_and_what_is_left() -> None:
    done = outcome_of(fold(sample("rebuilt")))
    assert done is not None
    assert done.seconds == pytest.approx(5.19, 0.01)
    assert (done.bytes, done.items) == (3_982_237, 520)
    postponed = outcome_of(fold(sample("postponed")))
    assert postponed is not None
    assert (postponed.needed_bytes, postponed.free_bytes, postponed.attempts) == (72_655_628, 5_000_000, 2)
    unsent = outcome_of(fold(sample("unsent")))
    assert unsent is not None
    assert (unsent.unsent, unsent.ready) == (1, True)
    [killed] = fold(sample("killed")).open.values()
    assert (killed.user, killed.phase, killed.progress["items_total"]) == ("anna@example.com", "fetch", 1060)


def test_fold_finds_the_next_run_behind_a_line_that_a_kill_cut() -> None:
    cut = sample("killed")[:-30]
    found = fold(cut + sample("rebuilt"))
    assert (found.counts.damaged, len(found.open), found.runs) == (1, 1, 2)
    assert outcome_of(found) is not None
    [run] = found.ended.values()
    assert run.phase  # the line behind the cut one counts too
    assert run.first == json.loads(sample("rebuilt").split(b"\n")[0])["time"]


@settings(max_examples=30)
@given(st.lists(st.sampled_from(sorted(RECIPES)), min_size=1, max_size=5), st.randoms(use_true_random=False))
def test_fold_separates_runs_that_write_to_one_file_at_once(kinds: list[str], drawn: random.Random) -> None:
    """In any order in which their lines can arrive, each run has the end that it has alone."""
    users = [f"user{number}@example.com" for number in range(len(kinds))]
    logs = [log_of(kind, number, user, NIGHT) for number, (kind, user) in enumerate(zip(kinds, users, strict=True))]
    streams = [log.split(b"\n")[:-1] for log in logs]
    mixed = []
    while any(streams):
        mixed.append(drawn.choice([stream for stream in streams if stream]).pop(0))
    found = fold(b"\n".join(mixed))
    alone = [fold(log) for log in logs]
    assert found.runs == sum(each.runs for each in alone)
    assert len(found.open) == sum(len(each.open) for each in alone)
    for user, each in zip(users, alone, strict=True):
        if user in each.ended:
            assert found.ended[user].outcome == each.ended[user].outcome


def without_stamps(data: bytes) -> bytes:
    """The same run as `--json` prints it."""
    rows = [json.loads(line) for line in data.splitlines()]
    return b"".join(
        orjson.dumps({name: value for name, value in row.items() if name not in ("time", "run", "version", "command")})
        + b"\n"
        for row in rows
    )


@pytest.mark.parametrize("kind", RECIPES)
def test_fold_reads_the_output_of_json_too(kind: str) -> None:
    plain, stamped = fold(without_stamps(sample(kind))), fold(sample(kind))
    assert outcome_of(plain) == outcome_of(stamped)
    assert (len(plain.open), plain.runs) == (len(stamped.open), stamped.runs)


def test_fold_separates_runs_of_json_in_one_file() -> None:
    found = fold(without_stamps(sample("killed") + sample("rebuilt") + sample("wrong-password")))
    assert (found.runs, len(found.open)) == (3, 1)
    outcome = outcome_of(found)
    assert outcome is not None
    assert outcome.exit_code == 5


def test_fold_ignores_runs_that_do_not_tell_about_the_cache() -> None:
    rows = [
        {"time": "2026-11-28T03:00:00Z", "run": "a1", "version": "1", "command": command, "event": "run-finished",
         "ok": False, "exit_code": code, "summary": {"error": "x"}}
        for command, code in (("export", 2), ("estimate", 4), ("rebuild --dry-run", 7), ("verify", 4), ("doctor", 5))
    ]  # fmt: skip
    found = fold(sample("rebuilt") + b"\n".join(map(orjson.dumps, rows)))
    outcome = outcome_of(found)
    assert outcome is not None
    assert outcome.exit_code == 0
    found = fold(sample("rebuilt") + orjson.dumps({**rows[0], "command": "verify", "exit_code": 9}))
    outcome = outcome_of(found)
    assert outcome is not None
    assert outcome.exit_code == 9


def test_fold_counts_broken_and_foreign_lines() -> None:
    lines = (
        b'{"time": "2026-11-28T02:00:00Z", "event": "progr', b"kerio-resync: The server cannot be reached.", b"",
        b'{"event": "user.login", "level": "info"}', b"[1, 2]", b"null", b'"text"', b"\xff\xfe\x00", b"\0\0\0",
    )  # fmt: skip
    found = fold(b"\n".join(lines))
    assert (found.counts.lines, found.counts.damaged, found.counts.foreign, found.runs) == (7, 1, 6, 0)


def test_fold_reads_the_end_of_a_run_in_the_head_of_a_huge_line() -> None:
    last = json.loads(sample("rebuilt").splitlines()[-1])
    last["summary"]["skipped"] = [["item", "x" * 200, "broken"]] * 1000
    found = LogFold()
    for line in sample("rebuilt").splitlines()[:-1]:
        found.take(line)
    assert found.take(json.dumps(last).encode()[:HEAD_BYTES], True)
    outcome = outcome_of(found)
    assert outcome is not None
    assert (outcome.exit_code, found.counts.long, len(found.open)) == (0, 1, 0)


def test_fold_bounds_the_runs_without_an_end() -> None:
    found = LogFold()
    line = orjson.loads(sample("killed").split(b"\n")[1])
    for number in range(3 * MAX_OPEN):
        found.take(orjson.dumps({**line, "run": f"{number:08x}"}))
    assert list(found.open) == [f"{number:08x}" for number in range(2 * MAX_OPEN, 3 * MAX_OPEN)]
    assert found.runs == 3 * MAX_OPEN


def test_fold_reads_status() -> None:
    status = {
        "profile": "/p", "cache": {"state": "ready", "account": "jane", "server": "https://x"}, "holder": "",
        "building": {"state": "absent"}, "outbox": [{"state": "pending"}, {"state": "refused"}], "free_bytes": 5,
    }  # fmt: skip
    found = fold(orjson.dumps({**status, "event": "run-finished", "ok": True, "exit_code": 0, "summary": status}))
    assert (found.status["state"], found.status["unsent"], found.status["user"]) == ("ready", 2, "jane")
    assert not found.ended


SCALARS: st.SearchStrategy[Any] = st.sampled_from([None, True, -1, 0, 7, 1.5, 1e300, "", "rebuild", "2026", "session"])
VALUES = SCALARS | st.lists(SCALARS, max_size=2) | st.dictionaries(st.sampled_from(["kind", "items", "ready"]), SCALARS)
EVENTS = st.sampled_from(
    ["run-started", "phase", "progress", "retrying", "paused", "skipped", "waiting", "run-finished", "x"]
)
NAMES = st.sampled_from(
    ["time", "run", "version", "command", "ok", "exit_code", "summary", "user", "server", "phase", "seconds", "reason"]
)


@settings(max_examples=50)
@given(
    st.lists(
        st.builds(lambda event, rest: {**rest, "event": event}, EVENTS, st.dictionaries(NAMES, VALUES, max_size=6))
    )
)
def test_fold_takes_any_json(entries: list[dict[str, Any]]) -> None:
    found = LogFold()
    for entry in entries:
        found.take(orjson.dumps(entry))
    assert found.counts.lines == len(entries)
    assert len(found.open) <= MAX_OPEN
