from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import keyring
import pytest
from keyring.backend import KeyringBackend
from pydantic import SecretStr

from kerio_resync.cli import first_run
from kerio_resync.events import Event, PhaseChanged, RunStarted
from kerio_resync.settings import Settings
from kerio_resync.variables import PASSWORD_VARIABLE
from tests.support.cache import filled

STARTED = RunStarted("/p", "https://x", "jane")


class Memory(KeyringBackend):
    priority = 1

    def __init__(self) -> None:
        self.kept: dict[tuple[str, str], str] = {}

    def get_password(self, service: str, username: str) -> str | None:
        return self.kept.get((service, username))

    def set_password(self, service: str, username: str, password: str) -> None:
        self.kept[service, username] = password


@pytest.fixture(autouse=True)
def at_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(first_run, "can_ask", lambda: True)
    monkeypatch.delenv(PASSWORD_VARIABLE, raising=False)


@pytest.fixture
def memory() -> Any:
    before, backend = keyring.get_keyring(), Memory()
    keyring.set_keyring(backend)
    yield backend
    keyring.set_keyring(before)


def answering(*answers: str) -> Callable[[str], str]:
    left = list(answers)
    return lambda _: left.pop(0)


@pytest.mark.parametrize(
    ("given", "answers", "completed"),
    [
        ({}, ("mail.example.com", "jane"), {"server": "https://mail.example.com", "user": "jane"}),
        (
            {},
            ("http://", "ftp://x", " mail.example.com ", "jane"),
            {"server": "https://mail.example.com", "user": "jane"},
        ),
        ({"server": "https://x"}, ("jane",), {"server": "https://x", "user": "jane"}),
        ({"user": "jane", "fresh": True}, ("x",), {"server": "https://x", "user": "jane", "fresh": True}),
    ],
)
def test_missing_settings_are_asked_for(
    given: Mapping[str, Any], answers: tuple[str, ...], completed: Mapping[str, Any], tmp_path: Path
) -> None:
    assert first_run.complete(tmp_path, given, answering(*answers)) == (completed, True)


def test_empty_answer_gives_up(tmp_path: Path) -> None:
    assert first_run.complete(tmp_path, {}, answering("")) == ({"server": None, "user": None}, False)


async def test_configured_profile_is_not_asked_about(tmp_path: Path) -> None:
    given = {"server": "https://x", "user": "jane"}
    assert first_run.complete(tmp_path, given, answering()) == (given, False)
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "profile.toml").write_text('server = "https://x"\nuser = "jane"\n')
    assert first_run.complete(tmp_path / "a", {}, answering()) == ({}, False)
    await (await filled(tmp_path / "cache.db")).close()
    assert first_run.complete(tmp_path, {}, answering()) == ({}, False)


def test_nothing_is_asked_without_terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(first_run, "can_ask", lambda: False)
    assert first_run.complete(tmp_path, {}, answering()) == ({}, False)


def settings(folder: Path) -> Settings:
    return Settings(profile=folder, server="https://x", user="jane", password=SecretStr("pass-word"))


@pytest.mark.parametrize(("answer", "kept"), [("y", 1), ("Yes", 1), ("", 0), ("n", 0)])
def test_password_is_kept_after_the_login_if_wanted(answer: str, kept: int, tmp_path: Path, memory: Memory) -> None:
    seen: list[Event] = []
    listen = first_run.offer_keyring(settings(tmp_path), answering(answer), seen.append)
    listen(PhaseChanged("session"))
    assert memory.kept == {}
    listen(STARTED)
    assert len(memory.kept) == kept
    assert list(memory.kept.values()) == ["pass-word"] * kept
    assert seen == [PhaseChanged("session"), STARTED]


def test_stored_password_is_not_offered_again(tmp_path: Path, memory: Memory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PASSWORD_VARIABLE, "pass-word")
    seen: list[Event] = []
    assert first_run.offer_keyring(settings(tmp_path), answering(), seen.append) == seen.append


def test_keyring_that_refuses_is_reported(
    tmp_path: Path, memory: Memory, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: str) -> None:
        raise RuntimeError("locked")

    monkeypatch.setattr(memory, "set_password", refuse)
    first_run.offer_keyring(settings(tmp_path), answering("y"), lambda _: None)(STARTED)
    assert capsys.readouterr().err == "The keyring did not take the password (RuntimeError).\n"
