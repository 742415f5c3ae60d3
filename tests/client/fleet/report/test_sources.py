from __future__ import annotations

from pathlib import Path

import pytest

from kerio_resync.fleet.report.sources import find_sources, machine_of


@pytest.mark.parametrize(
    ("path", "machine"),
    [
        ("pc-17.log", "pc-17"),
        ("pc-17.json", "pc-17"),
        ("pc-17-2026-11-28.log", "pc-17"),
        ("pc-17-status.json", "pc-17"),
        ("pc-17.upgrade-2026-11-28.log", "pc-17"),
        ("kerio-resync-pc-17.log", "pc-17"),
        ("pc-17_20261128T0200.json", "pc-17"),
        ("pc-17/kerio-resync.log", "pc-17"),
        ("pc-17/upgrade.json", "pc-17"),
        ("pc-17/rebuild-2026-11-28.log", "pc-17"),
        ("pc-17/2026-11-28.json", "pc-17"),
        ("2026-11-28/pc-17.log", "pc-17"),
        ("vienna/pc-17.log", "vienna/pc-17"),
        ("vienna/pc-17/kerio-resync.log", "vienna/pc-17"),
        ("pc-17/.local/share/kerio-resync/kerio-resync.log", "pc-17"),
        ("pc-17/jane/AppData/Local/kerio-resync/kerio-resync.log", "pc-17/jane"),
        ("kerio-resync/kerio-resync.log", "kerio-resync"),
        ("host.example.com.log", "host.example.com"),
        ("pc-20250101-x.log", "pc-x"),
        ("pc-17", "pc-17"),
        ("kerio-resync.log", "logs"),
    ],
)  # fmt: skip
def test_machine_of_names_the_machine_by_file_or_folder(path: str, machine: str) -> None:
    folder, _, file = path.rpartition("/")
    assert machine_of(folder or ".", file, "logs") == machine


def write(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(name.encode())


def test_find_sources_joins_rotated_files_the_oldest_first(tmp_path: Path) -> None:
    write(tmp_path, "a/kerio-resync.log", "a/kerio-resync.log.1", "a/kerio-resync.log.10", "a/kerio-resync.log.2.gz",
          "b.log-20261128", "b.log", "b.log-20261127.gz", "c.17")  # fmt: skip
    found = find_sources([tmp_path])
    assert {source.name: [file.path.name for file in source.files] for source in found.sources} == {
        "a/kerio-resync.log": [
            "kerio-resync.log.10", "kerio-resync.log.2.gz", "kerio-resync.log.1", "kerio-resync.log"
        ],
        "b.log": ["b.log-20261127.gz", "b.log-20261128", "b.log"],
        "c.17": ["c.17"],
    }  # fmt: skip
    assert [source.machine for source in found.sources] == ["b", "c.17", "a"]


def test_find_sources_leaves_out_what_a_profile_and_a_report_have_beside_logs(tmp_path: Path) -> None:
    others = ("cache.db", "cache.db.next", "profile.toml", "crash.log", "kerio-resync.holder", ".kerio-resync.log.x7Zq")
    write(tmp_path, *(f"a/{name}" for name in others), "report.html", "report.csv", "report.json", "x.prom")
    write(tmp_path, "a/kerio-resync.log")
    found = find_sources([tmp_path], [tmp_path / "report.json"])
    assert [source.name for source in found.sources] == ["a/kerio-resync.log"]


def test_find_sources_follows_links_to_files_but_not_to_folders(tmp_path: Path) -> None:
    write(tmp_path, "elsewhere/kerio-resync.log", "logs/b/b.log")
    logs = tmp_path / "logs"
    (logs / "pc-1").symlink_to(tmp_path / "elsewhere")
    (logs / "pc-2.log").symlink_to(tmp_path / "elsewhere" / "kerio-resync.log")
    (logs / "b" / "loop").symlink_to(logs)
    (logs / "all").symlink_to("/")
    (logs / "gone.log").symlink_to(tmp_path / "nothing")
    (logs / "self.log").symlink_to(logs / "self.log")
    found = find_sources([logs])
    assert [source.machine for source in found.sources] == ["pc-2", "b/b"]
    assert dict(found.problems).keys() == {"all", "b/loop", "gone.log", "pc-1", "self.log"}
    (tmp_path / "root").symlink_to(logs)
    assert [source.machine for source in find_sources([tmp_path / "root"]).sources] == ["pc-2", "b/b"]


def test_find_sources_takes_a_folder_once(tmp_path: Path) -> None:
    write(tmp_path, "logs/a.log")
    assert len(find_sources([tmp_path / "logs", tmp_path]).sources) == 1


def test_find_sources_names_a_folder_that_cannot_be_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, "shut/a.log", "open/b.log")
    import os

    real = os.scandir

    def scandir(path: Path) -> object:
        if path.name == "shut":
            raise PermissionError(13, "Permission denied")
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    found = find_sources([tmp_path])
    assert [source.name for source in found.sources] == ["open/b.log"]
    assert found.problems == [("shut", "permission denied")]


def test_find_sources_takes_files_as_roots(tmp_path: Path) -> None:
    write(tmp_path, "a.log", "b.log")
    found = find_sources([tmp_path / "b.log"])
    assert [(source.machine, source.name) for source in found.sources] == [("b", "b.log")]
