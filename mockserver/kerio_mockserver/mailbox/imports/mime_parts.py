"""A mail's MIME leaves, each with its own bytes.

The standard library's `email` parses the structure, under a policy that returns header values as they stand. `Part`
avoids its known problems: nesting and the number of parts are bounded (the parser recurses), a mail within a mail stays
one leaf (the parser would return it rewritten), header values with parameters are bounded (parsing them is quadratic),
and no defect raises.

Nothing is lost: a broken part (no boundary, nesting beyond `DEEPEST`, more than `MOST` parts) stays whole as one leaf,
and is counted. Time is linear in the size, times the depth.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from email import errors
from email.message import EmailMessage
from email.parser import BytesFeedParser
from email.policy import EmailPolicy
from typing import Any

from kerio_mockserver.mailbox.imports.charsets import Warnings, from_utf16
from kerio_mockserver.mailbox.imports.header_parameters import (
    LARGEST_VALUE,
    parameters,
    value_type,
    without_comments,
)
from kerio_mockserver.mailbox.imports.transfer_encodings import decode_base64, decode_quoted_printable, decode_uu

DEEPEST = 32
MOST = 1000
LARGEST_HEAD = 1 << 20

BAD_MIME = "MIME structure broken"
BAD_UU = "uuencoded data broken"
BAD_HEAD = "header block broken"

_FROM_LINE = re.compile(rb"From [^\r\n]*\r?\n")
_BLANK = re.compile(rb"\r?\n\r?\n")
_SPACED_NAME = re.compile(rb"^([!-9;-~]+)[ \t]+:", re.MULTILINE)
_BROKEN = re.compile(rb"^(?![!-9;-~]+:|[ \t])[^\n]+", re.MULTILINE)
_WELL_KNOWN = re.compile(
    rb"^(?:from|to|cc|subject|date|message-id|received|return-path|mime-version|content-[a-z-]+|x-[a-z-]+):",
    re.MULTILINE | re.IGNORECASE,
)
_BOUNDARY = re.compile(rb"^--([^\r\n]{1,100}?)[ \t]*\r?\nContent-[A-Za-z-]{1,40}:", re.MULTILINE | re.IGNORECASE)
_RAW_BOUNDARY = re.compile(r"boundary\s*=\s*\"?([^\s;\"]{1,200})", re.IGNORECASE)
META_CHARSET = re.compile(rb"<meta\s[^<>]{0,200}?charset\s*=\s*[\"']?([\w:.-]{2,40})", re.IGNORECASE)
_UU_BEGIN = re.compile(rb"^begin [0-7]{3,4} ([^\r\n]{1,200})\r?\n", re.MULTILINE)
_UU_ENCODINGS = frozenset({"x-uuencode", "uuencode", "uue", "x-uue"})


class _TooManyParts(Exception):
    pass


class Part(EmailMessage):
    """A message or part; `depth` is its nesting, `siblings` all parts so far."""

    depth = 0
    deepest = DEEPEST

    def __init__(self, policy: Any = None) -> None:
        super().__init__(policy or _POLICY)
        self.siblings: list[Part] = []

    def get_content_type(self) -> str:
        """Return the type that the parser may take apart; text for anything else."""
        kind = value_type(self, "content-type", self.get_default_type())
        return kind if kind.startswith("multipart/") else "text/plain"

    def get_boundary(self, failobj: Any = None) -> Any:
        return (parameters(self, "content-type").get("boundary") or failobj) if self.depth < self.deepest else failobj

    def attach(self, payload: Any) -> None:
        payload.depth, payload.deepest, payload.siblings = self.depth + 1, self.deepest, self.siblings
        self.siblings.append(payload)
        if len(self.siblings) > MOST:
            raise _TooManyParts
        super().attach(payload)

    def content(self) -> bytes:
        """Return the body as the mail has it."""
        payload: Any = self._payload  # type: ignore[attr-defined, unused-ignore] # get_payload() decodes
        return payload.encode("ascii", "surrogateescape") if isinstance(payload, str) else b""


class _Policy(EmailPolicy):
    """Returns header values as text with raw bytes as surrogate escapes."""

    def header_fetch_parse(self, name: str, value: str) -> Any:
        return value


_POLICY = _Policy(message_factory=Part)  # type: ignore[call-arg, unused-ignore]


@dataclass(frozen=True, slots=True)
class Leaf:
    """A part without parts: decoded `data`, and the types `within` which it is nested."""

    head: Part
    content_type: str
    parameters: dict[str, str]
    data: bytes
    within: tuple[str, ...] = ()


def parse(data: bytes, warnings: Warnings) -> tuple[Part, str]:
    """Return a mail as `email` parses it, and the mbox "From " line before it, or ""."""
    data = from_utf16(data).removeprefix(b"\xef\xbb\xbf")
    if b"\n" not in data:
        data = data.replace(b"\r", b"\n")
    line = _FROM_LINE.match(data)
    start = line.end() if line else 0
    skipped = re.compile(rb"[\r\n]+").match(data, start)
    if skipped and _WELL_KNOWN.match(data, skipped.end()):
        start = skipped.end()
    head, body = _halves(data[start:], warnings)
    return _message(head, body), line[0].decode("latin-1") if line else ""


def leaves(mail: Part, warnings: Warnings) -> list[Leaf]:
    """Return the leaves of a mail in order, at least one."""
    found: list[Leaf] = []
    _walk(mail, (), found, warnings)
    return found


def _message(head: bytes, body: bytes, outer: Part | None = None) -> Part:
    """Return a message from its two halves; `outer` is the part that is parsed again."""
    source = head.rstrip(b"\n") + b"\n\n" + body if head.strip() else b"\n" + body
    depth, deepest = (0, DEEPEST) if outer is None else (outer.depth, outer.deepest)
    try:
        return _parsed(source, depth, deepest)
    except (_TooManyParts, RecursionError):
        return _parsed(source, depth, 0)


def _parsed(source: bytes, depth: int, deepest: int) -> Part:
    def made(policy: Any) -> Part:
        part = Part(policy)
        part.depth, part.deepest = depth, deepest
        return part

    parser: Any = BytesFeedParser(made, policy=_POLICY)  # type: ignore[arg-type, unused-ignore]
    parser.feed(source)
    found: Any = parser.close()
    return found  # type: ignore[no-any-return]


def _halves(data: bytes, warnings: Warnings) -> tuple[bytes, bytes]:
    """Return header lines that `email` accepts, and the body.

    Where no header continues, the body starts.
    """
    if data[:1] == b"\n" or data[:2] == b"\r\n":
        return b"", data[data.index(b"\n") + 1 :]
    blank = _BLANK.search(data, 0, LARGEST_HEAD)
    end, start = blank.span() if blank else (min(len(data), LARGEST_HEAD),) * 2
    raw = data[:end]
    head = _SPACED_NAME.sub(rb"\1:", raw.replace(b"\r\n", b"\n").replace(b"\r", b" "))
    if end == start < len(data):
        warnings[BAD_HEAD] += 1
    if not _BROKEN.search(head):
        return head, data[start:]
    warnings[BAD_HEAD] += 1
    last = max((match.start() for match in _WELL_KNOWN.finditer(head)), default=-1)
    for broken in _BROKEN.finditer(head):
        if broken.start() > last:
            return _BROKEN.sub(b"X-Broken-Line: ", head[: broken.start()]), head[broken.start() :] + data[end:]
    return _BROKEN.sub(b"X-Broken-Line: ", head), data[start:]


def _walk(part: Part, within: tuple[str, ...], found: list[Leaf], warnings: Warnings) -> None:
    if any(isinstance(defect, errors.MissingHeaderBodySeparatorDefect) for defect in part.defects):
        part = _mended(part, warnings)
    default = part.get_default_type()
    kind = value_type(part, "content-type", default)
    if kind.startswith("multipart/"):
        inner = _parts(part, warnings)
        if inner:
            for inner_part in inner:
                _walk(inner_part, (*within, kind), found, warnings)
            return
        warnings[BAD_MIME] += 1
        kind = "text/plain"
    if "/" not in kind:
        kind = {"text": "text/plain", "html": "text/html"}.get(kind, default)
    found_parameters = parameters(part, "content-type")
    data = _transfer_decoded(part, kind, found_parameters, warnings)
    leaf = Leaf(part, kind, found_parameters, data, within)
    found.extend(_without_files(leaf) if kind == "text/plain" else [leaf])


def _mended(part: Part, warnings: Warnings) -> Part:
    """Add the headers after a broken line to a part."""
    head, body = _halves(part.content(), warnings)
    if not head or part.is_multipart():
        return part
    mended = _message(b"".join(_raw(part)) + head, body, part)
    mended.set_default_type(part.get_default_type())
    return mended


def _raw(part: Part) -> Iterator[bytes]:
    for name, value in part.items():
        yield f"{name}: {value}\n".encode("ascii", "surrogateescape").replace(b"\r\n", b"\n")


def _parts(part: Part, warnings: Warnings) -> Sequence[Part]:
    """Return the parts by the header's boundary, else by the one in the body."""
    if part.is_multipart():
        return part.get_payload()  # type: ignore[return-value]
    if part.depth >= part.deepest:
        return []
    body = part.content()
    kind = value_type(part, "content-type", "multipart/mixed").encode()
    for boundary in _other_boundaries(part, body):
        again = _message(
            b'Content-Type: %s; boundary="%s"' % (kind, re.sub(rb'(["\\])', rb"\\\1", boundary)), body, part
        )
        if again.is_multipart():
            warnings[BAD_MIME] += 1
            return again.get_payload()  # type: ignore[return-value]
    return []


