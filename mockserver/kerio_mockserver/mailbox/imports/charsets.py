"""Decoding of text whose charset is missing, unknown or wrong.

There is never an exception, and never a lone surrogate or a NUL in the result; every doubt is counted by its reason in
the given `Warnings`. Claims are checked: real mail says us-ascii and sends windows-1252, says nothing and sends Big5,
says iso-8859-1 and sends UTF-8. The order is: the claimed charset if the bytes agree with it, UTF-8 if they are valid
UTF-8, the charsets named elsewhere in the same mail, what charset-normalizer finds in a long text, windows-1252.

Labels are read as the WHATWG encoding standard does (iso-8859-1 means windows-1252, gb2312 means gb18030), because that
is what senders meant. Python's codecs for some of them lack the vendors' characters; `_WIDER` names better ones.
"""

from __future__ import annotations

import codecs
import re
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache

import webencodings
from charset_normalizer import from_bytes

from kerio_mockserver.mailbox.imports import iso2022

Warnings = Counter[str]
"""How often something could not be read cleanly, by reason."""

MISSING = "charset missing"
UNKNOWN = "charset unknown"
WRONG = "charset wrong"
NULS = "NUL left out"

ISO_2022_JP = "iso2022_jp"
"""Read by `iso2022`, whichever of its versions a mail names."""
_WIDER = {
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "big5": "big5hkscs",
    "shift_jis": "cp932",
    "euc_kr": "cp949",
    "iso8859-1": "cp1252",
} | {f"iso2022_jp{version}": ISO_2022_JP for version in ("", "_1", "_2", "_2004", "_3", "_ext")}
_NICKNAMES = {
    "chinesebig5": "big5",
    "x-gbk": "gbk",
    "gb2312_charset": "gb2312",
    "cp936": "gbk",
    "ks_c_5601": "euc_kr",
    "cp51932": "euc_jp",
    "unicode-1-1-utf-7": "utf-7",
    "utf8mb4": "utf-8",
    "dos-874": "cp874",
    "ansi_x3.110-1983": "cp1252",
    "x-ansi": "cp1252",
    "us-ascii": "ascii",
}
_NO_CHARSET = re.compile(r"idna|punycode|undefined|mbcs|oem|(?:raw_)?unicode.escape")
_AS_PYTHON = frozenset({"ascii", "utf-16"})
"""Names that the WHATWG reads otherwise: as windows-1252, and as UTF-16 without a byte order mark."""
_SHIFTED = {"utf-7": b"+", "hz": b"~{", ISO_2022_JP: b"\x1b", "iso2022_kr": b"\x1b"}
"""Charsets in seven bits, by the mark without which their bytes are plain ASCII."""
_WIDE = frozenset({"utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"})
_MULTIBYTE = frozenset({"gb18030", "big5hkscs", "cp932", "cp949", "euc_jp", "euc_jis_2004", "johab"})
_SURELY_UTF8 = 12
"""Non-ASCII bytes from which valid UTF-8 is believed over a multi-byte claim: two hanzi in GBK are valid UTF-8 in three
cases of a hundred, six never; while UTF-8 of any length often passes as GBK."""
_DAMAGED = 0.1
"""Share of non-ASCII bytes that may be broken before a multi-byte claim is thought wrong instead of damaged."""
_TELLING = 40
"""Non-ASCII bytes from which a guess by their frequency is believed: with fewer, a guess is luck."""
_SAMPLE = 8192
_ALIKE = 0.05
_CANDIDATES = ["cp1252", "cp1250", "cp1251", "koi8_r", "iso8859_2", "cp1253", "cp1254", "cp1255", "cp1256", "cp932",
               "euc_jp", "gb18030", "big5", "cp949"]  # fmt: skip

SAME_LANGUAGE = {ISO_2022_JP: ("cp932", "euc_jp"), "iso2022_kr": ("cp949",), "hz": ("gb18030",)}
"""Eight-bit charsets that a mail may be written in whose header names a seven-bit one."""

_CP1252 = {code: bytes([code]).decode("cp1252") for code in range(0x80, 0xA0) if code not in b"\x81\x8d\x8f\x90\x9d"}


@lru_cache(maxsize=512)
def known_charset(claim: str) -> str | None:
    """Return the codec for a charset as a mail names it, or None if it is unknown."""
    label = re.sub(r"[^\w.:-]", "", claim.partition("*")[0]).lower()
    if not label or not label.isascii() or len(label) > 40:
        return None
    if label.startswith(("iso-2022-jp", "cp5022")):
        return ISO_2022_JP
    name = _NICKNAMES.get(label) or _NICKNAMES.get(label.removeprefix("x-")) or label
    standard = None if name in _AS_PYTHON else webencodings.lookup(name)
    try:
        if standard is None or standard.name in ("replacement", "x-user-defined"):
            codec = codecs.lookup(name)
        else:
            codec = standard.codec_info
    except (LookupError, ValueError):
        return None
    # codecs such as base64 and rot13 are no charsets
    if not getattr(codec, "_is_text_encoding", True) or _NO_CHARSET.match(codec.name):
        return None
    return _WIDER.get(codec.name, codec.name)


