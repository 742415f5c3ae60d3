"""The log of a profile: the events of its runs, as lines of JSON.

Each line has the time, the id of the run, the version and the command. `kerio-resync.log` is the newest of at most
FILES files of MAX_BYTES each. The log never creates a folder, never raises, and says nothing if it cannot be written: a
run does not depend on it. Events hold no mail text, and their secrets were removed before they come here.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from kerio_resync.errors import ResyncError
from kerio_resync.events import Event, FolderListed, Notice, Paused, Progress, Retrying, RunFinished, Skipped
from kerio_resync.filesystem import open_regular
from kerio_resync.version import VERSION

if TYPE_CHECKING:
    from kerio_resync.rotating_file import RotatingFile

FILE_NAME: Final = "kerio-resync.log"
MAX_BYTES: Final = 1024 * 1024
FILES: Final = 4
PACE_SECONDS: Final = 30.0  # between two lines of progress at the level "info"
Level = Literal["debug", "info", "warning", "error", "off"]
LEVELS: Final[dict[Level, int]] = {"debug": 10, "info": 20, "warning": 30, "error": 40, "off": 100}


def level_of(event: Event) -> int:
    """Return the least level at which an event is logged, as in `LEVELS`."""
    match event:
        case Progress() | FolderListed():
            return LEVELS["debug"]
        case Retrying() | Paused() | Skipped() | Notice():
            return LEVELS["warning"]
        case RunFinished():
            return LEVELS["error"]  # the end of a run is always worth a line
    return LEVELS["info"]


def new_run_id() -> str:
    """Return an id for one run of the program."""
    return os.urandom(4).hex()


def stamp(run: str, command: str) -> dict[str, Any]:
    """Return the members that each line of a log begins with."""
    return {"time": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S.%fZ}", "run": run, "version": VERSION, "command": command}


class RunLog:
    """Listens to the events of one run, and appends them to the profile's log.

    `profile` is called when the first line is written. A run whose only event is a good end leaves no line.
    """

    def __init__(
        self,
        profile: Callable[[], Path],
        command: str,
        run: str,
        level: Level = "info",
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._profile, self._command, self._run, self._clock = profile, command, run, clock
        self._least = LEVELS[level]
        self._next_pace = clock()
        self._file: RotatingFile | None = None
        self._ended = level == "off"

    def __call__(self, event: Event) -> None:
        if self._ended or not self._is_wanted(event):
            return
        try:
            if self._file is None:
                if isinstance(event, RunFinished) and event.ok:
                    return
                self._file = self._open()
            line = json.dumps({**stamp(self._run, self._command), **event.as_json()}, default=str)
            self._file.write(line)
        except Exception:  # a run does not depend on its log
            self.close()

    def _open(self) -> RotatingFile:
        from kerio_resync.rotating_file import RotatingFile  # `logging.handlers` takes a few milliseconds

        return RotatingFile(self._profile() / FILE_NAME, max_bytes=MAX_BYTES, files=FILES)

    def _is_wanted(self, event: Event) -> bool:
        if isinstance(event, Progress) and self._least == LEVELS["info"]:
            now = self._clock()
            if now < self._next_pace:
                return False
            self._next_pace = now + PACE_SECONDS
            return True
        return level_of(event) >= self._least

    def close(self) -> None:
        """Close the file; later events are ignored."""
        self._ended = True
        if self._file is not None:
            with suppress(Exception):
                self._file.close()


@dataclass(frozen=True, slots=True)
class RunRecord:
    """What the log says about one run.

    `ended`: "" if no end is recorded, because the run was killed or still works. `error`: the sentence that it ended
    with, or "". Times are ISO 8601; `seconds`: None without an end.
    """

    run: str
    command: str
    version: str
    started: str
    ended: str = ""
    exit_code: int | None = None
    seconds: float | None = None
    error: str = ""

    def as_json(self) -> dict[str, Any]:
        """Return plain values only."""
        return asdict(self)


def files(profile: Path) -> list[Path]:
    """Return the log's files, newest first."""
    names = [FILE_NAME, *(f"{FILE_NAME}.{number}" for number in range(1, FILES))]
    return [profile / name for name in names if (profile / name).is_file()]


def read_lines(path: Path) -> list[str]:
    """Return the lines of one file, [] if it cannot be read.

    Of a file that is too large they are the last MAX_BYTES.
    """
    try:
        with os.fdopen(open_regular(path, links=False), "rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - MAX_BYTES))
            return file.read(MAX_BYTES).decode("utf-8", "replace").splitlines()
    except (OSError, ResyncError):
        return []


def last_runs(profile: Path, count: int = 5) -> list[RunRecord]:
    """Return the last runs that the log knows, newest first."""
    found: dict[str, RunRecord] = {}
    for path in files(profile):
        older: dict[str, RunRecord] = {}
        for entry in entries(path):
            _note(older, entry)
        found = {**_joined(older, found)}
        if len(found) > count:
            break
    runs = sorted(found.values(), key=lambda record: record.started, reverse=True)
    return runs[:count]


def _joined(older: dict[str, RunRecord], newer: dict[str, RunRecord]) -> dict[str, RunRecord]:
    """Join the records of two files; a run may have begun in the older one."""
    joined = dict(older)
    for run, record in newer.items():
        before = older.get(run)
        joined[run] = _record(record, started=before.started) if before else record
    return joined


def entries(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the lines of one file as objects; invalid ones are left out."""
    for line in read_lines(path):
        try:
            entry = json.loads(line)
        except (ValueError, RecursionError):
            continue  # cut short by a kill or a full disk
        if isinstance(entry, dict) and isinstance(entry.get("run"), str) and isinstance(entry.get("time"), str):
            yield entry


def _note(records: dict[str, RunRecord], entry: dict[str, Any]) -> None:
    run, at = entry["run"], entry["time"]
    record = records.get(run) or RunRecord(run, str(entry.get("command", "")), str(entry.get("version", "")), at)
    if entry.get("event") == "run-finished":
        summary = entry.get("summary")
        error = str(summary.get("error", "")) if isinstance(summary, dict) else ""
        code = entry.get("exit_code")
        record = _record(record, ended=at, exit_code=code if isinstance(code, int) else None, error=error)
    records[run] = record


def _record(record: RunRecord, **members: Any) -> RunRecord:
    """Return the record with other members, and its duration."""
    values = {**asdict(record), **members}
    try:
        begun, ended = (datetime.fromisoformat(values[name]) for name in ("started", "ended"))
        values["seconds"] = max(0.0, (ended - begun).total_seconds())
    except ValueError:
        values["seconds"] = None
    return RunRecord(**values)
