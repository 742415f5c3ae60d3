"""Writes vCards; a photo is read and encoded in chunks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from pybase64 import b64encode

from kerio_resync.export.files import Output
from kerio_resync.export.mime_writer import CONTENT_MISSING
from kerio_resync.export.read_cache import CacheReader, ContentRow

if TYPE_CHECKING:
    from icalendar.parser import Contentline

    from kerio_resync.server.kerio.to_vcard import Card

_IMAGES: Final = {b"\x89PNG": "png", b"\xff\xd8\xff": "jpeg", b"GIF8": "gif", b"RIFF": "webp"}
_LINE_INPUT_BYTES: Final = 54  # make 72 characters; a line has at most 75
_FOLD: Final = b"\r\n "


async def write_card(out: Output, card: Card, contents: Sequence[ContentRow], reader: CacheReader) -> list[str]:
    """Write a card with its photo; return what it does not express."""
    out.write(b"BEGIN:VCARD\r\n" + b"".join(map(_line, card.lines)))
    lost = list(card.lost)
    for content in contents:
        if content.problem:
            lost.append(CONTENT_MISSING)
        else:
            await _write_photo(out, content, reader)
            break
    out.write(b"END:VCARD\r\n")
    return lost


def _line(line: Contentline) -> bytes:
    folded: bytes = line.to_ical()  # type: ignore[no-untyped-call, unused-ignore]
    return folded + b"\r\n"


async def _write_photo(out: Output, content: ContentRow, reader: CacheReader) -> None:
    left, begun = b"", False
    async for chunk in reader.content(content):
        if not begun:
            kind = _type_of(content.attachment.content_type, chunk)
            out.write(f"PHOTO:data:{kind};base64,".encode())
            begun = True
        data = left + chunk
        end = len(data) - len(data) % _LINE_INPUT_BYTES
        left = data[end:]
        out.write(_folded(data[:end]))
    if begun:
        out.write(_folded(left) + b"\r\n")


def _folded(data: bytes) -> bytes:
    coded = b64encode(data)
    return b"".join(_FOLD + coded[at : at + 72] for at in range(0, len(coded), 72))


def _type_of(declared: str, start: bytes) -> str:
    for mark, kind in _IMAGES.items():
        if start.startswith(mark):
            return f"image/{kind}"
    is_image = declared.startswith("image/") and declared.isascii() and declared.replace("/", "").isalnum()
    return declared if is_image else "application/octet-stream"
