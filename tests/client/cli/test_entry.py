"""The entry point: what it settles at once, and what it leaves to the command line."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.format71_files import IDENTITY
from kerio_resync.cache.lock import ProfileLock
from kerio_resync.cache.store import Store
from kerio_resync.cli import entry
from kerio_resync.upgrade import launcher


@pytest.fixture
async def profile(tmp_path: Path) -> Path:
    await (await Store.create(tmp_path / "cache.db", IDENTITY)).close()
    return tmp_path


def test_main_collects_seldom_and_not_at_the_end() -> None:
    code = (
        "import atexit, gc, os, sys; from kerio_resync.cli.entry import main; sys.argv[1:] = ['--version'];"
        "atexit.register(lambda: os.write(1, b'%d %r' % (gc.get_threshold()[0], gc.get_freeze_count() > 0))); main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split()[-2:] == [str(entry.YOUNG_OBJECTS), "True"]


class CommandLine(Exception):
    """Stands in for the long way."""


@pytest.fixture(autouse=True)
def long_way(monkeypatch: pytest.MonkeyPatch) -> None:
    def main() -> None:
        raise CommandLine

    monkeypatch.setattr("kerio_resync.cli.app.main", main)
    monkeypatch.delenv("KERIO_RESYNC_PROFILE", raising=False)


def run(*words: str) -> object:
    with pytest.raises(SystemExit) as ended:
        entry.answer(words)
    return ended.value.code


@pytest.mark.parametrize("words", [["--profile", "P", "upgrade"], ["upgrade", "--profile", "P"]])
@pytest.mark.parametrize("quiet", [[], ["--quiet"], ["-q"]])
def test_what_is_up_to_date_is_said_at_once(
    words: list[str], quiet: list[str], profile: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    assert run(*(str(profile) if word == "P" else word for word in words), *quiet) == 0
    assert capsys.readouterr().out == ("" if quiet else "The database is up to date.\n")


def test_the_profile_may_come_from_the_environment(profile: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KERIO_RESYNC_PROFILE", str(profile))
    assert run("upgrade") == 0


def test_a_program_is_started_at_once_under_the_lock(profile: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[list[str], bool]] = []

    def become(path: str, command: list[str], unlock: object) -> int:
        seen.append((command, bool(ProfileLock(profile).holder())))
        return 17

    monkeypatch.setattr(launcher, "_run_program", become)
    assert run("--profile", str(profile), "start", "--", "sh", "upgrade", "--", "-q") == 17
    assert seen == [(["sh", "upgrade", "--", "-q"], True)]


@pytest.mark.parametrize(
    "words",
    [
        ["upgrade"], ["--profile", "P", "upgrade", "--json"], ["--profile", "P", "start"], ["--profile", "P", "status"],
        ["--profile", "P", "upgrade", "--", "sh"], ["--profile", "P", "start", "--", "no-such-program"],
        ["--profile", "nowhere", "upgrade"], ["--profile"], [], ["--", "sh"],
        ["--profile", "P", "start", "x", "--", "sh"],
    ],
)  # fmt: skip
def test_all_else_takes_the_long_way(words: list[str], profile: Path) -> None:
    with pytest.raises(CommandLine):
        entry.answer([str(profile) if word == "P" else word for word in words])


def test_somebody_has_the_profile(profile: Path) -> None:
    with ProfileLock(profile), pytest.raises(CommandLine):
        entry.answer(["--profile", str(profile), "start", "--", "sh"])


def test_attempts_that_were_counted_are_settled_by_the_long_way(profile: Path) -> None:
    (profile / "upgrade.json").write_text("{}")
    with pytest.raises(CommandLine):
        entry.answer(["--profile", str(profile), "upgrade"])
