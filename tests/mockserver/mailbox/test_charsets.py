"""Which codec a claim means; what is left out of a text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kerio_mockserver.mailbox.charsets import Troubles, cleaned, decode, known_charset

CLAIMS = st.sampled_from(
    ["utf-8", "utf-7", "utf-16", "gb2312", "big5", "iso-2022-jp", "euc-kr", "us-ascii", "hz", "no", ""]
)


@pytest.mark.parametrize(
    ("claim", "codec"),
    [
        ("UTF-8", "utf-8"), ('"utf8"', "utf-8"), ("us-ascii", "ascii"), ("ISO-8859-1", "cp1252"), ("latin1", "cp1252"),
        ("Windows-1252", "cp1252"), ("gb2312", "gb18030"), ("GBK", "gb18030"), ("ks_c_5601-1987", "cp949"),
        ("chinesebig5", "big5hkscs"), ("Shift_JIS", "cp932"), ("iso-8859-1*en", "cp1252"), ("iso-8859-9", "cp1254"),
        ("tis-620", "cp874"), ("koi8-r", "koi8-r"), ("x-mac-roman", "mac-roman"), ("iso-8859-8-i", "iso8859-8"),
        ("", None), ("unknown-8bit", None), ("DEFAULT_CHARSET", None), ("rot13", None), ("hex", None), ("idna", None),
        ("unicode_escape", None), ("undefined", None), ("x" * 1000, None), ("../../etc", None), ("\0", None),
        ("ütf-8", None),
    ],
)  # fmt: skip
def test_known_charset(claim: str, codec: str | None) -> None:
    assert known_charset(claim) == codec


@given(st.binary(), CLAIMS, st.lists(st.sampled_from(["gb18030", "cp949", "iso2022_jp"])))
def test_any_bytes_become_text_for_json(data: bytes, claim: str, hints: list[str]) -> None:
    text = decode(data, claim, hints)
    text.encode()  # refuses lone surrogates
    assert "\0" not in text


@given(st.text())
def test_what_is_said_rightly_is_read_exactly(text: str) -> None:
    troubles = Troubles()
    assert decode(text.encode(), "utf-8", (), troubles) == text.replace("\0", "")
    assert set(troubles) <= {"NUL left out"}


def test_cleaned() -> None:
    troubles = Troubles()
    assert cleaned("a\0b\ud800c\U0001f386", troubles) == "ab\ufffdc\U0001f386"
    assert troubles == {"NUL left out": 1, "charset wrong": 1}
