from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from kerio_resync.cache import files
from kerio_resync.cache.files import back_up, processes_holding, sync_folder
from tests.support.cache import names


def no_links(self: Path, target: Path) -> None:
    raise PermissionError("there are no links here")


def test_where_there_are_no_links_a_copy_is_kept_aside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "cache.db"
    path.write_bytes(b"damaged")
    monkeypatch.setattr(Path, "hardlink_to", no_links)
    aside = back_up(path)
    path.write_bytes(b"new")
    assert aside.read_bytes() == b"damaged"


def test_the_sidecars_are_kept_aside_under_its_name(tmp_path: Path) -> None:
    path = tmp_path / "cache.db"
    path.write_bytes(b"pages")
    (tmp_path / "cache.db-wal").write_bytes(b"more pages")
    aside = back_up(path)
    assert names(tmp_path) == ["cache.db", "cache.db-wal", aside.name, f"{aside.name}-wal"]
    assert (tmp_path / f"{aside.name}-wal").read_bytes() == b"more pages"


def test_a_folder_is_synced_where_that_is_possible(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(FileNotFoundError):
        sync_folder(tmp_path / "missing")
    monkeypatch.setattr(files, "os", SimpleNamespace(name="nt"))  # which opens no folders
    sync_folder(tmp_path / "missing")


def test_a_holder_that_ends_meanwhile_has_no_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "cache.db"
    read = Path.read_text

    def ended(self: Path, *args: str) -> str:
        if self.name == "comm":
            raise FileNotFoundError(self)
        return read(self, *args)

    monkeypatch.setattr(Path, "read_text", ended)
    with path.open("w"):
        assert processes_holding(path) == (f"process {os.getpid()} (?)",)
