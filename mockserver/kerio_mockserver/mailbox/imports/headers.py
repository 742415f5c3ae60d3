"""Header values as text: RFC 2047 words, raw 8-bit bytes, addresses, dates.

Values come from `email` (policy compat32) as text in which raw bytes are surrogate escapes; no value raises. What could
not be read cleanly is counted in the given `Warnings`.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from email.utils import getaddresses, parsedate_tz
from typing import Any, NamedTuple

from kerio_mockserver.mailbox.imports.charsets import Warnings, cleaned, decode, known_charset, strict

Struct = dict[str, Any]

BAD_WORD = "encoded word broken"
BAD_DATE = "date unreadable"
BAD_ADDRESS = "address unreadable"

_WORD = re.compile(r"=\?([^?\s]{1,60})\?([bBqQ])\?((?:(?!\?=|=\?[^?\s]{1,60}\?[bBqQ]\?).)*)\?=")
_BETWEEN = re.compile(r"\s*\Z")
_LOCAL = re.compile(r"[\w.+-]+")
_FOLD = re.compile(r"[\r\n]+[ \t]*")
_BASE64 = re.compile(r"[^A-Za-z0-9+/]")
# Python releases since 2024 return nothing for a line with one odd address unless asked to be lenient
_LENIENT: dict[str, Any] = {}
try:
    getaddresses([], strict=False)  # type: ignore[call-arg, unused-ignore]
    _LENIENT["strict"] = False
except TypeError:
    pass


def header_text(value: str, hints: Sequence[str], warnings: Warnings) -> str:
    """Return a header value on one line, with its encoded words decoded.

    Adjacent words in one charset are joined first: senders split them within a character.
    """
    value = _FOLD.sub(" ", value).strip()
    if "=?" not in value:
        return _plain(value, hints, warnings)
    out: list[str] = []
    pending: list[_Word] = []
    end = 0
    for match in _WORD.finditer(value):
        gap = value[end : match.start()]
        charset = match[1].partition("*")[0].lower()
        if not (pending and _BETWEEN.match(gap) and pending[-1].charset == charset):
            _flush(out, pending, hints, warnings)
            if not (out and end and _BETWEEN.match(gap)):
                out.append(_plain(gap, hints, warnings))
        pending.append(_word(charset, match[2], match[3], warnings))
        end = match.end()
    _flush(out, pending, hints, warnings)
    rest = value[end:]
    if "=?" in rest:
        warnings[BAD_WORD] += 1
    out.append(_plain(rest, hints, warnings))
    return _FOLD.sub(" ", "".join(out)).strip()


def _plain(value: str, hints: Sequence[str], warnings: Warnings) -> str:
    """Return text between encoded words.

    As it is (RFC 2231), or decoded from its bytes.
    """
    try:
        value.encode()
    except UnicodeEncodeError:
        return decode(_raw_bytes(value), None, hints, warnings)
    return decode(value.encode(), None, hints, warnings) if "\x1b$" in value else cleaned(value, warnings)


def _raw_bytes(value: str) -> bytes:
    """Return the bytes of a header value as they were in the mail."""
    return value.encode("utf-8", "surrogateescape")


def word_charsets(value: str) -> list[str]:
    """Return the known charsets of a header's encoded words."""
    return [name for match in _WORD.finditer(value) if (name := known_charset(match[1])) is not None]


def addresses(values: Sequence[str], hints: Sequence[str], warnings: Warnings) -> list[Struct]:
    """Return the addresses of headers; text without an address becomes a name."""
    found: list[Struct] = []
    for value in values:
        flat = _FOLD.sub(" ", value)
        try:
            pairs = getaddresses([flat], **_LENIENT)
        except (RecursionError, ValueError, IndexError, TypeError):  # hostile nesting, or errors of some releases
            warnings[BAD_ADDRESS] += 1
            pairs = [(flat, "")]
        if not any(name or "@" in address for name, address in pairs) and flat.strip() not in ("", "<>"):
            pairs = [("", flat) if _LOCAL.fullmatch(flat.strip()) else (flat, "")]
        for name, address in pairs:
            if name or address:
                found.append(email(header_text(name, hints, warnings), header_text(address, hints, warnings)))
    return found


def email(name: str = "", address: str = "") -> Struct:
    """Return an EMail struct."""
    return {"name": name, "address": address, "contactId": ""}


def utc(value: str) -> str:
    """Return a mail's date as UtcDateTime (`20251210T110355Z`), or "" if invalid."""
    try:
        parts = parsedate_tz(value)
        if parts is None:
            return ""
        # mailers around 2000 wrote years since 1900: 102 is 2002
        year = parts[0] + 1900 if 100 <= parts[0] < 200 else parts[0]
        stamp = datetime(year, *parts[1:6], tzinfo=UTC).timestamp() - (parts[9] or 0)
        return stamped(stamp)
    except (ValueError, OverflowError, IndexError, TypeError, OSError):
        return ""


def stamped(seconds: float) -> str:
    """Return seconds since 1970 as UtcDateTime; "" before 1970 or after 2099."""
    if not 0 < seconds < 4102444800:
        return ""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y%m%dT%H%M%SZ")


class _Word(NamedTuple):
    """An encoded word; `literal` has its bytes if "_" meant itself, not a space."""

    charset: str
    data: bytes
    literal: bytes


def _flush(out: list[str], pending: list[_Word], hints: Sequence[str], warnings: Warnings) -> None:
    if not pending:
        return
    data, literal = b"".join(word.data for word in pending), b"".join(word.literal for word in pending)
    charset = known_charset(pending[0].charset)
    if data != literal and charset and strict(data, charset) is None and strict(literal, charset) is not None:
        warnings[BAD_WORD] += 1
        data = literal
    out.append(decode(data, pending[0].charset, hints, warnings))
    pending.clear()


def _word(charset: str, encoding: str, content: str, warnings: Warnings) -> _Word:
    if encoding in "qQ":
        return _Word(charset, *(binascii.a2b_qp(_raw_bytes(text)) for text in (content.replace("_", " "), content)))
    letters = _BASE64.sub("", content)
    if len(letters) % 4 == 1:  # a letter too many or too few: the complete bytes before it are good
        warnings[BAD_WORD] += 1
        letters = letters[:-1]
    data = binascii.a2b_base64(letters + "=" * (-len(letters) % 4))
    return _Word(charset, data, data)
