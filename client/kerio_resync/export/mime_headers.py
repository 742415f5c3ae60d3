"""Encodes header values: texts, people, dates, parameters.

What is not printable ASCII becomes encoded words (RFC 2047) or extended parameters (RFC 2231), so that every reader
decodes the same text. Only addresses with other characters stay in UTF-8 (RFC 6532). No value can begin a new header.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Iterator, Sequence
from datetime import datetime
from email.utils import format_datetime, getaddresses
from inspect import signature
from typing import Any, Final
from urllib.parse import quote

from kerio_resync.server.mime import HeaderValue, Person

_PLAIN: Final = re.compile(r"[!-~]{1,900}(?: [!-~]{1,900})*")
_ATOMS: Final = re.compile(r"[\w!#$%&'*+/^`{|}~-]+(?: [\w!#$%&'*+/^`{|}~-]+)*", re.ASCII)
_ADDRESS: Final = re.compile(r"[^\s\x00-\x1f\x7f<>()\[\],;:\"\\@]+(?:@[^\s\x00-\x1f\x7f<>()\[\],;:\"\\@]+)?")
_TOKEN_VALUE: Final = re.compile(r"[ !#-\[\]-~]{0,200}")
# Releases of Python since 2024 refuse lines with an invalid address unless they are asked to be lenient.
_LENIENT: Final[dict[str, Any]] = {"strict": False} if "strict" in signature(getaddresses).parameters else {}
_LINE_CHARACTERS: Final = 76
_WORD_BYTES: Final = 45  # make an encoded word of 72 characters
_SECTION_CHARACTERS: Final = 54  # of an extended parameter


def header_line(name: str, value: HeaderValue) -> tuple[bytes, bool]:
    """Return a header with its line end, and whether it expresses the whole value."""
    whole = True
    if isinstance(value, datetime):
        text = format_datetime(value)
    elif isinstance(value, str):
        text = encoded_text(value, len(name) + 2)
    else:
        written = [_mailbox(person) for person in value]
        text, whole = ",\n ".join(mailbox for mailbox, _ in written), all(whole for _, whole in written)
    return f"{name}: {text}\n".encode("utf-8", "replace"), whole


def encoded_text(text: str, used: int) -> str:
    """Return a text for a header of which `used` characters are taken, folded."""
    text = _one_line(text)
    if _PLAIN.fullmatch(text) and "=?" not in text:
        return _folded(text, used)
    return "\n ".join(_encoded_words(text))


def _one_line(text: str) -> str:
    return text if text.isprintable() else " ".join(text.splitlines())


def _folded(text: str, used: int) -> str:
    if used + len(text) <= _LINE_CHARACTERS:
        return text
    lines: list[str] = []
    for word in text.split(" "):
        if lines and used + 1 + len(word) <= _LINE_CHARACTERS:
            lines[-1] += f" {word}"
            used += 1 + len(word)
        else:
            used = used + len(word) if not lines else 1 + len(word)
            lines.append(word)
    return "\n ".join(lines)


def _encoded_words(text: str) -> Iterator[str]:
    """Yield encoded words; no character is divided between two of them."""
    word = b""
    for letter in text:
        data = letter.encode("utf-8", "replace")
        if word and len(word) + len(data) > _WORD_BYTES:
            yield f"=?utf-8?b?{b64encode(word).decode()}?="
            word = b""
        word += data
    yield f"=?utf-8?b?{b64encode(word).decode()}?="


def _mailbox(person: Person) -> tuple[str, bool]:
    """Return a name with its address, and whether readers get that address back."""
    name, address = person
    if not address:
        return f"{_phrase(name)} <>", True
    for spelled in _spellings(address):
        whole = f"{_phrase(name)} <{spelled}>" if name else spelled
        if spelled != address or _ADDRESS.fullmatch(address) or _reads_as(whole, person):
            return whole, True
    return f"{_phrase(f'{name} {address}'.strip())} <>", False


def _spellings(address: str) -> Iterator[str]:
    """Yield an address as it is, and with a quoted local part.

    Mails have invalid ones too.
    """
    yield address
    local, at, domain = address.rpartition("@")
    if at and local and _TOKEN_VALUE.fullmatch(local) and _ADDRESS.fullmatch(f"x@{domain}"):
        yield f'"{local}"@{domain}'


def _reads_as(written: str, person: Person) -> bool:
    if not written.isprintable() or "=?" in written:
        return False
    try:
        return getaddresses([written], **_LENIENT) == [person]
    except (ValueError, IndexError, TypeError, RecursionError):  # errors of some releases
        return False


def _phrase(name: str) -> str:
    name = _one_line(name)
    if _ATOMS.fullmatch(name) and len(name) < _LINE_CHARACTERS:
        return name
    if _TOKEN_VALUE.fullmatch(name) and name == name.strip() and "=?" not in name:
        return f'"{name}"'
    return "\n ".join(_encoded_words(name))


def parameters(pairs: Sequence[tuple[str, str]]) -> str:
    """Return parameters of a header, each on a line of its own."""
    return "".join(f";\n {part}" for name, value in pairs for part in _parameter(name, value))


def _parameter(name: str, value: str) -> Iterator[str]:
    if _TOKEN_VALUE.fullmatch(value) and len(value) < _LINE_CHARACTERS and "=?" not in value:
        yield f'{name}="{value}"'
        return
    coded = quote(value.encode("utf-8", "replace"), safe="!#$&+-.^_`{|}~")
    if len(coded) <= _SECTION_CHARACTERS:
        yield f"{name}*=utf-8''{coded}"
        return
    charset = "utf-8''"
    yield from (
        f"{name}*{number}*={charset if not number else ''}{section}" for number, section in enumerate(_sections(coded))
    )


def _sections(coded: str) -> Iterator[str]:
    """Divide a percent-encoded value, but no escape."""
    while coded:
        end = _SECTION_CHARACTERS
        if "%" in coded[end - 2 : end] and len(coded) > end:
            end = coded.rindex("%", 0, end)
        yield coded[:end]
        coded = coded[end:]
