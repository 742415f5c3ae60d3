from __future__ import annotations

import errno
import sqlite3
from pathlib import Path

import pytest

from kerio_resync.cache.trouble import available, translate, translated
from kerio_resync.errors import BadSettings, CacheDamaged, CacheInUse, NotEnoughSpace, ResyncError

PLACE = Path("/nowhere/cache.db")


def sqlite_error(code: int) -> sqlite3.Error:
    error = sqlite3.OperationalError("it says so")
    error.sqlite_errorcode = code
    return error


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (sqlite3.SQLITE_FULL, NotEnoughSpace),
        (sqlite3.SQLITE_IOERR_WRITE, NotEnoughSpace),
        (sqlite3.SQLITE_IOERR_FSYNC, NotEnoughSpace),
        (sqlite3.SQLITE_IOERR_READ, CacheDamaged),
        (sqlite3.SQLITE_IOERR_SHORT_READ, CacheDamaged),
        (sqlite3.SQLITE_CORRUPT, CacheDamaged),
        (sqlite3.SQLITE_NOTADB, CacheDamaged),
        (sqlite3.SQLITE_ERROR, CacheDamaged),
        (sqlite3.SQLITE_BUSY, CacheInUse),
        (sqlite3.SQLITE_BUSY_SNAPSHOT, CacheInUse),
        (sqlite3.SQLITE_LOCKED, CacheInUse),
        (sqlite3.SQLITE_CANTOPEN, BadSettings),
        (sqlite3.SQLITE_READONLY, BadSettings),
        (sqlite3.SQLITE_PERM, BadSettings),
    ],
)
def test_each_code_of_sqlite_has_its_error(code: int, kind: type[ResyncError]) -> None:
    assert type(translate(sqlite_error(code), PLACE)) is kind


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (errno.ENOSPC, NotEnoughSpace),
        (errno.EDQUOT, NotEnoughSpace),
        (errno.EFBIG, NotEnoughSpace),
        (errno.EACCES, BadSettings),
    ],
)
def test_each_error_of_the_system_has_its_error(code: int, kind: type[ResyncError]) -> None:
    assert type(translate(OSError(code, "it says so"), PLACE)) is kind


def test_the_error_says_what_was_needed_and_came_from_where() -> None:
    with pytest.raises(NotEnoughSpace) as told, translated(PLACE, 42):
        raise sqlite_error(sqlite3.SQLITE_FULL)
    assert (told.value.needed, told.value.available, told.value.where) == (42, 0, "/nowhere")
    assert isinstance(told.value.__cause__, sqlite3.OperationalError)


def test_room_is_that_of_the_folder(tmp_path: Path) -> None:
    assert available(tmp_path) == pytest.approx(available(tmp_path / "cache.db"), abs=10**9)
    assert available(PLACE) == 0
