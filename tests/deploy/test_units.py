"""The units for systemd and the task for Windows, against what both programs document."""

from __future__ import annotations

import configparser
import re
import shlex
import shutil
import subprocess
from pathlib import Path
from xml.etree import ElementTree

import pytest

from kerio_resync.cli.app import app
from kerio_resync.errors import Exit
from kerio_resync.start_window import StartWindow, parse_duration

DEPLOY = Path(__file__).parents[2] / "deploy"
NAMESPACE = "{http://schemas.microsoft.com/windows/2004/02/mit/task}"
# [MS-TSCH] 2.5.3.1 and 2.5.3.9 say in which order a trigger has its elements.
TRIGGER = (
    "Enabled",
    "StartBoundary",
    "EndBoundary",
    "Repetition",
    "ExecutionTimeLimit",
    "RandomDelay",
    "ScheduleByDay",
)


def unit(name: str) -> configparser.ConfigParser:
    parser = configparser.ConfigParser(delimiters=("=",), comment_prefixes=("#",), interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read(DEPLOY / "systemd" / name, encoding="utf-8")
    return parser


def parameters(words: list[str]) -> dict[str, object]:
    """Return the options of a command as typer reads them; an error if it knows one not."""
    from typer.main import get_command

    command = get_command(app).commands[words[0]]  # type: ignore[attr-defined]
    context = command.make_context(words[0], words[1:])
    return dict(context.params)


def require_night(words: list[str]) -> None:
    found = parameters(words)
    assert found["quiet"] is True
    assert StartWindow(str(found["not_before"]), str(found["not_after"])).seconds() == 8 * 3600


def test_service_runs_a_command_that_exists_in_a_window() -> None:
    program, *words = shlex.split(unit("kerio-resync.service")["Service"]["ExecStart"])
    assert program == "%h/.local/bin/kerio-resync"
    require_night(words)


def test_service_tries_the_codes_again_that_can_pass() -> None:
    service = unit("kerio-resync.service")["Service"]
    stops = set(map(int, service["RestartPreventExitStatus"].split()))
    assert int(service["SuccessExitStatus"]) == Exit.POSTPONED
    assert service["Restart"] == "on-failure"
    retried = set(Exit) - stops - {Exit.DONE, Exit.POSTPONED}
    assert retried == {Exit.UNFINISHED, Exit.IN_USE, Exit.INTERRUPTED}


def test_timer_starts_when_the_window_of_the_service_opens() -> None:
    timer = unit("kerio-resync.timer")["Timer"]
    words = shlex.split(unit("kerio-resync.service")["Service"]["ExecStart"])
    opening = words[words.index("--not-before") + 1]
    assert timer["OnCalendar"] == f"*-*-* {opening}"
    assert parse_duration(timer["RandomizedDelaySec"]) < 8 * 3600


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd-analyze is not installed")
def test_systemd_finds_no_mistake_in_the_units(tmp_path: Path) -> None:
    for path in (DEPLOY / "systemd").iterdir():
        text = path.read_text(encoding="utf-8").replace("%h/.local/bin/kerio-resync", shutil.which("true") or "")
        (tmp_path / path.name).write_text(text, encoding="utf-8")
    done = subprocess.run(
        ["systemd-analyze", "verify", "--user", "--man=no", *sorted(map(str, tmp_path.glob("kerio-resync.*")))],
        env={"XDG_RUNTIME_DIR": str(tmp_path), "PATH": "/usr/bin:/bin"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if "Failed to initialize manager" in done.stderr:
        pytest.skip("systemd-analyze needs more than this system gives")
    assert (done.returncode, done.stderr) == (0, "")


def task() -> ElementTree.Element:
    root = ElementTree.parse(DEPLOY / "windows" / "kerio-resync.xml").getroot()
    assert root.tag == f"{NAMESPACE}Task"
    return root


def child(element: ElementTree.Element, path: str) -> ElementTree.Element:
    found = element.find("/".join(f"{NAMESPACE}{name}" for name in path.split("/")))
    assert found is not None, path
    return found


def test_windows_task_has_its_elements_in_the_documented_order() -> None:
    names = [element.tag.removeprefix(NAMESPACE) for element in child(task(), "Triggers/CalendarTrigger")]
    assert names == [name for name in TRIGGER if name in names]
    assert child(task(), "Principals/Principal").get("id") == child(task(), "Actions").get("Context")


def test_windows_task_runs_a_command_that_exists_when_its_window_opens() -> None:
    words = shlex.split(child(task(), "Actions/Exec/Arguments").text or "")
    require_night(words)
    start = child(task(), "Triggers/CalendarTrigger/StartBoundary").text or ""
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT22:00:00", start)
    assert words[words.index("--not-before") + 1] == "22:00"
