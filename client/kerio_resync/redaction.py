"""Takes secrets out of texts that other software wrote, in every form in which a secret may come back.

`Redactor.foreign` is for what a server or proxy says. It masks each run of four or more characters of a secret, so that
it makes no difference where a message was cut, wrapped or re-spaced, before or after. `Redactor.own` is for our own
sentences, which may quote a name: it masks longer runs only, so that ordinary words stay readable.

Recognised are the secret itself (in any case and Unicode form, with blanks and invisible characters in between), its
JSON, URL, HTML and backslash escapes, base64 at each alignment (so also inside `user:password`), hexadecimal, and UTF-8
that was read as Latin-1. A secret of fewer than four characters is not looked for: it would match in every word.
"""

from __future__ import annotations

import base64
import re
import unicodedata
from collections.abc import Callable, Collection, Iterator
from dataclasses import fields, replace
from functools import lru_cache
from traceback import clear_frames
from typing import Any, TypeVar

from kerio_resync.errors import ResyncError
from kerio_resync.events import Event, FolderListed, Listener, Notice, Paused, Retrying, RunFinished, Skipped

E = TypeVar("E", bound=BaseException)

MASK = "…"
MIN_FOREIGN = 4  # characters in a row that count as a piece of a secret in a foreign text
MIN_OWN = 8  # and in one of ours
MAX_SECRETS = 64  # a server may issue new tokens and cookies for ever
MAX_TEXT = 64 * 1024  # characters of a text that are looked at; the rest is dropped
MAX_DEPTH = 8  # of a value from a server
MAX_ROUNDS = 3  # of escaping inside escaping

_QUOTING = (Skipped, FolderListed, Retrying, Paused, Notice, RunFinished)  # events that may quote a server's words
_ESCAPE = re.compile(
    r"(?P<units>(?:\\u[0-9a-fA-F]{4})+)|\\x(?P<byte>[0-9a-fA-F]{2})|\\(?P<short>[^ux])"
    r"|(?P<percent>(?:%[0-9a-fA-F]{2})+)|(?P<quoted>(?:=[0-9A-F]{2})+)"
    r"|&\#(?P<decimal>[0-9]{1,7});?|&\#[xX](?P<hex>[0-9a-fA-F]{1,6});?|(?P<entity>&[A-Za-z][A-Za-z0-9]{1,30};)"
)
_Stream = list[tuple[str, int, int]]  # characters, each with the span of the text that it stands for


