"""Parses header values with parameters, such as `Content-Type`.

The time is bounded for any input.
"""

from __future__ import annotations

import re
from email.message import EmailMessage
from email.utils import decode_params

from kerio_mockserver.mailbox.imports.charsets import known_charset, strict

LARGEST_VALUE = 4096  # characters that are read; reading parameters is quadratic in the length
_TYPE = re.compile(r"\s*([\w!#$&^.+-]+(?:/[\w!#$&^.+-]+)?)", re.ASCII)
_COMMENT = re.compile(r'("(?:[^"\\]|\\.)*"?)|\([^()"]*\)')
_PARAMETER = re.compile(
    r"([\w!#$&^.+*-]+)\s*=\s*(\"(?:[^\"\\]|\\.)*\"?|[^;\"]*?)(?=\s*(?:;|,\s|\Z)|\s+[\w*-]+\s*=|(?<=\"))", re.DOTALL
)


def value_type(head: EmailMessage, header: str, default: str) -> str:
    """Return a header's value before its parameters in lower case, or `default`."""
    found = _TYPE.match(without_comments(head.get(header, "")))
    return found[1].lower() if found else default


def parameters(head: EmailMessage, header: str) -> dict[str, str]:
    """Return a header's parameters by lower-case name, unquoted and decoded.

    Raw bytes are surrogate escapes. An extended value (`filename*`) replaces a plain one, as in RFC 6266.
    """
    value = without_comments(head.get(header, ""))
    start = _TYPE.match(value)
    first = value.find("=") if start is not None and value[start.end() :].lstrip().startswith("=") else -1
    rest = value if first >= 0 or start is None else value[start.end() :]
    try:
        found = decode_params([("", ""), *((name.lower(), _closed(text)) for name, text in _PARAMETER.findall(rest))])[
            1:
        ]
    except (ValueError, LookupError, TypeError, AttributeError):  # hostile RFC 2231 continuations
        return {}
    extended = {name: _collapsed(text) for name, text in reversed(found) if isinstance(text, tuple)}
    plain = {name: _unquoted(text) for name, text in reversed(found) if isinstance(text, str)}
    return plain | extended


def extended(head: EmailMessage, header: str, name: str) -> bool:
    """Return whether a parameter is there in its extended form (RFC 2231)."""
    return re.search(rf"[;\s]{name}\*(?:0\*?)?\s*=", head.get(header, "")[:LARGEST_VALUE], re.IGNORECASE) is not None


def _closed(text: str) -> str:
    """Return a quoted value with its closing quotation mark, which may be missing."""
    return f'{text}"' if text.startswith('"') and (len(text) == 1 or not text.endswith('"')) else text


def without_comments(value: str) -> str:
    """Return a header value without comments, on one line, up to the limit."""
    value = value[:LARGEST_VALUE].replace("\r", "").replace("\n", "")
    for _ in range(4 if "(" in value else 0):  # comments nest
        value = _COMMENT.sub(lambda match: match[1] or " ", value)
    return value


def _unquoted(text: str) -> str:
    text = text.strip()
    if text.startswith('"'):
        text = text[1:-1] if text.endswith('"') and len(text) > 1 else text[1:]
    return re.sub(r"\\([\\\"])", r"\1", text).strip()


def _collapsed(value: tuple[str | None, str | None, str]) -> str:
    charset, _, text = value
    raw = _unquoted(text).encode("latin-1", "surrogateescape")
    known = known_charset(charset or "")
    found = strict(raw, known) if known else None
    return (raw.decode("ascii", "surrogateescape") if found is None else found).strip()
