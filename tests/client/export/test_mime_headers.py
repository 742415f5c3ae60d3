"""Header values survive their encoding, for the readers of the standard library."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from email import message_from_bytes
from email.header import decode_header, make_header
from email.utils import getaddresses

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from kerio_resync.export.mime_headers import header_line, parameters
from kerio_resync.server.mime import Person

LINES = st.text(st.characters(exclude_categories=("Cs", "Cc", "Zl", "Zp")), max_size=300)


def decoded(line: bytes) -> str:
    value = re.sub(rb"\n ", b" ", line.partition(b": ")[2][:-1]).decode()
    return str(make_header(decode_header(value)))


@given(LINES)
@example("=?utf-8?q?not_encoded?=")
@example("two  blanks")
@example(" begins with one")
@example("x" * 2000)
@example("word " * 60)
def test_text_is_read_back_unchanged(text: str) -> None:
    line, whole = header_line("Subject", text)
    assert whole
    assert line.isascii()
    assert max(map(len, line.splitlines())) <= 998
    assert decoded(line) == text


def test_text_with_line_ends_begins_no_header() -> None:
    line, _ = header_line("Subject", "a\r\nBcc: x@example.com\n\nb")
    assert [name for name, _ in message_from_bytes(line + b"\n").items()] == ["Subject"]
    assert decoded(line) == "a Bcc: x@example.com  b"


def test_lone_surrogate_becomes_a_question_mark() -> None:
    assert decoded(header_line("Subject", "a\udc80b")[0]) == "a?b"


@given(LINES.filter(str.strip))
@example('quotes " and \\')
@example("Müller-Lüdenscheidt, Anneliese")
@example("=?x?q?y?=")
@example("x" * 300)
def test_name_is_read_back_beside_its_address(name: str) -> None:
    line, whole = header_line("To", (Person(name, "a@example.com"), Person("", "b@example.com")))
    assert whole
    [(found, address), second] = getaddresses([re.sub(rb"\n ", b" ", line[4:-1]).decode()])
    assert (str(make_header(decode_header(found))), address) == (name, "a@example.com")
    assert second == ("", "b@example.com")


@pytest.mark.parametrize(
    ("address", "written"),
    [
        ("jörg@example.com", "jörg@example.com"),
        ("root", "root"),
        ("two words@example.com", "two words@example.com"),
        ("a@b@example.com", '"a@b"@example.com'),
        ("@example.com", "@example.com"),
    ],
)
def test_unusual_address_is_expressed(address: str, written: str) -> None:
    assert header_line("To", (Person("", address),)) == (f"To: {written}\n".encode(), True)


@pytest.mark.parametrize("address", ["\x06@example.com", "a\r\nBcc: b@c", "x,y"])
def test_impossible_address_becomes_a_name_and_is_told(address: str) -> None:
    line, whole = header_line("To", (Person("Ann", address),))
    assert not whole
    assert [name for name, _ in message_from_bytes(line + b"\n").items()] == ["To"]
    assert getaddresses([line[4:].decode()])[0][1] == ""


def test_date_is_in_utc() -> None:
    assert header_line("Date", datetime(2026, 3, 1, 9, 30, tzinfo=UTC))[0] == b"Date: Sun, 01 Mar 2026 09:30:00 +0000\n"


@given(LINES.map(str.strip).filter(bool))
@example('a "b" \\c.txt')
@example("ä" * 150)
def test_file_name_is_read_back_unchanged(name: str) -> None:
    head = f"Content-Disposition: attachment{parameters((('filename', name),))}\n\n".encode()
    assert max(map(len, head.splitlines())) <= 100
    assert message_from_bytes(head).get_filename() == name