def _other_boundaries(part: Part, body: bytes) -> Iterator[bytes]:
    """Return other boundaries: the header's value as it stands, or the body's."""
    raw = _RAW_BOUNDARY.search(part.get("content-type", "")[:LARGEST_VALUE])
    written = raw[1].encode("ascii", "surrogateescape") if raw else b""
    for boundary in dict.fromkeys((written, written.strip(b"'"))):
        if boundary and b"--" + boundary in body:
            yield boundary
    if seen := _BOUNDARY.search(body):
        yield seen[1]


def _transfer_decoded(part: Part, kind: str, names: dict[str, str], warnings: Warnings) -> bytes:
    """Return the bytes of a part.

    `names` gets the name of a uuencoded file without one.
    """
    body = part.content()
    encoding = (
        without_comments(part.get("content-transfer-encoding", "")).partition(";")[0].strip().strip("\"'").lower()
    )
    if encoding == "quoted-printable":
        return decode_quoted_printable(body)
    if encoding == "base64":
        return decode_base64(body, kind, warnings)
    if encoding in _UU_ENCODINGS:
        begin = _UU_BEGIN.search(body)
        if begin is not None:
            names.setdefault("name", begin[1].decode("ascii", "surrogateescape").strip())
        data = decode_uu(body, begin.end() if begin else 0)
        if data is None:
            warnings[BAD_UU] += 1
            return body
        return data[0]
    return body


def _without_files(leaf: Leaf) -> Iterator[Leaf]:
    """Return a text, and the uuencoded files that it contained."""
    text: list[bytes] = []
    files: list[Leaf] = []
    at = 0
    while (begin := _UU_BEGIN.search(leaf.data, at)) is not None:
        decoded = decode_uu(leaf.data, begin.end(), complete=True)
        if decoded is None:
            text.append(leaf.data[at : begin.end()])
            at = begin.end()
            continue
        text.append(leaf.data[at : begin.start()])
        at = decoded[1]
        head = Part()
        head.set_raw("Content-Disposition", "attachment")
        name = begin[1].decode("ascii", "surrogateescape").strip()
        files.append(Leaf(head, "application/octet-stream", {"name": name}, decoded[0], leaf.within))
    if files:
        leaf = Leaf(leaf.head, leaf.content_type, leaf.parameters, b"".join([*text, leaf.data[at:]]), leaf.within)
    yield leaf
    yield from files
