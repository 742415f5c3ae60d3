"""Finds an item's texts in its payload, so that they are stored once.

A mail's text is most of its payload, where it is a JSON string. Storing it again would nearly double the file and the
time of its writing. So the columns `…_at` and `…_bytes` say where the string is, without its quotes. A text that is not
found there, because the server's package changed it or the payload is only a part, is stored in a column of its own.
"""

from __future__ import annotations

import json
from typing import Final

import orjson

# Both numbers are part of the format: an item's checksum covers where its texts are.
MIN_CHARS: Final = 64  # a shorter text saves too little
_MAX_TRIES: Final = 16  # a payload may have the beginning of a text a million times

StoredText = tuple[str | None, int | None, int | None]
"""The columns of a text: itself, or the first byte (from 1) and the number of bytes of its string in the payload."""


def place_text(text: str | None, payload: bytes) -> StoredText:
    """Return the columns of a text."""
    if text is None or len(text) < MIN_CHARS:
        return text, None, None
    try:
        quoted = orjson.dumps(text)
    except TypeError:  # a lone surrogate
        return text, None, None
    # SQLite's JSON functions cut text at a NUL. Looking for one in wide characters takes longer than all else here.
    if "\0" in text if text.isascii() else b"\\u0000" in quoted:
        return text, None, None
    head, start = quoted[:MIN_CHARS], -1  # a search for all of a long text takes ten times as long
    for _ in range(_MAX_TRIES):
        start = payload.find(head, start + 1)
        if start < 0:
            break
        if payload.startswith(quoted, start):
            return None, start + 2, len(quoted) - 2
    return text, None, None


def read_text(payload: bytes, stored: bytes | None, at: int | None, size: int | None) -> str | None:
    """Return the text of these columns.

    Damage makes it another text, which its item's checksum shows.
    """
    if stored is not None:
        return stored.decode(errors="replace")
    if at is None or size is None:
        return None
    quoted = payload[max(at - 1, 0) : max(at - 1 + size, 0)]
    try:
        return str(json.loads(b'"' + quoted + b'"'))
    except ValueError:
        return "\ufffd"


def text_sql(name: str) -> str:
    """Return an SQL expression for the text `name` of the table item."""
    quoted = f"CAST(substr(CAST(item.payload AS BLOB), item.{name}_at, item.{name}_bytes) AS TEXT)"
    return f"coalesce(item.{name}, json_extract('[\"' || {quoted} || '\"]', '$[0]'))"
