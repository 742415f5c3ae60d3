"""Compares README and docs with the program: options, codes, presets, examples."""

from __future__ import annotations

import json
import os
import re
import shlex
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import get_args

import pytest
from pydantic import BaseModel

from kerio_mockserver.conditions.link import Link
from kerio_mockserver.conditions.model import Action, Churn, Conditions, Fault, FaultKind, Load, Quirks
from kerio_mockserver.conditions.presets import PRESETS
from kerio_resync.errors import Exit
from kerio_resync.settings import Settings
from kerio_resync.sync.outbox.replay import TEMPORARY_REFUSALS
from kerio_resync.upgrade import launcher
from tests.support.fork_server import forked

ROOT = Path(__file__).parents[1]
PAGES = (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md")))
TEXT = "\n\n".join(page.read_text(encoding="utf-8") for page in PAGES)
COMMANDS = (
    "rebuild", "verify", "status", "digest", "estimate", "export", "browse", "upgrade", "start", "doctor",
    "support-bundle", "demo", "config show", "fleet plan", "fleet measure", "fleet report",
)  # fmt: skip


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", TEXT, re.DOTALL | re.MULTILINE)


def table_after(heading: str) -> list[list[str]]:
    rows = TEXT[TEXT.index(heading) :].split("|---|", 1)[1].split("\n\n", 1)[0].splitlines()[1:]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", row)[1:-1]] for row in rows]


def help_of(program: str, *command: str) -> set[str]:
    """The long options that `--help` lists."""
    module = {"kerio-resync": "kerio_resync", "kerio-mockserver": "kerio_mockserver"}[program]
    done = subprocess.run(
        [*forked(module), *command, "--help"],
        env={**os.environ, "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=True,
    )
    listed = [re.match(r"\s+((-\w, )?--.*?)(  |$)", line) for line in done.stdout.splitlines()]
    return {name for match in listed if match for name in re.findall(r"--[a-z-]+", match[1])} - {"--help"}


@pytest.fixture(scope="module")
def options() -> dict[str, set[str]]:
    return {command: help_of("kerio-resync", *command.split()) for command in COMMANDS}


def test_the_option_table_is_what_help_says(options: dict[str, set[str]]) -> None:
    told: dict[str, set[str]] = {command: set() for command in COMMANDS}
    for names, of, _ in table_after("| option | of |"):
        for command in of.split(", "):
            told[command] |= set(re.findall(r"--[a-z-]+", names))
    assert told == options


def test_the_command_table_is_what_there_is() -> None:
    listed = [re.findall("`([a-z -]+)`", row[0])[0] for row in table_after("| command | does |")]
    assert tuple(listed) == COMMANDS
    assert help_of("kerio-resync") == {"--profile", "--version", "--install-completion", "--show-completion"}
    done = subprocess.run([*forked("kerio_resync"), "--help"], capture_output=True, text=True, check=True)
    names = list(dict.fromkeys(name.split()[0] for name in COMMANDS))
    assert re.findall(r"^  ([a-z-]+)  ", done.stdout.split("Commands:")[1], re.MULTILINE) == names


def test_every_command_shown_exists_with_its_options(options: dict[str, set[str]]) -> None:
    shown = [line[2:] for block in blocks("console") for line in block.splitlines() if line.startswith("$ ")]
    makefile = (ROOT / "Makefile").read_text()
    assert shown
    for line in shown:
        program, command, *rest = shlex.split(line, comments=True)
        program = program.removeprefix(".venv/bin/")
        if program == "make":
            assert re.search(rf"^{command}:", makefile, re.MULTILINE), line
            continue
        if program in ("python", "curl"):
            continue  # tests/benchmarks/test_main.py
        if program in ("pip", "pipx"):
            assert command == "install", line
            continue
        if command in ("config", "fleet"):
            command += f" {rest.pop(0)}"
        known = options[command] if program == "kerio-resync" else help_of(program, command)
        assert {word for word in rest if word.startswith("--")} <= known, line


def test_the_exit_codes_are_all_there() -> None:
    assert [int(row[0]) for row in table_after("### Exit codes")] == [code.value for code in Exit]


def test_the_codes_of_start_are_those_it_ends_with() -> None:
    listed = [int(row[0]) for row in table_after("| code of `start` |")]
    assert listed == [launcher.FAILED, Exit.INTERRUPTED]


def test_the_settings_without_an_option_are_all_there(options: dict[str, set[str]]) -> None:
    described = {
        row[0].strip("`"): json.loads(row[1].strip("`")) for row in table_after("| setting | default | means |")
    }
    optional = {name.removeprefix("--").replace("-", "_") for names in options.values() for name in names}
    optional.add("exclude_folders")  # by --exclude-folder, which is repeatable
    fields = {name: field.default for name, field in Settings.model_fields.items()}
    without_option = {name: default for name, default in fields.items() if name not in optional}
    assert {name: without_option.pop(name) for name in described} == described
    assert set(without_option) == {"path", "password", "token", "folders", "replace_other"}  # never in the file


def test_the_refusals_that_are_tried_again_are_named() -> None:
    page = (ROOT / "docs" / "offline-changes.md").read_text(encoding="utf-8")
    sentence = page[page.index("The next rebuild tries again") :].partition("\n- ")[0]
    assert {int(code) for code in re.findall(r"\d+", sentence)} == TEMPORARY_REFUSALS


def test_every_list_of_import_formats_is_the_same() -> None:
    formats = ["mbox", "Maildir", "Thunderbird profiles", ".eml", ".ics", ".vcf"]
    texts = [
        " ".join(subprocess.check_output([*forked(module), name, "--help"], text=True).split())
        for module, name in (("kerio_resync", "demo"), ("kerio_mockserver", "serve"))
    ]
    lists = re.findall(r"`--import[^`]*`[^.]*? reads (.*?archives of them)", TEXT, re.DOTALL)
    assert len(lists) == 2
    for text in (*lists, *(re.findall(r"--import (?:<?PATH>? )?(.*?archives of them)", text)[-1] for text in texts)):
        places = [text.index(name) for name in formats]
        assert places == sorted(places), text


def test_every_linked_page_exists() -> None:
    for page in PAGES:
        for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 150


@pytest.mark.parametrize(
    ("heading", "value"),
    [
        ("### `link`", Link), ("### `load`", Load), ("### `faults`", Fault), ("### `churn`", Churn),
        ("### `quirks`", Quirks),
    ],
)  # fmt: skip
def test_every_condition_of_the_mock_is_documented(heading: str, value: type[BaseModel]) -> None:
    section = TEXT[TEXT.index(heading) :].split("\n###", 1)[0]
    assert {name for name in value.model_fields if f"`{name}`" not in section} == set()


def test_the_examples_of_conditions_are_valid() -> None:
    examples = [Conditions.parse(block).as_json() for block in blocks("json")]
    assert [name for name in ("faults", "load") if any(example[name] for example in examples)] == ["faults", "load"]


def test_every_kind_of_fault_and_action_is_documented() -> None:
    words = set(re.findall("`([a-z-]+)`", TEXT))
    assert set(get_args(FaultKind)) | set(get_args(Action)) <= words


def test_the_presets_are_all_there() -> None:
    listed = [name for row in table_after("| preset | is |") for name in re.findall("`([a-z0-9-]+)`", row[0])]
    assert sorted(listed) == sorted(PRESETS)


@pytest.fixture(scope="module")
def mock() -> Iterator[dict[str, str]]:
    command = [*forked("kerio_mockserver"), "serve", "--exit-with-parent", "--seed", "7", "--mails", "20"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            yield json.loads(server.stdout.readline())
        finally:
            server.terminate()


@pytest.fixture(scope="module")
def example(mock: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The folder and the output of the example, run against a mock server."""
    [code] = blocks("python")
    for written, real in (
        ("https://mail.example.com", mock["url"]),
        ("jane", mock["user"]),
        ("secret", mock["password"]),
    ):
        assert f'"{written}"' in code
        code = code.replace(f'"{written}"', f'"{real}"')
    folder = tmp_path_factory.mktemp("example")
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], cwd=folder, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    return folder, done.stdout


def test_the_example_runs(example: tuple[Path, str]) -> None:
    folder, printed = example
    assert re.search(r"^20 mails in profile/cache\.db after [\d.]+ s$", printed, re.MULTILINE)
    assert re.search(r"^\d+ of \d+ items$", printed, re.MULTILINE)
    assert (folder / "profile" / "cache.db").is_file()


def test_the_queries_run_and_the_views_have_the_columns_named(example: tuple[Path, str]) -> None:
    [queries] = blocks("sql")
    with closing(sqlite3.connect(example[0] / "profile" / "cache.db")) as db:
        for query in filter(str.strip, queries.split(";")):
            db.execute(query).fetchall()
        for view, about in table_after("| view | a row is |"):
            columns = [row[1] for row in db.execute(f"PRAGMA table_info({view.strip('`')})")]
            assert about.partition(": ")[2].split(", ") == columns, view
        views = [row[0] for row in db.execute("SELECT name FROM sqlite_master WHERE type = 'view'")]
        assert sorted(view.strip("`") for view, _ in table_after("| view | a row is |")) == sorted(views)


def test_the_manual_page_is_what_help_says() -> None:
    made = subprocess.run(
        [sys.executable, ROOT / "tools" / "man_page.py"], capture_output=True, text=True, check=True, cwd=ROOT
    ).stdout
    assert (ROOT / "docs" / "kerio-resync.1").read_text(encoding="utf-8") == made, "run `make man`"
    assert [name for name in COMMANDS if f".SS {name}" not in made.replace("\\-", "-").splitlines()] == []


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help_fits_a_terminal_of_80_columns_without_cut_sentences(command: str) -> None:
    help_text = {
        option: subprocess.run(
            [*forked("kerio_resync"), *command.split(), option],
            env={**os.environ, "COLUMNS": "80"}, capture_output=True, text=True, check=True,
        ).stdout
        for option in ("--help", "-h")
    }  # fmt: skip
    assert help_text["--help"] == help_text["-h"]
    lines = help_text["--help"].splitlines()
    assert max(map(len, lines)) <= 80
    assert [line for line in lines[1:] if re.search(r"[a-z,]\.\.\.", line)] == []
