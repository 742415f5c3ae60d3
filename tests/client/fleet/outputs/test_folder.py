"""A folder of generated files: complete or unchanged, and never at the cost of someone else's file."""

from __future__ import annotations

import json
import os
import stat
from contextlib import suppress
from pathlib import Path

import pytest
from filelock import FileLock

from kerio_resync.errors import BadSettings, DiskTrouble
from kerio_resync.fleet.outputs.folder import LIST_NAME, OwnedFolder, check_folder


def write(path: Path, **files: str) -> None:
    with OwnedFolder(path) as folder:
        for name, text in files.items():
            folder.stage(name.replace("__", "/"), text.encode())
        folder.commit()


def tree(path: Path) -> dict[str, str]:
    return {
        str(file.relative_to(path)): file.read_text()
        for file in path.rglob("*")
        if file.is_file() and file.name not in (LIST_NAME, ".lock")
    }


def test_files_appear_together_and_are_private(tmp_path: Path) -> None:
    out = tmp_path / "new" / "out"
    with OwnedFolder(out) as folder:
        folder.stage("a", b"1")
        folder.stage("notices/b", b"2")
        assert not (out / "a").exists()
        folder.commit()
    assert tree(out) == {"a": "1", "notices/b": "2"}
    assert stat.S_IMODE((out / "notices" / "b").stat().st_mode) == 0o600
    assert {stat.S_IMODE(path.stat().st_mode) for path in (out, out / "notices")} == {0o700}


def test_second_run_replaces_its_files_and_deletes_those_that_are_gone(tmp_path: Path) -> None:
    write(tmp_path / "out", a="1", waves__one="x", waves__two="y")
    write(tmp_path / "out", a="2")
    assert tree(tmp_path / "out") == {"a": "2"}
    assert not (tmp_path / "out" / "waves").exists()


def test_foreign_files_beside_its_own_stay(tmp_path: Path) -> None:
    write(tmp_path / "out", waves__one="x")
    (tmp_path / "out" / "waves" / "mine").write_text("keep")
    write(tmp_path / "out", a="2")
    assert tree(tmp_path / "out") == {"a": "2", "waves/mine": "keep"}


def test_run_that_fails_before_it_commits_changes_nothing(tmp_path: Path) -> None:
    write(tmp_path / "out", a="1")
    for name in ("out", "never"):
        with suppress(ZeroDivisionError), OwnedFolder(tmp_path / name) as folder:
            folder.stage("a", b"2")
            raise ZeroDivisionError
    assert tree(tmp_path / "out") == {"a": "1"}
    assert not (tmp_path / "never").exists()


def test_edited_file_is_not_replaced(tmp_path: Path) -> None:
    out = tmp_path / "out"
    write(out, a="1", b="1")
    (out / "a").write_text("edited")
    with pytest.raises(BadSettings, match=rf"a in {out} was not written by kerio-resync, or was edited since; move it"):
        write(out, a="2", b="2")
    assert tree(out) == {"a": "edited", "b": "1"}


def test_file_of_someone_else_at_a_new_name_is_not_replaced(tmp_path: Path) -> None:
    out = tmp_path / "out"
    write(out, a="1")
    for name in "bcdef":
        (out / name).write_text("foreign")
    with pytest.raises(BadSettings, match=r"b, c, d and 2 more in .* were not written .* move them away"):
        write(out, a="2", b="2", c="2", d="2", e="2", f="2")
    assert tree(out)["a"] == "1"


@pytest.mark.skipif(os.name == "nt", reason="symbolic links need a privilege there")
def test_link_at_a_place_is_not_followed(tmp_path: Path) -> None:
    out, elsewhere = tmp_path / "out", tmp_path / "elsewhere"
    elsewhere.mkdir()
    write(out, a="1")
    (out / "notices").symlink_to(elsewhere)
    with pytest.raises(BadSettings, match="notices/b"):
        write(out, a="2", notices__b="2")
    assert list(elsewhere.iterdir()) == []


def test_folder_with_other_files_or_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").write_text("x")
    with pytest.raises(BadSettings, match="has other files; choose a folder that is empty or does not exist"):
        check_folder(tmp_path)
    with pytest.raises(BadSettings, match="is not a folder"):
        write(tmp_path / "photo.jpg", a="1")
    check_folder(tmp_path / "missing")


def test_kill_in_the_middle_of_a_commit_leaves_a_folder_that_can_be_written_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    write(out, a="1", b="1", gone="1")
    replace, calls = Path.replace, [0]

    def dying(self: Path, target: Path) -> Path:
        calls[0] += 1
        if calls[0] == 3:  # after the list and one file
            raise KeyboardInterrupt
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", dying)
    with pytest.raises(KeyboardInterrupt):
        write(out, a="2", b="2")
    monkeypatch.undo()
    assert tree(out) == {"a": "2", "b": "1", "gone": "1"}
    write(out, a="3", b="3")
    assert tree(out) == {"a": "3", "b": "3"}


@pytest.mark.parametrize(
    "text", ["", "[]", '{"format": "other"}', '{"format":"kerio-resync-files","notes":{},"files":{"../x":["y"]}}']
)
def test_damaged_list_is_refused_with_advice(tmp_path: Path, text: str) -> None:
    write(tmp_path / "out", a="1")
    (tmp_path / "out" / LIST_NAME).write_text(text)
    with pytest.raises(BadSettings, match="is damaged; choose another folder"):
        write(tmp_path / "out", a="2")


def test_two_processes_do_not_write_one_folder(tmp_path: Path) -> None:
    write(tmp_path / "out", a="1")
    with FileLock(tmp_path / "out" / ".lock"), pytest.raises(BadSettings, match="another process writes to"):
        write(tmp_path / "out", a="2")


def test_notes_come_back_in_the_next_run(tmp_path: Path) -> None:
    with OwnedFolder(tmp_path / "out") as folder:
        folder.notes = {"series": "x"}
        folder.commit()
    with OwnedFolder(tmp_path / "out") as folder:
        assert folder.notes == {"series": "x"}
    assert json.loads((tmp_path / "out" / LIST_NAME).read_text())["version"] == 1


def test_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DiskTrouble, match=str(tmp_path / "file")):
        write(tmp_path / "file" / "out", a="1")
