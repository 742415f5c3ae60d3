from __future__ import annotations

import errno
import os
import shutil
import sqlite3
from pathlib import Path
from types import SimpleNamespace

import pytest

from kerio_resync.cache.db_errors import map_db_error, mapped_db_errors
from kerio_resync.errors import CacheDamaged, CacheInUse, DiskTrouble, Exit, NotEnoughSpace, ResyncError, explain
from kerio_resync.filesystem import available_bytes
from tests.support.cache import names

PLACE = Path("/nowhere/cache.db")
OTHERS = (
    errno.EIO, errno.EROFS, errno.EMFILE, errno.ENFILE, errno.EACCES, errno.EPERM, errno.ENAMETOOLONG, errno.ELOOP,
    errno.ENOTDIR, errno.ENOENT, errno.ENOMEM, errno.ESTALE, errno.EXDEV, errno.ENOLCK,
)  # fmt: skip
WORDS = {
    errno.ENOSPC: "not enough room", errno.EDQUOT: "quota", errno.EFBIG: "ulimit -f", errno.EIO: "input/output error",
    errno.EROFS: "read-only", errno.EMFILE: "ulimit -n", errno.ENFILE: "too many open files",
    errno.EACCES: "permission denied", errno.ENAMETOOLONG: "too long", errno.ELOOP: "symbolic link",
    errno.ENOLCK: "does not support file locks", errno.EXDEV: "Check the disk",
}  # fmt: skip


def sqlite_error(code: int) -> sqlite3.Error:
    error = sqlite3.OperationalError("it says so")
    error.sqlite_errorcode = code
    return error


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (sqlite3.SQLITE_FULL, NotEnoughSpace),
        (sqlite3.SQLITE_IOERR_WRITE, DiskTrouble),
        (sqlite3.SQLITE_IOERR_FSYNC, DiskTrouble),
        (sqlite3.SQLITE_IOERR_LOCK, DiskTrouble),
        (sqlite3.SQLITE_IOERR_READ, CacheDamaged),
        (sqlite3.SQLITE_IOERR_SHORT_READ, CacheDamaged),
        (sqlite3.SQLITE_CORRUPT, CacheDamaged),
        (sqlite3.SQLITE_NOTADB, CacheDamaged),
        (sqlite3.SQLITE_ERROR, CacheDamaged),
        (sqlite3.SQLITE_BUSY, CacheInUse),
        (sqlite3.SQLITE_BUSY_SNAPSHOT, CacheInUse),
        (sqlite3.SQLITE_LOCKED, CacheInUse),
        (sqlite3.SQLITE_CANTOPEN, DiskTrouble),
        (sqlite3.SQLITE_READONLY, DiskTrouble),
        (sqlite3.SQLITE_READONLY_DBMOVED, CacheInUse),
        (sqlite3.SQLITE_PERM, DiskTrouble),
        (sqlite3.SQLITE_INTERRUPT, CacheDamaged),
        (sqlite3.SQLITE_CONSTRAINT, CacheDamaged),
    ],
)
def test_map_db_error_maps_code_of_sqlite(code: int, kind: type[ResyncError]) -> None:
    assert type(map_db_error(sqlite_error(code), PLACE)) is kind


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (errno.ENOSPC, NotEnoughSpace),
        (errno.EDQUOT, NotEnoughSpace),
        (errno.EFBIG, NotEnoughSpace),
        *((code, DiskTrouble) for code in OTHERS),
    ],
)
def test_map_db_error_maps_errno(code: int, kind: type[ResyncError]) -> None:
    assert type(map_db_error(OSError(code, "it says so"), PLACE)) is kind


def test_mapped_error_tells_bytes_and_folder() -> None:
    with pytest.raises(NotEnoughSpace) as told, mapped_db_errors(PLACE, 42):
        raise sqlite_error(sqlite3.SQLITE_FULL)
    assert (told.value.needed, told.value.available, told.value.where) == (42, 0, "/nowhere")
    assert isinstance(told.value.__cause__, sqlite3.OperationalError)


