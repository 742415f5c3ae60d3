"""The gate before the mail program: it runs only over a database that is ready, and nobody opens it before.

The lock on the profile is held from the last look at the database until the mail program takes over this very process
(`exec`): its exit code and its signals are its own, and the lock goes in the same instant. Where the system has no
`exec`, the lock is let go when the mail program has started. Killed at any instant, nothing stays locked: the lock is
the system's, on an open file. The variable with the password is not passed on.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final, NoReturn

from kerio_resync import signals, streams
from kerio_resync.errors import BadSettings, CacheInUse
from kerio_resync.upgrade.decide import UpgradeDecision
from kerio_resync.upgrade.detect_format import detect_format
from kerio_resync.upgrade.formats import UPGRADES, Upgrade
from kerio_resync.variables import SECRET_VARIABLES

HandOver = Callable[[str, Sequence[str], Callable[[], None]], int]

# What the command line ends with when it is not the program that ended; as `env`, `nice` and `timeout`.
FAILED: Final = 125
NOT_EXECUTABLE: Final = 126
NOT_FOUND: Final = 127


class NoProgram(BadSettings):
    """There is no such program."""


class NotExecutable(BadSettings):
    """There is such a file, and the system does not run it."""


def program(command: Sequence[str]) -> str:
    """Where the mail program is. BadSettings, before anything is done, if it is nowhere or can't be run."""
    if not command:
        raise BadSettings("no command is given: use `kerio-resync start -- COMMAND`")
    name = command[0]
    found = shutil.which(name)
    if found is not None:
        return found
    folders = [""] if os.path.dirname(name) else os.get_exec_path()
    for folder in folders:
        if os.path.exists(path := os.path.join(folder, name)):
            raise NotExecutable(f"{path} can't be started: it is a folder, or not executable")
    raise NoProgram(f"there is no program {name!r} to start")


def launch_when_ready(
    profile: Path,
    command: Sequence[str],
    upgrade: Callable[[], UpgradeDecision],
    *,
    hand_over: HandOver | None = None,
    upgrades: Sequence[Upgrade] = UPGRADES,
) -> int:
    """Does the upgrade, then runs `command` if the database is ready; the exit code of whichever ended it.

    BadSettings if there is no such program; CacheInUse if somebody else has the profile; what `upgrade` raises.
    """
    from kerio_resync.cache.lock import ProfileLock

    path = program(command)
    step = upgrade()
    if not step.ready:
        return int(step.exit)
    lock = ProfileLock(profile)
    with lock:
        found = detect_format(profile / "cache.db", upgrades, settled=True)
        if found.state != "current":  # someone put another there in between
            raise CacheInUse("another run changed the database meanwhile")
        return (hand_over or _run_program)(path, command, lambda: lock.__exit__(None, None, None))


def _run_program(path: str, command: Sequence[str], unlock: Callable[[], None]) -> int:
    streams.drain()  # the program writes to the same ones
    environment = {name: value for name, value in os.environ.items() if name not in SECRET_VARIABLES}
    if os.name != "nt":
        return _exec(path, command, environment)
    try:
        child = subprocess.Popen(list(command), executable=path, env=environment)
    except OSError as error:
        raise NotExecutable(f"{path} can't be started: {error.strerror}") from error
    unlock()
    return child.wait()


def _exec(path: str, command: Sequence[str], environment: Mapping[str, str]) -> NoReturn:
    signals.restore()
    try:
        os.execve(path, list(command), environment)
    except OSError as error:
        raise NotExecutable(f"{path} can't be started: {error.strerror}") from error
