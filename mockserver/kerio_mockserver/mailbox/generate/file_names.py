"""Names and types of attached files, including ones that break paths and URLs."""

from __future__ import annotations

from typing import NamedTuple


class File(NamedTuple):
    """A kind of attachment."""

    name: str
    content_type: str
    magic: bytes
    compressible: bool


_TYPES: tuple[tuple[str, str, bytes, bool], ...] = (
    (".pdf", "application/pdf", b"%PDF-1.5\n", False),
    (".pdf", "application/pdf", b"%PDF-1.5\n", False),
    (".docx", "application/vnd.openxmlformats-officedocument.wordprocessingml.document", b"PK\x03\x04", False),
    (".xlsx", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet", b"PK\x03\x04", False),
    (".zip", "application/zip", b"PK\x03\x04", False),
    (".jpg", "image/jpeg", b"\xff\xd8\xff\xe0\x00\x10JFIF", False),
    (".txt", "text/plain; charset=utf-8", b"", True),
    (".csv", "text/csv", b"\xef\xbb\xbf", True),
    (".eml", "message/rfc822", b"Received: by example.org\r\n", True),
    (".ics", "text/calendar; method=REQUEST", b"BEGIN:VCALENDAR\r\n", True),
    (".mp3", "audio/mpeg", b"ID3", False),
    ("", "application/octet-stream", b"\x00", False),
)
_IMAGES: tuple[tuple[str, str, bytes, bool], ...] = (
    (".png", "image/png", b"\x89PNG\r\n\x1a\n", False),
    (".jpg", "image/jpeg", b"\xff\xd8\xff\xe0\x00\x10JFIF", False),
    (".gif", "image/gif", b"GIF89a", False),
)
_STEMS = (
    "report",
    "Invoice",
    "scan",
    "Rechnung März",
    "отчёт",
    "報告書",
    "Příloha č. 1",
    "meeting notes",
    "photo",
    "عقد",
)
_ODD = (
    "",
    "..",
    "../../etc/passwd",
    ".hidden",
    "no extension",
    "ends with a dot.",
    " spaces around ",
    "semi;colon, \"quoted\" & 'single'.pdf",
    "100% sure? #1 +a=b&c.png",
    "back\\slash and /slash/.txt",
    "CON.txt",
    "👍🏽.jpg",
    "very long " * 20 + ".docx",
    "tab\tand\u202egnp.exe",
)


def file_named(kind: int, roll: int, inline: bool) -> File:
    """Return a file name and type.

    One name in sixteen is odd, inline files are images.
    """
    known = _IMAGES if inline else _TYPES
    extension, content_type, magic, compressible = known[kind % len(known)]
    if roll & 15 == 0:
        name = _ODD[(roll >> 4) % len(_ODD)]
    else:
        name = f"{_STEMS[(roll >> 4) % len(_STEMS)]} {roll >> 20}{extension}"
    return File(name, content_type, magic, compressible)
