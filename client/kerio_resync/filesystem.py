"""What the operating system says about files, as our errors, each in words of its own: what happened, what to do.

    no room   ENOSPC, EDQUOT, EFBIG, no inodes      → NotEnoughSpace
    the rest  EIO, EROFS, EMFILE, EACCES, …         → DiskTrouble

Also what bears a name: a cache, a lock and a note are regular files. Anything else in their place (a FIFO would make
the process wait for ever, a device would be written to) is BadSettings before it is opened.
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

SMALL_BYTES: Final = 1024 * 1024  # of a note or of settings; a larger file is neither
_PLENTY_BYTES: Final = 256 * 1024 * 1024  # more than a transaction, whose room is free again
_UNSUPPORTED: Final = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EINVAL, errno.EBADF}
_KINDS: Final = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a FIFO"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def available_bytes(path: Path) -> int:
    """Bytes free for this user where `path` is or is to be; 0 if that can't be told."""
    try:
        return shutil.disk_usage(path if path.is_dir() else path.parent).free
    except OSError:
        return 0


def real_place(path: Path) -> Path:
    """Where what is opened as `path` is: what a link leads to, there or not; else `path` itself."""
    return Path(os.path.realpath(path)) if path.is_symlink() else path


def translate_os_error(error: OSError, path: Path, needed: int = 0) -> LocalError:
    """The error of ours that says the same. `needed`: the bytes that were to be written at `path`."""
    if error.errno == errno.ENOSPC:
        return not_enough_space(path, needed)
    said = describe(error, path)
    if error.errno in NO_ROOM:
        return NotEnoughSpace(
            said,
            needed=needed,
            available=available_bytes(path),
            where=str(path.parent),
            said=f"{said[0].upper()}{said[1:]}.",
        )
    return DiskTrouble(said)


def translate_lock_error(error: OSError, path: Path) -> LocalError:
    """The same for a lock that could not be taken: what means "no such call here" is about the file system."""
    if error.errno in _UNSUPPORTED:
        return DiskTrouble(NO_LOCKS.format(path=path, reason=reason_of(error)))
    return translate_os_error(error, path)


def locks_unsupported(path: Path, reason: str) -> DiskTrouble:
    return DiskTrouble(NO_LOCKS.format(path=path, reason=reason))


def not_enough_space(path: Path, needed: int = 0) -> NotEnoughSpace:
    """No bytes are free at `path`, or no entries for further files."""
    folder, free = path.parent, available_bytes(path)
    said = ""
    if free > needed and _no_inodes(folder):
        said = (
            f"No more files can be created at {folder}: the file system has no free inodes. Delete files there, then"
            " run again."
        )
    elif free > max(needed, _PLENTY_BYTES):
        said = (
            f"The disk says that there is not enough room at {folder}, though {free:,} bytes are free: a quota or"
            " reserved blocks can be the cause. Make room, then run again."
        )
    return NotEnoughSpace(f"no room at {path}", needed=needed, available=free, where=str(folder), said=said)


def require_regular(paths: Iterable[Path], *, links: bool = False) -> None:
    """BadSettings if one of them is there and is not a regular file. `links`: links to one are followed.

    DiskTrouble if that can't be found out, for example in a folder that may not be read."""
    for path in paths:
        try:
            mode = os.lstat(path).st_mode
            if stat.S_ISLNK(mode) and links:
                mode = os.stat(path).st_mode
        except FileNotFoundError:
            continue  # or a link to where no file is yet
        except OSError as error:
            raise translate_os_error(error, path) from error
        if stat.S_ISLNK(mode):
            raise BadSettings(f"{path} is a symbolic link, which is not followed here; remove it and run again")
        if not stat.S_ISREG(mode):
            raise BadSettings(f"{path} is {_kind(mode)}, not a regular file; move it away and run again")


def open_regular(path: Path, *, links: bool = True) -> int:
    """A descriptor to read `path` with; never waits for a writer. BadSettings if it is not a regular file; OSError."""
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
    descriptor = os.open(path, flags if links else flags | getattr(os, "O_NOFOLLOW", 0))
    mode = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(mode):
        os.close(descriptor)
        raise BadSettings(f"{path} is {_kind(mode)}, not a regular file; move it away and run again")
    return descriptor


def read_small(path: Path, *, links: bool = True) -> bytes:
    """The content of a small regular file. BadSettings if it is none, or larger than SMALL_BYTES; OSError."""
    with os.fdopen(open_regular(path, links=links), "rb") as file:
        content = file.read(SMALL_BYTES + 1)
    if len(content) > SMALL_BYTES:
        raise BadSettings(f"{path} is too large to be what its name says; move it away and run again")
    return content


def write_private(path: Path, content: bytes, *, sync: bool = True) -> None:
    """Makes `path`, readable by its owner only, in the place of whatever file or link bears that name. OSError."""
    path.unlink(missing_ok=True)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
    with os.fdopen(os.open(path, flags, 0o600), "wb") as file:
        file.write(content)
        file.flush()
        if sync:
            os.fsync(file.fileno())


def _kind(mode: int) -> str:
    return next((name for fits, name in _KINDS if fits(mode)), "something else")


def _no_inodes(folder: Path) -> bool:
    try:
        found = os.statvfs(folder)
    except (OSError, AttributeError):
        return False
    return bool(found.f_files) and not found.f_favail
