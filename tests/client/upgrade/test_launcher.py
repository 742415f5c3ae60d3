"""The launcher: the program runs only with a ready database, and the lock is held until it takes over."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from benchmarks.format71_files import IDENTITY, write
from kerio_resync.cache.lock import ProfileLock
from kerio_resync.cache.store import Store
from kerio_resync.errors import BadSettings, CacheInUse, Exit
from kerio_resync.upgrade.decide import UpgradeDecision, UpgradeState
from kerio_resync.upgrade.launcher import launch_when_ready

READY = UpgradeDecision("migrate", UpgradeState("old"), done=True)


class Program:
    """Replaces the mail program: how often it ran, and whether the profile was locked, and by name, at that time."""

    def __init__(self, profile: Path) -> None:
        self.profile, self.ran, self.locked, self.names_holder = profile, 0, False, False

    def __call__(self, path: str, command: Sequence[str], unlock: Callable[[], None]) -> int:
        self.ran += 1
        self.locked = bool(ProfileLock(self.profile).holder())
        self.names_holder = (self.profile / "kerio-resync.holder").exists()
        return 17


async def test_program_starts_under_the_lock_when_database_is_ready(tmp_path: Path) -> None:
    await (await Store.create(tmp_path / "cache.db", IDENTITY)).close()
    program = Program(tmp_path)
    assert launch_when_ready(tmp_path, ["sh"], lambda: READY, run_program=program) == 17
    assert (program.ran, program.locked) == (1, True)
    assert not program.names_holder  # nothing would remove it, and the next start would be slow
    assert ProfileLock(tmp_path).holder() == ""


async def test_program_starts_although_changes_are_unsent(tmp_path: Path) -> None:
    await (await Store.create(tmp_path / "cache.db", IDENTITY)).close()
    program = Program(tmp_path)
    step = UpgradeDecision("rebuild", UpgradeState("damaged"), done=True, unfinished=True)
    assert launch_when_ready(tmp_path, ["sh"], lambda: step, run_program=program) == 17


@pytest.mark.parametrize(
    ("step", "code"),
    [
        (UpgradeDecision("postpone", UpgradeState("old")), Exit.POSTPONED),
        (UpgradeDecision("offer", UpgradeState("damaged")), Exit.REBUILD_NEEDED),
        (UpgradeDecision("migrate", UpgradeState("old")), Exit.REBUILD_NEEDED),
    ],
)
def test_program_does_not_start_when_database_is_not_ready(step: UpgradeDecision, code: Exit, tmp_path: Path) -> None:
    program = Program(tmp_path)
    assert launch_when_ready(tmp_path, ["sh"], lambda: step, run_program=program) == code
    assert program.ran == 0


def test_program_does_not_start_when_database_was_replaced_meanwhile(tmp_path: Path) -> None:
    write(tmp_path / "cache.db", 1, 100)
    program = Program(tmp_path)
    with pytest.raises(CacheInUse):
        launch_when_ready(tmp_path, ["sh"], lambda: READY, run_program=program)
    assert program.ran == 0


async def test_program_does_not_start_while_profile_is_locked(tmp_path: Path) -> None:
    await (await Store.create(tmp_path / "cache.db", IDENTITY)).close()
    program = Program(tmp_path)
    with ProfileLock(tmp_path), pytest.raises(CacheInUse):
        launch_when_ready(tmp_path, ["sh"], lambda: READY, run_program=program)
    assert program.ran == 0


@pytest.mark.parametrize("command", [[], ["no-such-program"]])
def test_missing_program_is_refused_before_the_upgrade(command: list[str], tmp_path: Path) -> None:
    def upgrade() -> UpgradeDecision:
        raise AssertionError("nothing may be done before")

    with pytest.raises(BadSettings):
        launch_when_ready(tmp_path, command, upgrade)
