"""Bodies are taken apart at their boundaries; base64 gives every byte that is in it."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kerio_mockserver.mailbox.imports.charsets import Warnings
from kerio_mockserver.mailbox.imports.mime_parts import BAD_MIME, leaves, parse
from kerio_mockserver.mailbox.imports.transfer_encodings import BAD_BASE64


def taken_apart(data: bytes) -> tuple[list[bytes], Warnings]:
    warnings = Warnings()
    mail, _ = parse(data, warnings)
    return [leaf.data for leaf in leaves(mail, warnings)], warnings


@pytest.mark.parametrize(
    ("body", "parts"),
    [
        (b"--b\n\none\n--b\n\ntwo\n--b--\n", [b"one", b"two"]),
        (b"--b\r\n\r\none\r\n--b\r\n\r\ntwo\r\n--b--\r\n", [b"one", b"two"]),
        (b"preamble\n--b \t\n\none\n--b--\nepilogue\n--b\n\nafter the end", [b"one"]),
        (b"--b\n\nnever ends\n", [b"never ends"]),
        (b"--b\n\none\n--bb\n--b-\nx--b\n--b--", [b"one\n--bb\n--b-\nx--b"]),
        (b"--b\n--b\n\ntwo\n--b--", [b"two"]),
        (b"--b\n\n\n--b--", [b""]),
        (b"--b\n\nends in a boundary\n--b", [b"ends in a boundary", b""]),
        (b"no boundary at all", [b"no boundary at all"]),
    ],
)
def test_boundaries(body: bytes, parts: list[bytes]) -> None:
    found, warnings = taken_apart(b"Content-Type: multipart/mixed; boundary=b\n\n" + body)
    assert found == parts
    assert warnings[BAD_MIME] == (body == b"no boundary at all")


def test_boundary_that_starts_like_the_one_around_it() -> None:
    inner = b"Content-Type: multipart/mixed; boundary=bb\n\n--bb\n\none\n--bb--\n"
    found, _ = taken_apart(b"Content-Type: multipart/mixed; boundary=b\n\n--b\n" + inner + b"--b\n\ntwo\n--b--\n")
    assert found == [b"one", b"two"]


def test_digest_holds_mails() -> None:
    warnings = Warnings()
    mail, _ = parse(b"Content-Type: multipart/digest; boundary=b\n\n--b\n\nSubject: x\n\ny\n--b--\n", warnings)
    (leaf,) = leaves(mail, warnings)
    assert (leaf.content_type, leaf.data) == ("message/rfc822", b"Subject: x\n\ny")


@pytest.mark.parametrize(
    ("coded", "kind", "data", "clean"),
    [
        (b"SGFsbG8=", b"text/plain", b"Hallo", True),
        (b"SGFs\r\nbG8=\r\n\r\n", b"text/plain", b"Hallo", True),
        (b"SGFsbG8", b"text/plain", b"Hallo", True),
        (b"SGFsbG8=\nSGFsbG8=\n", b"image/png", b"HalloHallo", True),
        (b"SGF!sbG8=", b"image/png", b"Hallo", False),
        (b"SGFsb", b"image/png", b"Hal", False),
        (b"SGFsbG8=\n\n-- \nThe list\n", b"text/plain", b"Hallo\n-- \nThe list\n", False),
        (b"SGFsbG8h\n-- \nThe list\n", b"text/plain", b"Hallo!-- \nThe list\n", False),
        (b"SGFsbG8=\n\n-- \nThe list\n", b"image/png", b"Hallo", False),
        (b"", b"text/plain", b"", True),
    ],
)
def test_base64(coded: bytes, kind: bytes, data: bytes, clean: bool) -> None:
    found, warnings = taken_apart(b"Content-Transfer-Encoding: base64\nContent-Type: " + kind + b"\n\n" + coded)
    assert found == [data]
    assert (BAD_BASE64 not in warnings) == clean


@given(st.binary(max_size=500))
def test_attachment_comes_out_byte_for_byte(data: bytes) -> None:
    coded = base64.encodebytes(data)
    found, warnings = taken_apart(
        b"Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: application/x\n"
        b"Content-Transfer-Encoding: base64\n\n" + coded + b"\n--b--\n"
    )
    assert (found, +warnings) == ([data], {})
