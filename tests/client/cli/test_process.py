from __future__ import annotations

import asyncio
import os
import signal
import stat
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path
from typing import Any, cast

import pytest

from kerio_resync.cli import process
from kerio_resync.cli.process import print_error, run, run_command, write_crash_log
from kerio_resync.errors import Exit, Unreachable
from tests.support.fork_server import forked


def failing(error: BaseException):  # type: ignore[no-untyped-def]
    def command() -> Exit:
        raise error

    return command


def test_what_a_command_says_is_the_exit_code(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(lambda: Exit.UNVERIFIED, lambda: tmp_path) == Exit.UNVERIFIED
    assert capsys.readouterr() == ("", "")


def test_an_error_is_one_line_and_its_code(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(failing(Unreachable("no route\nto \x1b[31mhost")), lambda: tmp_path) == Exit.UNFINISHED
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("kerio-resync: The server cannot be reached: no route")
    assert err.count("\n") == 1
    assert "\x1b" not in err
    assert list(tmp_path.iterdir()) == []


def test_an_unforeseen_error_is_one_line_and_a_file_for_its_owner(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def command() -> Exit:
        try:
            cast(dict[str, Any], {})["the text of a mail"]
        except KeyError as error:
            raise ExceptionGroup("two", [ValueError("more of it"), AttributeError("no such name")]) from error
        return Exit.DONE

    assert run_command(command, lambda: tmp_path) == Exit.INTERNAL_ERROR
    err = capsys.readouterr().err
    log = tmp_path / "crash.log"
    assert err.count("\n") == 1
    assert "(ValueError)" in err
    assert str(log) in err
    text = log.read_text()
    assert stat.S_IMODE(log.stat().st_mode) == 0o600
    assert "in command" in text
    assert all(name in text for name in ("KeyError\n", "ValueError\n", "AttributeError: no such name\n"))
    assert "more of it\n" not in text.replace('ValueError("more of it")', "")


def test_without_a_profile_to_write_to_it_is_still_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(failing(ValueError("x")), lambda: tmp_path / "none") == Exit.INTERNAL_ERROR
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert "crash.log" not in err


def test_a_link_in_place_of_the_crash_log_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "crash.log").symlink_to(tmp_path / "precious")
    assert write_crash_log(ValueError(), lambda: tmp_path) is None
    assert not (tmp_path / "precious").exists()


def test_errors_that_cause_each_other_are_told_once(tmp_path: Path) -> None:
    one, two = ValueError(), TypeError("t")
    one.__cause__, two.__cause__ = two, one
    path = write_crash_log(one, lambda: tmp_path)
    assert path is not None
    assert path.read_text().splitlines()[1:] == ["TypeError: t", "then", "ValueError"]


def test_complaining_to_nobody_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    with open(os.devnull) as unwritable:
        monkeypatch.setattr(sys, "stderr", unwritable)
        print_error("x")


def test_work_runs_and_its_result_comes_back() -> None:
    async def work() -> int:
        await asyncio.sleep(0)
        return 7

    before = signal.getsignal(signal.SIGINT)
    assert run(work) == 7
    assert signal.getsignal(signal.SIGINT) is before


def test_work_runs_outside_the_main_thread() -> None:
    results: list[int] = []

    async def work() -> int:
        return 7

    thread = threading.Thread(target=lambda: results.append(run(work)))
    thread.start()
    thread.join()
    assert results == [7]


def test_without_uvloop_asyncio_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uvloop", None)

    async def work() -> str:
        return type(asyncio.get_running_loop()).__module__

    assert run(work).startswith("asyncio")


SCRIPT = """
import asyncio, sys, time
from pathlib import Path
from kerio_resync.errors import Exit
from kerio_resync.cli import process
from kerio_resync.cli.process import run_command, run

process.INTERRUPT_GRACE_SECONDS = {grace}

async def work():
    print("ready", flush=True)
    try:
        await asyncio.sleep(60)
    except asyncio.CancelledError:
        print("keeping what is whole", flush=True)
        {after}
        raise

def command():
    run(work)
    return Exit.DONE

def listen(event):
    print("told", event.exit_code, flush=True)

sys.exit(run_command(command, lambda: Path(sys.argv[1]), listen))
"""


@pytest.mark.parametrize(
    ("after", "signals", "grace"),
    [
        ("pass", [signal.SIGINT], 40.0),
        ("pass", [signal.SIGTERM], 40.0),
        ("await asyncio.sleep(60)", [signal.SIGINT, signal.SIGINT], 40.0),
        ("time.sleep(60)", [signal.SIGTERM, signal.SIGINT], 40.0),
        ("time.sleep(60)", [signal.SIGINT], process.INTERRUPT_GRACE_SECONDS),
    ],
    ids=["int", "term", "twice", "twice-stuck", "stuck"],
)
def test_a_signal_ends_it_in_time(tmp_path: Path, after: str, signals: list[signal.Signals], grace: float) -> None:
    """Each would take 40 s or more if the signals did nothing; a busy machine has 30."""
    script = textwrap.dedent(SCRIPT).replace("{after}", after).replace("{grace}", str(grace))
    with subprocess.Popen(
        [*forked("-c"), script, str(tmp_path)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        assert child.stderr is not None
        assert child.stdout.readline() == "ready\n"
        started = time.monotonic()
        heard = []
        for number in signals:
            child.send_signal(number)
            heard.append(child.stdout.readline().strip())
        rest = child.stdout.read().split("\n")
        assert child.wait(60) == 130
        took = time.monotonic() - started
        assert [line for line in heard + rest if line] == ["keeping what is whole", "told 130"]
        assert child.stderr.read() == "kerio-resync: Interrupted; run again to resume.\n"
    assert took < 30
