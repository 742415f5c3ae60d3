"""What a profile remembers from one start to the next about its upgrade: how often it was put off, and what failed.

It stands in `upgrade.json` beside the database, never in the database: the old one is not touched. The file is replaced
whole; where there is no room even for that, it is written over in place (its length does not change), and where that
fails too, the start goes on without it: a count is not worth a start.
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

_MAX_BYTES: Final = 1024  # bytes; well within one block


@dataclass(frozen=True, slots=True)
class AttemptLog:
    """`attempts`: starts in a row that found no room. `failure`: why the upgrade of the file `failed` can't be done."""

    attempts: int = 0
    failure: str = ""
    failed: str = ""  # which file that was: its size, time and number


NONE: Final = AttemptLog()


def identity_of(path: Path) -> str:
    """Names a file as it is now; "" if there is none."""
    try:
        found = path.stat()
    except OSError:
        return ""
    return f"{found.st_size} {found.st_mtime_ns} {found.st_ino}"


def read(profile: Path) -> AttemptLog:
    """What was noted; nothing if that can't be read."""
    try:
        told = json.loads(read_small(profile / "upgrade.json", links=False))
        return AttemptLog(int(told["attempts"]), str(told["failure"]), str(told["failed"]))
    except (OSError, BadSettings, ValueError, KeyError, TypeError, RecursionError):
        return NONE


def write(profile: Path, notes: AttemptLog) -> None:
    """Notes it, durably if that can be."""
    path = profile / "upgrade.json"
    if notes == NONE:
        with suppress(OSError):
            path.unlink(missing_ok=True)
        return
    fields = asdict(notes)
    fields["failure"] = notes.failure[:300]
    text = json.dumps(fields).ljust(_MAX_BYTES).encode()
    part = path.with_name("upgrade.json.part")
    try:
        write_private(part, text)
        part.replace(path)
    except OSError:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        with suppress(OSError):
            _write_over(path, text)


def _write_over(path: Path, text: bytes) -> None:
    flags = os.O_WRONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    descriptor = os.open(path, flags)
    try:
        os.write(descriptor, text)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
