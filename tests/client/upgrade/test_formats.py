"""The format of a file is found from its header; upgrades form a chain."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.format71_files import IDENTITY, write
from kerio_resync.cache import schema
from kerio_resync.cache.format71 import schema as format71
from kerio_resync.cache.format72 import schema as format72
from kerio_resync.cache.store import Store
from kerio_resync.upgrade import formats
from kerio_resync.upgrade.formats import UPGRADES, FileFormat, Upgrade, detect_format, format_version, path_from, target


def database(path: Path, mark: int, version: int) -> Path:
    db = sqlite3.connect(path)
    db.execute(f"PRAGMA application_id = {mark}")
    db.execute(f"PRAGMA user_version = {version}")
    db.execute("CREATE TABLE t (x)")
    db.close()
    return path


def test_versions_are_those_of_the_formats() -> None:
    assert formats.APPLICATION_ID == schema.APPLICATION_ID
    assert target(UPGRADES) == schema.USER_VERSION
    assert [each.before for each in UPGRADES] == [format71.USER_VERSION, format72.USER_VERSION]
    assert format_version(schema.USER_VERSION) == schema.FORMAT
    assert {each.after for each in UPGRADES} == {schema.USER_VERSION}


@pytest.mark.parametrize(
    ("mark", "version", "state"),
    [
        (schema.APPLICATION_ID, 70200, "old"),
        (schema.APPLICATION_ID, 70300, "current"),
        (schema.APPLICATION_ID, 70400, "newer"),
        (schema.APPLICATION_ID, 70199, "unknown"),
        (schema.APPLICATION_ID, 70100, "unknown"),
        (0, 70100, "old"),
        (0, 70000, "unknown"),
        (0, 70200, "unknown"),
        (0, 70300, "unknown"),
        (0, 0, "unknown"),
        (7, 70200, "unknown"),
    ],
)
def test_detect_format_knows_files_by_id_and_version(mark: int, version: int, state: str, tmp_path: Path) -> None:
    path = database(tmp_path / "cache.db", mark, version)
    assert detect_format(path) == FileFormat(state, version, path.stat().st_size)  # type: ignore[arg-type]


@pytest.mark.parametrize("size", [0, 1, 50, 99, 100, 4096, "half", -1])
async def test_detect_format_calls_truncated_file_damaged(size: int | str, tmp_path: Path) -> None:
    path = tmp_path / "cache.db"
    await (await Store.create(path, IDENTITY)).close()
    assert detect_format(path).state == "current"
    whole = path.stat().st_size
    os.truncate(path, whole // 2 if size == "half" else whole - 1 if size == -1 else int(size))
    assert detect_format(path).state == "damaged"
    write(tmp_path / "old.db", 1, 100)
    os.truncate(tmp_path / "old.db", (tmp_path / "old.db").stat().st_size // 2)
    assert detect_format(tmp_path / "old.db").state == "damaged"


async def test_detect_format_ignores_outdated_page_count(tmp_path: Path) -> None:
    """A program that does not update the count leaves an old "version valid for"; SQLite then uses the file's size."""
    path = tmp_path / "cache.db"
    await (await Store.create(path, IDENTITY)).close()
    with path.open("r+b") as file:
        file.seek(28)
        file.write((10**6).to_bytes(4, "big"))
        file.flush()
        assert detect_format(path).state == "damaged"
        file.seek(92)
        file.write(bytes(4))
    assert detect_format(path).state == "current"


@pytest.mark.parametrize(
    ("suffix", "head", "state"),
    [
        ("-journal", b"\xd9\xd5\x05\xf9\x20\xa1\x63\xd7" + bytes(504), "mid-change"),
        ("-wal", b"\x37\x7f\x06\x82" + bytes(28), "mid-change"),
        ("-journal", b"", "current"),
        ("-journal", b"garbage" * 100, "current"),
    ],
)
async def test_detect_format_leaves_journal_to_sqlite(suffix: str, head: bytes, state: str, tmp_path: Path) -> None:
    path = tmp_path / "cache.db"
    await (await Store.create(path, IDENTITY)).close()
    (tmp_path / f"cache.db{suffix}").write_bytes(head)
    assert detect_format(path).state == state
    assert detect_format(path, settled=True).state == "current"


async def test_detect_format_of_real_files(tmp_path: Path) -> None:
    write(tmp_path / "old.db", 1, 100)
    assert detect_format(tmp_path / "old.db").state == "old"
    await (await Store.create(tmp_path / "new.db", IDENTITY)).close()
    assert detect_format(tmp_path / "new.db").state == "current"
    assert detect_format(tmp_path / "none.db") == FileFormat("absent")
    assert detect_format(tmp_path).state == "unreadable"
    for content in (b"", b"SQLite format 3\0", b"x" * 5000):
        (tmp_path / "bad.db").write_bytes(content)
        assert detect_format(tmp_path / "bad.db").state == "damaged"


def test_path_from_follows_a_chain(tmp_path: Path) -> None:
    more = (*UPGRADES, Upgrade(70300, 70400, UPGRADES[0].load))
    assert [each.after for each in path_from(70100, more)] == [70300, 70400]
    assert [each.after for each in path_from(70200, more)] == [70300, 70400]
    assert [each.after for each in path_from(70300, more)] == [70400]
    assert path_from(70400, more) == ()
    assert detect_format(database(tmp_path / "a", schema.APPLICATION_ID, 70300), more).state == "old"
    assert detect_format(database(tmp_path / "b", schema.APPLICATION_ID, 70400), more).state == "current"


def test_path_from_takes_one_step_from_each_older_format() -> None:
    for upgrade in UPGRADES:
        assert path_from(upgrade.before, UPGRADES) == (upgrade,)


def test_detect_format_imports_nothing_heavy() -> None:
    code = "import sys, kerio_resync.upgrade.formats; print(*sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"pydantic", "aiohttp", "sqlite3", "asyncio"} & set(out)
