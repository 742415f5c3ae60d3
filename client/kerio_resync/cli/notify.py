"""Runs the user's command at the end of a run, with the report as input.

Whatever the command does changes neither the result of the run nor its exit code.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import IO, Any

from kerio_resync.errors import Exit
from kerio_resync.events import Event, RunFinished
from kerio_resync.variables import SECRET_VARIABLES

MAX_SECONDS = 30.0  # a command that takes longer is ended


class Notifier:
    """Remembers the end of a run, and passes it to the command when it is closed.

    `command`: as one text, split as a shell does, and run without a shell. `stamp` returns what the JSON begins with,
    `report` shows a failure.
    """

    def __init__(self, command: str, stamp: Callable[[], dict[str, Any]], report: Callable[[str], None]) -> None:
        self._command, self._stamp, self._report = command, stamp, report
        self._end: RunFinished | None = None

    def __call__(self, event: Event) -> None:
        if isinstance(event, RunFinished):
            self._end = event

    def close(self) -> None:
        """Run the command, once."""
        end, self._end = self._end, None
        if end is None:
            return
        data = json.dumps({**self._stamp(), **end.as_json()}, default=str) + "\n"
        try:
            self._run(data.encode(), waits=end.exit_code != Exit.INTERRUPTED)
        except subprocess.TimeoutExpired:
            self._report(f"The command of --notify did not end within {MAX_SECONDS:.0f} s, and was ended.")
        except (OSError, ValueError) as error:
            self._report(f"The command of --notify cannot be run ({getattr(error, 'strerror', None) or error}).")

    def _run(self, data: bytes, *, waits: bool) -> None:
        words = shlex.split(self._command)
        if not words:
            raise ValueError("it is empty")
        environment = {name: value for name, value in os.environ.items() if name not in SECRET_VARIABLES}
        # Standard output may be read by a program that expects nothing but the run's own lines.
        process = subprocess.Popen(
            [shutil.which(words[0]) or words[0], *words[1:]],
            stdin=subprocess.PIPE,
            stdout=_descriptor_of(sys.stderr),
            env=environment,
            start_new_session=True,
        )
        if not waits:  # a second signal, or the grace period, ends this process soon
            _send(process.stdin, data)
            process.returncode = 0  # so that Python does not warn of a process that still runs
            return
        try:
            process.communicate(data, timeout=MAX_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise
        if process.returncode:
            self._report(f"The command of --notify ended with exit code {process.returncode}.")


def _send(stream: IO[bytes] | None, data: bytes) -> None:
    with suppress(OSError):
        if stream is not None:
            stream.write(data)
            stream.close()


def _descriptor_of(stream: Any) -> int:
    try:
        return int(stream.fileno())
    except (AttributeError, OSError, ValueError):
        return subprocess.DEVNULL
