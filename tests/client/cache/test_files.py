from __future__ import annotations

import errno
import os
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import pytest

from kerio_resync.cache import files
from kerio_resync.cache.files import back_up, processes_holding, raise_unreadable, set_aside, sync_folder
from kerio_resync.errors import DiskTrouble
from tests.support.cache import names


def no_links(self: Path, target: Path) -> None:
    raise PermissionError("there are no links here")


def test_back_up_copies_file_where_links_are_not_supported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "cache.db"
    path.write_bytes(b"damaged")
    monkeypatch.setattr(Path, "hardlink_to", no_links)
    aside = back_up(path)
    path.write_bytes(b"new")
    assert aside.read_bytes() == b"damaged"


def test_back_up_copies_sidecars_under_its_name(tmp_path: Path) -> None:
    path = tmp_path / "cache.db"
    path.write_bytes(b"pages")
    (tmp_path / "cache.db-wal").write_bytes(b"more pages")
    aside = back_up(path)
    assert names(tmp_path) == ["cache.db", "cache.db-wal", aside.name, f"{aside.name}-wal"]
    assert (tmp_path / f"{aside.name}-wal").read_bytes() == b"more pages"


def test_sync_folder_does_nothing_on_windows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(FileNotFoundError):
        sync_folder(tmp_path / "missing")
    monkeypatch.setattr(files, "os", SimpleNamespace(name="nt"))  # which opens no folders
    sync_folder(tmp_path / "missing")


def test_processes_holding_gives_no_name_of_process_that_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "cache.db"
    read = Path.read_text

    def ended(self: Path, *args: str) -> str:
        if self.name == "comm":
            raise FileNotFoundError(self)
        return read(self, *args)

    monkeypatch.setattr(Path, "read_text", ended)
    with path.open("w"):
        assert processes_holding(path) == (f"process {os.getpid()} (?)",)


@pytest.mark.parametrize("code", [errno.EINVAL, errno.EIO])
def test_sync_folder_ignores_file_systems_that_cannot(
    code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(handle: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(OSError, match="Input") if code == errno.EIO else nullcontext():
        sync_folder(tmp_path)


def test_set_aside_renames_file_and_sidecars_to_free_name(tmp_path: Path) -> None:
    for number in (1, 2):
        for name in ("cache.db", "cache.db-wal"):
            (tmp_path / name).write_text(str(number))
        assert set_aside(tmp_path / "cache.db", "aside").name == f"cache.db.aside-{number}"
    assert names(tmp_path) == [f"cache.db.aside-{number}{suffix}" for number in (1, 2) for suffix in ("", "-wal")]


def test_raise_unreadable_refuses_file_that_cannot_be_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    raise_unreadable(tmp_path / "missing")
    (tmp_path / "cache.db").touch()
    raise_unreadable(tmp_path / "cache.db")

    def refuse(path: Path) -> int:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(files, "open_regular", refuse)
    with pytest.raises(DiskTrouble, match="permission denied"):
        raise_unreadable(tmp_path / "cache.db")
