"""Bytes into the text that a person was meant to read, whatever charset the mail claimed.

Promises: never an exception, never a lone surrogate or a NUL in the result, and every doubt is counted by its reason in
the `Troubles` given. Refuses to trust a claim blindly: real mail says us-ascii and sends windows-1252, says nothing and
sends Big5, says iso-8859-1 and sends UTF-8. The order is: what the claim demands if the bytes agree with it, UTF-8 if
they are valid UTF-8, the charsets named elsewhere in the same mail, windows-1252.

Claims are widened the way the WHATWG encoding standard does (iso-8859-1 means windows-1252, gb2312 means gb18030),
because that is what senders meant.
"""

from __future__ import annotations

import codecs
import re
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache

Troubles = Counter[str]
"""How often something could not be read cleanly, by reason."""

MISSING = "charset missing"
UNKNOWN = "charset unknown"
WRONG = "charset wrong"
NULS = "NUL left out"

_WIDER = {
    "iso8859-1": "cp1252",
    "iso8859-9": "cp1254",
    "iso8859-11": "cp874",
    "tis-620": "cp874",
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "big5": "big5hkscs",
    "shift_jis": "cp932",
    "euc_kr": "cp949",
    "iso2022_jp": "iso2022_jp_ext",
}
_NICKNAMES = {
    "chinesebig5": "big5",
    "x-big5": "big5",
    "x-x-big5": "big5",
    "gb2312_charset": "gb2312",
    "x-gbk": "gbk",
    "ks_c_5601": "euc_kr",
    "ks_c_5601-1987": "euc_kr",
    "x-sjis": "shift_jis",
    "x-euc-jp": "euc_jp",
    "iso-8859-8-i": "iso8859-8",
    "iso-8859-6-i": "iso8859-6",
    "unicode-1-1-utf-7": "utf-7",
    "unicode-1-1-utf-8": "utf-8",
    "utf8mb4": "utf-8",
    "x-mac-roman": "mac_roman",
    "macintosh": "mac_roman",
    "dos-874": "cp874",
    "ansi_x3.110-1983": "cp1252",
    "x-ansi": "cp1252",
}
_NO_CHARSETS = frozenset(
    {"idna", "punycode", "unicode_escape", "raw_unicode_escape", "undefined", "mbcs", "oem", "unicode-escape"}
)
_SHIFTED = {"utf-7": b"+", "hz": b"~{", "iso2022_jp_ext": b"\x1b", "iso2022_jp_2": b"\x1b", "iso2022_kr": b"\x1b"}
"""Charsets in seven bits, by the mark without which their bytes are plain ASCII."""
_WIDE = frozenset({"utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"})
_MULTIBYTE = frozenset({"gb18030", "big5hkscs", "cp932", "cp949", "euc_jp", "euc_jis_2004", "johab"})
_SURELY_UTF8 = 12
"""Non-ASCII bytes from which valid UTF-8 is believed over a multi-byte claim: two hanzi in GBK are valid UTF-8 in three
cases of a hundred, six never; while UTF-8 of any length often passes as GBK."""
_DAMAGED = 0.1
"""Share of non-ASCII bytes that may be broken before a multi-byte claim is thought wrong instead of damaged."""

SAME_LANGUAGE = {"iso2022_jp_ext": ("cp932", "euc_jp"), "iso2022_kr": ("cp949",), "hz": ("gb18030",)}
"""Eight-bit charsets that a mail may be written in whose header names a seven-bit one."""

_CP1252 = {code: bytes([code]).decode("cp1252") for code in range(0x80, 0xA0) if code not in b"\x81\x8d\x8f\x90\x9d"}


