"""A mail's bytes taken apart into its MIME leaves, each with its own bytes.

Promises: nothing is lost and nothing raises; a part that is broken (no boundary, a boundary that never comes, nesting
beyond `DEEPEST`, more than `MOST` parts) stays whole as one leaf, and is counted. Time is linear in the size, times the
depth. The standard library's `email` reads the header blocks; its body parser is not used, because it recurses by the
depth of the nesting, gives nested messages back re-written instead of in their own bytes, and reads line by line.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Iterator
from dataclasses import dataclass
from email import message_from_bytes
from email.message import Message
from email.policy import Compat32

from kerio_mockserver.mailbox.charsets import Troubles, known_charset, strict

DEEPEST = 32
MOST = 1000
LARGEST_HEAD = 1 << 20
LARGEST_VALUE = 4096
"""Of a header with parameters: reading them takes the square of the length."""
COPIED = 256 << 20
"""Bytes that the levels of one mail's nesting may hold together."""

_LONGEST_FOOTER = 4096

BAD_MIME = "MIME structure broken"
BAD_BASE64 = "base64 broken"
BAD_HEAD = "header block broken"

_FROM_LINE = re.compile(rb"From [^\r\n]*\r?\n")
_BLANK = re.compile(rb"\r?\n\r?\n")
_SPACED_NAME = re.compile(rb"^([!-9;-~]+)[ \t]+:", re.MULTILINE)
_BROKEN = re.compile(rb"^(?![!-9;-~]+:|[ \t])[^\n]+", re.MULTILINE)
_WELL_KNOWN = re.compile(
    rb"^(?:from|to|cc|subject|date|message-id|received|return-path|mime-version|content-[a-z-]+|x-[a-z-]+):",
    re.MULTILINE | re.IGNORECASE,
)
_CODED_LINES = re.compile(rb"\s*(?:[A-Za-z0-9+/]+=*[ \t]*(?:\r?\n|\Z))*")
_AFTER_MARK = re.compile(rb"(--)?[ \t]*(?:\r?\n|\r?\Z)")
_BOUNDARY = re.compile(rb"^--([^\r\n]{1,100}?)[ \t]*\r?\nContent-[A-Za-z-]{1,40}:", re.MULTILINE | re.IGNORECASE)
META_CHARSET = re.compile(rb"<meta\s[^<>]{0,200}?charset\s*=\s*[\"']?([\w:.-]{2,40})", re.IGNORECASE)
_NOT_BASE64 = re.compile(rb"[^A-Za-z0-9+/=]+")


class _Raw(Compat32):
    """Header values as they stand, raw bytes as surrogate escapes, instead of `Header` objects that hide them."""

    def header_fetch_parse(self, name: str, value: str) -> str:
        return value


_POLICY = _Raw()
Head = Message


@dataclass(frozen=True, slots=True)
class Leaf:
    """One part without parts. `data` is decoded from its transfer encoding; `within` are the types it is nested in."""

    head: Head
    content_type: str
    parameters: dict[str, str]
    data: bytes
    within: tuple[str, ...] = ()


def parse(data: bytes, troubles: Troubles) -> tuple[Head, str, bytes]:
    """A mail as its header, the mbox "From " line before it ("" if there is none), and its body's bytes."""
    line = _FROM_LINE.match(data)
    head, body = _part(data[line.end() :] if line else data, troubles)
    return head, line[0].decode("latin-1") if line else "", body


def leaves(head: Head, body: bytes, troubles: Troubles) -> list[Leaf]:
    """The leaves of a mail in their order; at least one."""
    found: list[Leaf] = []
    _walk(head, body, "text/plain", (), found, troubles)
    return found


def value_type(head: Head, header: str, default: str) -> str:
    """What stands before the parameters of a header, such as `text/plain`, in lower case; `default` if nonsense."""
    value = head.get(header, "").partition(";")[0].strip().lower()
    return value if re.fullmatch(r"[\w!#$&^.+-]+(?:/[\w!#$&^.+-]+)?", value, re.ASCII) else default


def parameters(head: Head, header: str) -> dict[str, str]:
    """The parameters of a header by lower-case name, unquoted, RFC 2231 decoded. Raw bytes are surrogate escapes."""
    value = head.get(header, "")
    if not value:
        return {}
    short = Message(_POLICY)
    short[header] = value[:LARGEST_VALUE].replace("\n", "").replace("\r", "")
    found: dict[str, str] = {}
    try:
        for name, text in short.get_params([], header)[1:]:
            found.setdefault(name.lower(), _collapsed(text).strip())
    except (ValueError, LookupError, TypeError, AttributeError):  # hostile RFC 2231 continuations
        pass
    return found


def _collapsed(value: str | tuple[str | None, str | None, str]) -> str:
    if isinstance(value, str):
        return value
    charset, _, text = value
    raw = text.encode("latin-1", "surrogateescape")
    known = known_charset(charset or "")
    found = strict(raw, known) if known else None
    return raw.decode("ascii", "surrogateescape") if found is None else found


