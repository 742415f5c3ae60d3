"""A mail's bytes taken apart into its MIME leaves, each with its own bytes.

The standard library's `email` takes the structure apart, under a modern policy that hands out header values as they
stand. `Part` keeps its known traps shut: nesting and the number of parts are bounded (the parser recurses), a mail
within a mail stays one leaf (the parser would give it back re-written), header values with parameters are bounded
(reading them takes the square of the length), and no defect raises.

Promises: nothing is lost; a part that is broken (no boundary, nesting beyond `DEEPEST`, more than `MOST` parts) stays
whole as one leaf, and is counted. Time is linear in the size, times the depth.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from email import errors
from email.message import EmailMessage
from email.parser import BytesFeedParser
from email.policy import EmailPolicy
from email.utils import decode_params
from typing import Any

from kerio_mockserver.mailbox.imports.charsets import Warnings, from_utf16, known_charset, strict

DEEPEST = 32
MOST = 1000
LARGEST_HEAD = 1 << 20
LARGEST_VALUE = 4096

BAD_MIME = "MIME structure broken"
BAD_BASE64 = "base64 broken"
BAD_UU = "uuencoded data broken"
BAD_HEAD = "header block broken"

_LONGEST_FOOTER = 4096
_FROM_LINE = re.compile(rb"From [^\r\n]*\r?\n")
_BLANK = re.compile(rb"\r?\n\r?\n")
_SPACED_NAME = re.compile(rb"^([!-9;-~]+)[ \t]+:", re.MULTILINE)
_BROKEN = re.compile(rb"^(?![!-9;-~]+:|[ \t])[^\n]+", re.MULTILINE)
_WELL_KNOWN = re.compile(
    rb"^(?:from|to|cc|subject|date|message-id|received|return-path|mime-version|content-[a-z-]+|x-[a-z-]+):",
    re.MULTILINE | re.IGNORECASE,
)
_CODED_LINES = re.compile(rb"\s*(?:[A-Za-z0-9+/]+=*[ \t]*(?:\r?\n|\Z))*")
_BOUNDARY = re.compile(rb"^--([^\r\n]{1,100}?)[ \t]*\r?\nContent-[A-Za-z-]{1,40}:", re.MULTILINE | re.IGNORECASE)
_RAW_BOUNDARY = re.compile(r"boundary\s*=\s*\"?([^\s;\"]{1,200})", re.IGNORECASE)
META_CHARSET = re.compile(rb"<meta\s[^<>]{0,200}?charset\s*=\s*[\"']?([\w:.-]{2,40})", re.IGNORECASE)
_NOT_BASE64 = re.compile(rb"[^A-Za-z0-9+/=]+")
_TYPE = re.compile(r"\s*([\w!#$&^.+-]+(?:/[\w!#$&^.+-]+)?)", re.ASCII)
_COMMENT = re.compile(r'("(?:[^"\\]|\\.)*"?)|\([^()"]*\)')
_PARAMETER = re.compile(
    r"([\w!#$&^.+*-]+)\s*=\s*(\"(?:[^\"\\]|\\.)*\"?|[^;\"]*?)(?=\s*(?:;|,\s|\Z)|\s+[\w*-]+\s*=|(?<=\"))", re.DOTALL
)
_UU_BEGIN = re.compile(rb"^begin [0-7]{3,4} ([^\r\n]{1,200})\r?\n", re.MULTILINE)
_UU_ENCODINGS = frozenset({"x-uuencode", "uuencode", "uue", "x-uue"})


class _TooManyParts(Exception):
    pass


class Part(EmailMessage):
    """A message or one of its parts. `depth`: how many parts it is nested in; `siblings`: all parts so far."""

    depth = 0
    deepest = DEEPEST

    def __init__(self, policy: Any = None) -> None:
        super().__init__(policy or _POLICY)
        self.siblings: list[Part] = []

    def get_content_type(self) -> str:
        """What the parser may take apart; anything else is text to it, whatever the header says."""
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
        """The body as it stands in the mail."""
        payload: Any = self._payload  # type: ignore[attr-defined, unused-ignore] # get_payload() decodes
        return payload.encode("ascii", "surrogateescape") if isinstance(payload, str) else b""


class _Policy(EmailPolicy):
    """Header values as text in which raw bytes are surrogate escapes: `headers` reads them."""

    def header_fetch_parse(self, name: str, value: str) -> Any:
        return value


_POLICY = _Policy(message_factory=Part)  # type: ignore[call-arg, unused-ignore]
Head = Part


@dataclass(frozen=True, slots=True)
class Leaf:
    """One part without parts. `data` is decoded from its transfer encoding; `within` are the types it is nested in."""

    head: Head
    content_type: str
    parameters: dict[str, str]
    data: bytes
    within: tuple[str, ...] = ()


def parse(data: bytes, troubles: Warnings) -> tuple[Part, str]:
    """A mail as `email` sees it, and the mbox "From " line before it ("" if there is none)."""
    data = from_utf16(data).removeprefix(b"\xef\xbb\xbf")
    if b"\n" not in data:
        data = data.replace(b"\r", b"\n")
    line = _FROM_LINE.match(data)
    start = line.end() if line else 0
    skipped = re.compile(rb"[\r\n]+").match(data, start)
    if skipped and _WELL_KNOWN.match(data, skipped.end()):
        start = skipped.end()
    head, body = _halves(data[start:], troubles)
    return _message(head, body), line[0].decode("latin-1") if line else ""


def leaves(mail: Part, troubles: Warnings) -> list[Leaf]:
    """The leaves of a mail in their order; at least one."""
    found: list[Leaf] = []
    _walk(mail, (), found, troubles)
    return found


def value_type(head: Head, header: str, default: str) -> str:
    """What stands before the parameters of a header, such as `text/plain`, in lower case; `default` if nonsense."""
    found = _TYPE.match(_uncommented(head.get(header, "")))
    return found[1].lower() if found else default


def parameters(head: Head, header: str) -> dict[str, str]:
    """The parameters of a header by lower-case name, unquoted, RFC 2231 decoded. Raw bytes are surrogate escapes.

    An extended value (`filename*`) counts more than a plain one of the same name, as in RFC 6266 and mail programs.
    """
    value = _uncommented(head.get(header, ""))
    start = _TYPE.match(value)
    first = value.find("=") if start is not None and value[start.end() :].lstrip().startswith("=") else -1
    rest = value if first >= 0 or start is None else value[start.end() :]
    try:
        found = decode_params([("", ""), *((name.lower(), _closed(text)) for name, text in _PARAMETER.findall(rest))])[
            1:
        ]
    except (ValueError, LookupError, TypeError, AttributeError):  # hostile RFC 2231 continuations
        return {}
    extended = {name: _collapsed(text) for name, text in reversed(found) if isinstance(text, tuple)}
    plain = {name: _unquoted(text) for name, text in reversed(found) if isinstance(text, str)}
    return plain | extended


def extended(head: Head, header: str, name: str) -> bool:
    """Whether a parameter is there in its extended form (RFC 2231), which is the one that was meant."""
    return re.search(rf"[;\s]{name}\*(?:0\*?)?\s*=", head.get(header, "")[:LARGEST_VALUE], re.IGNORECASE) is not None


def _closed(text: str) -> str:
    """A quoted value with its closing quotation mark, which may have been cut off."""
    return f'{text}"' if text.startswith('"') and (len(text) == 1 or not text.endswith('"')) else text


def _uncommented(value: str) -> str:
    """A header value without its comments, on one line, as much of it as is read."""
    value = value[:LARGEST_VALUE].replace("\r", "").replace("\n", "")
    for _ in range(4 if "(" in value else 0):  # comments nest
        value = _COMMENT.sub(lambda match: match[1] or " ", value)
    return value


def _unquoted(text: str) -> str:
    text = text.strip()
    if text.startswith('"'):
        text = text[1:-1] if text.endswith('"') and len(text) > 1 else text[1:]
    return re.sub(r"\\([\\\"])", r"\1", text).strip()


def _collapsed(value: tuple[str | None, str | None, str]) -> str:
    charset, _, text = value
    raw = _unquoted(text).encode("latin-1", "surrogateescape")
    known = known_charset(charset or "")
    found = strict(raw, known) if known else None
    return (raw.decode("ascii", "surrogateescape") if found is None else found).strip()


def _message(head: bytes, body: bytes, outer: Part | None = None) -> Part:
    """A message from its two halves. `outer`: the part that is read again, whose place and limits it has."""
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


def _halves(data: bytes, troubles: Warnings) -> tuple[bytes, bytes]:
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


def _walk(part: Part, within: tuple[str, ...], found: list[Leaf], troubles: Warnings) -> None:
    if any(isinstance(defect, errors.MissingHeaderBodySeparatorDefect) for defect in part.defects):
        part = _mended(part, troubles)
    default = part.get_default_type()
    kind = value_type(part, "content-type", default)
    if kind.startswith("multipart/"):
        inner = _parts(part, troubles)
        if inner:
            for one in inner:
                _walk(one, (*within, kind), found, troubles)
            return
        troubles[BAD_MIME] += 1
        kind = "text/plain"
    if "/" not in kind:
        kind = {"text": "text/plain", "html": "text/html"}.get(kind, default)
    found_parameters = parameters(part, "content-type")
    data = _transfer_decoded(part, kind, found_parameters, troubles)
    leaf = Leaf(part, kind, found_parameters, data, within)
    found.extend(_without_files(leaf) if kind == "text/plain" else [leaf])


def _mended(part: Part, troubles: Warnings) -> Part:
    """A part whose header block a broken line interrupts, with the headers after that line."""
    head, body = _halves(part.content(), troubles)
    if not head or part.is_multipart():
        return part
    mended = _message(b"".join(_raw(part)) + head, body, part)
    mended.set_default_type(part.get_default_type())
    return mended


def _raw(part: Part) -> Iterator[bytes]:
    for name, value in part.items():
        yield f"{name}: {value}\n".encode("ascii", "surrogateescape").replace(b"\r\n", b"\n")


def _parts(part: Part, troubles: Warnings) -> Sequence[Part]:
    """The parts by the boundary the header names, or else by the one that the body seems to use; none if neither."""
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
            troubles[BAD_MIME] += 1
            return again.get_payload()  # type: ignore[return-value]
    return []


def _other_boundaries(part: Part, body: bytes) -> Iterator[bytes]:
    """What may be meant if the boundary never comes: the header's as it stands, or the one that the body shows."""
    raw = _RAW_BOUNDARY.search(part.get("content-type", "")[:LARGEST_VALUE])
    written = raw[1].encode("ascii", "surrogateescape") if raw else b""
    for boundary in dict.fromkeys((written, written.strip(b"'"))):
        if boundary and b"--" + boundary in body:
            yield boundary
    if seen := _BOUNDARY.search(body):
        yield seen[1]


