"""Renders a message as pieces of bytes.

Contents are encoded while they are written.

Texts become 7 bit, quoted-printable or base64, so that every byte of them survives, also in an mbox; an attachment
becomes base64. An attached mail must not be encoded (RFC 2046), so it is written as it is if its lines allow that. The
same message always becomes the same bytes.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Final, Literal, NamedTuple

from kerio_resync.export.mime_headers import header_line, parameters
from kerio_resync.export.read_cache import ContentRow
from kerio_resync.server.mime import AttachedPart, MailMessage, Multipart, Part, TextPart

ADDRESS_LOST: Final = "an address that mail headers cannot express became a name"
CONTENT_ID_LOST: Final = "an invalid content id"
TYPE_LOST: Final = "an attachment's type, which its content does not fit"
CONTENT_MISSING: Final = "the content of an attachment, which is not in the cache"
MAX_LINE_BYTES: Final = 998
_LINE_INPUT_BYTES: Final = 57  # make a line of 76 characters
_TYPE: Final = re.compile(r"[\w!#$&^.+-]{1,127}/[\w!#$&^.+-]{1,127}", re.ASCII)
_CONTENT_ID: Final = re.compile(r"[!-;=?-~]{1,900}")
_NOT_IN_7BIT: Final = re.compile(rb"[\0\r]|^From |[^\n]{%d}" % (MAX_LINE_BYTES + 1), re.MULTILINE)
_NOT_IN_8BIT: Final = re.compile(rb"\0|\r(?!\n)|[^\n]{%d}" % (MAX_LINE_BYTES + 1))
_FROM: Final = re.compile(rb"^From ", re.MULTILINE)
_BINARY: Final = "application/octet-stream"


class StoredPiece(NamedTuple):
    """A content to be written here: as base64 in lines, or as it is."""

    content: ContentRow
    encoding: Literal["base64", "identity"]


Piece = bytes | StoredPiece


def is_unencodable(content_type: str) -> bool:
    """Return whether MIME allows no encoding of the type, so that `is_clean` decides."""
    return content_type.lower().startswith("message/")


def is_clean(data: bytes) -> bool:
    """Return whether data can be written as it is: no NUL, lone CR or endless line."""
    return _NOT_IN_8BIT.search(data) is None


@dataclass(slots=True)
class Rendering:
    """A message while it is rendered. `lost` names what could not be expressed."""

    contents: Sequence[ContentRow]
    clean: Callable[[ContentRow], bool]
    boundary: str
    pieces: list[Piece] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    _depth: int = 0

    def message(self, message: MailMessage, before: bytes = b"") -> None:
        """Render the whole message; `before`: more headers."""
        self.lost += message.lost
        self._put(before)
        for name, value in message.headers:
            line, whole = header_line(name, value)
            self._put(line)
            self.lost += [ADDRESS_LOST] * (not whole)
        self._put(b"MIME-Version: 1.0\n")
        self._part(message.body)

    def _put(self, data: bytes) -> None:
        if self.pieces and isinstance(self.pieces[-1], bytes):
            self.pieces[-1] += data
        else:
            self.pieces.append(data)

    def _part(self, part: Part) -> None:
        match part:
            case TextPart():
                charset, encoding, data = encode_text(part.text)
                self._put(b"Content-Type: text/%s; charset=%s\n" % (part.subtype.encode(), charset))
                self._put(b"Content-Transfer-Encoding: %s\n\n%s" % (encoding, data))
            case Multipart():
                self._multipart(part)
            case AttachedPart():
                self._attachment(part, self.contents[part.ordinal])

    def _multipart(self, part: Multipart) -> None:
        self._depth += 1
        boundary = f"=_{self.boundary}_{self._depth}"
        more = parameters((*part.parameters, ("boundary", boundary)))
        self._put(f"Content-Type: multipart/{part.subtype}{more}\n\n".encode())
        for inner in part.parts:
            self._put(f"--{boundary}\n".encode())
            self._part(inner)
            self._put(b"\n")
        self._put(f"--{boundary}--\n".encode())

    def _attachment(self, part: AttachedPart, content: ContentRow) -> None:
        if content.problem:
            self._missing(part, content)
            return
        kind = part.content_type.lower()
        encoding: Literal["base64", "identity"] = "base64"
        if is_unencodable(kind) and self.clean(content):
            encoding = "identity"
        elif is_unencodable(kind) or kind.startswith("multipart/") or not _TYPE.fullmatch(kind):
            kind = _BINARY
            self.lost.append(TYPE_LOST)
        else:
            kind = part.content_type
        is_text = kind.startswith("text/")  # a text that is shown inline would not be an attachment
        disposition = "inline" if part.inline and not is_text else "attachment"
        self._attachment_headers(part, f"{kind}{parameters(part.parameters)}", disposition, part.name)
        transfer = "8bit" if encoding == "identity" else "base64"
        self._put(f"Content-Transfer-Encoding: {transfer}\n\n".encode())
        if content.data is None:
            self.pieces.append(StoredPiece(content, encoding))
        else:
            self._put(content.data if encoding == "identity" else base64_lines(content.data))

    def _missing(self, part: AttachedPart, content: ContentRow) -> None:
        """Put a note in the place of a content that the cache does not have."""
        self.lost.append(CONTENT_MISSING)
        self._attachment_headers(part, "text/plain; charset=utf-8", "attachment", f"{part.name} (missing).txt")
        note = f"The content of this attachment is not in the cache: {content.problem}.\n"
        self._put(b"Content-Transfer-Encoding: base64\n\n" + base64_lines(note.encode("utf-8", "replace")))

    def _attachment_headers(self, part: AttachedPart, kind: str, disposition: str, name: str) -> None:
        named = parameters((("filename", name),)) if name else ""
        self._put(f"Content-Type: {kind}\nContent-Disposition: {disposition}{named}\n".encode("utf-8", "replace"))
        if _CONTENT_ID.fullmatch(part.content_id):
            self._put(f"Content-ID: <{part.content_id}>\n".encode())
        elif part.content_id:
            self.lost.append(CONTENT_ID_LOST)


def boundary_of(item_id: str) -> str:
    """Return the part of an item's boundaries that no other item has.

    With the "=_" before it, no line of an encoded content contains it.
    """
    return sha256(item_id.encode("utf-8", "replace")).hexdigest()[:24]


def encode_text(text: str) -> tuple[bytes, bytes, bytes]:
    """Return charset, transfer encoding and encoded bytes of a text."""
    data = text.replace("\r\n", "\n").replace("\r", "\n").encode("utf-8", "replace")
    if data.isascii():
        if (not data or data.endswith(b"\n")) and _NOT_IN_7BIT.search(data) is None:
            return b"us-ascii", b"7bit", data
        return b"us-ascii", b"quoted-printable", _quoted_printable(data)
    others = sum(map(len, re.findall(rb"[\x80-\xff]+", data)))
    if others * 5 > len(data):
        return b"utf-8", b"base64", base64_lines(data)
    return b"utf-8", b"quoted-printable", _quoted_printable(data)


def _quoted_printable(data: bytes) -> bytes:
    """Encode so that no line begins with "From ", which is special in an mbox."""
    coded = _FROM.sub(b"=46rom =\n", binascii.b2a_qp(data, istext=True))
    return coded if coded.endswith(b"\n") else coded + b"=\n"


def base64_lines(data: bytes) -> bytes:
    """Encode as base64 in lines of 76 characters, each with its end."""
    from pybase64 import encodebytes

    return encodebytes(data)


class ContentEncoder:
    """Encodes the chunks of a content one after the other."""

    def __init__(self, encoding: Literal["base64", "identity"]) -> None:
        self._identity = encoding == "identity"
        self._left = b""

    def feed(self, chunk: bytes) -> bytes:
        """Return what the chunk completes."""
        if self._identity:
            return chunk
        data = self._left + chunk
        end = len(data) - len(data) % _LINE_INPUT_BYTES
        self._left = data[end:]
        return base64_lines(data[:end])

    def end(self) -> bytes:
        """Return the rest."""
        return base64_lines(self._left)
