"""Starts the mail program once its database is ready.

The profile stays locked from the last check of the database until the program replaces this process (`exec`); its exit
code and its signals are its own. Without `exec` (on Windows) the lock is released when the program has started. The
lock is the operating system's, on an open file, so a kill leaves nothing locked. The program's environment does not
contain the password.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Final, NoReturn

from kerio_resync import signals, streams
from kerio_resync.errors import BadSettings, CacheInUse
from kerio_resync.upgrade.decide import UpgradeDecision
from kerio_resync.upgrade.formats import UPGRADES, Upgrade, detect_format
from kerio_resync.variables import SECRET_VARIABLES

RunProgram = Callable[[str, Sequence[str], Callable[[], None]], int]  # path, command, unlock

FAILED: Final = 125  # the exit code of a failure before the program runs, as with `env`, `nice` and `timeout`


def find_program(command: Sequence[str]) -> str:
    """Return the path of the mail program.

    BadSettings if there is none, or if it cannot be run.
    """
    if not command:
        raise BadSettings("no command is given: use `kerio-resync start -- COMMAND`")
    name = command[0]
    if path := shutil.which(name):
        return path
    for folder in [""] if os.path.dirname(name) else os.get_exec_path():
        if os.path.exists(path := os.path.join(folder, name)):
            raise BadSettings(f"{path} cannot be started: it is a folder, or not executable")
    raise BadSettings(f"there is no program {name!r} to start")


def launch_when_ready(
    profile: Path,
    command: Sequence[str],
    upgrade: Callable[[], UpgradeDecision],
    *,
    run_program: RunProgram | None = None,
    upgrades: Sequence[Upgrade] = UPGRADES,
) -> int:
    """Upgrade, then run `command` if the database is ready.

    Return the exit code of the step that ended it.

    BadSettings, before anything is done, if there is no such program; CacheInUse if another run has the profile; and
    what `upgrade` raises.
    """
    from kerio_resync.cache.lock import ProfileLock

    path = find_program(command)
    decision = upgrade()
    if not decision.ready:
        return int(decision.exit)
    with ExitStack() as locks:
        lock = locks.enter_context(ProfileLock(profile))
        if detect_format(profile / "cache.db", upgrades, settled=True).state != "current":
            raise CacheInUse("another run changed the database in the meantime")
        lock.remove_notes()  # the program that replaces this process would leave them; with them a start is slow
        return (run_program or _run_program)(path, command, locks.close)


def _run_program(path: str, command: Sequence[str], unlock: Callable[[], None]) -> int:
    streams.drain()  # the program writes to the same streams
    environment = {name: value for name, value in os.environ.items() if name not in SECRET_VARIABLES}
    if os.name != "nt":
        return _exec(path, command, environment)
    try:
        child = subprocess.Popen(list(command), executable=path, env=environment)
    except OSError as error:
        raise BadSettings(f"{path} cannot be started: {error.strerror}") from error
    unlock()
    return child.wait()


def _exec(path: str, command: Sequence[str], environment: Mapping[str, str]) -> NoReturn:
    signals.restore()
    try:
        os.execve(path, list(command), environment)
    except OSError as error:
        raise BadSettings(f"{path} cannot be started: {error.strerror}") from error
