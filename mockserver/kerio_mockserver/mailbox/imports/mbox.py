"""The mails of an mbox in any of its dialects.

The standard library's `mailbox.mbox` starts a mail at every line that begins with "From ", and needs a file on disk;
texts contain such lines, and archives are read as streams. Here a "From " line starts a mail if it has a date as
programs write it, or if the next line is a header. `Content-Length` (mboxcl2, which quotes nothing) is used as long as
each mail ends where it says. ">From " loses the ">" that mboxo and mboxrd added.
"""

from __future__ import annotations

import io
import re
from collections import deque
from collections.abc import Iterator
from typing import IO

_DATED = re.compile(
    rb"From [^\n]*\b(?:mon|tue|wed|thu|fri|sat|sun)[^\n]*"
    rb"\b(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[^\n]*\d:\d\d",
    re.IGNORECASE,
)
_UNDATED = re.compile(rb"From +(?:[^\s]*|[^\s]+ [^\n]*\b(?:19|20)\d\d\b[^\n]*)[ \t]*\r?\n")
_HEADER = re.compile(rb">?[!-9;-~]+[ \t]*:")
_FIRST_HEADER = re.compile(
    rb"(?:from|to|cc|bcc|date|subject|sender|reply-to|in-reply-to|references|received(?:-spf)?|return-path|message-id"
    rb"|delivered-to|envelope-to|mime-version|status|lines|organization|newsgroups|path|user-agent|precedence|priority"
    rb"|importance|authentication-results|dkim-signature|domainkey-signature|errors-to|resent-[\w-]+|arc-[\w-]+"
    rb"|list-[\w-]+|content-[\w-]+|x-[\w.-]+)[ \t]*:",
    re.IGNORECASE,
)
_LENGTH = re.compile(rb"content-length:[ \t]*(\d{1,15})\s*\Z", re.IGNORECASE)
_QUOTED = re.compile(rb"^>(>*From )", re.MULTILINE)
_LONGEST_LINE = 1 << 16


def starts_mbox(start: bytes) -> bool:
    """Return whether a file that starts like this is an mbox."""
    line, _, rest = start.partition(b"\n")
    return _separates(line + b"\n", rest[:200], after_blank=True)


def split_mbox(file: IO[bytes], start: bytes, limit: int) -> Iterator[bytes | None]:
    """Yield the mails with their "From " lines; None for one beyond `limit` bytes."""
    lines = _Lines(file, start)
    trusts_lengths = True
    while lines.peek():
        mail = _Mail(limit)
        mail.add(lines.pop())
        length = _read_head(lines, mail)
        counted = trusts_lengths and length is not None and length <= limit
        if counted and length is not None and not _read_counted(lines, mail, length):
            trusts_lengths = counted = False
        _read_rest(lines, mail)
        yield mail.data(unquote=not (counted and b"\nFrom " in mail.body()))


def _separates(line: bytes, following: bytes, *, after_blank: bool) -> bool:
    if not line.startswith(b"From "):
        return False
    if _DATED.match(line):
        return after_blank or _HEADER.match(following) is not None
    return after_blank and _UNDATED.match(line) is not None and _FIRST_HEADER.match(following) is not None


def _read_head(lines: _Lines, mail: _Mail) -> int | None:
    """Read the header block and the empty line after it; return its Content-Length."""
    length = None
    while (line := lines.peek()) and not lines.starts_mail(after_blank=False):
        mail.add(lines.pop())
        if line in (b"\n", b"\r\n"):
            mail.head_ends()
            return length
        if found := _LENGTH.match(line):
            length = int(found[1])
    return None


def _read_counted(lines: _Lines, mail: _Mail, length: int) -> bool:
    """Read a body of so many bytes if a mail or the file ends there, else nothing."""
    taken: list[bytes] = []
    while length > 0 and (line := lines.peek()):
        taken.append(lines.pop())
        length -= len(line)
    if length == 0 and (lines.peek() in (b"", b"\n", b"\r\n") or lines.starts_mail(after_blank=True)):
        for line in taken:
            mail.add(line)
        return True
    lines.push(taken)
    return False


def _read_rest(lines: _Lines, mail: _Mail) -> None:
    blank = True
    while (line := lines.peek()) and not lines.starts_mail(after_blank=blank):
        mail.add(lines.pop())
        blank = line in (b"\n", b"\r\n")


class _Mail:
    """The lines of one mail, up to the limit."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._lines: list[bytes] = []
        self._size = 0
        self._head = -1

    def add(self, line: bytes) -> None:
        self._size += len(line)
        if self._size <= self._limit:
            self._lines.append(line)
        else:
            self._lines.clear()

    def head_ends(self) -> None:
        self._head = len(self._lines)

    def body(self) -> bytes:
        return b"\n" + b"".join(self._lines[self._head :]) if self._head >= 0 else b""

    def data(self, *, unquote: bool) -> bytes | None:
        if self._size > self._limit:
            return None
        if len(self._lines) > 1 and self._lines[-1] in (b"\n", b"\r\n"):
            self._lines.pop()  # separates the mails and belongs to none
        if self._head < 0 or not unquote:
            return b"".join(self._lines)
        head, body = b"".join(self._lines[: self._head]), b"".join(self._lines[self._head :])
        return head + _QUOTED.sub(rb"\1", body)


class _Lines:
    """Lines, or pieces of endless ones, with two lines of lookahead and a way back."""

    def __init__(self, file: IO[bytes], start: bytes) -> None:
        self._file = file
        self._ready = deque(io.BytesIO(start))
        if self._ready and not start.endswith(b"\n"):
            self._ready[-1] += file.readline(_LONGEST_LINE)
        self._at_start = True

    def peek(self, ahead: int = 0) -> bytes:
        """Return the next line, or the one after it; empty at the end."""
        while len(self._ready) <= ahead:
            line = self._file.readline(_LONGEST_LINE)
            if not line:
                return b""
            self._ready.append(line)
        return self._ready[ahead]

    def pop(self) -> bytes:
        line = self._ready.popleft()
        self._at_start = line.endswith(b"\n")
        return line

    def push(self, lines: list[bytes]) -> None:
        self._ready.extendleft(reversed(lines))
        self._at_start = True

    def starts_mail(self, *, after_blank: bool) -> bool:
        line = self.peek()
        return self._at_start and line.startswith(b"From ") and _separates(line, self.peek(1), after_blank=after_blank)
