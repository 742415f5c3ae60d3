"""Masks secrets in texts, in every form in which a server or proxy may quote them.

`Redactor.foreign` is for texts of other software. It masks each run of four or more characters of a secret, so that
cutting, wrapping and spacing do not matter. `Redactor.own` is for our own sentences, which may quote a name. It masks
longer runs only, so that ordinary words stay readable.

Recognised forms: any case and Unicode form, with blanks and invisible characters in between; JSON, URL, HTML and
backslash escapes; base64 at each alignment, as in `user:password`; hexadecimal; UTF-8 read as Latin-1. A secret of
fewer than four characters is not masked: it would match in every word.
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
from kerio_resync.events import Checked, Event, FolderListed, Listener, Notice, Paused, Retrying, RunFinished, Skipped

E = TypeVar("E", bound=BaseException)

MASK = "…"
MIN_FOREIGN = 4  # consecutive characters of a secret that are masked in a foreign text
MIN_OWN = 8  # the same for our own sentences
MAX_SECRETS = 64  # a server can issue tokens and cookies without end
MAX_TEXT = 64 * 1024  # characters; the rest of a text is dropped
MAX_DEPTH = 8  # levels of a JSON value; deeper ones are dropped
MAX_ROUNDS = 3  # levels of nested escapes

_QUOTING = (Skipped, FolderListed, Retrying, Paused, Notice, Checked, RunFinished)  # events with texts of the server
_ESCAPE = re.compile(
    r"(?P<units>(?:\\u[0-9a-fA-F]{4})+)|\\x(?P<byte>[0-9a-fA-F]{2})|\\(?P<short>[^ux])"
    r"|(?P<percent>(?:%[0-9a-fA-F]{2})+)|(?P<quoted>(?:=[0-9A-F]{2})+)"
    r"|&\#(?P<decimal>[0-9]{1,7});?|&\#[xX](?P<hex>[0-9a-fA-F]{1,6});?|(?P<entity>&[A-Za-z][A-Za-z0-9]{1,30};)"
)
_Stream = list[tuple[str, int, int]]  # characters, each with its start and end in the original text


class Redactor:
    """The secrets of one run; `repr` shows only their number."""

    def __init__(self) -> None:
        self._secrets: dict[str, None] = {}
        self._pieces: dict[int, dict[int, set[str]]] = {}

    def __repr__(self) -> str:
        return f"Redactor({len(self._secrets)} secrets)"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Redactor)  # so that equal settings compare equal

    __hash__ = object.__hash__

    def keep(self, *secrets: str) -> None:
        """Add secrets; of too many, the first (passwords) and the newest are kept."""
        new = [secret for secret in secrets if len(_comparable(secret)) >= MIN_FOREIGN and secret not in self._secrets]
        if not new:
            return
        self._secrets.update(dict.fromkeys(new))
        while len(self._secrets) > MAX_SECRETS:
            self._secrets.pop(list(self._secrets)[MAX_SECRETS // 8])
        self._pieces.clear()

    def foreign(self, text: str) -> str:
        """Mask runs of MIN_FOREIGN characters of a secret, for a text of other software."""
        return self._masked(text, MIN_FOREIGN)

    def own(self, text: str) -> str:
        """Mask runs of MIN_OWN characters of a secret, for our own sentence."""
        return self._masked(text, MIN_OWN)

    def value(
        self,
        value: Any,
        names: Collection[str] = (),
        clean: Callable[[str], str] | None = None,
        depth: int = MAX_DEPTH,
    ) -> Any:
        """Clean the strings of a JSON value; drop what is deeper than `depth`.

        `names`: member names of the protocol, which stay even if a secret has the same letters.
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
                name if name in names else clean(str(name)): self.value(member, names, clean, depth - 1)
                for name, member in value.items()
            }
        return [self.value(member, names, clean, depth - 1) for member in value]

    def event(self, event: Event) -> Event:
        """Return the event with its quoted texts masked."""
        if not isinstance(event, _QUOTING) or not self._secrets:
            return event
        values = {field.name: getattr(event, field.name) for field in fields(event)}
        clean = {name: self.value(value, clean=self.own) for name, value in values.items()}
        return event if clean == values else replace(event, **clean)

    def listening(self, listen: Listener) -> Listener:
        """Return a listener that masks events and passes them to `listen`."""
        return lambda event: listen(self.event(event))

    def error(self, error: E) -> E:
        """Mask the texts of an error and of its causes in place; return the error."""
        for link in chain(error):
            if isinstance(link, ResyncError):
                link.detail = self.own(link.detail)
                link.args = (link.detail,)
            else:  # other arguments may be requests or replies, and are dropped
                texts = (argument for argument in link.args if isinstance(argument, str | int))
                link.args = tuple(self.foreign(text) if isinstance(text, str) else text for text in texts)
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
    """Return the error, its causes, contexts and members of groups, each once."""
    found: dict[int, BaseException] = {}
    pending: list[BaseException | None] = [error]
    while pending:
        link = pending.pop()
        if link is not None and id(link) not in found:
            found[id(link)] = link
            pending += [link.__cause__, link.__context__]
            pending += link.exceptions if isinstance(link, BaseExceptionGroup) else ()
    return list(found.values())


def emptied(error: BaseException) -> None:
    """Clear the local variables in the tracebacks of an error and of its causes.

    They hold requests, replies and mails. Functions that still run keep their variables.
    """
    for link in chain(error):
        clear_frames(link.__traceback__)


def _pieces_of(secrets: dict[str, None], least: int) -> dict[int, set[str]]:
    """Return the runs to mask by length; a form shorter than `least` is one run."""
    pieces: dict[int, set[str]] = {}
    for secret in secrets:
        for form in _forms(secret):
            length = min(least, len(form))
            pieces.setdefault(length, set()).update(form[at : at + length] for at in range(len(form) - length + 1))
    return pieces


def _forms(secret: str) -> set[str]:
    """Return the forms of a secret that `_unescaped` does not undo."""
    forms = {secret, secret.replace(" ", "+")}
    for encoding in ("utf-8", "latin-1"):
        try:
            data = secret.encode(encoding)
        except UnicodeEncodeError:
            continue
        forms |= {data.hex(), data.decode("latin-1")}
        for shift in range(3):
            # without the characters that share bits with neighbouring data
            start = -(-shift * 8 // 6)
            coded = base64.b64encode(bytes(shift) + data)[start : (shift + len(data)) * 8 // 6].decode()
            forms |= {coded, coded.translate({43: "-", 47: "_"})}
    return {form for form in map(_comparable, forms) if len(form) >= MIN_FOREIGN}


def _found(text: str, pieces: dict[int, set[str]]) -> Iterator[tuple[int, int]]:
    """Yield the spans of the text that hold a run of a secret."""
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
    """Return a character in lower case and decomposed; nothing if invisible."""
    if letter.isspace() or not letter.isprintable():
        return ""
    return unicodedata.normalize("NFKD", letter).lower() if not letter.isascii() else letter.lower()


def _unescaped(stream: _Stream) -> _Stream | None:
    """Decode one level of escapes; None if there are none."""
    text = "".join(letter if len(letter) == 1 else "\ufffd" for letter, _, _ in stream)
    read: _Stream = []
    end = 0
    for escape in _ESCAPE.finditer(text):
        read += stream[end : escape.start()]
        end = escape.end()
        span = stream[escape.start()][1], stream[end - 1][2]
        read += [(letter, *span) for letter in _meaning(escape)]
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
