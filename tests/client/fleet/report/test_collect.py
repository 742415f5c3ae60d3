from __future__ import annotations

import os
import random
import time
from collections.abc import Collection, Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from kerio_resync.errors import BadSettings
from kerio_resync.fleet.report import collect
from kerio_resync.fleet.report.collect import Collector
from kerio_resync.fleet.report.log_lines import FileReading, TakeLine, read_file
from kerio_resync.fleet.report.make import make_report
from kerio_resync.fleet.report.result import FleetReport
from kerio_resync.fleet.report.sources import Found, find_sources
from tests.support.fleet_logs import NIGHT, kinds_of_fleet, log_of, many_lines, write_fleet
from tests.support.fleet_samples import RECIPES

NOW = datetime(2026, 11, 28, 7, tzinfo=UTC)


def report_of(*folders: Path) -> FleetReport:
    return make_report(Collector(folders).read(NOW), NOW)


def test_collector_refuses_a_folder_that_does_not_exist(tmp_path: Path) -> None:
    with pytest.raises(BadSettings, match="there is no file or folder"):
        Collector([tmp_path / "none"])


def test_read_counts_files_and_names_those_with_problems(tmp_path: Path) -> None:
    write_fleet(tmp_path, ["rebuilt", "killed"])
    (tmp_path / "cut.log").write_bytes(
        log_of("rebuilt", 7, "x@example.com", NIGHT).replace(b'"event": "phase"', b"", 1)
    )
    (tmp_path / "mixed.log").write_bytes(b"kerio-resync: hello\n" + log_of("rebuilt", 8, "y@example.com", NIGHT))
    (tmp_path / "other.txt").write_text("to do\nbuy milk\n")
    (tmp_path / "photo.jpg").write_bytes(bytes(range(256)) * 50)
    (tmp_path / "empty.log").touch()
    os.mkfifo(tmp_path / "pipe.log")
    reading = Collector([tmp_path]).read(NOW)
    assert set(reading.machines) == {"pc-001", "pc-002", "cut", "mixed"}
    assert (reading.files, reading.damaged, reading.foreign) == (8, 1, 3)
    assert (reading.other_files, reading.unread_files) == (1, 2)
    problems = {file.file: (file.problem, file.damaged, file.foreign) for file in reading.problems}
    assert problems == {
        "cut.log": ("", 1, 0),
        "mixed.log": ("", 0, 1),
        "other.txt": ("it has no line of kerio-resync", 0, 2),
        "photo.jpg": ("it is not a text file", 0, 0),
        "pipe.log": ("it is not a regular file", 0, 0),
    }


def test_read_bounds_the_files_that_it_names(tmp_path: Path) -> None:
    for number in range(60):
        (tmp_path / f"x{number}.txt").write_text("nothing\n")
    reading = Collector([tmp_path]).read(NOW)
    assert (reading.other_files, len(reading.problems)) == (60, collect.MAX_NAMED)


def test_read_again_gives_what_one_reading_of_all_gives(tmp_path: Path) -> None:
    """Logs that grow by pieces of any length, in any order, and rotate."""
    drawn = random.Random(3)
    rest = {
        f"pc-{number}.log": log_of(kind, number, f"u{number}@example.com", NIGHT)
        + log_of(drawn.choice(list(RECIPES)), 100 + number, f"u{number}@example.com", NIGHT)
        for number, kind in enumerate(RECIPES)
    }
    collector = Collector([tmp_path])
    while rest:
        for name in drawn.sample(sorted(rest), min(5, len(rest))):
            length = drawn.choice([1, 100, 1500, 8000])
            with (tmp_path / name).open("ab") as file:
                file.write(rest[name][:length])
            rest[name] = rest[name][length:]
            if not rest[name]:
                del rest[name]
            elif drawn.random() < 0.1 and rest[name].startswith(b"{"):
                (tmp_path / name).rename(tmp_path / f"{name}.1")
        step = make_report(collector.read(NOW - timedelta(hours=1)), NOW)
    assert step.machines == report_of(tmp_path).machines
    assert step.inputs.lines == report_of(tmp_path).inputs.lines
    assert step.inputs.damaged_lines == 0


