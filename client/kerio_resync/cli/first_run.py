"""Asks for what a first run needs, on a terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kerio_resync.events import Event, Listener, RunStarted

if TYPE_CHECKING:
    from kerio_resync.settings import Settings

MAX_ATTEMPTS = 5  # to type one answer
Ask = Callable[[str], str]  # shows a question; returns the answer, "" at the end of the input


def can_ask() -> bool:
    """Return whether a person can answer: input and messages are on a terminal."""
    return all(stream is not None and stream.isatty() for stream in (sys.stdin, sys.stderr))


def complete(profile: Path, given: Mapping[str, Any], ask: Ask) -> tuple[Mapping[str, Any], bool]:
    """Return the options, completed by answers, and whether there were any.

    Server and user are asked for if nothing names them, and a person can answer.
    """
    if not can_ask():
        return given, False
    from kerio_resync.cache.file_identity import stored_owner
    from kerio_resync.profile_file import load

    settings = load(profile, given)
    if (settings.server and settings.user) or stored_owner(settings.cache) or stored_owner(settings.next_cache):
        return given, False
    _say(f"Nothing is configured in {profile} yet. Three questions; Ctrl-C stops.")
    server = settings.server or _ask_until_valid(profile, "server", "Server, such as mail.example.com: ", ask)
    user = server and (settings.user or _ask_until_valid(profile, "user", "Name to log in with: ", ask))
    return {**given, "server": server or None, "user": user or None}, bool(server and user)


def _ask_until_valid(profile: Path, name: str, question: str, ask: Ask) -> str:
    """Return a valid answer; "" if the person gives none."""
    from pydantic import ValidationError

    from kerio_resync.settings import Settings

    for _ in range(MAX_ATTEMPTS):
        answer = ask(question).strip()
        if not answer:
            return ""
        try:
            return str(getattr(Settings.model_validate({"profile": profile, name: answer}), name))
        except ValidationError as error:
            reason = error.errors(include_input=False, include_url=False)[0]["msg"].removeprefix("Value error, ")
            _say(f"The {name} {reason}.")
    return ""


def offer_keyring(settings: Settings, ask: Ask, shown: Listener) -> Listener:
    """Ask whether to keep a typed password in the keyring.

    Return a listener that stores it once the server has accepted it.
    """
    from kerio_resync.settings import keyring_name, stored_password

    if stored_password(settings)[0]:
        return shown
    try:
        import keyring

        if keyring.get_keyring().priority <= 0:
            return shown
    except Exception:  # not installed, or broken
        return shown
    if ask("Keep the password in the system's keyring? [y/N] ").strip().casefold() not in ("y", "yes"):
        return shown

    def store_at_start(event: Event) -> None:
        if isinstance(event, RunStarted):
            try:
                keyring.set_password(keyring_name(settings), settings.user, settings.password.get_secret_value())
            except Exception as error:
                _say(f"The keyring did not take the password ({type(error).__name__}).")
        shown(event)

    return store_at_start


def _say(sentence: str) -> None:
    print(sentence, file=sys.stderr, flush=True)
