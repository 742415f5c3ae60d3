"""Maps errors of SQLite and of the operating system to the errors of this package.

SQLite reports an extended code, but not the system's error. So where a write or an opening failed, the same is tried
once more here: what stops SQLite usually stops this process too, and its errno is then known. An error that stays
unknown is reported as an input/output error, never as a full disk. A file that cannot be understood or read is
CacheDamaged; a lock that another program holds is CacheInUse.
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
from kerio_resync.filesystem import locks_unsupported, not_enough_space, translate_os_error

_READ_CODES: Final = {
    sqlite3.SQLITE_IOERR_READ,
    sqlite3.SQLITE_IOERR_SHORT_READ,
    sqlite3.SQLITE_IOERR_CORRUPTFS,
    sqlite3.SQLITE_IOERR_DATA,
}
_LOCK_CODES: Final = {
    sqlite3.SQLITE_IOERR_LOCK,
    sqlite3.SQLITE_IOERR_RDLOCK,
    sqlite3.SQLITE_IOERR_UNLOCK,
    sqlite3.SQLITE_IOERR_CHECKRESERVEDLOCK,
}
_PROBE_BYTES: Final = 64 * 1024  # written to find out why a write failed
_TRANSACTION_BYTES: Final = 64 * 1024 * 1024  # more than a transaction, which may be rolled back when this is asked
_SPARE_HANDLES: Final = 8  # file descriptors that SQLite needs at once


Foreign = sqlite3.Error | OSError | UnicodeDecodeError
FOREIGN: Final = (sqlite3.Error, OSError, UnicodeDecodeError)  # SQLite quotes damaged text as it is


def map_db_error(error: Foreign, path: Path, needed: int = 0) -> ResyncError:
    """Return the error of this package that says the same.

    `needed`: the bytes that were to be written. The frames of `error` are cleared, because SQLite does not close a
    file while one refers to a statement.
    """
    clear_frames(error.__traceback__)
    if isinstance(error, UnicodeDecodeError):
        return CacheDamaged(f"{path}: it has text that is not valid UTF-8")
    if isinstance(error, OSError):
        return translate_os_error(error, path, needed)
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR)
    match code & 0xFF:
        case sqlite3.SQLITE_FULL:
            return not_enough_space(path, needed)
        case sqlite3.SQLITE_IOERR if code in _LOCK_CODES:
            return locks_unsupported(path, str(error))
        case sqlite3.SQLITE_IOERR if code not in _READ_CODES:
            cause = _size_limit_error(path) or _probe_error(path) or _quota_error(path) or _os_error(errno.EIO)
            return translate_os_error(cause, path, needed)
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return CacheInUse(f"{path} is locked by another program")
        case sqlite3.SQLITE_READONLY if code == sqlite3.SQLITE_READONLY_DBMOVED:
            return CacheInUse(f"{path} was moved or replaced by another program meanwhile")
        case sqlite3.SQLITE_CANTOPEN | sqlite3.SQLITE_READONLY | sqlite3.SQLITE_PERM | sqlite3.SQLITE_AUTH:
            return _opening_error(error, code, path, needed)
        case sqlite3.SQLITE_INTERRUPT:
            return CacheDamaged(f"{path}: a query of it takes longer than any sound file needs")
        case sqlite3.SQLITE_CONSTRAINT:
            return CacheDamaged(f"{path}: two rows have the same id, or a row lacks something")
        case _:
            # Python's module quotes text that it cannot decode, which may be mail
            text = "a text in it is not valid" if str(error).startswith("Could not decode") else str(error)
            return CacheDamaged(f"{path}: {text}")


@contextmanager
def mapped_db_errors(path: Path, needed: int = 0) -> Iterator[None]:
    """Map errors of SQLite and of the file system that are raised within the context."""
    try:
        yield
    except FOREIGN as error:
        raise map_db_error(error, path, needed) from error


def _opening_error(error: sqlite3.Error, code: int, path: Path, needed: int) -> ResyncError:
    cause = _open_files_error() or _probe_error(path, must_exist=True)
    if cause is not None:
        return translate_os_error(cause, path, needed)
    if code & 0xFF == sqlite3.SQLITE_READONLY:
        return CacheDamaged(f"{path}: its header does not allow writing")
    return DiskTrouble(f"{path} cannot be opened ({error}). Check the file and its folder, then run again")


def _os_error(code: int) -> OSError:
    return OSError(code, os.strerror(code))


def _size_limit_error(path: Path) -> OSError | None:
    """Return EFBIG if the file or its journal is near a limit on sizes.

    The limit may be one of the process or of an old file system.
    """
    limits = [2**31, 2**32]  # old file systems, FAT32
    with suppress(ImportError):
        import resource  # not on Windows

        limits.append(resource.getrlimit(resource.RLIMIT_FSIZE)[0])
    for file in (path, path.with_name(path.name + "-journal")):
        with suppress(OSError):
            size = file.stat().st_size
            if any(0 <= limit - size <= _TRANSACTION_BYTES for limit in limits):
                return _os_error(errno.EFBIG)
    return None


def _open_files_error() -> OSError | None:
    """Return EMFILE if the process has almost as many files open as it may."""
    with suppress(ImportError, OSError):
        import resource

        if len(os.listdir("/proc/self/fd")) + _SPARE_HANDLES > resource.getrlimit(resource.RLIMIT_NOFILE)[0]:
            return _os_error(errno.EMFILE)
    return None


def _quota_error(path: Path) -> OSError | None:
    """Return EDQUOT if there is no room for a transaction.

    The one that failed has been rolled back.
    """
    try:
        with TemporaryFile(dir=path.parent, prefix=".trial-") as file:
            os.posix_fallocate(file.fileno(), 0, _TRANSACTION_BYTES)
    except OSError as error:
        return error if error.errno == errno.EDQUOT else None
    except AttributeError:  # not on macOS and Windows
        return None
    return None


def _probe_error(path: Path, *, must_exist: bool = False) -> OSError | None:
    """Open the file, write beside it, and return the system's error, if any."""
    try:
        if must_exist or path.exists():
            os.close(os.open(path, os.O_RDWR | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)))
        with TemporaryFile(dir=path.parent, prefix=".trial-") as file:
            file.write(bytes(_PROBE_BYTES))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        return error
    return None
