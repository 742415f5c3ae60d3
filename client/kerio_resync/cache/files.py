"""SQLite files on the disk: sidecars, processes, backups, durable renames."""

from __future__ import annotations

import errno
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from kerio_resync.errors import BadSettings
from kerio_resync.filesystem import open_regular, real_place, require_regular, translate_os_error

SIDECARS: Final = ("-journal", "-wal", "-shm")
_NO_FOLDER_SYNC: Final = {errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EBADF}  # some network file systems


def with_suffix_appended(path: Path, suffix: str) -> Path:
    """Return the path in the same folder whose name has `suffix` appended."""
    return path.with_name(path.name + suffix)


def sidecars(path: Path) -> tuple[Path, ...]:
    """Return the sidecars that exist.

    SQLite applies them to whatever file has the name.
    """
    return tuple(sidecar for suffix in SIDECARS if (sidecar := with_suffix_appended(path, suffix)).exists())


def require_places(profile: Path) -> None:
    """Check that each file a run reads or writes is regular or missing.

    `cache.db` may be a link, also to a file that does not exist yet; no other file may.
    """
    cache = profile / "cache.db"
    require_regular((cache,), links=True)
    real = real_place(cache)
    if real != cache and not real.parent.is_dir():
        raise BadSettings(
            f"{cache} is a link to {real}, and that folder is not there; connect its disk, or remove the link"
        )
    databases = [with_suffix_appended(real, suffix) for suffix in ("", ".next", ".next.new")]
    others = [profile / name for name in ("upgrade.json", "upgrade.json.part", ".writable")]
    require_regular((*databases, *(with_suffix_appended(path, suffix) for path in databases for suffix in SIDECARS)))
    require_regular(others)


def raise_unreadable(path: Path) -> None:
    """Raise DiskTrouble if the file exists and cannot be opened for reading."""
    try:
        os.close(open_regular(path))
    except FileNotFoundError:
        return
    except OSError as error:
        raise translate_os_error(error, path) from error


def lexists(path: Path) -> bool:
    """Return whether the name is taken, also by a dangling link."""
    return path.exists() or path.is_symlink()


def remove_sidecars(path: Path) -> None:
    """Remove the sidecars of a file that is gone or about to be replaced."""
    for sidecar in sidecars(path):
        sidecar.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Make changes of names in `folder` survive a power cut, where possible."""
    if os.name == "nt":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in _NO_FOLDER_SYNC:
            raise
    finally:
        os.close(handle)


def sync_file(path: Path) -> None:
    """Sync a file.

    Closing its handle drops every lock that this process has on the file, SQLite's included.
    """
    handle = os.open(path, os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def processes_holding(path: Path, *, own: int = 0) -> tuple[str, ...]:
    """Return the processes that have the file open, as `process 4711 (name)`.

    Only Linux shows them; elsewhere the result is empty. SQLite's locks do not show that, because an idle connection
    has none. `own`: handles of this process to ignore.
    """
    try:
        wanted = path.stat()
    except OSError:
        return ()
    processes = []
    for number in filter(str.isdigit, os.listdir("/proc") if os.path.isdir("/proc") else ()):
        handles = sum(os.path.samestat(status, wanted) for status in _open_files(f"/proc/{number}/fd"))
        if handles > (own if int(number) == os.getpid() else 0):
            processes.append(f"process {number} ({_process_name(Path('/proc', number))})")
    return tuple(processes)


def back_up(path: Path) -> Path:
    """Give a damaged file a second name, `….damaged-TIME`, before it is replaced.

    Where hard links are not supported, the file is copied. A second call returns the same name. OSError.
    """
    status = path.stat()
    for backup in path.parent.glob(f"{path.name}.damaged-*"):
        if os.path.samestat(backup.stat(), status):
            return backup
    name = with_suffix_appended(path, time.strftime(".damaged-%Y%m%dT%H%M%SZ", time.gmtime()))
    target, number = name, 1
    while target.exists():
        number += 1
        target = with_suffix_appended(name, f"~{number}")
    try:
        target.hardlink_to(path)
    except (OSError, NotImplementedError):
        shutil.copy2(path, target)
    for sidecar in sidecars(path):
        shutil.copy2(sidecar, with_suffix_appended(target, sidecar.name.removeprefix(path.name)))
    sync_folder(path.parent)
    return target


def set_aside(path: Path, label: str) -> Path:
    """Rename a file and its sidecars to a free name `….<label>-N`; return the path."""
    number = 1
    while lexists(target := with_suffix_appended(path, f".{label}-{number}")):
        number += 1
    existing = sidecars(path)
    path.rename(target)
    for sidecar in existing:
        sidecar.rename(with_suffix_appended(target, sidecar.name.removeprefix(path.name)))
    return target


def _open_files(handles: str) -> Iterator[os.stat_result]:
    """Return what the handles of a process are, by strings.

    A `Path` each takes five times as long.
    """
    with suppress(OSError):  # the process ended, or belongs to another user, who cannot open a file of mode 0600
        for handle in os.listdir(handles):
            with suppress(OSError):
                yield os.stat(f"{handles}/{handle}")


def _process_name(process: Path) -> str:
    try:
        return (process / "comm").read_text().strip()
    except OSError:
        return "?"
