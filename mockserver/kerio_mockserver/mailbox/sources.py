"""Files, folders and archives, as a stream of what can be imported: mails, calendars, cards.

Promises: everything is either given as a `Piece` or as a `Skipped` with its reason; order is by name on disk and the
archive's own within archives; content decides where the suffix says nothing. What a name on disk can do to folder names
is limited here: at most `_DEEPEST` levels, no control characters, no way out. An archive within an archive stays shut.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal

from kerio_mockserver.mailbox.archives import TOO_LARGE, Broken, Limits, Member, Skipped, is_archive, members

UNKNOWN = "no mail, calendar or card"
UNREADABLE = "can't be read"
UNFINISHED = "delivery unfinished"

_DEEPEST = 20
_LONGEST = 200
_SUFFIXES: dict[str, Literal["mail", "mbox", "calendar", "cards"]] = {
    ".eml": "mail",
    ".mbox": "mbox",
    ".mbx": "mbox",
    ".ics": "calendar",
    ".ical": "calendar",
    ".ifb": "calendar",
    ".vcf": "cards",
    ".vcard": "cards",
}
_FROM_LINE = re.compile(rb"From [^\n]*\d:\d\d[^\n]*\d{4}")
_HEADERS = re.compile(
    rb"\A(?:From [^\n]*\n|>From [^\n]*\n)?(?:[!-9;-~]+:[^\n]*\n(?:[ \t][^\n]*\n)*)*?"
    rb"(?:from|to|date|subject|received|message-id|return-path|delivered-to|mime-version):",
    re.IGNORECASE,
)
_MAILDIR_NAME = re.compile(r"\d{6,}\.")
_SHIFTED = re.compile(r"&([A-Za-z0-9+,]*)-")


@dataclass(frozen=True, slots=True)
class Piece:
    """One mail (`flags`: Maildir letters, None if nothing tells), one file of calendars, or one of cards.

    `folder`: the names of the mail folders it was found in, outermost first; () for none.
    """

    kind: Literal["mail", "calendar", "cards"]
    folder: tuple[str, ...]
    name: str
    data: bytes
    flags: str | None = None
    modified: float = 0.0


@dataclass(frozen=True, slots=True)
class File:
    """A file was opened and looked into; for counting."""

    name: str


Found = Piece | Skipped | File


def pieces(path: Path, limits: Limits) -> Iterator[Found]:
    """What is in `path`: a file, a folder, a Maildir, an archive."""
    if not path.is_dir():
        yield from _file(path, (), limits)
        return
    top = () if (path / "cur").is_dir() else (path.resolve().name,)
    yield from _folder(path, top, limits)


def _folder(path: Path, steps: tuple[str, ...], limits: Limits) -> Iterator[Found]:
    try:
        entries = sorted(path.iterdir())
    except OSError:
        yield Skipped(str(path), UNREADABLE)
        return
    for entry in entries:
        if entry.is_dir():
            if not entry.is_symlink():  # a link may lead round in a circle
                yield from _folder(entry, (*steps, entry.name), limits)
        else:
            yield from _file(entry, steps, limits)


def _file(path: Path, steps: tuple[str, ...], limits: Limits) -> Iterator[Found]:
    try:
        if not path.is_file():
            yield Skipped(str(path), UNREADABLE)
        elif is_archive(path):
            yield File(str(path))
            for member in members(path, limits):
                yield from _member(member, steps, limits) if isinstance(member, Member) else (member,)
        else:
            modified = path.stat().st_mtime
            with path.open("rb") as file:
                yield from _content(file, (*steps, path.name), path.name, modified, limits)
    except OSError:
        yield Skipped(str(path), UNREADABLE)


def _member(member: Member, steps: tuple[str, ...], limits: Limits) -> Iterator[Found]:
    try:
        with member.open() as file:
            yield from _content(file, (*steps, *member.path), member.name, member.modified, limits)
    except Broken as broken:
        yield Skipped(member.name, broken.reason)


def _content(file: IO[bytes], steps: tuple[str, ...], name: str, modified: float, limits: Limits) -> Iterator[Found]:
    yield File(name)
    within, own = steps[:-1], steps[-1] if steps else ""
    maildir = within[-1] if within and within[-1] in ("cur", "new", "tmp") and _MAILDIR_NAME.match(own) else ""
    start = file.read(4096)
    kind = "mail" if maildir else kind_of(own, start)
    if maildir == "tmp":
        yield Skipped(name, UNFINISHED)
    elif kind is None:
        yield Skipped(name, UNKNOWN)
    elif kind == "mbox":
        yield from _mbox(file, start, within, own, modified, limits)
    else:
        data = start + file.read(max(0, limits.item + 1 - len(start)))
        if len(data) > limits.item:
            yield Skipped(name, TOO_LARGE)
        elif maildir:
            flags = own.rpartition(":2,")[2] if ":2," in own else ""
            yield Piece("mail", folders((*within[:-2], *_maildir_steps(within[-2:-1]))), name, data, flags, modified)
        else:
            yield Piece(kind, folders(within), name, data, None, modified)


def kind_of(name: str, start: bytes) -> Literal["mail", "mbox", "calendar", "cards"] | None:
    """What a file is by its suffix, else by how it starts."""
    suffix = Path(name).suffix.lower()
    if suffix in _SUFFIXES:
        return _SUFFIXES[suffix]
    text = start.removeprefix(b"\xef\xbb\xbf").lstrip()[:20].upper()
    if text.startswith(b"BEGIN:VCALENDAR"):
        return "calendar"
    if text.startswith(b"BEGIN:VCARD"):
        return "cards"
    if _FROM_LINE.match(start):
        return "mbox"
    return "mail" if _HEADERS.match(start) else None


def _mbox(
    file: IO[bytes], start: bytes, within: tuple[str, ...], own: str, modified: float, limits: Limits
) -> Iterator[Found]:
    """The mails of an mbox, in a folder of its name; a lone mail without that suffix stays in the folder it is in."""
    named = Path(own).suffix.lower() in _SUFFIXES
    inner = folders((*within, Path(own).stem if named else own))
    held: Piece | None = None
    for count, data in enumerate(split_mbox(file, start, limits.item), 1):
        if held is not None:
            yield held
            held = None
        if data is None:
            yield Skipped(f"{own}, mail {count}", TOO_LARGE)
        elif count == 1 and not named:
            held = Piece("mail", inner, own, data, None, modified)
        else:
            yield Piece("mail", inner, f"{own}, mail {count}", data, None, modified)
    if held is not None:
        yield Piece("mail", folders(within), own, held.data, None, modified)


def split_mbox(file: IO[bytes], start: bytes, limit: int) -> Iterator[bytes | None]:
    """The mails of an mbox with their "From " lines; None for one of more than `limit` bytes.

    A mail starts at a "From " line with a time and a year in it, after an empty line: others stand in texts.
    """
    lines: list[bytes] = []
    size = 0
    blank, whole = True, True
    for line in _lines(file, start):
        if blank and whole and _FROM_LINE.match(line):
            if size:
                yield _joined(lines, size, limit)
            lines, size = [], 0
        size += len(line)
        if size <= limit:
            lines.append(line)
        blank, whole = whole and line in (b"\n", b"\r\n"), line.endswith(b"\n")
    if size:
        yield _joined(lines, size, limit)


def _joined(lines: list[bytes], size: int, limit: int) -> bytes | None:
    if size > limit:
        return None
    if len(lines) > 1 and lines[-1] in (b"\n", b"\r\n"):
        lines = lines[:-1]  # it parts the mails and belongs to none
    return b"".join(lines)


def _lines(file: IO[bytes], start: bytes) -> Iterator[bytes]:
    """Lines, or pieces of those that are endless."""
    *whole, rest = start.splitlines(keepends=True) or [b""]
    yield from whole
    if start:
        yield rest + (b"" if rest.endswith(b"\n") else file.readline(1 << 16))
    while line := file.readline(1 << 16):
        yield line


def folders(steps: tuple[str, ...]) -> tuple[str, ...]:
    """Names on disk as names of mail folders."""
    named = (_folder_name(step) for step in steps if step not in ("", ".", ".."))
    return tuple(name for name in named if name)[:_DEEPEST]


def _folder_name(step: str) -> str:
    text = step.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    return "".join(letter for letter in text if letter.isprintable()).strip()[:_LONGEST]


def _maildir_steps(steps: tuple[str, ...]) -> tuple[str, ...]:
    """The folder of a Maildir++ name such as `.Archive.2020`, in IMAP's UTF-7."""
    if not steps or not steps[0].startswith("."):
        return steps
    return tuple(_SHIFTED.sub(_unshifted, name) for name in steps[0].split(".") if name)


def _unshifted(match: re.Match[str]) -> str:
    if not match[1]:
        return "&"
    coded = match[1].replace(",", "/")
    try:
        return base64.b64decode(coded + "=" * (-len(coded) % 4)).decode("utf-16-be")
    except ValueError:
        return match[0]
