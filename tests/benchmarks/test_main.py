"""The command line of the benchmarks, and docs/benchmarks.md compared with it."""

from __future__ import annotations

import argparse
import importlib
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import pytest

from benchmarks import __main__ as program
from benchmarks import goals, report
from benchmarks.tools import machine
from kerio_resync.upgrade.formats import detect_format

DOCS = (Path(__file__).parents[2] / "docs" / "benchmarks.md").read_text(encoding="utf-8")


def options(parser: argparse.ArgumentParser) -> set[str]:
    return {name for action in parser._actions for name in action.option_strings if name.startswith("--")}


def test_docs_list_every_measurement() -> None:
    rows = re.findall(r"^\| (`.*?) \|", DOCS, re.MULTILINE)
    assert {name for row in rows for name in re.findall("`([a-z]+)`", row)} == set(program.NAMES)


def test_options_in_docs_exist() -> None:
    told = set(re.findall(r"--[a-z]+", DOCS))
    assert told <= options(program.parser()) | options(program.old_database_parser())
    assert {"--quick", "--full", "--only", "--scheduler"} <= told


def test_commands_in_docs_parse() -> None:
    shown = re.findall(r"^\$ \.venv/bin/python -m benchmarks ?([^#\n]*)", DOCS, re.MULTILINE)
    assert shown
    for line in shown:
        words = line.split()
        parser = program.old_database_parser() if words[:1] == ["old-database"] else program.parser()
        parser.parse_args(words[words[:1] == ["old-database"] :])


def test_legacy_writes_an_old_database_and_refuses_an_existing_path(tmp_path: Path) -> None:
    out = tmp_path / "old.db"
    wanted = ["--messages", "30", "--size", "300000", "--out", str(out)]
    assert program.write_legacy(wanted) == 0
    assert detect_format(out).state == "old"
    assert 300_000 < out.stat().st_size < 1_000_000
    with pytest.raises(SystemExit):
        program.write_legacy(wanted)  # it is there already


@pytest.mark.parametrize("name", program.NAMES)
def test_measurement_has_measure_and_report(name: str) -> None:
    module = importlib.import_module(f"benchmarks.measure.{name}")
    assert callable(module.measure)
    assert callable(module.report)


def test_quick_run_starts_nothing_after_its_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now, begun = [0.0], []

    def measured(module: Any, name: str, options: argparse.Namespace) -> dict[str, Any]:
        begun.append(name)
        now[0] += 100.0
        raise ValueError("measured nothing")

    monkeypatch.setattr(program, "measured", measured)
    monkeypatch.setattr(program, "time", SimpleNamespace(perf_counter=lambda: now[0]))
    assert program.main(["--quick", "--out", str(tmp_path)]) == 1
    assert begun == list(program.NAMES[:2])
    assert f"{program.NAMES[2]}: left out" in capsys.readouterr().err
    begun.clear()
    program.main(["--quick", "--only", *program.NAMES, "--out", str(tmp_path)])
    assert sorted(begun) == sorted(program.NAMES)
    assert begun[-len(program.SLOW) :] == [name for name in program.NAMES if name in program.SLOW]


@pytest.mark.parametrize(
    "words",
    [
        ["--target", "https://x", "--user", "u"], ["--target", "https://x", "--user", "u", "--only", "limits"],
        ["--scheduler", "tcp://x"], ["--user", "u", "--only", "load"], ["--target", "https://x", "--only", "many"],
        ["--user", "u", "--only", "many"],
    ],
)  # fmt: skip
def test_main_refuses_options_that_no_measurement_uses(words: list[str], tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as ended:
        program.main([*words, "--out", str(tmp_path)])
    assert ended.value.code == 2
    assert not list(tmp_path.iterdir())


def test_main_on_another_machine_omits_committed_figures_and_causes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    about = {"processor": "Another", "cores": 96, "memory_gb": 1.0}
    judged = Mock(return_value=[])
    written = Mock(return_value="")
    monkeypatch.setattr(machine, "about", lambda _: about)
    monkeypatch.setattr(program, "NAMES", ())
    monkeypatch.setattr(goals, "judged", judged)
    monkeypatch.setattr(report, "write", written)
    assert program.main(["--out", str(program.RESULTS)]) == 0
    judged.assert_called_once_with({}, {})
    assert written.call_args.args[1:3] == ({}, {})  # its entries, and the committed ones
    assert written.call_args.args[4] == ""  # the notes
