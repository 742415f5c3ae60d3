"""The border at which SQLite's and the operating system's errors become ours.

No room (also a limit on file size, or a write that failed) is NotEnoughSpace; a file that can't be understood, or read,
is CacheDamaged; a lock that someone else holds is CacheInUse; a place where nothing can be opened or written is
BadSettings.
"""

from __future__ import annotations

import errno
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from traceback import clear_frames
from typing import Final

from kerio_resync.errors import BadSettings, CacheDamaged, CacheInUse, NotEnoughSpace, ResyncError

_NO_ROOM: Final = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_READING: Final = {
    sqlite3.SQLITE_IOERR_READ,
    sqlite3.SQLITE_IOERR_SHORT_READ,
    sqlite3.SQLITE_IOERR_CORRUPTFS,
    sqlite3.SQLITE_IOERR_DATA,
}


Foreign = sqlite3.Error | OSError | UnicodeDecodeError
FOREIGN: Final = (sqlite3.Error, OSError, UnicodeDecodeError)  # SQLite quotes what is damaged as it is


def available(path: Path) -> int:
    """Bytes free for this user where `path` is or is to be; 0 if that can't be told."""
    try:
        return shutil.disk_usage(path if path.is_dir() else path.parent).free
    except OSError:
        return 0


def translate(error: Foreign, path: Path, needed: int = 0) -> ResyncError:
    """The error of ours that says the same. `needed`: the bytes that were to be written.

    The error lets go of the statement that failed: while there is one, SQLite does not close the file."""
    clear_frames(error.__traceback__)
    if isinstance(error, UnicodeDecodeError):
        return CacheDamaged(f"{path}: a text in it is none")
    if isinstance(error, OSError):
        if error.errno in _NO_ROOM:
            return no_room(path, needed)
        return BadSettings(f"{path}: {error.strerror or error}")
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR)
    match code & 0xFF:
        case sqlite3.SQLITE_FULL:
            return no_room(path, needed)
        case sqlite3.SQLITE_IOERR if code not in _READING:
            return no_room(path, needed)
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return CacheInUse(f"{path} is locked by another program")
        case sqlite3.SQLITE_CANTOPEN | sqlite3.SQLITE_READONLY | sqlite3.SQLITE_PERM | sqlite3.SQLITE_AUTH:
            return BadSettings(f"{path} can't be opened or written ({error})")
        case _:
            return CacheDamaged(f"{path}: {error}")


def no_room(path: Path, needed: int = 0) -> NotEnoughSpace:
    return NotEnoughSpace(f"no room at {path}", needed=needed, available=available(path), where=str(path.parent))


@contextmanager
def translated(path: Path, needed: int = 0) -> Iterator[None]:
    """Within it, errors of SQLite and of the file system come out as ours."""
    try:
        yield
    except FOREIGN as error:
        raise translate(error, path, needed) from error