def _transfer_decoded(part: Part, kind: str, names: dict[str, str], troubles: Warnings) -> bytes:
    """The bytes of a part. `names` gets the name of a uuencoded file if it has none."""
    body = part.content()
    encoding = _uncommented(part.get("content-transfer-encoding", "")).partition(";")[0].strip().strip("\"'").lower()
    if encoding == "quoted-printable":
        # blanks at the end of a line were added on the way, also after a soft line break
        return binascii.a2b_qp(b"\n".join(_trimmed(line) for line in body.split(b"\n")))
    if encoding == "base64":
        return _unbase64(body, kind, troubles)
    if encoding in _UU_ENCODINGS:
        begin = _UU_BEGIN.search(body)
        if begin is not None:
            names.setdefault("name", begin[1].decode("ascii", "surrogateescape").strip())
        data = _uudecoded(body, begin.end() if begin else 0)
        if data is None:
            troubles[BAD_UU] += 1
            return body
        return data[0]
    return body


def _trimmed(line: bytes) -> bytes:
    """A line without the blanks at its end; a CR stays."""
    return line[:-1].rstrip(b" \t") + b"\r" if line.endswith(b"\r") else line.rstrip(b" \t")


def _unbase64(body: bytes, kind: str, troubles: Warnings) -> bytes:
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


def _without_files(leaf: Leaf) -> Iterator[Leaf]:
    """A text, and after it the uuencoded files that stood in it."""
    text: list[bytes] = []
    files: list[Leaf] = []
    at = 0
    while (begin := _UU_BEGIN.search(leaf.data, at)) is not None:
        decoded = _uudecoded(leaf.data, begin.end(), complete=True)
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


def _uudecoded(body: bytes, at: int = 0, *, complete: bool = False) -> tuple[bytes, int] | None:
    """The data of uuencoded lines from `at` on, and where they end; None for what is not. `complete`: up to "end"."""
    out: list[bytes] = []
    while at < len(body):
        stop = body.find(b"\n", at) + 1 or len(body)
        line = body[at:stop].rstrip(b"\r\n")
        at = stop
        if line.strip() == b"end":
            return b"".join(out), at
        if not line.strip():
            continue
        try:
            out.append(binascii.a2b_uu(line.ljust(1 + ((line[0] - 32 & 63) + 2) // 3 * 4)))
        except binascii.Error:
            return None
    return None if complete else (b"".join(out), at)
