"""Finds the log files below folders, and the machine that each of them is from.

A machine is named by its file, or by its folder if the file's name says nothing (`kerio-resync.log`, `upgrade.json`):

    logs/pc-17.log, logs/pc-17-upgrade.json, logs/pc-17-2026-11-28.log, logs/pc-17/kerio-resync.log  pc-17
    logs/vienna/pc-17.log, logs/vienna/pc-17/upgrade.json                                            vienna/pc-17

Dates and commands in names are left out, and so are the usual folders of a profile. Rotated files (`.1`, `.2.gz`,
`-20261128.gz`) are read as one log, the oldest first. A link to a folder is not followed, because any machine could put
one to `/` there.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple

from kerio_resync.os_errors import reason_of

_ENDING: Final = re.compile(r"\.(log|json|jsonl|ndjson|txt|out|err)$", re.IGNORECASE)
_ROTATED: Final = re.compile(
    r"^(?P<base>.+\.(?:log|json|jsonl|ndjson|txt|out|err))(?:\.(?P<number>\d{1,4})|[-.](?P<date>\d{8}(?:-\d+)?))?"
    r"(?:\.gz)?$",
    re.IGNORECASE,
)
_DATE: Final = re.compile(r"[-_. ]?(?<!\d)20\d\d-?\d\d-?\d\d(?:[T_. -]?\d\d[-:.]?\d\d(?:[-:.]?\d\d)?Z?)?(?!\d)")
_SAYS_NOTHING: Final = frozenset(
    (
        "kerio-resync", "rebuild", "upgrade", "start", "status", "verify", "stdout", "stderr", "output", "out", "err",
        "log", "logs", "events", "run", "result",
    )
)  # fmt: skip
_COMMAND: Final = re.compile(
    r"^kerio-resync[-_. ]|[-_. ](kerio-resync|rebuild|upgrade|start|status|verify)$", re.IGNORECASE
)
_PROFILE_FOLDERS: Final = frozenset(
    {"kerio-resync", "profile", ".local", "share", "appdata", "local", "library", "application support"}
)
# What a profile or a folder of reports has beside logs.
_NO_LOGS: Final = re.compile(
    r"^(\..*|cache\.db.*|profile\.toml|crash\.log|kerio-resync\.(holder|lock)"
    r"|.*\.(db|html?|csv|ics|prom|toml|part|tmp|zip|tar|tgz))$",
    re.IGNORECASE,
)


class LogFile(NamedTuple):
    """A file, with what tells whether it has changed."""

    path: Path
    inode: tuple[int, int]
    size: int
    modified: float


@dataclass(frozen=True, slots=True)
class Source:
    """One log: its machine, its name for messages, and its files, the oldest first."""

    machine: str
    name: str
    files: tuple[LogFile, ...]


@dataclass(slots=True)
class Found:
    """The sources, and what could not be looked at: (name, why)."""

    sources: list[Source] = field(default_factory=list)
    problems: list[tuple[str, str]] = field(default_factory=list)


def find_sources(roots: Iterable[Path], leave_out: Collection[Path] = ()) -> Found:
    """Return the logs below folders; a root may also be one file. It never raises."""
    found, seen = Found(), set[tuple[int, int]]()
    for root in roots:
        groups: dict[tuple[str, str], list[tuple[tuple[int, str], LogFile]]] = {}
        for file in _files(root, seen, leave_out, found.problems):
            below = file.path.relative_to(root).parent if file.path != root else Path()
            base, age = _age(file.path.name)
            groups.setdefault((below.as_posix(), base), []).append((age, file))
        home = root.resolve().name if root.is_dir() else root.resolve().parent.name
        for (folder, base), files in sorted(groups.items()):
            name = base if folder == "." else f"{folder}/{base}"
            ordered = tuple(file for _, file in sorted(files, key=lambda pair: (pair[0], pair[1].path.name)))
            found.sources.append(Source(machine_of(folder, base, home), name, ordered))
    return found


def machine_of(folder: str, file: str, home: str = "") -> str:
    """Return the machine's name, from a file's name and folder below `home`."""
    parts = [name for name in (_DATE.sub("", part) for part in Path(folder).parts) if name]
    stem = _COMMAND.sub("", _DATE.sub("", _ENDING.sub("", file)).strip("-_. "))
    if stem and stem.casefold() not in _SAYS_NOTHING:
        return "/".join([*parts, stem])
    while len(parts) > 1 and parts[-1].casefold() in _PROFILE_FOLDERS:
        parts.pop()
    return "/".join(parts) or home


def _age(name: str) -> tuple[str, tuple[int, str]]:
    """Return the log of a file, and a key that sorts its files by age.

    The oldest file is first.
    """
    found = _ROTATED.match(name)
    if found is None:
        return name, (0, "")
    if found["date"]:
        return found["base"], (-(10**6), found["date"])
    return found["base"], (-int(found["number"] or -1), "")


def _files(
    root: Path, seen: set[tuple[int, int]], leave_out: Collection[Path], problems: list[tuple[str, str]]
) -> Iterator[LogFile]:
    pending = [root]
    while pending:
        path = pending.pop()
        try:
            status = path.stat()
            if os.path.isdir(path):
                if path != root and path.is_symlink():
                    problems.append(
                        (_shown(path, root), "it is a link to a folder, and not followed; name that folder")
                    )
                elif (status.st_dev, status.st_ino) not in seen:
                    seen.add((status.st_dev, status.st_ino))
                    pending += sorted((Path(entry.path) for entry in os.scandir(path)), reverse=True)
            elif path == root or not (_NO_LOGS.match(path.name) or path in leave_out):
                yield LogFile(path, (status.st_dev, status.st_ino), status.st_size, status.st_mtime)
        except OSError as error:  # a link to nothing or to itself, no permission, removed meanwhile
            problems.append((_shown(path, root), reason_of(error)))


def _shown(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix() if path != root else str(path)
