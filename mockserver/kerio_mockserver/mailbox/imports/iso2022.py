"""ISO-2022-JP as mail programs write it, with vendors' characters and later sets.

Python's codecs refuse the circled digits and Roman numerals that nearly every Japanese mailer sends (NEC row 13), and
one refused character loses a whole text. Here each run between two escape sequences is decoded separately, two-byte
runs as windows-31j (cp932).
"""

from __future__ import annotations

import re
from collections.abc import Iterator

_SETS = {
    b"(B": "ascii",
    b"(J": "ascii",
    b"(I": "kana",
    b"$@": "cp932",
    b"$B": "cp932",
    b"$(@": "cp932",
    b"$(B": "cp932",
    b"$A": "gb18030",
    b"$(C": "cp949",
    b"$(D": "jisx0212",
    b"$(O": "euc_jis_2004",
    b"$(Q": "euc_jis_2004",
    b"$(P": "jisx0213-2",
}
_ESCAPE = re.compile(rb"\x1b(\([BJI]|\$[@AB]|\$\([@BCDOPQ])")
_HIGH = bytes.maketrans(bytes(range(0x21, 0x7F)), bytes(range(0xA1, 0xFF)))
_RUN = re.compile(rb"[\x21-\x7e]+|[^\x21-\x7e]+")


def decode(data: bytes) -> str:
    """Return the text; invalid bytes become U+FFFD, 8-bit bytes are read as Shift_JIS."""
    first, *rest = _ESCAPE.split(data)
    pieces = [_single(first)]
    for escape, run in zip(rest[::2], rest[1::2], strict=True):
        charset = _SETS[escape]
        if charset == "ascii":
            pieces.append(_single(run))
        else:
            pieces.extend(_coded(charset, run))
    return "".join(pieces)


def _single(run: bytes) -> str:
    return run.decode("ascii") if run.isascii() else run.decode("cp932", "replace")


def _coded(charset: str, run: bytes) -> Iterator[str]:
    """Decode characters of a set.

    Blanks, line ends and other bytes stand for themselves.
    """
    for piece in _RUN.findall(run):
        if not 0x21 <= piece[0] <= 0x7E:
            yield _single(piece)
        elif charset == "kana":
            yield piece.translate(_HIGH).decode("cp932", "replace")
        else:
            whole = piece[: len(piece) // 2 * 2]
            yield _pairs(charset, whole) + ("\ufffd" if len(piece) % 2 else "")


def _pairs(charset: str, pairs: bytes) -> str:
    if charset == "cp932":
        return b"".join(_shifted(pairs[at], pairs[at + 1]) for at in range(0, len(pairs), 2)).decode("cp932", "replace")
    high = pairs.translate(_HIGH)
    if charset in ("jisx0212", "jisx0213-2"):
        codec = "euc_jp" if charset == "jisx0212" else "euc_jis_2004"
        return b"".join(b"\x8f" + high[at : at + 2] for at in range(0, len(high), 2)).decode(codec, "replace")
    return high.decode(charset, "replace")


def _shifted(row: int, cell: int) -> bytes:
    """Return a JIS X 0208 code as Shift_JIS."""
    lead = (row + 1) // 2 + (0x70 if row < 0x5F else 0xB0)
    trail = cell + 0x7E if row % 2 == 0 else cell + (0x20 if cell >= 0x60 else 0x1F)
    return bytes((lead, trail))
