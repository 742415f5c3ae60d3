"""Words for the errors of the operating system: what happened, what to do.

Each is one clause that may follow a path, a full stop, and one that says what to do, without the last full stop.
"""

from __future__ import annotations

import errno
from typing import Final

_SHARE: Final = "the disk or the network share with {path} has gone away. Connect it again, then run again"
_NO_RIGHT: Final = (
    "permission denied at {path}. Check its owner and access rights (a run as another user, such as root, may have"
    " left it), then run again"
)
NO_LOCKS: Final = (
    "the file system with {path} does not support file locks ({reason}). Use a profile folder on a local disk, or mount"
    " the share with locks"
)
WORDS: Final[dict[int, str]] = {
    errno.ENOSPC: "no room is left on the disk with {path}. Make room, then run again",
    errno.EDQUOT: (
        "your disk quota at {path} is used up. Delete files of yours or have the quota raised, then run again"
    ),
    errno.EFBIG: (
        "{path} may not grow any further: a limit of this process (`ulimit -f`) or of the file system. Raise the limit"
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
    errno.EMFILE: ("this process may not open more files. Raise its limit (`ulimit -n 1024`, or more), then run again"),
    errno.ENFILE: "the system can't open more files. Close other programs, or raise its limit, then run again",
    errno.EACCES: _NO_RIGHT,
    errno.EPERM: _NO_RIGHT,
    errno.ENAMETOOLONG: "the path {path} is too long for the file system. Use a profile folder with a shorter path",
    errno.ELOOP: "{path} is a symbolic link that must not be followed, or leads in a circle. Remove it, then run again",
    errno.ENOTDIR: "a part of the path {path} is not a folder. Check the path",
    errno.EISDIR: "{path} is a folder where a file should be. Move it away, then run again",
    errno.ENOENT: "{path} is not there. Check that its disk or network share is connected, then run again",
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
# What can be a mistake of the program as well
_DOUBTFUL: Final = {errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ENXIO, errno.ENODEV, errno.ETIMEDOUT}
CERTAIN: Final = frozenset(WORDS) - _DOUBTFUL  # the environment's, wherever they come up


def describe(error: OSError, path: object) -> str:
    """What happened to `path`, and what to do."""
    words = WORDS.get(error.errno or 0, "{path}: {reason}. Check the disk and the folder, then run again")
    return words.format(path=path, reason=reason_of(error))


def reason_of(error: OSError) -> str:
    return (error.strerror or type(error).__name__).lower()
