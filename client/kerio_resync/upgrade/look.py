"""What a database file is, from the first hundred bytes of it: quick enough for every start.

Reads the header of the SQLite file itself (https://www.sqlite.org/fileformat2.html#the_database_header), opens no
database, and believes nothing beyond the marks: whether the rest is sound shows when it is used.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from kerio_resync.upgrade.versions import APPLICATION_ID, UPGRADES, Upgrade, path_from, target

State = Literal["absent", "current", "old", "newer", "unknown", "damaged", "unreadable"]
_MAGIC = b"SQLite format 3\0"


@dataclass(frozen=True, slots=True)
class Found:
    """`version` is the file's `user_version`, 0 where there is none; `bytes` its size."""

    state: State
    version: int = 0
    bytes: int = 0


def look(path: Path, upgrades: Sequence[Upgrade] = UPGRADES) -> Found:
    """What is at `path`. Never raises for what is there."""
    try:
        with path.open("rb") as file:
            head = file.read(100)
            size = file.seek(0, 2)
    except FileNotFoundError:
        return Found("absent")
    except OSError:
        return Found("unreadable")
    if len(head) < 100 or not head.startswith(_MAGIC):
        return Found("damaged", bytes=size)
    version = int.from_bytes(head[60:64], "big")
    mark = int.from_bytes(head[68:72], "big")
    return Found(_state(mark, version, upgrades), version, size)


def _state(mark: int, version: int, upgrades: Sequence[Upgrade]) -> State:
    if mark == APPLICATION_ID:
        if version == target(upgrades):
            return "current"
        if version > target(upgrades):
            return "newer"
    elif mark != 0 or version >= upgrades[0].after:
        return "unknown"
    return "old" if path_from(version, upgrades) else "unknown"