def decode(data: bytes, claim: str | None, hints: Sequence[str] = (), warnings: Warnings | None = None) -> str:
    """Return the text of `data`, whose claimed charset is `claim` (None: no claim).

    `hints` are codecs (from `known_charset`) named elsewhere in the mail, for a missing or unknown claim.
    """
    seen = Warnings() if warnings is None else warnings
    charset = known_charset(claim) if claim else None
    if charset in (None, "ascii") and _is_iso_2022_jp(data):
        text = iso2022.decode(data)
    elif charset in _SHIFTED or charset in _WIDE or not data.isascii():
        text = _guess(data, claim, charset, hints, seen)
    else:
        text = data.decode("ascii")
    return cleaned(text, seen)


def _is_iso_2022_jp(data: bytes) -> bool:
    """Return whether a text without a claim switches to Japanese characters and back."""
    return b"\x1b$" in data and b"\x1b(" in data and strict(data, ISO_2022_JP) is not None


def cleaned(text: str, warnings: Warnings) -> str:
    """Return `text` without NULs and lone surrogates, valid in JSON and databases."""
    if text.isascii() and "\0" not in text:
        return text
    if "\0" in text:
        warnings[NULS] += 1
        text = text.replace("\0", "")
    try:
        text.encode()
    except UnicodeEncodeError:
        warnings[WRONG] += 1
        text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def from_utf16(data: bytes) -> bytes:
    """Return a UTF-16 text file as UTF-8, any other unchanged.

    Without a mark it is known by the NULs of its ASCII.
    """
    start = data[:20]
    for codec, mark, nuls in (("utf-16-le", b"\xff\xfe", start[1::2]), ("utf-16-be", b"\xfe\xff", start[::2])):
        if start.startswith(mark) or (len(nuls) > 4 and nuls.count(0) == len(nuls)):
            return data.removeprefix(mark).decode(codec, "replace").encode("utf-8", "replace")
    return data


def detected(data: bytes) -> str | None:
    """Return the likely codec of a long text that is not UTF-8, or None."""
    if data.isascii() or strict(data, "utf-8") is not None:
        return None
    # only the non-ASCII bytes and their surroundings tell
    lines = (line for line in data[: 32 * _SAMPLE].splitlines(keepends=True) if not line.isascii())
    sample = b"".join(lines)[:_SAMPLE]
    if _high(sample) < _TELLING:
        return None
    matches = from_bytes(sample, cp_isolation=_CANDIDATES, threshold=0.3, preemptive_behaviour=False)
    best = matches.best()
    if best is None:
        return None
    for match in matches:  # Latin charsets differ little; if nearly as good, the usual one is taken
        close = match.chaos <= best.chaos + _ALIKE and match.coherence >= best.coherence - _ALIKE
        if match.encoding == "cp1252" and close:
            return "cp1252"
    return known_charset(best.encoding)


def _guess(data: bytes, claim: str | None, charset: str | None, hints: Sequence[str], warnings: Warnings) -> str:
    if charset == "ascii":  # what some mailers claim by default; it says no more than no claim
        warnings[WRONG] += 1
    elif charset is not None:
        for candidate in _order(data, charset):
            text = strict(data, candidate)
            if text is not None:
                if candidate != charset and not data.isascii():
                    warnings[WRONG] += 1
                return text
        warnings[WRONG] += 1
        if (text := _damaged(data, charset)) is not None:
            return text
    elif claim:
        warnings[UNKNOWN] += 1
    elif strict(data, "utf-8") is None:  # UTF-8 is no doubt
        warnings[MISSING] += 1
    for candidate in ("utf-8", *hints):
        text = strict(data, candidate)
        if text is not None:
            return text
    guess = detected(data)
    text = strict(data, guess) if guess else None
    return _western(data) if text is None else text


def _order(data: bytes, charset: str) -> tuple[str, ...]:
    """Return the codecs to try for a known claim, best first."""
    mark = _SHIFTED.get(charset)
    if mark is not None:
        return (charset, "utf-8") if mark in data else ("utf-8", *SAME_LANGUAGE.get(charset, ()))
    if charset in _WIDE:
        return (charset, "utf-8") if b"\0" in data or data[:2] in (b"\xff\xfe", b"\xfe\xff") else ("utf-8", charset)
    if charset in _MULTIBYTE and _high(data) < _SURELY_UTF8:
        return (charset, "utf-8")
    return ("utf-8", charset)


def strict(data: bytes, charset: str) -> str | None:
    """Return the text in a codec from `known_charset`, or None if a byte is invalid."""
    if charset == "cp1252":
        return _western(data)
    try:
        if charset != ISO_2022_JP:
            return data.decode(charset)
    except (UnicodeError, LookupError):
        return None
    text = iso2022.decode(data)
    return None if "\ufffd" in text else text


def _western(data: bytes) -> str:
    """Decode windows-1252 with its five holes filled as browsers do."""
    return data.decode("latin-1").translate(_CP1252)


def _damaged(data: bytes, charset: str) -> str | None:
    """Decode a multi-byte text with a few broken bytes; return None if too many."""
    if charset != "utf-8" and charset not in _MULTIBYTE and charset not in _SHIFTED and charset not in _WIDE:
        return None
    try:
        text = iso2022.decode(data) if charset == ISO_2022_JP else data.decode(charset, "replace")
    except UnicodeError:
        return None
    telling = len(data) if charset in _SHIFTED or charset in _WIDE else _high(data)
    return text if text.count("\ufffd") <= max(1, telling) * _DAMAGED else None


def _high(data: bytes) -> int:
    return len(data) - len(data.translate(None, _HIGH))


_HIGH = bytes(range(0x80, 0x100))
