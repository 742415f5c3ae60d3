"""The gate: the program runs over a ready database only, with the lock held until it takes over."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from benchmarks.legacy import IDENTITY, write
from kerio_resync.cache.lock import ProfileLock
from kerio_resync.cache.store import Store
from kerio_resync.errors import BadSettings, CacheInUse, Exit
from kerio_resync.upgrade.decide import UpgradeDecision, UpgradeState
from kerio_resync.upgrade.launcher import launch_when_ready

READY = UpgradeDecision("migrate", UpgradeState("old"), done=True)


class Program:
    """Stands in for the mail program; `ran` how often, `locked` whether the profile was held when it took over."""

    def __init__(self, profile: Path) -> None:
        self.profile, self.ran, self.locked = profile, 0, False

    def __call__(self, path: str, command: Sequence[str], unlock: Callable[[], None]) -> int:
        self.ran += 1
        self.locked = bool(ProfileLock(self.profile).holder())
        return 17


async def test_a_ready_database_lets_it_run_under_the_lock(tmp_path: Path) -> None:
    await (await Store.create(tmp_path / "cache.db", IDENTITY)).close()
    program = Program(tmp_path)
    assert launch_when_ready(tmp_path, ["sh"], lambda: READY, hand_over=program) == 17
    assert (program.ran, program.locked) == (1, True)
    assert ProfileLock(tmp_path).holder() == ""


async def test_changes_that_are_not_settled_do_not_keep_the_program_from_running(tmp_path: Path) -> None:
    await (await Store.create(tmp_path / "cache.db", IDENTITY)).close()
    program = Program(tmp_path)
    step = UpgradeDecision("rebuild", UpgradeState("damaged"), done=True, unfinished=True)
    assert launch_when_ready(tmp_path, ["sh"], lambda: step, hand_over=program) == 17


@pytest.mark.parametrize(
    ("step", "code"),
    [
        (UpgradeDecision("postpone", UpgradeState("old")), Exit.POSTPONED),
        (UpgradeDecision("offer", UpgradeState("damaged")), Exit.REBUILD_NEEDED),
        (UpgradeDecision("migrate", UpgradeState("old")), Exit.REBUILD_NEEDED),
    ],
)
def test_else_it_does_not_run(step: UpgradeDecision, code: Exit, tmp_path: Path) -> None:
    program = Program(tmp_path)
    assert launch_when_ready(tmp_path, ["sh"], lambda: step, hand_over=program) == code
    assert program.ran == 0


def test_a_database_that_was_put_back_in_between_is_noticed(tmp_path: Path) -> None:
    write(tmp_path / "cache.db", 1, 100)
    program = Program(tmp_path)
    with pytest.raises(CacheInUse):
        launch_when_ready(tmp_path, ["sh"], lambda: READY, hand_over=program)
    assert program.ran == 0


async def test_while_somebody_holds_the_profile_it_does_not_run(tmp_path: Path) -> None:
    await (await Store.create(tmp_path / "cache.db", IDENTITY)).close()
    program = Program(tmp_path)
    with ProfileLock(tmp_path), pytest.raises(CacheInUse):
        launch_when_ready(tmp_path, ["sh"], lambda: READY, hand_over=program)
    assert program.ran == 0


@pytest.mark.parametrize("command", [[], ["no-such-program"]])
def test_a_program_that_is_nowhere_is_refused_first(command: list[str], tmp_path: Path) -> None:
    def upgrade() -> UpgradeDecision:
        raise AssertionError("nothing may be done before")

    with pytest.raises(BadSettings):
        launch_when_ready(tmp_path, command, upgrade)
