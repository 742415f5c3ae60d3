"""The plan of a rebuild, and what is measured for it."""

from __future__ import annotations

from dataclasses import replace

from kerio_resync.diagnose.dry_run import Plan

PLAN = Plan(
    server="https://mail.example.com", user="jane", folders=(), items=7, bytes=0, has_cache=False, partial=False,
    needed_bytes=1, free_bytes=10**9,
)  # fmt: skip


def test_measured_size_is_used_if_the_server_states_none() -> None:
    plan = PLAN.with_measured(10**9)
    assert plan.bytes == 10**9
    assert plan.needed_bytes > plan.free_bytes


def test_measured_size_does_not_replace_a_stated_one() -> None:
    stated = replace(PLAN, bytes=5)
    assert stated.with_measured(10**9) == stated
    assert PLAN.with_measured(0) == PLAN