class Redactor:
    """The secrets of one run. Never shows them: `repr` gives their number."""

    def __init__(self) -> None:
        self._secrets: dict[str, None] = {}
        self._pieces: dict[int, dict[int, set[str]]] = {}

    def __repr__(self) -> str:
        return f"Redactor({len(self._secrets)} secrets)"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Redactor)  # it is no part of what makes two settings equal

    __hash__ = object.__hash__

    def keep(self, *secrets: str) -> None:
        """Takes these out from now on. The first secrets (passwords) stay; of later ones the newest stay."""
        new = [each for each in secrets if len(_comparable(each)) >= MIN_FOREIGN and each not in self._secrets]
        if not new:
            return
        self._secrets.update(dict.fromkeys(new))
        while len(self._secrets) > MAX_SECRETS:
            self._secrets.pop(list(self._secrets)[MAX_SECRETS // 8])
        self._pieces.clear()

    def foreign(self, text: str) -> str:
        """A text that other software wrote, without any four characters in a row of a secret."""
        return self._masked(text, MIN_FOREIGN)

    def own(self, text: str) -> str:
        """A sentence of ours that may quote a name or an address, without secrets."""
        return self._masked(text, MIN_OWN)

    def value(
        self,
        value: Any,
        names: Collection[str] = (),
        clean: Callable[[str], str] | None = None,
        depth: int = MAX_DEPTH,
    ) -> Any:
        """A JSON value with all its strings, and names of members, cleaned; what is deeper than `depth` is dropped.

        `names`: members that keep their names, which are the protocol's, even where a secret has the same letters.
        """
        clean = clean or self.foreign
        if isinstance(value, str):
            return clean(value)
        if not isinstance(value, list | tuple | dict):
            return value
        if not depth:
            return None
        if isinstance(value, dict):
            return {
                name if name in names else clean(str(name)): self.value(each, names, clean, depth - 1)
                for name, each in value.items()
            }
        return [self.value(each, names, clean, depth - 1) for each in value]

    def event(self, event: Event) -> Event:
        """The event without secrets in what it quotes; the counts, and what the user gave, stay as they are."""
        if not isinstance(event, _QUOTING) or not self._secrets:
            return event
        said = {each.name: getattr(event, each.name) for each in fields(event)}
        clean = {name: self.value(value, clean=self.own) for name, value in said.items()}
        return event if clean == said else replace(event, **clean)

    def listening(self, listen: Listener) -> Listener:
        """A listener that passes events on without secrets."""

        def heard(event: Event) -> None:
            listen(self.event(event))

        return heard

    def error(self, error: E) -> E:
        """The same error: its texts, and those of the errors behind it, without secrets."""
        for each in chain(error):
            if isinstance(each, ResyncError):
                each.detail = self.own(each.detail)
                each.args = (each.detail,)
            else:
                words = (one for one in each.args if isinstance(one, str | int))  # the rest may be a request or a reply
                each.args = tuple(self.foreign(one) if isinstance(one, str) else one for one in words)
        return error

    def _masked(self, text: str, least: int) -> str:
        if not self._secrets:
            return text
        text = text[:MAX_TEXT]
        pieces = self._pieces.get(least)
        if pieces is None:
            pieces = self._pieces[least] = _pieces_of(self._secrets, least)
        spans = sorted(set(_found(text, pieces)))
        parts: list[str] = []
        end = 0
        for start, stop in spans:
            if start > end or not parts:
                parts += [text[end:start], MASK]
            end = max(end, stop)
        return "".join(parts) + text[end:]


def chain(error: BaseException) -> list[BaseException]:
    """The error, those that it was raised from or during, and those inside a group; each once."""
    found: list[BaseException] = []
    left: list[BaseException | None] = [error]
    while left:
        each = left.pop()
        if each is not None and all(each is not one for one in found):
            found.append(each)
            left += [each.__cause__, each.__context__]
            left += each.exceptions if isinstance(each, BaseExceptionGroup) else ()
    return found


def emptied(error: BaseException) -> None:
    """Clears the local variables of the functions that the error, and each error behind it, came through.

    They hold requests, replies and mails. What still runs keeps its variables.
    """
    for each in chain(error):
        clear_frames(each.__traceback__)


def _pieces_of(secrets: dict[str, None], least: int) -> dict[int, set[str]]:
    """By length: the character runs that give a secret away. A form that is shorter than `least` counts as a whole."""
    pieces: dict[int, set[str]] = {}
    for secret in secrets:
        for form in _forms(secret):
            length = min(least, len(form))
            pieces.setdefault(length, set()).update(form[at : at + length] for at in range(len(form) - length + 1))
    return pieces


def _forms(secret: str) -> set[str]:
    """The ways to write a secret that are not undone by reading escapes, in comparable form."""
    forms = {secret, secret.replace(" ", "+")}
    for encoding in ("utf-8", "latin-1"):
        try:
            data = secret.encode(encoding)
        except UnicodeEncodeError:
            continue
        forms |= {data.hex(), data.decode("latin-1")}
        for shift in range(3):
            # the characters that hold no bits of what stands before and after it
            start = -(-shift * 8 // 6)
            coded = base64.b64encode(bytes(shift) + data)[start : (shift + len(data)) * 8 // 6].decode()
            forms |= {coded, coded.translate({43: "-", 47: "_"})}
    return {form for form in map(_comparable, forms) if len(form) >= MIN_FOREIGN}


def _found(text: str, pieces: dict[int, set[str]]) -> Iterator[tuple[int, int]]:
    """The spans of the text that hold a piece of a secret."""
    stream: _Stream = [(letter, at, at + 1) for at, letter in enumerate(text)]
    for _ in range(MAX_ROUNDS + 1):
        letters = [(folded, start, stop) for letter, start, stop in stream for folded in _folded(letter)]
        line = "".join(letter for letter, _, _ in letters)
        for length, runs in pieces.items():
            for at in range(len(line) - length + 1):
                if line[at : at + length] in runs:
                    yield letters[at][1], letters[at + length - 1][2]
        unescaped = _unescaped(stream)
        if unescaped is None:
            return
        stream = unescaped


def _comparable(text: str) -> str:
    return "".join(folded for letter in text for folded in _folded(letter))


@lru_cache(maxsize=4096)
def _folded(letter: str) -> str:
    """A character as it is compared: without case and accents' composition; nothing for what is not seen."""
    if letter.isspace() or not letter.isprintable():
        return ""
    return unicodedata.normalize("NFKD", letter).lower() if not letter.isascii() else letter.lower()


def _unescaped(stream: _Stream) -> _Stream | None:
    """The stream with one layer of escapes read; None if there are none."""
    text = "".join(letter if len(letter) == 1 else "\ufffd" for letter, _, _ in stream)
    read: _Stream = []
    end = 0
    for found in _ESCAPE.finditer(text):
        read += stream[end : found.start()]
        end = found.end()
        span = stream[found.start()][1], stream[end - 1][2]
        read += [(letter, *span) for letter in _meaning(found)]
    return read + stream[end:] if end else None


def _meaning(found: re.Match[str]) -> str:
    match found.lastgroup:
        case "units":
            data = bytes.fromhex(found["units"].replace("\\u", ""))
            return data.decode("utf-16-be", "replace")
        case "byte":
            return chr(int(found["byte"], 16))
        case "short":
            return "" if found["short"] in "nrtbf" else found["short"]
        case "percent" | "quoted":
            data = bytes.fromhex(re.sub("[%=]", "", found[0]))
            try:
                return data.decode()
            except UnicodeDecodeError:
                return data.decode("latin-1")
        case "decimal" | "hex":
            code = int(found["decimal"] or found["hex"], 10 if found["decimal"] else 16)
            return chr(code) if code < 0x110000 else ""
        case _:
            import html

            return html.unescape(found[0])
