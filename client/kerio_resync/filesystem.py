"""Translates the errors of file operations, and opens only regular files.

    ENOSPC, EDQUOT, EFBIG, no free inodes   → NotEnoughSpace
    EIO, EROFS, EMFILE, EACCES, …           → DiskTrouble

A FIFO in the place of a file would block the process, and a device would be written to. Both are refused (BadSettings)
before they are opened.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from kerio_resync.errors import BadSettings, DiskTrouble, LocalError, NotEnoughSpace
from kerio_resync.os_errors import NO_LOCKS, NO_ROOM, describe, reason_of

SMALL_BYTES: Final = 1024 * 1024  # notes and settings are smaller
_PLENTY_BYTES: Final = 256 * 1024 * 1024  # more than a failed transaction can have freed
_UNSUPPORTED: Final = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EINVAL, errno.EBADF}
_KINDS: Final = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a FIFO"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def available_bytes(path: Path) -> int:
    """Return the bytes free at `path`, which need not exist; 0 if unknown."""
    try:
        return shutil.disk_usage(path if path.is_dir() else path.parent).free
    except OSError:
        return 0


def real_place(path: Path) -> Path:
    """Return the target of a symbolic link, even a missing one, or `path`."""
    return Path(os.path.realpath(path)) if path.is_symlink() else path


def translate_os_error(error: OSError, path: Path, needed: int = 0) -> LocalError:
    """Translate an OSError at `path`; `needed`: the bytes that were to be written."""
    if error.errno == errno.ENOSPC:
        return not_enough_space(path, needed)
    text = describe(error, path)
    if error.errno in NO_ROOM:
        return NotEnoughSpace(
            text,
            needed=needed,
            available=available_bytes(path),
            where=str(path.parent),
            sentence=f"{text[0].upper()}{text[1:]}.",
        )
    return DiskTrouble(text)


def translate_lock_error(error: OSError, path: Path) -> LocalError:
    """Translate an OSError of a lock, where "not supported" concerns the file system."""
    if error.errno in _UNSUPPORTED:
        return DiskTrouble(NO_LOCKS.format(path=path, reason=reason_of(error)))
    return translate_os_error(error, path)


def locks_unsupported(path: Path, reason: str) -> DiskTrouble:
    """Return the error for a file system without locks."""
    return DiskTrouble(NO_LOCKS.format(path=path, reason=reason))


def not_enough_space(path: Path, needed: int = 0) -> NotEnoughSpace:
    """Return the error for a full disk, quota or inode table; `needed` in bytes."""
    folder, free = path.parent, available_bytes(path)
    sentence = ""
    if free > needed and _no_inodes(folder):
        sentence = (
            f"No more files can be created at {folder}: the file system has no free inodes. Delete files there, then"
            " run again."
        )
    elif free > max(needed, _PLENTY_BYTES):
        sentence = (
            f"The system reports that there is not enough room at {folder}, though {free:,} bytes are free: a quota or"
            " reserved blocks can be the cause. Free some space, then run again."
        )
    return NotEnoughSpace(f"no space at {path}", needed=needed, available=free, where=str(folder), sentence=sentence)


def require_regular(paths: Iterable[Path], *, links: bool = False) -> None:
    """Raise BadSettings for an existing path that is not a regular file.

    `links`: follows symbolic links. DiskTrouble if a path cannot be examined, for example in an unreadable folder.
    """
    for path in paths:
        try:
            mode = os.lstat(path).st_mode
            if stat.S_ISLNK(mode) and links:
                mode = os.stat(path).st_mode
        except FileNotFoundError:
            continue  # also for a link to a missing file
        except OSError as error:
            raise translate_os_error(error, path) from error
        if stat.S_ISLNK(mode):
            raise BadSettings(f"{path} is a symbolic link, which is not followed; remove it and run again")
        if not stat.S_ISREG(mode):
            raise BadSettings(f"{path} is {_kind(mode)}, not a regular file; move it away and run again")


def open_regular(path: Path, *, links: bool = True) -> int:
    """Open a regular file for reading, never waiting; BadSettings for other kinds."""
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
    descriptor = os.open(path, flags if links else flags | getattr(os, "O_NOFOLLOW", 0))
    mode = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(mode):
        os.close(descriptor)
        raise BadSettings(f"{path} is {_kind(mode)}, not a regular file; move it away and run again")
    return descriptor


def read_small(path: Path, *, links: bool = True) -> bytes:
    """Read a regular file of at most SMALL_BYTES; BadSettings for others."""
    with os.fdopen(open_regular(path, links=links), "rb") as file:
        content = file.read(SMALL_BYTES + 1)
    if len(content) > SMALL_BYTES:
        raise BadSettings(f"{path} is too large to be what its name says; move it away and run again")
    return content


def write_private(path: Path, content: bytes, *, sync: bool = True) -> None:
    """Write a file that only its owner can read, in place of a file or link."""
    path.unlink(missing_ok=True)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
    with os.fdopen(os.open(path, flags, 0o600), "wb") as file:
        file.write(content)
        file.flush()
        if sync:
            os.fsync(file.fileno())


def replace_private(path: Path, content: bytes, *, sync: bool = True) -> None:
    """Write a private file beside `path`, then put it in its place at once.

    It raises OSError, and then leaves `path` as it was.
    """
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        write_private(part, content, sync=sync)
        part.replace(path)
    except OSError:
        part.unlink(missing_ok=True)
        raise


def _kind(mode: int) -> str:
    return next((name for fits, name in _KINDS if fits(mode)), "something else")


def _no_inodes(folder: Path) -> bool:
    try:
        found = os.statvfs(folder)
    except (OSError, AttributeError):
        return False
    return bool(found.f_files) and not found.f_favail