@lru_cache(maxsize=512)
def known_charset(claim: str) -> str | None:
    """The codec for a charset as a mail names it (any case, quotes, `*language`), or None if there is none."""
    name = re.sub(r"[^\w.:-]", "", claim.partition("*")[0]).lower()
    name = _NICKNAMES.get(name, name)
    if not name or not name.isascii() or len(name) > 40:
        return None
    try:
        codec = codecs.lookup(name)
    except (LookupError, ValueError):
        return None
    # codecs such as base64 and rot13 turn bytes into bytes or text into text: no charsets
    if codec.name in _NO_CHARSETS or not getattr(codec, "_is_text_encoding", True):
        return None
    return _WIDER.get(codec.name, codec.name)


def decode(data: bytes, claim: str | None, hints: Sequence[str] = (), troubles: Troubles | None = None) -> str:
    """The text of `data`, which the mail says is in `claim` (None: it doesn't say).

    `hints` are codecs (from `known_charset`) named elsewhere in the mail, tried when the claim is missing or unknown.
    """
    seen = Troubles() if troubles is None else troubles
    charset = known_charset(claim) if claim else None
    if charset in _SHIFTED or charset in _WIDE or not data.isascii():
        text = _guess(data, claim, charset, hints, seen)
    else:
        text = data.decode("ascii")
    return cleaned(text, seen)


def cleaned(text: str, troubles: Troubles) -> str:
    """`text` without NULs and with lone surrogates replaced, so that it can go into JSON and into a database."""
    if "\0" in text:
        troubles[NULS] += 1
        text = text.replace("\0", "")
    try:
        text.encode()
    except UnicodeEncodeError:
        troubles[WRONG] += 1
        text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def _guess(data: bytes, claim: str | None, charset: str | None, hints: Sequence[str], troubles: Troubles) -> str:
    if charset == "ascii":  # what some mailers write who know nothing: it says no more than no charset
        troubles[WRONG] += 1
    elif charset is not None:
        for candidate in _order(data, charset):
            text = strict(data, candidate)
            if text is not None:
                if candidate != charset and not data.isascii():
                    troubles[WRONG] += 1
                return text
        troubles[WRONG] += 1
        return _damaged(data, charset) or _western(data)
    elif claim:
        troubles[UNKNOWN] += 1
    elif strict(data, "utf-8") is None:  # that it is UTF-8 need not be said
        troubles[MISSING] += 1
    for candidate in ("utf-8", *hints):
        text = strict(data, candidate)
        if text is not None:
            return text
    return _western(data)


def _order(data: bytes, charset: str) -> tuple[str, ...]:
    """The codecs to try for a known claim, best first."""
    mark = _SHIFTED.get(charset)
    if mark is not None:
        return (charset, "utf-8") if mark in data else ("utf-8",)
    if charset in _WIDE:
        return (charset, "utf-8") if b"\0" in data or data[:2] in (b"\xff\xfe", b"\xfe\xff") else ("utf-8", charset)
    if charset in _MULTIBYTE and _high(data) < _SURELY_UTF8:
        return (charset, "utf-8")
    return ("utf-8", charset)


def strict(data: bytes, charset: str) -> str | None:
    """The text of `data` in a codec from `known_charset`, or None if a byte of it is not."""
    if charset == "cp1252":
        return _western(data)
    try:
        return data.decode(charset)
    except (UnicodeError, LookupError):
        return None


def _western(data: bytes) -> str:
    """windows-1252, its five holes filled as browsers do: every byte means something."""
    return data.decode("latin-1").translate(_CP1252)


def _damaged(data: bytes, charset: str) -> str | None:
    """The text by a multi-byte claim with a few bytes broken, as by a line cut within a character; None if too many."""
    if charset != "utf-8" and charset not in _MULTIBYTE and charset not in _SHIFTED:
        return None
    try:
        text = data.decode(charset, "replace")
    except UnicodeError:
        return None
    return text if text.count("\ufffd") <= max(1, _high(data)) * _DAMAGED else None


def _high(data: bytes) -> int:
    return len(data) - len(data.translate(None, _HIGH))


_HIGH = bytes(range(0x80, 0x100))
