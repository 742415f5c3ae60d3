"""The border at which SQLite's and the operating system's errors become ours.

SQLite tells an extended code, not the system's error. So where a write or an opening failed, the place is tried: what
stands in the way of SQLite mostly stands in ours too, and is then known by its name. What stays unknown is said as an
input/output error, and never as a full disk. A file that can't be understood, or read, is CacheDamaged; a lock that
someone else holds is CacheInUse.
"""

from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryFile
from traceback import clear_frames
from typing import Final

from kerio_resync.errors import CacheDamaged, CacheInUse, DiskTrouble, ResyncError
from kerio_resync.filesystem import available_bytes, locks_unsupported, not_enough_space, translate_os_error

__all__ = ["FOREIGN", "Foreign", "available_bytes", "map_db_error", "mapped_db_errors", "not_enough_space"]

_READING: Final = {
    sqlite3.SQLITE_IOERR_READ,
    sqlite3.SQLITE_IOERR_SHORT_READ,
    sqlite3.SQLITE_IOERR_CORRUPTFS,
    sqlite3.SQLITE_IOERR_DATA,
}
_LOCKING: Final = {
    sqlite3.SQLITE_IOERR_LOCK,
    sqlite3.SQLITE_IOERR_RDLOCK,
    sqlite3.SQLITE_IOERR_UNLOCK,
    sqlite3.SQLITE_IOERR_CHECKRESERVEDLOCK,
}
_TRIAL_BYTES: Final = 64 * 1024  # written to find out why a write failed
_NEAR: Final = 64 * 1024 * 1024  # bytes: more than a transaction, which may be undone already when this is asked
_FEW: Final = 8  # descriptors that SQLite needs at once


Foreign = sqlite3.Error | OSError | UnicodeDecodeError
FOREIGN: Final = (sqlite3.Error, OSError, UnicodeDecodeError)  # SQLite quotes what is damaged as it is


def map_db_error(error: Foreign, path: Path, needed: int = 0) -> ResyncError:
    """The error of ours that says the same. `needed`: the bytes that were to be written.

    The error lets go of the statement that failed: while there is one, SQLite does not close the file."""
    clear_frames(error.__traceback__)
    if isinstance(error, UnicodeDecodeError):
        return CacheDamaged(f"{path}: it has text that is not valid UTF-8")
    if isinstance(error, OSError):
        return translate_os_error(error, path, needed)
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR)
    match code & 0xFF:
        case sqlite3.SQLITE_FULL:
            return not_enough_space(path, needed)
        case sqlite3.SQLITE_IOERR if code in _LOCKING:
            return locks_unsupported(path, str(error))
        case sqlite3.SQLITE_IOERR if code not in _READING:
            cause = _limit(path) or _tried(path) or _quota(path) or _unknown(errno.EIO)
            return translate_os_error(cause, path, needed)
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return CacheInUse(f"{path} is locked by another program")
        case sqlite3.SQLITE_READONLY if code == sqlite3.SQLITE_READONLY_DBMOVED:
            return CacheInUse(f"{path} was moved or replaced by another program meanwhile")
        case sqlite3.SQLITE_CANTOPEN | sqlite3.SQLITE_READONLY | sqlite3.SQLITE_PERM | sqlite3.SQLITE_AUTH:
            return _not_opened(error, code, path, needed)
        case sqlite3.SQLITE_INTERRUPT:
            return CacheDamaged(f"{path}: a query of it takes longer than any sound file needs")
        case sqlite3.SQLITE_CONSTRAINT:
            return CacheDamaged(f"{path}: two rows have the same id, or a row lacks something")
        case _:
            # SQLite's module quotes a text that it can't decode, which may be mail
            text = "a text in it is not valid" if str(error).startswith("Could not decode") else str(error)
            return CacheDamaged(f"{path}: {text}")


@contextmanager
def mapped_db_errors(path: Path, needed: int = 0) -> Iterator[None]:
    """Within it, errors of SQLite and of the file system come out as ours."""
    try:
        yield
    except FOREIGN as error:
        raise map_db_error(error, path, needed) from error


def _not_opened(error: sqlite3.Error, code: int, path: Path, needed: int) -> ResyncError:
    found = _open_files() or _tried(path, must_exist=True)
    if found is not None:
        return translate_os_error(found, path, needed)
    if code & 0xFF == sqlite3.SQLITE_READONLY:
        return CacheDamaged(f"{path}: its header does not allow writing")
    return DiskTrouble(f"{path} can't be opened ({error}). Check the file and its folder, then run again")


def _unknown(code: int) -> OSError:
    return OSError(code, os.strerror(code))


def _limit(path: Path) -> OSError | None:
    """EFBIG if the file, or its journal, has come to the process's or the file system's limit on sizes."""
    limits = [2**31, 2**32]  # old file systems, FAT32
    with suppress(ImportError):
        import resource  # not on Windows

        limits.append(resource.getrlimit(resource.RLIMIT_FSIZE)[0])
    for each in (path, path.with_name(path.name + "-journal")):
        with suppress(OSError):
            size = each.stat().st_size
            if any(0 <= limit - size <= _NEAR for limit in limits):
                return _unknown(errno.EFBIG)
    return None


def _open_files() -> OSError | None:
    """EMFILE if the process is about to have as many files open as it may."""
    with suppress(ImportError, OSError):
        import resource

        if len(os.listdir("/proc/self/fd")) + _FEW > resource.getrlimit(resource.RLIMIT_NOFILE)[0]:
            return _unknown(errno.EMFILE)
    return None


def _quota(path: Path) -> OSError | None:
    """EDQUOT if there is no room for a transaction: the one that failed is undone, and has given its room back."""
    try:
        with TemporaryFile(dir=path.parent, prefix=".trial-") as file:
            os.posix_fallocate(file.fileno(), 0, _NEAR)
    except OSError as error:
        return error if error.errno == errno.EDQUOT else None
    except AttributeError:  # not on macOS and Windows
        return None
    return None


def _tried(path: Path, *, must_exist: bool = False) -> OSError | None:
    """What the system says when the file is opened, and when something is written beside it; None if both work."""
    try:
        if must_exist or path.exists():
            os.close(os.open(path, os.O_RDWR | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)))
        with TemporaryFile(dir=path.parent, prefix=".trial-") as file:
            file.write(bytes(_TRIAL_BYTES))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        return error
    return None
