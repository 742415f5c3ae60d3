"""What a database file is, from the first hundred bytes of it: quick enough for every start."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from kerio_resync.cache.header import is_mid_change, read_header
from kerio_resync.errors import BadSettings
from kerio_resync.filesystem import real_place
from kerio_resync.upgrade.formats import APPLICATION_ID, UPGRADES, Upgrade, path_from, target

FormatState = Literal["absent", "current", "old", "newer", "unknown", "damaged", "unreadable", "mid-change"]


@dataclass(frozen=True, slots=True)
class FileFormat:
    """`version` is the file's `user_version`, 0 where there is none; `bytes` its size."""

    state: FormatState
    version: int = 0
    bytes: int = 0


def detect_format(path: Path, upgrades: Sequence[Upgrade] = UPGRADES, *, settled: bool = False) -> FileFormat:
    """What is at `path`. Never raises for what is there.

    "mid-change": a journal is beside it, so that SQLite has to open it before more can be told; `settled`: don't ask
    for one, the database is in use, or was opened by SQLite just now."""
    path = real_place(path)
    try:
        header = read_header(path)
        changing = is_mid_change(path)
        if changing and not settled:
            return FileFormat("mid-change", header.version, header.bytes)
        # a program that is writing to it just now makes both readings differ
        damaged = not header.valid or (header.cut_short and not changing and read_header(path) == header)
    except FileNotFoundError:
        return FileFormat("absent")
    except (OSError, BadSettings):
        return FileFormat("unreadable")
    state = "damaged" if damaged else _state(header.mark, header.version, upgrades)
    return FileFormat(state, header.version if header.valid else 0, header.bytes)


def _state(mark: int, version: int, upgrades: Sequence[Upgrade]) -> FormatState:
    if mark == APPLICATION_ID:
        if version == target(upgrades):
            return "current"
        if version > target(upgrades):
            return "newer"
    elif mark != 0 or version >= upgrades[0].after:
        return "unknown"
    return "old" if path_from(version, upgrades) else "unknown"
