"""Header values as people read them."""

from __future__ import annotations

import pytest

from kerio_mockserver.mailbox.imports.charsets import Warnings
from kerio_mockserver.mailbox.imports.headers import addresses, header_text, stamped, utc, word_charsets


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("plain", "plain"),
        ("=?utf-8?q?Gr=C3=BC=C3=9Fe?=", "Grüße"),
        ("=?UTF-8?B?R3LDvMOfZQ==?= an alle", "Grüße an alle"),
        ("=?utf-8?b?R3LDvMOfZQ?=", "Grüße"),
        ("=?utf-8?b?R3LD?= =?utf-8?b?vMOfZQ==?=", "Grüße"),
        ("=?utf-8?q?a?= =?iso-8859-1?q?b?=", "ab"),
        ("=?utf-8?q?a?= b =?utf-8?q?c?=", "a b c"),
        ("=?utf-8?q?a?=\r\n =?utf-8?q?b?=", "ab"),
        ("=?iso-8859-1?q?what??=", "what?"),
        ("=?iso-8859-1?q?two words?=", "two words"),
        ("=?iso-8859-1*en?q?x=FC?=", "xü"),
        ("=?nonsense?q?x=C3=BC?=", "xü"),
        ("=?utf-8?x?abc?=", "=?utf-8?x?abc?="),
        ("=?utf-8?q?open", "=?utf-8?q?open"),
        ("=?utf-8?b?!!!!?=", ""),
        ("=?utf-8?q?line=0Abreak?=", "line break"),
        ("=?utf-8?q?nul=00?=", "nul"),
        ("raw \udce4\udcbd\udca0", "raw 你"),
        ("raw \udcfc", "raw ü"),
        ("raw \udcfc =?utf-8?q?=C3=BC?=", "raw ü ü"),
    ],
)
def test_header_text(value: str, text: str) -> None:
    assert header_text(value, (), Warnings()) == text


def test_raw_bytes_are_read_in_the_charset_of_the_mail() -> None:
    warnings = Warnings()
    raw = "특가".encode("euc-kr").decode("ascii", "surrogateescape")
    assert header_text(raw, ["cp949"], warnings) == "특가"
    assert warnings == {"charset missing": 1}


@pytest.mark.parametrize(
    ("value", "pairs"),
    [
        ("a@b.c", [("", "a@b.c")]),
        ("Anna <a@b.c>, Bob <b@b.c>", [("Anna", "a@b.c"), ("Bob", "b@b.c")]),
        ('"Müller, Anna" <a@b.c>', [("Müller, Anna", "a@b.c")]),
        ("=?utf-8?q?M=C3=BCller=2C_Anna?= <a@b.c>", [("Müller, Anna", "a@b.c")]),
        ('"=?utf-8?q?M=C3=BCller?=" <a@b.c>', [("Müller", "a@b.c")]),
        ("a@b.c (Anna)", [("Anna", "a@b.c")]),
        ("Team: a@b.c, d@e.f;", [("", "a@b.c"), ("", "d@e.f")]),
        ("root", [("", "root")]),
        ("undisclosed recipients:;", [("undisclosed recipients:;", "")]),
        ("", []),
        ("someone in particular", [("someone in particular", "")]),
        ("<>", []),
        ('"John Doe" <>', [("John Doe", "")]),
    ],
)
def test_addresses(value: str, pairs: list[tuple[str, str]]) -> None:
    found = addresses([value.encode().decode("ascii", "surrogateescape")], (), Warnings())
    assert [(one["name"], one["address"]) for one in found] == pairs


def test_hostile_nesting_stays_readable() -> None:
    warnings = Warnings()
    (one,) = addresses(["(" * 5000], (), warnings)
    assert one["name"].startswith("((((")
    assert warnings == {"address unreadable": 1}


def test_word_charsets() -> None:
    assert word_charsets("=?big5?q?x?= =?nonsense?q?x?= =?GB2312?b?eA==?=") == ["big5hkscs", "gb18030"]


def test_utc_reads_dates_of_all_kinds() -> None:
    assert utc("Mon, 2 Mar 2026 10:00:00 +0100 (CET)") == "20260302T090000Z"
    assert utc("Mon, 2 Mar 26 10:00 EST") == "20260302T150000Z"
    assert utc("\udcff") == ""
    assert stamped(0) == ""
    assert stamped(1e18) == ""
    assert stamped(float("nan")) == ""
