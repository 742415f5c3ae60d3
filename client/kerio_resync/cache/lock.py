"""One run at a time for a profile: a lock that the system releases when its holder dies, however it dies.

The lock is on `kerio-resync.lock`; who holds it stands in `kerio-resync.holder`, for the message of whoever comes
second. What that file says means nothing without the lock. Where `cache.db` is a link, the folder that it leads to is
locked as well, so that two profiles with one cache exclude each other. Neither file may be a link itself.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import warnings
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from filelock import FileLock, SoftFileLock, Timeout

from kerio_resync.errors import BadSettings, CacheInUse, LocalError
from kerio_resync.filesystem import (
    locks_unsupported,
    read_small,
    real_place,
    require_regular,
    translate_lock_error,
    write_private,
)

LOCK_RETRY_SECONDS: Final = 0.3  # seconds: `holder` takes the lock for an instant to find out


class ProfileLock:
    """`with ProfileLock(folder): …`. CacheInUse if another process, or another part of this one, holds it."""

    def __init__(self, profile: Path) -> None:
        self._profile = profile
        folders = dict.fromkeys((profile, real_place(profile / "cache.db").parent))
        self._locks = [_FolderLock(each) for each in folders]
        self._held = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            for each in self._locks:
                stack.enter_context(each)
            self._held = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._held.close()

    def holder(self) -> str:
        """Who holds the profile now, as `process 4711 on host (command)`; "" if nobody does, or there is no folder."""
        return next((found for each in self._locks if (found := each.holder())), "")


class _FolderLock:
    """The lock of one folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._path = folder / "kerio-resync.lock"
        self._note = folder / "kerio-resync.holder"
        self._lock = FileLock(self._path, mode=0o600, thread_local=False)

    def __enter__(self) -> Self:
        require_regular((self._path, self._note))
        try:
            self._acquire(LOCK_RETRY_SECONDS)
        except Timeout:
            raise CacheInUse(f"{self._folder} is held by {self._read() or 'another run'}") from None
        told = json.dumps({"pid": os.getpid(), "host": socket.gethostname(), "command": _command()})
        with suppress(OSError):  # it only serves a message
            write_private(self._note, told.encode(), sync=False)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(OSError):
            self._note.unlink(missing_ok=True)
        self._lock.release()

    def holder(self) -> str:
        if not self._folder.is_dir():
            return ""
        try:
            require_regular((self._path, self._note))
            self._acquire(0)
        except Timeout:
            return self._read() or "another run"
        except LocalError:
            return ""
        self._lock.release()
        return ""

    def _acquire(self, seconds: float) -> None:
        """Timeout; errors of the system as ours."""
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # filelock's, that it makes do without the system's lock
                self._lock.acquire(timeout=seconds, poll_interval=0.02)
        except Timeout:
            raise
        except NotImplementedError as error:
            raise locks_unsupported(self._path, str(error)) from error
        except OSError as error:
            raise translate_lock_error(error, self._path) from error
        if isinstance(self._lock, SoftFileLock):  # a file that would outlive its holder when that is killed
            self._lock.release()
            raise locks_unsupported(self._path, "function not implemented")

    def _read(self) -> str:
        try:
            told = json.loads(read_small(self._note, links=False))
            return f"process {int(told['pid'])} on {told['host']} ({told['command']})"
        except (OSError, BadSettings, ValueError, KeyError, TypeError):
            return ""


def _command() -> str:
    """The program and the verb; no further arguments, they are nobody's business."""
    verb = next((each for each in sys.argv[1:] if not each.startswith("-")), "")
    return f"{Path(sys.argv[0]).name} {verb}".strip()
