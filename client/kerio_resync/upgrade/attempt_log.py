"""What a profile remembers about its upgrade from one start to the next.

That is the number of postponements, and the last failure.

It is in `upgrade.json` beside the database. The file is replaced as a whole; if the disk has no room for that, it is
overwritten in place, because its length never changes; if that fails too, the start continues without it.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from kerio_resync.errors import BadSettings
from kerio_resync.filesystem import read_small, write_private

_FILE_BYTES: Final = 1024  # within one block of any file system
_MAX_FAILURE_CHARS: Final = 300


@dataclass(frozen=True, slots=True)
class AttemptLog:
    """`attempts`: starts in a row without enough disk space.

    `failure`: why the file `failed` cannot be upgraded.
    """

    attempts: int = 0
    failure: str = ""
    failed: str = ""  # see `identity_of`


NONE: Final = AttemptLog()


def identity_of(path: Path) -> str:
    """Return what identifies a file and its state; "" if there is no file.

    That is its size, its time of modification and its inode.
    """
    try:
        stat = path.stat()
    except OSError:
        return ""
    return f"{stat.st_size} {stat.st_mtime_ns} {stat.st_ino}"


def read(profile: Path) -> AttemptLog:
    """Return the log, empty if it cannot be read."""
    try:
        stored = json.loads(read_small(profile / "upgrade.json", links=False))
        return AttemptLog(int(stored["attempts"]), str(stored["failure"]), str(stored["failed"]))
    except (OSError, BadSettings, ValueError, KeyError, TypeError, RecursionError):
        return NONE


def write(profile: Path, log: AttemptLog) -> None:
    """Write the log, or delete an empty one, durably if possible."""
    path = profile / "upgrade.json"
    if log == NONE:
        with suppress(OSError):
            path.unlink(missing_ok=True)
        return
    fields = asdict(log) | {"failure": log.failure[:_MAX_FAILURE_CHARS]}
    text = json.dumps(fields).ljust(_FILE_BYTES).encode()
    part = path.with_name("upgrade.json.part")
    try:
        write_private(part, text)
        part.replace(path)
    except OSError:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        with suppress(OSError):
            _overwrite(path, text)


def _overwrite(path: Path, text: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
    try:
        os.write(descriptor, text)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
