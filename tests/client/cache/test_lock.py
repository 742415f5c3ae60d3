from __future__ import annotations

import errno
import fcntl
import json
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from filelock import FileLock

from kerio_resync.cache.lock import ProfileLock
from kerio_resync.errors import BadSettings, CacheInUse, DiskTrouble

CHILD = """
import sys
from pathlib import Path
from kerio_resync.cache.lock import ProfileLock
with ProfileLock(Path(sys.argv[2])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_lock_refuses_second_run_and_names_holder(tmp_path: Path) -> None:
    with ProfileLock(tmp_path):
        with pytest.raises(CacheInUse, match=rf"process {os.getpid()} on .* \("), ProfileLock(tmp_path):
            pass
        assert ProfileLock(tmp_path).holder().startswith(f"process {os.getpid()} on ")
    assert ProfileLock(tmp_path).holder() == ""
    with ProfileLock(tmp_path):
        pass


def test_lock_of_killed_holder_is_released(tmp_path: Path) -> None:
    command = [sys.executable, "-c", CHILD, "rebuild", str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "held\n"
        with pytest.raises(CacheInUse, match=rf"process {child.pid} on .* \(-c rebuild\)"), ProfileLock(tmp_path):
            pass
        child.send_signal(signal.SIGKILL)
        child.wait()
        assert ProfileLock(tmp_path).holder() == ""
        with ProfileLock(tmp_path):
            told = json.loads((tmp_path / "kerio-resync.holder").read_text())
            assert told["pid"] == os.getpid()


@pytest.mark.parametrize("content", ["", "{", "[]", '{"pid": "x"}'])
def test_lock_holds_with_unreadable_note(tmp_path: Path, content: str) -> None:
    with ProfileLock(tmp_path):
        (tmp_path / "kerio-resync.holder").write_text(content)
        with pytest.raises(CacheInUse, match="held by another run"), ProfileLock(tmp_path):
            pass


def test_lock_files_are_private(tmp_path: Path) -> None:
    with ProfileLock(tmp_path):
        assert {stat.S_IMODE(each.stat().st_mode) for each in tmp_path.iterdir()} == {0o600}


def test_holder_is_empty_without_folder(tmp_path: Path) -> None:
    assert ProfileLock(tmp_path / "missing").holder() == ""


def test_lock_refuses_folder_in_its_place(tmp_path: Path) -> None:
    (tmp_path / "kerio-resync.lock").mkdir()
    assert ProfileLock(tmp_path).holder() == ""
    with pytest.raises(BadSettings), ProfileLock(tmp_path):
        pass


@pytest.mark.parametrize("name", ["kerio-resync.lock", "kerio-resync.holder"])
@pytest.mark.parametrize("kind", ["link", "dangling", "fifo"])
def test_lock_refuses_links_and_fifos(name: str, kind: str, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    if kind == "fifo":
        os.mkfifo(tmp_path / name)
    else:
        (tmp_path / name).symlink_to(victim)
    if kind == "link":
        victim.write_text("precious")
    with pytest.raises(BadSettings, match=name), ProfileLock(tmp_path):
        pass
    assert ProfileLock(tmp_path).holder() == ""
    assert victim.exists() == (kind == "link")
    assert kind != "link" or victim.read_text() == "precious"


@pytest.mark.parametrize(
    "code", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EBADF, errno.EINVAL, errno.EIO, errno.EPERM]
)
def test_lock_names_file_system_without_locks(code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(handle: int, operation: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "flock", refuse)
    words = {errno.EIO: "input/output error", errno.EPERM: "permission denied"}.get(code, "does not support file locks")
    with pytest.raises(DiskTrouble, match=words), ProfileLock(tmp_path):
        pass
    assert not (tmp_path / "kerio-resync.holder").exists()


def test_two_profiles_with_one_cache_exclude_each_other(tmp_path: Path) -> None:
    for name in ("one", "two", "real"):
        (tmp_path / name).mkdir()
    for name in ("one", "two"):
        (tmp_path / name / "cache.db").symlink_to(tmp_path / "real" / "cache.db")
    with ProfileLock(tmp_path / "one"):
        for name in ("two", "real"):
            with pytest.raises(CacheInUse, match="held by process"), ProfileLock(tmp_path / name):
                pass
            assert ProfileLock(tmp_path / name).holder().startswith("process")
    with ProfileLock(tmp_path / "two"):
        pass


def test_lock_names_python_without_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: object, **_: object) -> None:
        raise NotImplementedError("flock")

    monkeypatch.setattr(FileLock, "acquire", refuse)
    with pytest.raises(DiskTrouble, match="does not support file locks"), ProfileLock(tmp_path):
        pass
