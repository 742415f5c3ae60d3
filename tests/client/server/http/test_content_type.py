from __future__ import annotations

import base64

import pytest

from kerio_resync.model import Attachment
from kerio_resync.server.http.content_type import is_encoded_size, is_page, looks_like_page


@pytest.mark.parametrize(
    ("data", "page"),
    [
        (b"<!DOCTYPE html><html>", True),
        (b"\xef\xbb\xbf\r\n  <HTML lang=en>", True),
        (b"<!-- a comment --><p>", True),
        (b"<?xml version='1.0'?>", False),
        (b"%PDF-1.7", False),
        (b"", False),
        (b" " * 600 + b"<html>", False),
    ],
)
def test_looks_like_page_reads_first_bytes(data: bytes, page: bool) -> None:
    assert looks_like_page(data) is page


@pytest.mark.parametrize(
    ("name", "content_type", "page"),
    [
        ("a.pdf", "application/pdf", False),
        ("a.HTM ", "application/octet-stream", True),
        ("a", "text/HTML; charset=utf-8", True),
        ("a.svg", "", True),
        ("a", "application/rss+xml", True),
        ("html", "", False),
    ],
)
def test_is_page_reads_name_and_type(name: str, content_type: str, page: bool) -> None:
    assert is_page(Attachment("i", "/u", name, content_type)) is page


@pytest.mark.parametrize("size", [100, 5_000, 76 * 30])
def test_is_encoded_size_knows_base64_of_mails(size: int) -> None:
    encoded = base64.encodebytes(bytes(size))
    assert is_encoded_size(len(encoded), size)
    assert is_encoded_size(len(encoded.replace(b"\n", b"\r\n")), size)
    assert is_encoded_size(len(encoded) - 1, size)
    assert not is_encoded_size(size, size)
    assert not is_encoded_size(None, size)
    assert not is_encoded_size(4, 3)  # a single line has no line ends
