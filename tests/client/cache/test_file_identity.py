from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from benchmarks.format71_writer import Format71Writer
from kerio_resync.cache.file_identity import all_changes, owner_of, stored_owner, unsent_changes
from kerio_resync.cache.mutations import AddChange, LocalChange, MarkChange
from tests.support.cache import IDENTITY, change, filled
from tests.support.format72 import EARLY, EARLY_OWNER, LATE, OWNER, load

CHANGES = (AddChange(LocalChange("a", "create", "note")), AddChange(LocalChange("b", "create", "note")))


async def write_cache(path: Path) -> None:
    """Write a cache with a sent change and an unsent one."""
    await (await filled(path, *CHANGES, MarkChange("a", "sent"))).close()


def write_format71(path: Path) -> None:
    with Format71Writer(path, IDENTITY) as old:
        old.pending(AddChange(LocalChange("a", "create", "note", folder_id="notes")))


async def test_owner_is_read_from_current_format(tmp_path: Path) -> None:
    await write_cache(tmp_path / "cache.db")
    assert await owner_of(tmp_path / "cache.db") == stored_owner(tmp_path / "cache.db") == IDENTITY


async def test_owner_is_read_from_format_7_1(tmp_path: Path) -> None:
    write_format71(tmp_path / "cache.db")
    owner = await owner_of(tmp_path / "cache.db")
    assert owner is not None
    assert owner == stored_owner(tmp_path / "cache.db")
    assert (owner.server, owner.account) == (IDENTITY.server, IDENTITY.account)


@pytest.mark.parametrize("damage", ["DROP TABLE meta", "DELETE FROM meta WHERE key = 'server'"])
async def test_owner_is_none_if_file_does_not_say(tmp_path: Path, damage: str) -> None:
    await write_cache(tmp_path / "cache.db")
    change(tmp_path / "cache.db", damage)
    assert await owner_of(tmp_path / "cache.db") is None
    assert stored_owner(tmp_path / "cache.db") is None


async def test_owner_is_none_for_missing_or_unreadable_file(tmp_path: Path) -> None:
    assert await owner_of(tmp_path / "cache.db") is None
    assert stored_owner(tmp_path / "cache.db") is None
    (tmp_path / "cache.db").write_bytes(b"no database" * 1000)
    assert await owner_of(tmp_path / "cache.db") is None
    assert stored_owner(tmp_path / "cache.db") is None


async def test_changes_are_read_from_current_format(tmp_path: Path) -> None:
    await write_cache(tmp_path / "cache.db")
    assert await unsent_changes(tmp_path / "cache.db") == {"b"}
    assert await all_changes(tmp_path / "cache.db") == {"a", "b"}


async def test_only_unsent_changes_are_read_from_format_7_1(tmp_path: Path) -> None:
    write_format71(tmp_path / "cache.db")
    assert await unsent_changes(tmp_path / "cache.db") == {"a"}
    assert await all_changes(tmp_path / "cache.db") == set()


@pytest.mark.parametrize(("dump", "owner", "count"), [(LATE, OWNER, 8), (EARLY, EARLY_OWNER, 6)])
async def test_owner_and_unsent_changes_are_read_from_format_7_2(
    dump: str, owner: object, count: int, tmp_path: Path
) -> None:
    path = load(dump, tmp_path / "cache.db")
    assert await owner_of(path) == stored_owner(path) == owner
    assert len(await unsent_changes(path) or ()) == count
    assert await all_changes(path) == set()


async def test_changes_of_unreadable_file_are_unknown(tmp_path: Path) -> None:
    (tmp_path / "cache.db").write_bytes(b"no database" * 1000)
    assert await unsent_changes(tmp_path / "cache.db") is None
    assert await all_changes(tmp_path / "cache.db") == set()
    await write_cache(tmp_path / "other.db")
    with closing(sqlite3.connect(tmp_path / "other.db")) as db:
        db.execute("DROP TABLE outbox")
    assert await unsent_changes(tmp_path / "other.db") is None
