"""Whatever changes, breaks or dies on the way: in the end the cache equals the server."""

from __future__ import annotations

import os
import random
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from tests.whole.world import World, kill

MUTATIONS = [
    "arrive", "read", "flag", "move", "delete", "edit-draft", "all-seen", "new-folder", "rename-folder", "move-folder",
    "remove-folder", "contact", "event", "task", "note",
]  # fmt: skip
FAULTS = [
    "reset-before-head", "reset-after-head", "cut", "garbled", "wrong-type", "html", "empty", "session-death",
    "duplicate", "missing", "wrong-total", "shuffled",
]  # fmt: skip
METHODS = [
    "Session.login", "Folders.get", "Mails.get", "Mails.getById", "Contacts.get", "Events.get", "Changes.get",
    "Changes.getSyncKey", "GET attachment",
]  # fmt: skip
RUNS = int(os.environ.get("KERIO_SIMULATIONS", "200"))
MOMENT = st.integers(1, 60)


class ChangingMailbox(RuleBasedStateMachine):
    """Plans happenings at numbered requests, runs the client into them, and lets it finish at the end."""

    @initialize(seed=st.integers(0, 10_000), mails=st.integers(0, 80), page_size=st.integers(4, 40))
    def begin(self, seed: int, mails: int, page_size: int) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.world = World(Path(self.folder.name), seed, mails, page_size)

    @rule(action=st.sampled_from(MUTATIONS), times=st.integers(1, 5))
    def change_now(self, action: str, times: int) -> None:
        self.world.mutate(action, times)  # type: ignore[arg-type]

    @rule(moment=MOMENT, action=st.sampled_from(MUTATIONS), times=st.integers(1, 5))
    def change_later(self, moment: int, action: str, times: int) -> None:
        self.world.at.setdefault(moment, []).append(lambda: self.world.mutate(action, times))  # type: ignore[arg-type]

    @rule(moment=MOMENT)
    def expire_keys_later(self, moment: int) -> None:
        self.world.at.setdefault(moment, []).append(self.world.expire_keys)

    @rule(kind=st.sampled_from(FAULTS), method=st.sampled_from(METHODS), nth=st.integers(1, 6))
    def break_later(self, kind: str, method: str, nth: int) -> None:
        self.world.fault(kind, method, nth)

    @rule(moment=MOMENT)
    def kill_later(self, moment: int) -> None:
        self.world.at.setdefault(moment, []).append(kill)

    @rule()
    def run_client(self) -> None:
        ending = self.world.run()
        assert ending in ("done", "killed"), ending
        if ending == "done":
            self.compare()

    def compare(self) -> None:
        assert self.world.differences() == []

    def teardown(self) -> None:
        if not hasattr(self, "world"):
            return
        try:
            self.world.heal()
            assert self.world.run() == "done"
            self.compare()
        finally:
            self.folder.cleanup()


ChangingMailbox.TestCase.settings = settings(
    max_examples=RUNS, stateful_step_count=12, deadline=None, suppress_health_check=list(HealthCheck)
)
TestChangingMailbox = pytest.mark.timeout(24 * 3600 if RUNS > 200 else 240)(ChangingMailbox.TestCase)


def endings(overlap: int, seeds: range, folder: Path) -> int:
    """How many of these runs end with a cache that is not the server's, when mails go on going while they are listed."""
    wrong = 0
    for seed in seeds:
        world = World(folder / f"{overlap}-{seed}", seed, 60, 6, overlap)
        rng = random.Random(seed)
        for moment in range(1, 400):
            if rng.random() < 0.5:
                world.at[moment] = [lambda: world.mutate("delete")]  # noqa: B023 - called within this round
        assert world.run() == "done"
        wrong += bool(world.differences())
    return wrong


def test_without_anchors_mails_are_lost(tmp_path: Path) -> None:
    """The comparison that shows that the tests above can fail: plain offset pages end with gaps, anchored ones never."""
    seeds = range(12)
    assert endings(3, seeds, tmp_path) == 0
    assert endings(0, seeds, tmp_path) > 0
