"""Reads the logs of all machines; read again, only what is new.

What is kept of a log does not grow with it (`runs.LogFold`). A log that has only grown is read on from where it ended;
one that was rotated, replaced or cut is read again from its start.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from kerio_resync.errors import BadSettings
from kerio_resync.fleet.report.log_lines import FileReading, read_file
from kerio_resync.fleet.report.machines import MachineLog
from kerio_resync.fleet.report.result import FileProblem
from kerio_resync.fleet.report.runs import LogFold
from kerio_resync.fleet.report.sources import LogFile, Source, find_sources
from kerio_resync.plain_text import printable

MAX_NAMED: Final = 20  # files with problems


@dataclass(slots=True)
class _Log:
    """A log that was read.

    Its files as they were, and how the reading of the last one ended.
    """

    files: tuple[LogFile, ...]
    fold: LogFold
    last: FileReading
    problem: str
    grew: datetime | None = None


@dataclass(slots=True)
class Reading:
    """What was read: the logs of each machine, and counts."""

    machines: dict[str, list[MachineLog]] = field(default_factory=dict)
    files: int = 0
    bytes: int = 0
    lines: int = 0
    damaged: int = 0
    foreign: int = 0
    long: int = 0
    other_files: int = 0
    unread_files: int = 0
    problems: list[FileProblem] = field(default_factory=list)


class Collector:
    """The logs below `folders`.

    `leave_out` are files that are no logs, such as the report itself.

    BadSettings if a folder does not exist.
    """

    def __init__(self, folders: Sequence[Path], leave_out: Collection[Path] = ()) -> None:
        self._folders, self._leave_out = folders, frozenset(leave_out)
        self._logs: dict[tuple[Path, str], _Log] = {}
        for folder in folders:
            if not folder.exists():
                raise BadSettings(f"there is no file or folder {folder}; name the folder with the logs")

    def read(self, now: datetime, progress: Callable[[int, int], None] = lambda done, total: None) -> Reading:
        """Read what is new.

        `progress` gets the bytes of the logs that are done and of all.
        """
        found, reading = find_sources(self._folders, self._leave_out), Reading()
        total = sum(file.size for source in found.sources for file in source.files)
        logs: dict[tuple[Path, str], _Log] = {}
        for source in found.sources:
            key = source.files[-1].path.parent, source.name
            logs[key] = log = self._read(source, self._logs.get(key), now)
            _count(reading, source, log)
            progress(reading.bytes, total)
        self._logs = logs
        for name, problem in found.problems:
            reading.unread_files += 1
            reading.problems.append(FileProblem(file=printable(name), problem=problem))
        reading.problems.sort(key=lambda each: (not each.problem, -each.damaged - each.long, -each.foreign, each.file))
        del reading.problems[MAX_NAMED:]
        return reading

    def _read(self, source: Source, known: _Log | None, now: datetime) -> _Log:
        if known is not None and known.files == source.files:
            return known
        if known is not None and (position := _position(known, source.files)) is not None:
            known.last = read_file(source.files[-1].path, known.fold.take, position)
            known.files, known.problem, known.grew = source.files, known.last.problem, now
            return known
        fold, last, problems = LogFold(), FileReading(), list[str]()
        for file in source.files:
            last = read_file(file.path, fold.take)
            if last.problem:
                problems.append(last.problem)
        grew = now if known is not None else None
        return _Log(source.files, fold, last, problems[0] if problems else "", grew)


def _position(known: _Log, files: tuple[LogFile, ...]) -> int | None:
    """Return where to continue reading, if only the last file has grown."""
    *before, last = known.files
    *before_now, last_now = files
    grown = last.path == last_now.path and last.inode == last_now.inode and last.size <= last_now.size
    if before != before_now or not grown or known.last.problem:
        return None
    return known.last.position


def _count(reading: Reading, source: Source, log: _Log) -> None:
    counts = log.fold.counts
    reading.files += len(source.files)
    reading.bytes += sum(file.size for file in source.files)
    reading.lines += counts.lines
    is_log = bool(log.fold.runs or log.fold.status)
    problem = log.problem
    if not is_log and counts.lines and not problem:
        problem = "it has no line of kerio-resync"
    if problem:
        reading.unread_files += bool(log.problem)
        reading.other_files += not log.problem
    if is_log:
        modified = datetime.fromtimestamp(max(file.modified for file in source.files), UTC)
        reading.machines.setdefault(source.machine, []).append(MachineLog(log.fold, modified, log.grew))
    reading.damaged += counts.damaged
    reading.foreign += counts.foreign
    reading.long += counts.long
    if problem or counts.damaged or counts.foreign or counts.long:
        reading.problems.append(
            FileProblem(
                file=printable(source.name), damaged=counts.damaged, foreign=counts.foreign, long=counts.long,
                problem=problem,
            )
        )  # fmt: skip
