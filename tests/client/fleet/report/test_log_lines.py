from __future__ import annotations

import gzip
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kerio_resync.fleet.report import log_lines
from kerio_resync.fleet.report.log_lines import HEAD_BYTES, MAX_LINE, FileReading, read_file

OURS = b'{"event": "notice", "text": "%d"}'


def read(path: Path, position: int = 0) -> tuple[list[bytes], FileReading]:
    lines: list[bytes] = []

    def take(line: bytes, cut: bool) -> bool:
        lines.append(b"CUT " + line if cut else line)
        return b'"event"' in line

    return lines, read_file(path, take, position)


def test_read_file_leaves_an_unfinished_last_line_for_the_next_time(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    path.write_bytes(OURS % 1 + b"\n" + (OURS % 2)[:-3])
    lines, reading = read(path)
    assert (lines, reading.position, reading.problem) == ([OURS % 1], len(OURS % 1) + 1, "")
    path.write_bytes(OURS % 1 + b"\n" + OURS % 2 + b"\n")
    assert reading.position is not None
    assert read(path, reading.position)[0] == [OURS % 2]


def test_read_file_takes_a_whole_last_line_without_its_end_once(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    path.write_bytes(OURS % 1)
    lines, reading = read(path)
    assert (lines, reading.position) == ([OURS % 1], len(OURS % 1))
    path.write_bytes(OURS % 1 + b"\n" + OURS % 2 + b"\n")
    assert read(path, reading.position or 0)[0] == [b"", OURS % 2]


@given(st.lists(st.binary(max_size=40).filter(lambda line: b"\n" not in line)), st.integers(1, 30))
def test_chunks_of_any_size_give_the_same_lines(lines: list[bytes], size: int) -> None:
    data = b"".join(line + b"\n" for line in lines)
    taken: list[bytes] = []
    chunks = (data[at : at + size] for at in range(0, len(data), size))

    def take(line: bytes, cut: bool) -> bool:
        taken.append(line)
        return True

    reading = log_lines._pass_lines(chunks, take)
    assert (taken, reading.position) == (lines, len(data))


def test_read_file_passes_the_head_of_a_huge_line_and_continues_after_it(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    path.write_bytes(OURS % 1 + b"\n" + b"x" * (3 * MAX_LINE) + b"\n" + OURS % 2 + b"\n")
    lines, reading = read(path)
    assert lines == [OURS % 1, b"CUT " + b"x" * HEAD_BYTES, OURS % 2]
    assert reading.position == path.stat().st_size


def test_read_file_gives_up_on_a_large_file_of_something_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_lines, "GIVE_UP_BYTES", 2**20)
    path = tmp_path / "a.log"
    path.write_bytes(b"nothing of ours\n" * 300_000 + OURS % 1)
    lines, reading = read(path)
    assert reading.problem == "1 MiB of it have no line of kerio-resync"
    assert len(lines) < 100_000


def test_read_file_reads_gzip_by_its_content(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    path.write_bytes(gzip.compress(OURS % 1 + b"\n" + OURS % 2))
    assert read(path) == ([OURS % 1, OURS % 2], FileReading(None))


def test_read_file_uses_what_has_arrived_of_a_gzip(tmp_path: Path) -> None:
    path = tmp_path / "a.log.gz"
    data = b"".join(b'{"event": "notice", "text": "%s"}\n' % os.urandom(30).hex().encode() for _ in range(2000))
    path.write_bytes(gzip.compress(data)[:-20_000])
    lines, reading = read(path)
    assert 100 < len(lines) < 2000
    assert (reading.unfinished, reading.problem) == (True, "")


def test_read_file_names_a_damaged_gzip(tmp_path: Path) -> None:
    path = tmp_path / "a.log.gz"
    data = bytearray(gzip.compress(os.urandom(5000)))
    data[100:200] = bytes(100)
    path.write_bytes(data)
    assert read(path)[1].problem == "its compressed data is damaged"


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be"])
def test_read_file_reads_what_powershell_writes(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "a.json"
    mark = "\ufeff" if encoding == "utf-16-be" else ""
    path.write_bytes((mark + (OURS % 1).decode() + "\r\n" + (OURS % 2).decode()).encode(encoding))
    assert read(path)[0] == [OURS % 1 + b"\r", OURS % 2]


def test_read_file_refuses_what_is_no_text(tmp_path: Path) -> None:
    path = tmp_path / "cache"
    path.write_bytes(b"SQLite format 3\0" + bytes(5000))
    assert read(path) == ([], FileReading(None, "it is not a text file"))


def test_read_file_reads_a_log_that_a_power_cut_filled_with_zeros(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    path.write_bytes(OURS % 1 + b"\n" + bytes(3000))
    assert read(path)[0] == [OURS % 1]


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (lambda path: None, "it was removed while the folder was read"),
        (os.mkfifo, "it is not a regular file"),
        (lambda path: path.symlink_to(path), "symbolic link"),
        (lambda path: path.mkdir(), "it is not a regular file"),
    ],
)  # fmt: skip
def test_read_file_names_what_cannot_be_read(tmp_path: Path, make: object, problem: str) -> None:
    assert callable(make)
    make(tmp_path / "x.log")
    assert problem in read(tmp_path / "x.log")[1].problem


def test_read_file_ends_where_the_file_ended_when_it_was_opened(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    path.write_bytes(OURS % 1 + b"\n")
    taken = 0

    def take(line: bytes, cut: bool) -> bool:
        nonlocal taken
        taken += 1
        with path.open("ab") as file:  # it grows as fast as it is read
            file.write(line + b"\n")
        return True

    assert (read_file(path, take).position, taken) == (len(OURS % 1) + 1, 1)
