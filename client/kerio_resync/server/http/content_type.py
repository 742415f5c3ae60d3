"""Tells pages from attachments, by type, name, size and first bytes.

A captive portal or a proxy answers a download with a page of its own, often with status 200.
"""

from __future__ import annotations

from codecs import BOM_UTF8
from typing import Final

from kerio_resync.model import Attachment

PAGE_SUFFIXES: Final = (".html", ".htm", ".xhtml", ".xht", ".shtml", ".mht", ".mhtml", ".xml", ".svg")
_PAGE_STARTS: Final = (
    b"<!doctype html", b"<html", b"<head", b"<body", b"<title", b"<script", b"<meta", b"<!--",
)  # fmt: skip


def looks_like_page(data: bytes) -> bool:
    """Return whether a body begins like an HTML page."""
    start = data[:512].removeprefix(BOM_UTF8).lstrip()[:16].lower()
    return start.startswith(_PAGE_STARTS)


def is_page(attachment: Attachment) -> bool:
    """Return whether an attachment is a page by its type or name.

    Programs send pages as `application/octet-stream` too.
    """
    content_type = attachment.content_type.lower()
    is_page_name = attachment.name.lower().rstrip().endswith(PAGE_SUFFIXES)
    return "html" in content_type or "xml" in content_type or is_page_name


def is_encoded_size(stated: int | None, size: int) -> bool:
    """Return whether `stated` is the size of `size` bytes in base64.

    The lines have 76 characters, as in mails.
    """
    letters = 4 * -(-size // 3)
    lines = -(-letters // 76)
    return lines > 1 and stated in [letters + end * (lines - less) for end in (1, 2) for less in (0, 1)]
