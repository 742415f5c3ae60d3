"""Events as lines of JSON: on standard output for `--json`, and in the log file.

Promises: one object a line and nothing else, in the order of the events. Neither raises, so that neither ends a run.
"""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

from kerio_resync import streams
from kerio_resync.events import Event, Progress, RunFinished


class JsonLines:
    """One event a line on `out`; nothing else is written there. A reader that is behind gets no progress."""

    def __init__(self, out: IO[str], stamp: Callable[[], str] | None = None, *, flat: bool = False) -> None:
        self._out, self._stamp, self._flat = out, stamp, flat

    def __call__(self, event: Event) -> None:
        if isinstance(event, Progress) and streams.is_congested(self._out):
            return
        fields = event.as_json()
        if self._stamp is not None:
            fields = {"time": self._stamp(), **fields}
        if self._flat and isinstance(event, RunFinished):
            fields = {**event.summary, **fields}
        self._out.write(json.dumps(fields, default=str) + "\n")
        self._out.flush()

    def close(self) -> None:
        pass


class LogFile:
    """Every event as a line of JSON, with its time, appended to a file; what can't be written is said once, by `say`.

    Never raises: without a log the run is the same.
    """

    def __init__(self, path: Path, say: Callable[[str], None]) -> None:
        self._path, self._say = path, say
        self._lines: JsonLines | None = None
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | getattr(os, "O_NONBLOCK", 0)  # a pipe nobody reads is refused
        try:
            self._descriptor = os.open(path, flags, 0o600)
        except OSError as error:
            self._give_up(error)
        else:
            self._file = streams.text(self._descriptor, str(path))
            self._lines = JsonLines(self._file, lambda: f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S.%fZ}")

    def __call__(self, event: Event) -> None:
        if self._lines is None:
            return
        self._lines(event)
        if (error := streams.failure(self._file)) is not None:
            self._give_up(error)
            os.close(self._descriptor)

    def _give_up(self, error: OSError) -> None:
        self._lines = None
        reason = "nothing reads this pipe" if error.errno == errno.ENXIO else error.strerror or str(error)
        self._say(f"The log file {self._path} can't be written ({reason}); it goes on without a log.")

    def close(self) -> None:
        """What a stalled reader has not taken is still written at the end: for that the descriptor stays open."""
        if self._lines is not None and not streams.has_backlog(self._file):
            os.close(self._descriptor)
        self._lines = None
