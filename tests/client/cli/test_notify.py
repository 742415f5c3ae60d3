from __future__ import annotations

import json
import shlex
import sys
import time
from pathlib import Path

import pytest

from kerio_resync.cli import notify
from kerio_resync.cli.display import View, open_display
from kerio_resync.cli.notify import Notifier
from kerio_resync.events import PhaseChanged, RunFinished
from kerio_resync.variables import PASSWORD_VARIABLE

GOOD = RunFinished(ok=True, exit_code=0, summary={"items": {"mail": 2}})


def python(code: str) -> str:
    return shlex.join([sys.executable, "-c", code])


def reported(command: str, end: RunFinished = GOOD) -> list[str]:
    said: list[str] = []
    notifier = Notifier(command, lambda: {"run": "1"}, said.append)
    notifier(PhaseChanged("fetch"))
    notifier(end)
    notifier.close()
    notifier.close()
    return said


def test_command_gets_the_report_without_the_password(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PASSWORD_VARIABLE, "secret")
    file = tmp_path / "a file"
    code = (
        f"import os, sys; open({str(file)!r}, 'a').write(sys.stdin.read() + str({PASSWORD_VARIABLE!r} in os.environ))"
    )
    assert reported(python(code)) == []
    text = file.read_text()
    assert json.loads(text.removesuffix("False")) == {"run": "1", **GOOD.as_json()}


@pytest.mark.parametrize(
    ("command", "says"),
    [
        (python("raise SystemExit(7)"), "ended with exit code 7"),
        ("/no/such/program", "cannot be run (No such file or directory)"),
        ("", "cannot be run (it is empty)"),
        ("'open quote", "cannot be run (No closing quotation)"),
    ],
)
def test_failure_of_command_is_reported(command: str, says: str) -> None:
    [sentence] = reported(command)
    assert says in sentence


def test_command_that_ignores_its_input_is_no_failure() -> None:
    big = RunFinished(ok=True, exit_code=0, summary={"text": "x" * 1_000_000})
    assert reported(python("pass"), big) == []


def test_slow_command_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notify, "MAX_SECONDS", 0.3)
    began = time.monotonic()
    [sentence] = reported(python("import time; time.sleep(60)"))
    assert "did not end within" in sentence
    assert time.monotonic() - began < 20


def test_interrupted_run_does_not_wait_for_command() -> None:
    began = time.monotonic()
    assert reported(python("import time; time.sleep(60)"), RunFinished(ok=False, exit_code=130)) == []
    assert time.monotonic() - began < 30


def test_run_without_an_end_runs_no_command(tmp_path: Path) -> None:
    Notifier(python(f"open({str(tmp_path / 'x')!r}, 'w')"), dict, print).close()
    assert list(tmp_path.iterdir()) == []


def test_output_of_command_is_not_on_standard_output(capfd: pytest.CaptureFixture[str]) -> None:
    with open_display(View(as_json=True, notify=python("print('from the command')")), lambda _: ()) as shown:
        shown(GOOD)
    out, err = capfd.readouterr()
    assert [json.loads(line)["event"] for line in out.splitlines()] == ["run-finished"]
    assert err == "from the command\n"