def test_read_again_reads_only_what_is_new(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_fleet(tmp_path, ["killed", "rebuilt", "rebuilt"])
    collector = Collector([tmp_path])
    collector.read(NOW)
    read: list[tuple[str, int]] = []

    def reading(path: Path, take: TakeLine, position: int = 0) -> FileReading:
        read.append((path.name, position))
        return read_file(path, take, position)

    monkeypatch.setattr(collect, "read_file", reading)
    size = (tmp_path / "pc-001.log").stat().st_size
    with (tmp_path / "pc-001.log").open("ab") as file:
        file.write(log_of("rebuilt", 9, "user001@example.com", NIGHT))
    assert make_report(collector.read(NOW), NOW).counts["ready"] == 3
    assert read == [("pc-001.log", size)]


def test_log_that_was_replaced_is_read_from_its_start(tmp_path: Path) -> None:
    path = tmp_path / "pc.log"
    path.write_bytes(log_of("rebuilt", 1, "a@example.com", NIGHT))
    collector = Collector([tmp_path])
    collector.read(NOW)
    (tmp_path / "new").write_bytes(log_of("overloaded", 2, "a@example.com", NIGHT) * 2)
    (tmp_path / "new").rename(path)
    [machine] = make_report(collector.read(NOW), NOW).machines
    assert (machine.state, machine.seconds) == ("failed", None)


def test_log_that_was_cut_is_read_from_its_start(tmp_path: Path) -> None:
    path = tmp_path / "pc.log"
    path.write_bytes(log_of("rebuilt", 1, "a@example.com", NIGHT))
    collector = Collector([tmp_path])
    collector.read(NOW)
    path.write_bytes(log_of("in-use", 2, "a@example.com", NIGHT))
    assert make_report(collector.read(NOW), NOW).machines[0].cause == "cache-in-use"


def test_file_that_vanishes_between_two_readings_is_no_error(tmp_path: Path) -> None:
    write_fleet(tmp_path, ["rebuilt", "rebuilt"])
    collector = Collector([tmp_path])
    collector.read(NOW)
    (tmp_path / "pc-001.log").unlink()
    assert set(collector.read(NOW).machines) == {"pc-002"}


def test_file_that_vanishes_while_it_is_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_fleet(tmp_path, ["rebuilt", "rebuilt"])

    def finding(roots: Iterable[Path], leave_out: Collection[Path] = ()) -> Found:
        found = find_sources(roots, leave_out)
        (tmp_path / "pc-001.log").unlink()
        return found

    monkeypatch.setattr(collect, "find_sources", finding)
    reading = Collector([tmp_path]).read(NOW)
    assert set(reading.machines) == {"pc-002"}
    assert [(file.file, file.problem) for file in reading.problems] == [
        ("pc-001.log", "it was removed while the folder was read")
    ]


def test_order_of_files_does_not_matter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number, kind in enumerate(RECIPES):
        for part, other in enumerate((kind, "rebuilt", "wrong-password")):
            path = tmp_path / f"{part}" / f"pc-{number % 6}" / f"{part}" / "kerio-resync.log"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(log_of(other, 10 * number + part, f"u{number % 4}@example.com", NIGHT))
            os.utime(path, (1.8e9, 1.8e9))
    reading = Collector([tmp_path / str(part) for part in range(3)]).read(NOW)
    expected = make_report(reading, NOW).machines
    for seed in range(5):
        for logs in reading.machines.values():
            random.Random(seed).shuffle(logs)
        assert make_report(reading, NOW).machines == expected


@pytest.mark.soak
def test_million_lines_take_less_than_30_seconds_and_flat_memory(tmp_path: Path) -> None:
    """Ten times the lines take ten times as long, and no more memory."""
    import subprocess
    import sys

    program = (
        "import re, sys, time; from datetime import datetime, UTC; from pathlib import Path;"
        "from kerio_resync.fleet.report.collect import Collector; begun = time.process_time();"
        "reading = Collector([Path(sys.argv[1])]).read(datetime.now(UTC));"
        "print(reading.lines, time.process_time() - begun, "
        "re.search('VmHWM: *(.*) kB', Path('/proc/self/status').read_text())[1])"
    )
    found = []
    for lines in (100_000, 1_000_000):
        folder = tmp_path / str(lines)
        folder.mkdir()
        for number in range(500):
            with (folder / f"pc-{number:03}.log").open("wb") as file:
                file.writelines(many_lines(lines // 500))
        begun = time.monotonic()
        out = subprocess.check_output([sys.executable, "-c", program, str(folder)], text=True)
        found.append((*map(float, out.split()), time.monotonic() - begun))
        figures = f"{lines:,} lines: {found[-1][1]:.1f} s of processor time, {found[-1][3]:.1f} s"
        print(f"{figures}, {found[-1][2]:,.0f} KiB at most")  # noqa: T201 - what a soak is read for
    assert [line[0] for line in found] == [100_000, 1_000_000]
    assert found[1][1] < 30
    assert found[1][2] < 1.1 * found[0][2]


def test_memory_does_not_grow_with_a_log(tmp_path: Path) -> None:
    import tracemalloc

    def peak(lines: int) -> int:
        path = tmp_path / f"{lines}.log"
        with path.open("wb") as file:
            file.writelines(many_lines(lines))
        tracemalloc.start()
        try:
            assert Collector([path]).read(NOW).lines == lines
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak(1000)
    assert peak(10_000) < 1.2 * peak(2500)


def test_500_machines_of_which_40_failed_in_nine_ways(tmp_path: Path) -> None:
    kinds = kinds_of_fleet(500, 40, postponed=4, unsent=3)
    written = write_fleet(tmp_path, kinds)
    report = report_of(tmp_path)
    assert len(report.machines) == 500
    assert {state: count for state, count in report.counts.items() if count} == {
        "ready": 453, "unsent": 3, "postponed": 4, "failed": 40,
    }  # fmt: skip
    assert sorted((cause.count for cause in report.causes), reverse=True) == [5, 5, 5, 5, 4, 4, 4, 4, 4]
    for cause in report.causes:
        assert len({written[name] for name in cause.machines}) == 1
        assert cause.advice
        assert cause.title
    assert (report.ok, report.unsent_changes, len(report.slowest)) == (False, 3, 46)
