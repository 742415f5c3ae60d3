"""The entry point: what it settles at once, and what it leaves to the command line."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from benchmarks.legacy import IDENTITY
from kerio_resync import quick
from kerio_resync.cache.lock import ProfileLock
from kerio_resync.cache.store import Store
from kerio_resync.upgrade import gate


@pytest.fixture
async def profile(tmp_path: Path) -> Path:
    await (await Store.create(tmp_path / "cache.db", IDENTITY)).close()
    return tmp_path


class CommandLine(Exception):
    """Stands in for the long way."""


@pytest.fixture(autouse=True)
def long_way(monkeypatch: pytest.MonkeyPatch) -> None:
    def main() -> None:
        raise CommandLine

    monkeypatch.setattr("kerio_resync.cli.main", main)
    monkeypatch.delenv("KERIO_RESYNC_PROFILE", raising=False)


def run(monkeypatch: pytest.MonkeyPatch, *words: str) -> object:
    monkeypatch.setattr(sys, "argv", ["kerio-resync", *words])
    with pytest.raises(SystemExit) as ended:
        quick.main()
    return ended.value.code


@pytest.mark.parametrize("words", [["--profile", "P", "upgrade"], ["upgrade", "--profile", "P"]])
@pytest.mark.parametrize("quiet", [[], ["--quiet"], ["-q"]])
def test_what_is_up_to_date_is_said_at_once(
    words: list[str], quiet: list[str], profile: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    assert run(monkeypatch, *(str(profile) if word == "P" else word for word in words), *quiet) == 0
    assert capsys.readouterr().out == ("" if quiet else "The database is up to date.\n")


def test_the_profile_may_come_from_the_environment(profile: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KERIO_RESYNC_PROFILE", str(profile))
    assert run(monkeypatch, "upgrade") == 0


def test_a_program_is_started_at_once_under_the_lock(profile: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[list[str], bool]] = []

    def become(path: str, command: list[str], unlock: object) -> int:
        seen.append((command, bool(ProfileLock(profile).holder())))
        return 17

    monkeypatch.setattr(gate, "_hand_over", become)
    assert run(monkeypatch, "--profile", str(profile), "start", "--", "sh", "upgrade", "--", "-q") == 17
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
def test_all_else_takes_the_long_way(words: list[str], profile: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["k", *(str(profile) if word == "P" else word for word in words)])
    with pytest.raises(CommandLine):
        quick.main()


def test_somebody_has_the_profile(profile: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["k", "--profile", str(profile), "start", "--", "sh"])
    with ProfileLock(profile), pytest.raises(CommandLine):
        quick.main()


def test_attempts_that_were_counted_are_settled_by_the_long_way(profile: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (profile / "upgrade.json").write_text("{}")
    monkeypatch.setattr(sys, "argv", ["k", "--profile", str(profile), "upgrade"])
    with pytest.raises(CommandLine):
        quick.main()
