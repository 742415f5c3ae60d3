"""Decoding of base64, quoted-printable and uuencode, tolerant of damage."""

from __future__ import annotations

import binascii
import re

from kerio_mockserver.mailbox.imports.charsets import Warnings

BAD_BASE64 = "base64 broken"
_LONGEST_FOOTER = 4096  # bytes of text after base64 that is a mailing list's
_CODED_LINES = re.compile(rb"\s*(?:[A-Za-z0-9+/]+=*[ \t]*(?:\r?\n|\Z))*")
_NOT_BASE64 = re.compile(rb"[^A-Za-z0-9+/=]+")


def decode_quoted_printable(body: bytes) -> bytes:
    """Decode quoted-printable.

    Blanks at the end of a line were added in transit, also after a soft line break.
    """
    return binascii.a2b_qp(b"\n".join(_trimmed(line) for line in body.split(b"\n")))


def _trimmed(line: bytes) -> bytes:
    """Return a line without the blanks at its end; a CR stays."""
    return line[:-1].rstrip(b" \t") + b"\r" if line.endswith(b"\r") else line.rstrip(b" \t")


def decode_base64(body: bytes, kind: str, warnings: Warnings) -> bytes:
    """Decode base64; text that a mailing list appended is kept if the part is text."""
    lines = _CODED_LINES.match(body)
    end = lines.end() if lines else 0
    rest = body[end:].strip()
    text = kind.startswith("text/")
    footer = b" " in rest and (text or len(rest) < _LONGEST_FOOTER)
    coded = _NOT_BASE64.sub(b"", body[:end] if footer else body)
    out = []
    for block in coded.split(b"="):
        if len(block) % 4 == 1:  # a letter too many or too few: the complete bytes before it are good
            warnings[BAD_BASE64] += 1
            out.append(binascii.a2b_base64(block[:-1]))
        else:
            out.append(binascii.a2b_base64(block + b"=" * (-len(block) % 4)))
    if rest:
        warnings[BAD_BASE64] += 1
    return b"".join(out) + (body[end:] if footer and text else b"")


def decode_uu(body: bytes, at: int = 0, *, complete: bool = False) -> tuple[bytes, int] | None:
    """Decode uuencoded lines from `at` on; return the data and where it ends.

    Return None for invalid lines, and with `complete` also without an "end".
    """
    out: list[bytes] = []
    while at < len(body):
        stop = body.find(b"\n", at) + 1 or len(body)
        line = body[at:stop].rstrip(b"\r\n")
        at = stop
        if line.strip() == b"end":
            return b"".join(out), at
        if not line.strip():
            continue
        try:
            out.append(binascii.a2b_uu(line.ljust(1 + ((line[0] - 32 & 63) + 2) // 3 * 4)))
        except binascii.Error:
            return None
    return None if complete else (b"".join(out), at)