def _part(data: bytes, troubles: Troubles) -> tuple[Head, bytes]:
    head, body = _halves(data, troubles)
    return message_from_bytes(head, policy=_POLICY), body


def _halves(data: bytes, troubles: Troubles) -> tuple[bytes, bytes]:
    """Header block, in lines that `email` reads as headers, and body. Where no header goes on, the body starts."""
    if data[:1] == b"\n" or data[:2] == b"\r\n":
        return b"", data[data.index(b"\n") + 1 :]
    blank = _BLANK.search(data, 0, LARGEST_HEAD)
    end, start = blank.span() if blank else (min(len(data), LARGEST_HEAD),) * 2
    raw = data[:end]
    head = _SPACED_NAME.sub(rb"\1:", raw.replace(b"\r\n", b"\n").replace(b"\r", b" "))
    if end == start < len(data):
        troubles[BAD_HEAD] += 1
    if not _BROKEN.search(head):
        return head, data[start:]
    troubles[BAD_HEAD] += 1
    last = max((match.start() for match in _WELL_KNOWN.finditer(head)), default=-1)
    for broken in _BROKEN.finditer(head):
        if broken.start() > last:
            return _BROKEN.sub(b"X-Broken-Line: ", head[: broken.start()]), head[broken.start() :] + data[end:]
    return _BROKEN.sub(b"X-Broken-Line: ", head), data[start:]


def _walk(
    head: Head, body: bytes, default: str, within: tuple[str, ...], found: list[Leaf], troubles: Troubles
) -> None:
    kind = value_type(head, "content-type", default)
    found_parameters = parameters(head, "content-type")
    if kind.startswith("multipart/"):
        shallow = len(within) < DEEPEST and len(within) * len(body) < COPIED
        pieces = _pieces(body, found_parameters.get("boundary", ""), troubles) if shallow else []
        if pieces and len(found) + len(pieces) <= MOST:
            inner = "message/rfc822" if kind == "multipart/digest" else "text/plain"
            for piece in pieces:
                part, content = _part(piece, troubles)
                _walk(part, content, inner, (*within, kind), found, troubles)
            return
        troubles[BAD_MIME] += 1
        kind = "text/plain"
    if "/" not in kind:
        kind = {"text": "text/plain", "html": "text/html"}.get(kind, default)
    found.append(Leaf(head, kind, found_parameters, _transfer_decoded(head, kind, body, troubles), within))


def _pieces(body: bytes, boundary: str, troubles: Troubles) -> list[bytes]:
    """The parts by the boundary the header names, or else by the one that the body seems to use; none if neither."""
    pieces = list(_split(body, boundary.encode("utf-8", "surrogateescape")))
    if not pieces and (seen := _BOUNDARY.search(body)) is not None:
        troubles[BAD_MIME] += 1
        pieces = list(_split(body, seen[1]))
    return pieces


def _split(body: bytes, boundary: bytes) -> Iterator[bytes]:
    """The parts between the delimiter lines; the line end before one belongs to it. There need be no last one."""
    if not boundary:
        return
    mark = b"--" + boundary
    start = -1
    at = body.find(mark)
    while at >= 0:
        rest = _AFTER_MARK.match(body, at + len(mark)) if at == 0 or body[at - 1] == 0x0A else None
        if rest is not None:
            if start >= 0:
                # two delimiters in a row share the line end between them
                yield body[start : max(start, at - 2 if body[at - 2 : at] == b"\r\n" else at - 1)]
            if rest[1]:
                return
            start = rest.end()
        at = body.find(mark, at + len(mark))
    if start >= 0:
        yield body[start:]


def _transfer_decoded(head: Head, kind: str, body: bytes, troubles: Troubles) -> bytes:
    encoding = head.get("content-transfer-encoding", "").partition(";")[0].strip().strip("\"'").lower()
    if encoding == "quoted-printable":
        return binascii.a2b_qp(body)
    if encoding == "base64":
        return _unbase64(body, kind, troubles)
    return body


def _unbase64(body: bytes, kind: str, troubles: Troubles) -> bytes:
    """The bytes of base64. What a mailing list put after its end stays, as text, if the part is text."""
    lines = _CODED_LINES.match(body)
    end = lines.end() if lines else 0
    rest = body[end:].strip()
    text = kind.startswith("text/")
    footer = b" " in rest and (text or len(rest) < _LONGEST_FOOTER)
    coded = _NOT_BASE64.sub(b"", body[:end] if footer else body)
    out = []
    for block in coded.split(b"="):
        if len(block) % 4 == 1:  # a letter too many or too few: the whole bytes before it are good
            troubles[BAD_BASE64] += 1
            out.append(binascii.a2b_base64(block[:-1]))
        else:
            out.append(binascii.a2b_base64(block + b"=" * (-len(block) % 4)))
    if rest:
        troubles[BAD_BASE64] += 1
    return b"".join(out) + (body[end:] if footer and text else b"")
