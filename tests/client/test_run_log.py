from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from kerio_resync import events, run_log
from kerio_resync.run_log import FILE_NAME, FILES, Level, RunLog, last_runs
from kerio_resync.version import VERSION

STARTED = events.RunStarted("/p", "https://x", "jane")
FAILED = events.RunFinished(ok=False, exit_code=4, summary={"error": "The server cannot be reached."})
GOOD = events.RunFinished(ok=True, exit_code=0, summary={"items": {}})
ALL: tuple[events.Event, ...] = (
    STARTED, events.PhaseChanged("fetch"), events.FolderListed("f1", 3), events.Retrying("Mails.get", 1, 0.5, "reset"),
    events.Paused(1.0, "503"), events.Skipped("item", "m1", "gone"), events.Notice("set aside"), GOOD,
)  # fmt: skip


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / FILE_NAME).read_text().splitlines()]


def logged(folder: Path, *told: events.Event, level: Level = "info", run: str = "1a2b3c4d") -> None:
    log = RunLog(lambda: folder, "rebuild", run, level)
    for event in told:
        log(event)
    log.close()


def test_each_line_has_time_run_version_and_command(tmp_path: Path) -> None:
    logged(tmp_path, STARTED, GOOD)
    for line, event in zip(lines(tmp_path), (STARTED, GOOD), strict=True):
        assert line.pop("time").endswith("Z")
        assert (line.pop("run"), line.pop("version"), line.pop("command")) == ("1a2b3c4d", VERSION, "rebuild")
        assert line == json.loads(json.dumps(event.as_json()))
    assert stat.S_IMODE((tmp_path / FILE_NAME).stat().st_mode) == 0o600


@pytest.mark.parametrize(
    ("level", "count"),
    [("debug", 8), ("info", 7), ("warning", 5), ("error", 1)],
)
def test_level_chooses_events_and_the_end_is_always_logged(level: Level, count: int, tmp_path: Path) -> None:
    logged(tmp_path, *ALL[:-1], FAILED, level=level)
    found = lines(tmp_path)
    assert (len(found), found[-1]["event"]) == (count, "run-finished")


def test_level_off_writes_nothing(tmp_path: Path) -> None:
    logged(tmp_path, *ALL, level="off")
    assert list(tmp_path.iterdir()) == []


def test_progress_is_logged_twice_a_minute(tmp_path: Path) -> None:
    clock = Clock()
    log = RunLog(lambda: tmp_path, "rebuild", "1", clock=clock)
    for second in range(61):
        clock.now = float(second)
        log(events.Progress(items_done=second))
    log.close()
    assert [line["items_done"] for line in lines(tmp_path)] == [0, 30, 60]


def test_run_that_only_ends_well_leaves_no_line(tmp_path: Path) -> None:
    logged(tmp_path, GOOD)
    assert list(tmp_path.iterdir()) == []


def test_missing_profile_is_not_created(tmp_path: Path) -> None:
    logged(tmp_path / "none", FAILED)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", ["folder", "link", "fifo"])
def test_log_that_cannot_be_written_is_left_alone(kind: str, tmp_path: Path) -> None:
    path, other = tmp_path / FILE_NAME, tmp_path / "other"
    other.write_text("precious")
    match kind:
        case "folder":
            path.mkdir()
        case "link":
            path.symlink_to(other)
        case _:
            os.mkfifo(path)
    logged(tmp_path, *ALL)
    assert other.read_text() == "precious"
    assert last_runs(tmp_path) == []


def test_failure_in_the_middle_ends_the_log_and_raises_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from kerio_resync.rotating_file import RotatingFile

    log = RunLog(lambda: tmp_path, "rebuild", "1")
    log(STARTED)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(RotatingFile, "write", full)
    log(GOOD)
    monkeypatch.undo()
    log(GOOD)
    assert [line["event"] for line in lines(tmp_path)] == ["run-started"]


def test_files_are_of_limited_size_and_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_log, "MAX_BYTES", 4000)
    for run in range(100):
        logged(tmp_path, STARTED, GOOD, run=f"{run:08}")
    files = sorted(tmp_path.iterdir())
    assert [path.name for path in files] == [FILE_NAME, *(f"{FILE_NAME}.{number}" for number in range(1, FILES))]
    assert all(path.stat().st_size <= 4000 for path in files)
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}
    assert [record.run for record in last_runs(tmp_path, 20)] == [f"{run:08}" for run in range(99, 79, -1)]


def test_last_runs_tell_how_each_ended(tmp_path: Path) -> None:
    logged(tmp_path, STARTED, GOOD, run="a")
    logged(tmp_path, STARTED, FAILED, run="b")
    logged(tmp_path, STARTED, run="c")
    with (tmp_path / FILE_NAME).open("a") as file:
        file.write('{"time": "2026\n[1]\n\nnonsense\n{"time": 1, "run": 2}\n')
    killed, failed, good = last_runs(tmp_path)
    assert (good.run, good.exit_code, good.error) == ("a", 0, "")
    assert good.seconds is not None
    assert (failed.run, failed.exit_code, failed.error) == ("b", 4, "The server cannot be reached.")
    assert (killed.run, killed.ended, killed.exit_code, killed.seconds) == ("c", "", None, None)


def test_run_in_two_files_is_one_run(tmp_path: Path) -> None:
    logged(tmp_path, STARTED, run="a")
    (tmp_path / FILE_NAME).rename(tmp_path / f"{FILE_NAME}.1")
    logged(tmp_path, STARTED, GOOD, run="a")
    begun = json.loads((tmp_path / f"{FILE_NAME}.1").read_text())["time"]
    [record] = last_runs(tmp_path)
    assert (record.started, record.exit_code) == (begun, 0)
