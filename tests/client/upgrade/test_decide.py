"""The decision for every combination of what can be known."""

from __future__ import annotations

import itertools
from typing import get_args

import pytest

from kerio_resync.errors import Exit
from kerio_resync.upgrade.decide import UpgradeDecision, UpgradeState, decide
from kerio_resync.upgrade.formats import FormatState


def oracle(state: FormatState, room: bool, failed: bool, begun: bool, at_once: bool) -> str:
    """Return the action of the vendor's procedure, written independently of the code."""
    if state == "current":
        return "nothing"
    can_be_upgraded = state == "old" and not failed and not begun
    if can_be_upgraded:
        return "migrate" if room else "postpone"
    return "rebuild" if at_once else "offer"


@pytest.mark.parametrize("state", get_args(FormatState))
def test_decide_equals_oracle_for_every_state(state: FormatState) -> None:
    either = (False, True)
    for room, failed, begun, at_once, attempts in itertools.product(either, either, either, either, range(3)):
        facts = UpgradeState(
            state, "7.1.0", "7.3.0", needed=100, free=100 if room else 99, where="/profile", attempts=attempts,
            failure="a mail is invalid" if failed else "", begun=begun, at_once=at_once,
        )  # fmt: skip
        step = decide(facts)
        assert step.action == oracle(state, room, failed, begun, at_once)
        assert step.facts is facts
        assert not step.done
        assert step.ready == (step.action == "nothing")
        assert bool(step.reason) == (step.action in ("offer", "rebuild"))
        assert step.sentences(str)


@pytest.mark.parametrize(
    ("action", "done", "code"),
    [
        ("nothing", False, Exit.DONE),
        ("migrate", True, Exit.DONE),
        ("rebuild", True, Exit.DONE),
        ("postpone", False, Exit.POSTPONED),
        ("offer", False, Exit.REBUILD_NEEDED),
    ],
)
def test_exit_code_of_action(action: str, done: bool, code: Exit) -> None:
    step = UpgradeDecision(action, UpgradeState("old"), done=done)  # type: ignore[arg-type]
    assert step.exit is code
    assert step.as_json()["ready"] is (code is Exit.DONE)


def test_rebuild_with_unsent_changes_is_ready_and_unfinished() -> None:
    step = UpgradeDecision("rebuild", UpgradeState("damaged"), done=True, unfinished=True)
    assert (step.ready, step.exit, step.as_json()["unfinished"]) == (True, Exit.UNFINISHED, True)
    assert "Some local changes were not sent" in " ".join(step.sentences(str))


@pytest.mark.parametrize("attempts", [0, 1, 7])
def test_no_space_warning_names_sizes_place_and_attempt(attempts: int) -> None:
    facts = UpgradeState("old", "7.1.0", "7.3.0", needed=5000, free=4000, where="/home/jane/profile", attempts=attempts)
    text = " ".join(decide(facts).sentences(lambda size: f"{size} B"))
    for part in (
        "was not enough disk space to proceed with the upgrade of the database",
        "5,000 bytes", "4,000 bytes", "/home/jane/profile", "next start",
    ):  # fmt: skip
        assert part in text
    assert ("--drop-first" in text) == (attempts > 0)
    assert ("--attachments inbox" in text) == (attempts > 0)
    assert (f"attempt {attempts + 1}" in text) == (attempts > 0)
    assert decide(facts).as_json()["attempts"] == attempts + 1


def test_newer_format_names_both_versions() -> None:
    text = " ".join(decide(UpgradeState("newer", "7.9.0", "7.3.0")).sentences(str))
    assert "newer version" in text
    assert "7.9.0" in text
    assert "7.3.0" in text


def test_each_reason_is_unique() -> None:
    states: tuple[FormatState, ...] = ("absent", "newer", "unknown", "damaged", "unreadable")
    reasons = {decide(UpgradeState(state)).reason for state in states}
    reasons |= {
        decide(UpgradeState("old", failure="a text in it is not valid")).reason,
        decide(UpgradeState("old", begun=True)).reason,
    }
    assert len(reasons) == 7
