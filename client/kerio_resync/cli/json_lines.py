"""Writes events as lines of JSON, for `--json` and the log file.

Each line is one object, in the order of the events. Writing never raises, so that it cannot end a run.
"""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from kerio_resync import streams
from kerio_resync.events import Event, Progress, RunFinished
from kerio_resync.run_log import LEVELS, Level, level_of


class JsonLines:
    """Writes one event per line; drops progress while the reader is behind."""

    def __init__(self, out: IO[str], stamp: Callable[[], dict[str, Any]] | None = None, *, flat: bool = False) -> None:
        self._out, self._stamp, self._flat = out, stamp, flat

    def __call__(self, event: Event) -> None:
        if isinstance(event, Progress) and streams.is_congested(self._out):
            return
        fields = event.as_json()
        if self._stamp is not None:
            fields = {**self._stamp(), **fields}
        if self._flat and isinstance(event, RunFinished):
            fields = {**event.summary, **fields}
        self._out.write(json.dumps(fields, default=str) + "\n")
        self._out.flush()

    def close(self) -> None:
        """Do nothing: `out` belongs to the caller."""


class LogFile:
    """Appends events to a file that the user named; reports a failure once.

    `stamp` returns what each line begins with. Never raises: a run does not depend on its log.
    """

    def __init__(
        self,
        path: Path,
        report: Callable[[str], None],
        stamp: Callable[[], dict[str, Any]] = dict,
        level: Level = "debug",
    ) -> None:
        self._path, self._report, self._least = path, report, LEVELS[level]
        self._lines: JsonLines | None = None
        flags = (
            os.O_WRONLY | os.O_CREAT | os.O_APPEND | getattr(os, "O_NONBLOCK", 0)
        )  # fails at once for a FIFO without a reader
        try:
            self._descriptor = os.open(path, flags, 0o600)
        except OSError as error:
            self._give_up(error)
        else:
            self._file = streams.text(self._descriptor, str(path))
            self._lines = JsonLines(self._file, stamp)

    def __call__(self, event: Event) -> None:
        if self._lines is None or level_of(event) < self._least:
            return
        self._lines(event)
        if (error := streams.failure(self._file)) is not None:
            self._give_up(error)
            os.close(self._descriptor)

    def _give_up(self, error: OSError) -> None:
        self._lines = None
        reason = "the FIFO has no reader" if error.errno == errno.ENXIO else error.strerror or str(error)
        self._report(f"The log file {self._path} cannot be written ({reason}). The run continues without a log.")

    def close(self) -> None:
        """Close the file, unless lines for the reader of a FIFO are queued."""
        if self._lines is not None and not streams.has_backlog(self._file):
            os.close(self._descriptor)
        self._lines = None
