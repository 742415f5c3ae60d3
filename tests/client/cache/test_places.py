"""What bears the name of a file of the profile and is none is refused by every command, and never waited for."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from kerio_resync.cache.files import require_places
from kerio_resync.cache.header import read_header
from kerio_resync.cli import commands, upgrade_commands
from kerio_resync.errors import BadSettings, DiskTrouble, LocalError
from kerio_resync.events import ignore_events
from kerio_resync.filesystem import read_small, real_place, write_private
from kerio_resync.upgrade import attempt_log
from kerio_resync.upgrade.formats import detect_format


def make_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as found:
        found.bind(os.path.relpath(path))


def loop(path: Path) -> None:
    path.symlink_to(path)


def device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def nowhere(path: Path) -> None:
    path.symlink_to("/nowhere/cache.db")


KINDS: tuple[Callable[[Path], None], ...] = (os.mkfifo, Path.mkdir, make_socket, device, loop, nowhere)
GIVEN = {"server": "http://127.0.0.1:9", "user": "x"}
COMMANDS: dict[str, Callable[[Path], object]] = {
    "status": lambda profile: commands.status(profile, ignore_events),
    "digest": lambda profile: commands.digest(profile, ignore_events),
    "verify": lambda profile: commands.verify(profile, ignore_events, GIVEN, deep=False, repair=False),
    "rebuild": lambda profile: commands.rebuild(profile, ignore_events, GIVEN),
    "estimate": lambda profile: commands.estimate(profile, ignore_events, GIVEN),
    "upgrade": lambda profile: upgrade_commands.upgrade(profile, ignore_events, {}),
    "start": lambda profile: upgrade_commands.start(profile, ignore_events, ["true"], {}),
}


@pytest.fixture(autouse=True)
def password(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("KERIO_RESYNC_PASSWORD", "secret")
    monkeypatch.chdir(tmp_path)  # a socket's path is short


@pytest.mark.timeout(20)
@pytest.mark.parametrize("make", KINDS, ids=lambda each: each.__name__)
@pytest.mark.parametrize("command", COMMANDS)
def test_command_refuses_place_that_is_not_a_file(command: str, make: Callable[[Path], None], tmp_path: Path) -> None:
    make(tmp_path / "cache.db")
    with pytest.raises(LocalError) as refused:
        COMMANDS[command](tmp_path)
    assert refused.value.exit == 2
    assert str(tmp_path / "cache.db") in str(refused.value)


@pytest.mark.parametrize("make", KINDS, ids=lambda each: each.__name__)
@pytest.mark.parametrize(
    "name", ["cache.db.next", "cache.db-journal", "cache.db-wal", "cache.db.next-journal", "upgrade.json"]
)
def test_require_places_refuses_what_is_not_a_file(name: str, make: Callable[[Path], None], tmp_path: Path) -> None:
    make(tmp_path / name)
    with pytest.raises(BadSettings, match=f"{name} is a"):
        require_places(tmp_path)


@pytest.mark.timeout(20)
@pytest.mark.parametrize("make", [os.mkfifo, Path.mkdir, device], ids=lambda each: each.__name__)
def test_settings_refuse_profile_toml_that_is_not_a_file(make: Callable[[Path], None], tmp_path: Path) -> None:
    make(tmp_path / "profile.toml")
    with pytest.raises(LocalError, match=r"profile\.toml is a"):
        commands.status(tmp_path, ignore_events)


@pytest.mark.timeout(20)
def test_notes_refuse_fifos_and_links(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    os.mkfifo(tmp_path / "upgrade.json")
    assert attempt_log.read(tmp_path) == attempt_log.NONE
    (tmp_path / "upgrade.json").unlink()
    (tmp_path / "upgrade.json.part").symlink_to(victim)
    attempt_log.write(tmp_path, attempt_log.AttemptLog(3))
    assert attempt_log.read(tmp_path).attempts == 3
    assert victim.read_text() == "precious"


@pytest.mark.timeout(20)
def test_detect_format_does_not_wait_for_fifo(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "cache.db")
    assert detect_format(tmp_path / "cache.db").state == "unreadable"
    with pytest.raises(BadSettings, match="FIFO"):
        read_header(tmp_path / "cache.db")


def test_require_places_follows_link_of_cache(tmp_path: Path) -> None:
    (tmp_path / "cache.db").symlink_to(tmp_path / "elsewhere.db")
    require_places(tmp_path)
    assert real_place(tmp_path / "cache.db") == tmp_path / "elsewhere.db"
    assert real_place(tmp_path / "other") == tmp_path / "other"


def test_read_small_refuses_large_file(tmp_path: Path) -> None:
    with (tmp_path / "profile.toml").open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(BadSettings, match="too large"):
        read_small(tmp_path / "profile.toml")


def test_write_private_replaces_link(tmp_path: Path) -> None:
    (tmp_path / "victim").write_text("precious")
    (tmp_path / "file").symlink_to(tmp_path / "victim")
    write_private(tmp_path / "file", b"new")
    assert (tmp_path / "victim").read_text() == "precious"
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o600


def test_require_places_names_folder_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> os.stat_result:
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patch:  # the folder is removed before `monkeypatch` itself ends
        patch.setattr(os, "lstat", refuse)
        with pytest.raises(DiskTrouble, match="permission denied"):
            require_places(tmp_path)
