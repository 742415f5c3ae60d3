"""Which codec a claim means; what is left out of a text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kerio_mockserver.mailbox.imports import iso2022
from kerio_mockserver.mailbox.imports.charsets import Warnings, cleaned, decode, detected, from_utf16, known_charset

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
def test_correct_claim_is_decoded_exactly(text: str) -> None:
    warnings = Warnings()
    assert decode(text.encode(), "utf-8", (), warnings) == text.replace("\0", "")
    assert set(warnings) <= {"NUL left out"}


def test_cleaned() -> None:
    warnings = Warnings()
    assert cleaned("a\0b\ud800c\U0001f386", warnings) == "ab\ufffdc\U0001f386"
    assert warnings == {"NUL left out": 1, "charset wrong": 1}


@pytest.mark.parametrize(
    ("codec", "text"),
    [
        ("cp1250", "Příliš žluťoučký kůň úpěl ďábelské ódy. Posílám vám slíbené podklady ke schůzce, děkuji a přeji. "),
        ("cp1252", "divagações de um poeteiro, ações e informações não são só canções; você está à vontade. "),
        ("cp1252", "Chère Hélène, merci pour ta réponse, voilà les détails demandés à propos de l’été. "),
        ("cp1252", "Für die schöne Übersicht möchte ich mich bedanken, das wäre natürlich äußerst nützlich. "),
        (
            "cp1254",
            "Değerli üyemiz, programımız çeşitli aksaklıklar sebebiyle çalışmıyor, özür dileriz. Görüşmek üzere. ",
        ),
        ("koi8_r", "Привет, мир! Съешь ещё этих мягких французских булок, да выпей чаю. "),
        ("cp1251", "Широкая электрификация южных губерний даст мощный толчок. "),
        ("cp1253", "Ξεσκεπάζω την ψυχοφθόρα βδελυγμία. Καλημέρα σας και ευχαριστώ πολύ. "),
        ("gb18030", "您好：如果此信打扰到您，我们深感抱歉，请将此信删除。今天天气很好，我们去公园散步吧。"),
        ("cp932", "色は匂へど散りぬるを、表示できますか。日本語の文章です。よろしくお願いいたします。"),
        ("cp949", "키스의 고유조건은 입술끼리 만나야 하고 특별한 기술은 필요치 않다. 안녕하세요"),
    ],
)
def test_long_text_without_claim_is_detected(codec: str, text: str) -> None:
    data = (text * 6).encode(codec)
    assert decode(data, None) == text * 6
    assert detected(data) is not None


def test_short_text_is_not_guessed() -> None:
    assert detected("Grüße".encode("cp1252")) is None
    assert decode("Grüße aus Köln".encode("cp1252"), "unknown-8bit") == "Grüße aus Köln"


@pytest.mark.parametrize(
    "claim", ["iso-2022-jp", "ISO-2022-JP-2", "iso-2022-jp-3", "iso-2022-jp-ms", "cp50220", "csISO2022JP"]
)
@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"\x1b$B-!F|K\\-j|b66\x1b(B", "①日本㈱髙橋"),
        (b"\x1b$@F|K\\\x1b(J OK", "日本 OK"),
        (b"\x1b(I1\x1b(B", "ｱ"),
        (b"\x1b$BF|\r\nK\\\x1b(B", "日\r\n本"),
        (b"\x1b$(D0!\x1b(B", "\u4e02"),
        (b"\x1b$A0!\x1b(B", "啊"),
        (b"\x1b$(C0!\x1b(B", "가"),
        (b"plain", "plain"),
    ],
)
def test_iso_2022_jp_with_the_characters_of_vendors(claim: str, data: bytes, text: str) -> None:
    warnings = Warnings()
    assert decode(data, claim, (), warnings) == text
    assert not warnings


def test_iso_2022_jp_that_is_cut_keeps_what_is_whole() -> None:
    assert iso2022.decode(b"\x1b$BF|K") == "日\ufffd"
    assert iso2022.decode(b"\x1b$B") == ""
    assert iso2022.decode(b"\x1b$Z x") == "\x1b$Z x"


@given(st.binary())
def test_iso_2022_jp_never_raises(data: bytes) -> None:
    iso2022.decode(b"\x1b$B" + data)
    iso2022.decode(data.replace(b"a", b"\x1b$(D"))


@pytest.mark.parametrize("codec", ["utf-16", "utf-16-le", "utf-16-be", "utf-8"])
def test_file_in_utf_16_is_known_by_its_start(codec: str) -> None:
    assert from_utf16("BEGIN:VCARD\nFN:Žák".encode(codec)).decode() == "BEGIN:VCARD\nFN:Žák"
