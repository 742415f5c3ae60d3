"""Room is computed for what will be fetched, before anything is dropped."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from kerio_resync.cache.files import with_suffix_appended
from kerio_resync.errors import NotEnoughSpace, explain
from kerio_resync.model import Folder
from kerio_resync.sync.disk_space import RESERVE_BYTES, TEXT_BYTES, expected_bytes, freed_by_drop
from simulation.world import World

MIB = 1024 * 1024
INBOX = Folder("i", "", "Inbox", "mail", "inbox", count=10, size=100 * MIB)
SENT = Folder("s", "", "Sent", "mail", "sent", count=10, size=50 * MIB)
SMALL = Folder("k", "", "Small", "mail", "none", count=10, size=1000)
PEOPLE = Folder("p", "", "Contacts", "contact", "default", count=10, size=3 * MIB)


def test_expected_bytes_are_those_of_what_is_fetched() -> None:
    folders = [INBOX, SENT, SMALL, PEOPLE]
    assert expected_bytes(folders, "all") == 153 * MIB + 1000
    assert expected_bytes(folders, "inbox") == 103 * MIB + 1000 + 10 * TEXT_BYTES
    assert expected_bytes(folders, "none") == 3 * MIB + 1000 + 20 * TEXT_BYTES


def test_freed_by_drop_counts_no_file_with_another_name(tmp_path: Path) -> None:
    path = tmp_path / "cache.db"
    assert freed_by_drop(path) == 0
    path.write_bytes(bytes(MIB))
    with_suffix_appended(path, "-wal").write_bytes(bytes(MIB))
    assert freed_by_drop(path) == 2 * MIB
    (tmp_path / "other").hardlink_to(path)
    assert freed_by_drop(path) == MIB


@pytest.fixture
def world(tmp_path: Path) -> World:
    found = World(tmp_path / "p", mails=20)
    assert found.run() == "done"
    return found


def disk(monkeypatch: pytest.MonkeyPatch, free: int) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=free))


@pytest.mark.parametrize("attachments", ["all", "none"])
def test_drop_first_drops_nothing_if_the_room_is_too_little_anyway(
    world: World, attachments: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk(monkeypatch, RESERVE_BYTES - 2 * world.settings().cache.stat().st_size)
    held = world.settings().cache.read_bytes()
    error = world.run(drop_first=True, attachments=attachments)
    assert isinstance(error, NotEnoughSpace)
    assert world.settings().cache.read_bytes() == held
    assert "--drop-first" not in explain(error)[0]


def test_drop_first_counts_what_the_drop_frees(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    size = world.settings().cache.stat().st_size
    monkeypatch.setattr("kerio_resync.sync.disk_space.DATABASE_OVERHEAD", 1.0)
    free = RESERVE_BYTES - size // 2

    def usage(path: Path) -> SimpleNamespace:
        return SimpleNamespace(free=free + (0 if world.settings().cache.exists() else 2 * size))

    monkeypatch.setattr(shutil, "disk_usage", usage)
    assert world.run(drop_first=True) == "done"
    assert world.differences() == []


def test_advice_is_what_would_fit(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.rmtree(world.profile)
    disk(monkeypatch, RESERVE_BYTES)
    error = world.run(fresh=True)
    assert isinstance(error, NotEnoughSpace)
    assert error.advice in ("", "`rebuild --attachments none`", "`rebuild --attachments inbox`")
