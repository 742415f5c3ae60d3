"""The search for CPythons."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).parents[2] / "tools" / "pythons.py"


def printed(*arguments: str) -> list[str]:
    path = os.pathsep.join((str(Path(sys.base_prefix, "bin")), os.environ.get("PATH", "")))
    command = [sys.executable, str(PROGRAM), *arguments]
    result = subprocess.run(
        command, capture_output=True, text=True, check=True, timeout=120, env={**os.environ, "PATH": path}
    )
    return result.stdout.splitlines()


def version(line: str) -> tuple[int, ...]:
    return tuple(map(int, line.split(" ")[0].split(".")))


def test_program_lists_the_interpreter_that_runs_it_oldest_first() -> None:
    found = [version(line) for line in printed()]
    assert found == sorted(found)
    assert sys.version_info[:3] in found


@pytest.mark.parametrize(("option", "place"), [("--oldest", 0), ("--newest", -1)])
def test_option_prints_path_of_one_interpreter(option: str, place: int) -> None:
    (path,) = printed(option)
    assert path == printed()[place].split(" ", 1)[1]
