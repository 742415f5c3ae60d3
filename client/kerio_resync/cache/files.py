"""What belongs to a SQLite file on the disk: its sidecars, who has it open, and making a rename last."""

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
    return path.with_name(path.name + suffix)


def sidecars(path: Path) -> tuple[Path, ...]:
    """Those that are there: a journal or a log that SQLite would play into whatever file bears the name."""
    return tuple(each for each in (with_suffix_appended(path, suffix) for suffix in SIDECARS) if each.exists())


def require_places(profile: Path) -> None:
    """Whether each file that a run reads or writes is one, or not there yet. BadSettings, DiskTrouble.

    `cache.db` may be a link, to a file or to where one is to be; nothing else may."""
    cache = profile / "cache.db"
    require_regular((cache,), links=True)
    real = real_place(cache)
    if real != cache and not real.parent.is_dir():
        raise BadSettings(
            f"{cache} is a link to {real}, and that folder is not there; connect its disk, or remove the link"
        )
    made = [with_suffix_appended(real, suffix) for suffix in ("", ".next", ".next.new")]
    notes = [profile / name for name in ("upgrade.json", "upgrade.json.part", ".writable")]
    require_regular((*made, *(with_suffix_appended(each, suffix) for each in made for suffix in SIDECARS), *notes))


def raise_unreadable(path: Path) -> None:
    """DiskTrouble if the file can't be opened for reading, and says why."""
    try:
        os.close(open_regular(path))
    except FileNotFoundError:
        return
    except OSError as error:
        raise translate_os_error(error, path) from error


def lexists(path: Path) -> bool:
    """Whether something bears the name, a link that leads nowhere included."""
    return path.exists() or path.is_symlink()


def remove_sidecars(path: Path) -> None:
    """Removes the sidecars of a file that is not there any more."""
    for each in sidecars(path):
        each.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Makes creations, renames and removals in `folder` last through a power cut, where the system can."""
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
    """Only for a file that no connection of this process has open: closing a handle drops the process's locks on it."""
    handle = os.open(path, os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def processes_holding(path: Path, *, own: int = 0) -> tuple[str, ...]:
    """Who has the file open, as `process 4711 (name)`, where the system shows it (Linux). SQLite's locks don't tell: an
    idle connection holds none. `own`: how many times this process itself may have it open."""
    try:
        wanted = path.stat()
    except OSError:
        return ()
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        count = sum(1 for each in _open_files(process) if (each.st_dev, each.st_ino) == (wanted.st_dev, wanted.st_ino))
        if count > (own if int(process.name) == os.getpid() else 0):
            found.append(f"process {process.name} ({_name(process)})")
    return tuple(found)


def back_up(path: Path) -> Path:
    """A second name for a damaged file (a copy where there are no links), so that replacing it loses nothing of it.

    Asked for again, it gives the name it gave before. OSError if there is no room."""
    mine = path.stat()
    for each in path.parent.glob(f"{path.name}.damaged-*"):
        if os.path.samestat(each.stat(), mine):
            return each
    target = with_suffix_appended(path, time.strftime(".damaged-%Y%m%dT%H%M%SZ", time.gmtime()))
    number = 1
    while target.exists():
        number += 1
        target = target.with_name(f"{target.name.split('~')[0]}~{number}")
    try:
        target.hardlink_to(path)
    except (OSError, NotImplementedError):
        shutil.copy2(path, target)
    for each in sidecars(path):
        shutil.copy2(each, with_suffix_appended(target, each.name.removeprefix(path.name)))
    sync_folder(path.parent)
    return target


def set_aside(path: Path, word: str) -> Path:
    """Gives a file and its sidecars a free name `….<word>-N`; the new path."""
    number = 1
    while lexists(target := path.with_name(f"{path.name}.{word}-{number}")):
        number += 1
    with_it = sidecars(path)
    path.rename(target)
    for each in with_it:
        each.rename(target.with_name(target.name + each.name.removeprefix(path.name)))
    return target


def _open_files(process: Path) -> Iterator[os.stat_result]:
    with suppress(OSError):  # it ended meanwhile, or is another user's, who can't have a file of mode 0600 open
        for handle in (process / "fd").iterdir():
            with suppress(OSError):
                yield handle.stat()


def _name(process: Path) -> str:
    try:
        return (process / "comm").read_text().strip()
    except OSError:
        return "?"
