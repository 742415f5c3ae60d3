"""One run at a time for a profile: a lock that the system lets go of when its holder dies, however it dies.

The lock is on `kerio-resync.lock`; who holds it stands in `kerio-resync.holder`, for the message of whoever comes
second. What that file says means nothing without the lock.
"""

from __future__ import annotations

import json
import os
import socket
import sys
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from filelock import FileLock, Timeout

from kerio_resync.cache.trouble import translated
from kerio_resync.errors import CacheInUse

PATIENCE: Final = 0.3  # seconds: `holder` takes the lock for an instant to find out


class ProfileLock:
    """`with ProfileLock(folder): …`. CacheInUse if another process, or another part of this one, holds it."""

    def __init__(self, profile: Path) -> None:
        self._lock = FileLock(profile / "kerio-resync.lock", mode=0o600, thread_local=False)
        self._holder = profile / "kerio-resync.holder"
        self._profile = profile

    def __enter__(self) -> Self:
        with translated(self._profile):
            try:
                self._lock.acquire(timeout=PATIENCE, poll_interval=0.02)
            except Timeout:
                raise CacheInUse(f"{self._profile} is held by {self._read() or 'another run'}") from None
        told = json.dumps({"pid": os.getpid(), "host": socket.gethostname(), "command": _command()})
        with suppress(OSError):  # it only serves a message
            handle = os.open(self._holder, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(handle, "w") as file:
                file.write(told)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(OSError):
            self._holder.unlink(missing_ok=True)
        self._lock.release()

    def holder(self) -> str:
        """Who holds the profile now, as `process 4711 on host (command)`; "" if nobody does, or there is no folder."""
        if not self._profile.is_dir():
            return ""
        try:
            with self._lock.acquire(timeout=0):
                return ""
        except Timeout:
            return self._read() or "another run"
        except OSError:
            return ""

    def _read(self) -> str:
        try:
            told = json.loads(self._holder.read_text())
            return f"process {int(told['pid'])} on {told['host']} ({told['command']})"
        except (OSError, ValueError, KeyError, TypeError):
            return ""


def _command() -> str:
    """The program and the verb; no further arguments, they are nobody's business."""
    verb = next((each for each in sys.argv[1:] if not each.startswith("-")), "")
    return f"{Path(sys.argv[0]).name} {verb}".strip()
