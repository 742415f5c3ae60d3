"""The gate before the mail program: it runs only over a database that is ready, and nobody opens it before.

The lock on the profile is held from the last look at the database until the mail program takes over this very process
(`exec`): its exit code and its signals are its own, and the lock goes in the same instant. Where the system has no
`exec`, the lock is let go when the mail program has started. Killed at any instant, nothing stays locked: the lock is
the system's, on an open file.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

from kerio_resync.errors import BadSettings, CacheInUse
from kerio_resync.upgrade.decide import Step
from kerio_resync.upgrade.look import look
from kerio_resync.upgrade.versions import UPGRADES, Upgrade

HandOver = Callable[[str, Sequence[str], Callable[[], None]], int]


def program(command: Sequence[str]) -> str:
    """Where the mail program is. BadSettings, before anything is done, if it is nowhere."""
    if not command:
        raise BadSettings("no command is given: use `kerio-resync start -- COMMAND`")
    found = shutil.which(command[0])
    if found is None:
        raise BadSettings(f"there is no program {command[0]!r} to start")
    return found


def start(
    profile: Path,
    command: Sequence[str],
    upgrade: Callable[[], Step],
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
        found = look(profile / "cache.db", upgrades, settled=True)
        if found.state != "current":  # someone put another there in between
            raise CacheInUse("another run changed the database meanwhile")
        return (hand_over or _hand_over)(path, command, lambda: lock.__exit__(None, None, None))


def _hand_over(path: str, command: Sequence[str], unlock: Callable[[], None]) -> int:
    sys.stdout.flush()
    sys.stderr.flush()
    if os.name == "nt":
        child = subprocess.Popen(list(command), executable=path)
        unlock()
        return child.wait()
    return _become(path, command)


def _become(path: str, command: Sequence[str]) -> NoReturn:
    try:
        os.execv(path, list(command))
    except OSError as error:
        raise BadSettings(f"{path} can't be started: {error.strerror}") from error
