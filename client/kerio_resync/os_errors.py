"""Sentences for the errors of the operating system: what happened, and what to do.

Each begins in lower case and lacks its last full stop.
"""

from __future__ import annotations

import errno
from typing import Final

_SHARE: Final = "the disk or network share with {path} was disconnected. Connect it again, then run again"
_NO_RIGHT: Final = (
    "permission denied at {path}. Check its owner and permissions (a run as root may have created it), then run again"
)
NO_LOCKS: Final = (
    "the file system with {path} does not support file locks ({reason}). Use a profile folder on a local disk, or mount"
    " the share with locks"
)
WORDS: Final[dict[int, str]] = {
    errno.ENOSPC: "the disk with {path} is full. Free some space, then run again",
    errno.EDQUOT: ("your disk quota at {path} is used up. Delete files or have the quota raised, then run again"),
    errno.EFBIG: (
        "{path} cannot grow: a limit of this process (`ulimit -f`) or of the file system. Raise the limit"
        " or use another disk, then run again"
    ),
    errno.EIO: (
        "the disk reports an input/output error at {path}. Check the disk, its cable, or the network share, then run"
        " again"
    ),
    errno.EROFS: (
        "the file system with {path} is read-only. Make it writable (a disk with errors is often mounted read-only),"
        " or use another profile folder"
    ),
    errno.EMFILE: ("this process has too many open files. Raise the limit (`ulimit -n 1024` or more), then run again"),
    errno.ENFILE: "the system has too many open files. Close other programs or raise the limit, then run again",
    errno.EACCES: _NO_RIGHT,
    errno.EPERM: _NO_RIGHT,
    errno.ENAMETOOLONG: "the path {path} is too long for the file system. Use a profile folder with a shorter path",
    errno.ELOOP: "{path} is a symbolic link that is not followed, or a cycle of links. Remove it, then run again",
    errno.ENOTDIR: "a part of the path {path} is not a folder. Check the path",
    errno.EISDIR: "{path} is a folder where a file should be. Move it away, then run again",
    errno.ENOENT: "{path} does not exist. Check that its disk or network share is connected, then run again",
    errno.ENOMEM: "this machine has too little free memory. Close other programs, then run again",
    errno.EBUSY: "{path} is in use by the system. Run again later",
    errno.ETXTBSY: "{path} is in use by the system. Run again later",
    errno.ENOLCK: NO_LOCKS,
    errno.ESTALE: _SHARE,
    errno.ENXIO: _SHARE,
    errno.ENODEV: _SHARE,
    errno.ENOTCONN: _SHARE,
    errno.ETIMEDOUT: _SHARE,
    errno.EHOSTDOWN: _SHARE,
}
NO_ROOM: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
FAILING_DISK: Final = NO_ROOM | {errno.EIO}
# These can also be an error of the program.
_DOUBTFUL: Final = {errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ENXIO, errno.ENODEV, errno.ETIMEDOUT}
CERTAIN: Final = frozenset(WORDS) - _DOUBTFUL  # always caused by the environment


def describe(error: OSError, path: object) -> str:
    """Return what happened to `path`, and what to do."""
    words = WORDS.get(error.errno or 0, "{path}: {reason}. Check the disk and the folder, then run again")
    return words.format(path=path, reason=reason_of(error))


def reason_of(error: OSError) -> str:
    """Return the system's own text in lower case."""
    return (error.strerror or type(error).__name__).lower()
