"""Allows one run at a time for a profile.

The system releases the lock whenever its holder ends. The lock is on `kerio-resync.lock`. `kerio-resync.holder` names
the holder, for the message of a second run; it means nothing without the lock. Where `cache.db` is a link, its
target's folder is locked as well, so that two profiles with one cache exclude each other. Neither of the two files
may be a link.
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

LOCK_RETRY_SECONDS: Final = 0.3  # `holder` takes the lock for an instant to find out


class ProfileLock:
    """Locks a profile for the context.

    CacheInUse if another process, or another part of this one, has the lock.
    """

    def __init__(self, profile: Path) -> None:
        self._profile = profile
        folders = dict.fromkeys((profile, real_place(profile / "cache.db").parent))
        self._locks = [_FolderLock(folder) for folder in folders]
        self._held = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            for lock in self._locks:
                stack.enter_context(lock)
            self._held = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._held.close()

    def remove_notes(self) -> None:
        """Remove what names this process as the holder; the locks stay."""
        for lock in self._locks:
            lock.remove_note()

    def holder(self) -> str:
        """Return the holder, as `process 4711 on host (command)`.

        "" if the profile is not locked.
        """
        return next((holder for lock in self._locks if (holder := lock.holder())), "")


class _FolderLock:
    """Lock of one folder."""

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
        note = json.dumps({"pid": os.getpid(), "host": socket.gethostname(), "command": _command()})
        with suppress(OSError):  # it is only used in a message
            write_private(self._note, note.encode(), sync=False)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.remove_note()
        self._lock.release()

    def remove_note(self) -> None:
        """Remove the note that names this process."""
        with suppress(OSError):
            self._note.unlink(missing_ok=True)

    def holder(self) -> str:
        """Return the holder of this lock, or "" if there is none."""
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
        """Acquire the lock. Timeout, DiskTrouble."""
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # filelock warns that it falls back to a file
                self._lock.acquire(timeout=seconds, poll_interval=0.02)
        except Timeout:
            raise
        except NotImplementedError as error:
            raise locks_unsupported(self._path, str(error)) from error
        except OSError as error:
            raise translate_lock_error(error, self._path) from error
        if isinstance(self._lock, SoftFileLock):  # a file would outlive a holder that is killed
            self._lock.release()
            raise locks_unsupported(self._path, "function not implemented")

    def _read(self) -> str:
        try:
            note = json.loads(read_small(self._note, links=False))
            return f"process {int(note['pid'])} on {note['host']} ({note['command']})"
        except (OSError, BadSettings, ValueError, KeyError, TypeError):
            return ""


def _command() -> str:
    """Return the program and its command, without arguments that may be private."""
    verb = next((argument for argument in sys.argv[1:] if not argument.startswith("-")), "")
    return f"{Path(sys.argv[0]).name} {verb}".strip()
