from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import pytest

from kerio_resync.errors import BadSettings, CacheInUse, DiskTrouble, ItemGone, Unreachable
from kerio_resync.settings import Settings
from kerio_resync.sync import setup
from kerio_resync.sync.setup import check_profile, most_severe, single_errors


def settings(profile: Path, **members: Any) -> Settings:
    return Settings.model_validate({"profile": profile, "server": "https://mail.example.com", "user": "jan"} | members)


def test_check_profile_creates_the_folder_and_leaves_nothing_in_it(tmp_path: Path) -> None:
    check_profile(settings(tmp_path / "new" / "profile"))
    assert list((tmp_path / "new" / "profile").iterdir()) == []


@pytest.mark.parametrize("missing", ["server", "user"])
def test_check_profile_refuses_settings_without_server_or_user(tmp_path: Path, missing: str) -> None:
    with pytest.raises(BadSettings, match="--server URL and --user NAME"):
        check_profile(settings(tmp_path, **{missing: ""}))


def test_check_profile_refuses_a_file_in_place_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(BadSettings, match="is not a folder"):
        check_profile(settings(tmp_path / "file"))


@pytest.mark.parametrize("place", ["folder", "probe"])
def test_check_profile_maps_errors_of_the_file_system(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, "read-only")

    if place == "folder":
        monkeypatch.setattr(Path, "mkdir", fail)
    else:
        monkeypatch.setattr(setup, "write_private", fail)
    with pytest.raises((BadSettings, DiskTrouble)):
        check_profile(settings(tmp_path / "p" if place == "folder" else tmp_path))


def test_single_errors_raises_the_most_severe_error_of_a_group_alone() -> None:
    with pytest.raises(CacheInUse), single_errors():
        raise ExceptionGroup("several", [Unreachable("x"), ExceptionGroup("inner", [CacheInUse("y")])])
    with pytest.raises(ItemGone), single_errors():
        raise ItemGone("z")


def test_most_severe_returns_a_group_with_other_errors_unchanged() -> None:
    group = ExceptionGroup("several", [Unreachable("x"), ValueError("bug")])
    assert most_severe(group) is group