def test_available_bytes_are_those_of_the_folder(tmp_path: Path) -> None:
    assert available_bytes(tmp_path) == pytest.approx(available_bytes(tmp_path / "cache.db"), abs=10**9)
    assert available_bytes(PLACE) == 0


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG, *OTHERS])
def test_message_of_errno_says_what_happened_and_what_to_do(code: int) -> None:
    sentence, exit_code = explain(map_db_error(OSError(code, os.strerror(code)), PLACE))
    assert sentence.count(". ") == 1
    assert "Error" not in sentence
    assert "errno" not in sentence.casefold()
    assert WORDS.get(code, "").casefold() in sentence.casefold()
    assert exit_code == (Exit.NOT_ENOUGH_SPACE if code in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG) else Exit.USAGE)
    assert "--drop-first" not in sentence


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (errno.ENOSPC, NotEnoughSpace),
        (errno.EDQUOT, NotEnoughSpace),
        (errno.EIO, DiskTrouble),
        (errno.EROFS, DiskTrouble),
    ],
)
def test_failed_write_is_explained_by_error_of_probe(
    code: int, kind: type[ResyncError], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(handle: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", refuse)
    (tmp_path / "cache.db").touch()
    error = map_db_error(sqlite_error(sqlite3.SQLITE_IOERR_WRITE), tmp_path / "cache.db")
    assert type(error) is kind
    assert WORDS[code] in explain(error)[0]
    assert names(tmp_path) == ["cache.db"]


def test_failed_write_is_explained_by_quota_after_rollback(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(handle: int, offset: int, size: int) -> None:
        if size > 2**20:  # what the transaction held is free again
            raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))

    monkeypatch.setattr(os, "posix_fallocate", refuse, raising=False)
    error = map_db_error(sqlite_error(sqlite3.SQLITE_IOERR_WRITE), tmp_path / "cache.db")
    assert type(error) is NotEnoughSpace
    assert WORDS[errno.EDQUOT] in explain(error)[0]
    assert names(tmp_path) == []


def test_failed_write_without_known_cause_is_input_output_error(tmp_path: Path) -> None:
    error = map_db_error(sqlite_error(sqlite3.SQLITE_IOERR_WRITE), tmp_path / "cache.db")
    assert type(error) is DiskTrouble
    assert WORDS[errno.EIO] in explain(error)[0]


def test_read_only_error_of_writable_file_is_damage(tmp_path: Path) -> None:
    (tmp_path / "cache.db").touch()
    assert type(map_db_error(sqlite_error(sqlite3.SQLITE_READONLY), tmp_path / "cache.db")) is CacheDamaged


def test_failed_write_is_explained_by_limit_of_file_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    resource = pytest.importorskip("resource")
    monkeypatch.setattr(resource, "getrlimit", lambda which: (2 * 1024 * 1024, 2 * 1024 * 1024))
    (tmp_path / "cache.db-journal").write_bytes(bytes(2 * 1024 * 1024 - 512))
    error = map_db_error(sqlite_error(sqlite3.SQLITE_IOERR_WRITE), tmp_path / "cache.db")
    assert type(error) is NotEnoughSpace
    assert WORDS[errno.EFBIG] in explain(error)[0]


def test_full_disk_with_free_space_is_not_explained_by_figures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = SimpleNamespace(free=77 * 10**9)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    error = map_db_error(sqlite_error(sqlite3.SQLITE_FULL), tmp_path / "cache.db", 2**20)
    assert explain(error) == (
        f"The system reports that there is not enough room at {tmp_path}, though 77,000,000,000 bytes are free: a"
        " quota or reserved blocks can be the cause. Free some space, then run again.",
        Exit.NOT_ENOUGH_SPACE,
    )
    usage.free = 2**20 - 1
    assert (
        "1,048,576 bytes are needed and 1,048,575 are free"
        in explain(map_db_error(sqlite_error(sqlite3.SQLITE_FULL), tmp_path / "cache.db", 2**20))[0]
    )


def test_full_disk_is_explained_by_lack_of_inodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    room = {"f_bavail": 10**6, "f_frsize": 4096, "f_blocks": 10**7, "f_bfree": 10**6}
    monkeypatch.setattr(os, "statvfs", lambda path: SimpleNamespace(f_files=100, f_favail=0, **room))
    error = map_db_error(OSError(errno.ENOSPC, "No space left on device"), tmp_path / "cache.db")
    assert type(error) is NotEnoughSpace
    assert "free inodes" in explain(error)[0]
    monkeypatch.setattr(os, "statvfs", lambda path: SimpleNamespace(f_files=0, f_favail=0, **room))  # as btrfs has it
    assert "free inodes" not in explain(map_db_error(OSError(errno.ENOSPC, ""), tmp_path / "cache.db"))[0]


@pytest.mark.parametrize("spare", [0, 100])
def test_opening_error_is_explained_by_limit_of_open_files(
    spare: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    resource = pytest.importorskip("resource")
    limit = len(os.listdir("/proc/self/fd")) + spare
    monkeypatch.setattr(resource, "getrlimit", lambda which: (limit, limit))
    (tmp_path / "cache.db").touch()
    error = map_db_error(sqlite_error(sqlite3.SQLITE_CANTOPEN), tmp_path / "cache.db")
    assert type(error) is DiskTrouble
    assert (WORDS[errno.EMFILE] if spare == 0 else "cache.db cannot be opened (it says so)") in explain(error)[0]


def test_failed_write_is_input_output_error_without_fallocate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "posix_fallocate", raising=False)  # as on macOS
    error = map_db_error(sqlite_error(sqlite3.SQLITE_IOERR_WRITE), tmp_path / "cache.db")
    assert WORDS[errno.EIO] in explain(error)[0]
