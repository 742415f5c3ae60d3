"""Files, folders and archives as a stream of mails, calendars and cards.

Everything is yielded as a `Piece`, or as a `Skipped` with its reason. The order is by name on disk and the archive's
own within archives; content decides where the suffix does not. Names on disk affect folder names within limits: at most
`_DEEPEST` levels, no control characters, no way out. A linked folder is read once, after the real ones. An archive
within an archive is not opened.
"""

from __future__ import annotations

import base64
import os
import re
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal

from kerio_mockserver.mailbox.imports.archives import TOO_LARGE, Broken, Limits, Member, Skipped, is_archive, members
from kerio_mockserver.mailbox.imports.charsets import from_utf16
from kerio_mockserver.mailbox.imports.mbox import split_mbox, starts_mbox

UNKNOWN = "no mail, calendar or card"
UNREADABLE = "cannot be read"
UNFINISHED = "delivery unfinished"
INDEX = "a mail program's index"
ALREADY = "a link to a folder that is read already"
TOO_DEEP = "nested too deep"

_DEEPEST = 20
_DEEPEST_ON_DISK = 100
_STATUS_WITHIN = 4096  # Thunderbird writes these lines first
_LONGEST = 200
_SUFFIXES: dict[str, Literal["mail", "mbox", "calendar", "cards"]] = {
    ".eml": "mail",
    ".mbox": "mbox",
    ".mbx": "mbox",
    ".ics": "calendar",
    ".ical": "calendar",
    ".ifb": "calendar",
    ".vcs": "calendar",
    ".vcf": "cards",
    ".vcard": "cards",
}
_INDICES = frozenset({".msf", ".cmeta", ".ibex", ".ev-summary", ".index"})
_FOLDERS = (".sbd", ".mbox")
"""Endings of folders on disk that are not part of a name: Thunderbird's and Apple Mail's."""
_HEADERS = re.compile(
    rb"\A(?:From [^\n]*\n|>From [^\n]*\n)?(?:[!-9;-~]+[ \t]*:[^\n]*\n(?:[ \t][^\n]*\n)*)*?"
    rb"(?:from|to|date|subject|received|message-id|return-path|delivered-to|mime-version)[ \t]*:",
    re.IGNORECASE,
)
_MAILDIR_NAME = re.compile(r"\d{6,}\.")
_MAILDIR_FLAGS = re.compile(r"[:;!]2,([A-Za-z]*)")  # ";" and "!" where the file system has no ":"
_SHIFTED = re.compile(r"&([A-Za-z0-9+,]*)-")


@dataclass(frozen=True, slots=True)
class Piece:
    """One mail, one file of calendars, or one of cards.

    `flags` are Maildir letters, None if unknown; `folder` the names of its mail folders, outermost first, () for none.
    """

    kind: Literal["mail", "calendar", "cards"]
    folder: tuple[str, ...]
    name: str
    data: bytes
    flags: str | None = None
    modified: float = 0.0


@dataclass(frozen=True, slots=True)
class File:
    """A file was opened; for counting."""

    name: str


Found = Piece | Skipped | File


def pieces(path: Path, limits: Limits) -> Iterator[Found]:
    """Yield what `path` has: a file, folder, Maildir, mail program's folders, archive."""
    if not path.is_dir():
        yield from _file(path, (), limits)
        return
    yield from _Walk(limits).run(path, () if _is_account(path) else (path.resolve().name,))


def _is_account(path: Path) -> bool:
    """Return whether the folder is an account, so that its name is no mail folder's."""
    return (path / "cur").is_dir() or any(next(path.glob(pattern), None) for pattern in ("*.sbd", "*.msf"))


class _Walk:
    """One walk through a folder and everything in it."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._seen: set[tuple[int, int]] = set()
        self._links: deque[tuple[Path, tuple[str, ...]]] = deque()

    def run(self, path: Path, steps: tuple[str, ...]) -> Iterator[Found]:
        yield from self._folder(path, steps, 0)
        while self._links:
            link, within = self._links.popleft()
            yield from self._folder(link, within, 0)

    def _folder(self, path: Path, steps: tuple[str, ...], depth: int) -> Iterator[Found]:
        try:
            status = os.stat(path)
            entries = sorted(path.iterdir())
        except OSError:
            yield Skipped(str(path), UNREADABLE)
            return
        if (status.st_dev, status.st_ino) in self._seen or depth > _DEEPEST_ON_DISK:
            yield Skipped(str(path), ALREADY if depth <= _DEEPEST_ON_DISK else TOO_DEEP)
            return
        self._seen.add((status.st_dev, status.st_ino))
        for entry in entries:
            if not entry.is_dir():
                yield from _file(entry, steps, self._limits)
            elif entry.is_symlink():
                self._links.append((entry, (*steps, entry.name)))
            else:
                yield from self._folder(entry, (*steps, entry.name), depth + 1)


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
        yield Skipped(name, INDEX if Path(own).suffix.lower() in _INDICES else UNKNOWN)
    elif kind == "mbox":
        yield from _mbox(file, start, within, own, modified, limits)
    else:
        data = start + file.read(max(0, limits.item + 1 - len(start)))
        if len(data) > limits.item:
            yield Skipped(name, TOO_LARGE)
        elif maildir:
            flags = found[1] if (found := _MAILDIR_FLAGS.search(own)) else ""
            yield Piece("mail", folders((*within[:-2], *_maildir_steps(within[-2:-1]))), name, data, flags, modified)
        else:
            yield Piece(kind, folders(within), name, data, None, modified)


def kind_of(name: str, start: bytes) -> Literal["mail", "mbox", "calendar", "cards"] | None:
    """Return the kind of a file by its suffix, else by its beginning."""
    suffix = Path(name).suffix.lower()
    if suffix in _SUFFIXES:
        return _SUFFIXES[suffix]
    if suffix in _INDICES:
        return None
    start = start.removeprefix(b"\xef\xbb\xbf")
    text = from_utf16(start).lstrip()[:20].upper()
    if text.startswith(b"BEGIN:VCALENDAR"):
        return "calendar"
    if text.startswith(b"BEGIN:VCARD"):
        return "cards"
    if starts_mbox(start):
        return "mbox"
    return "mail" if _HEADERS.match(start) else None


def _mbox(
    file: IO[bytes], start: bytes, within: tuple[str, ...], own: str, modified: float, limits: Limits
) -> Iterator[Found]:
    """Yield the mails of an mbox in a folder of its name, a single mail in its own."""
    named = Path(own).suffix.lower() in _SUFFIXES
    beside_index = within and own == "mbox" and within[-1].endswith(".mbox")  # Apple Mail's Inbox.mbox/mbox
    inner = folders(within if beside_index else (*within, Path(own).stem if named else own))
    alone = named or beside_index
    held: Piece | None = None
    for count, data in enumerate(split_mbox(file, start.removeprefix(b"\xef\xbb\xbf"), limits.item), 1):
        if held is not None:
            yield held
            held = None
        if data is None:
            yield Skipped(f"{own}, mail {count}", TOO_LARGE)
        elif count == 1 and not alone:
            held = Piece("mail", inner, own, data, None, modified)
        else:
            yield Piece("mail", inner, f"{own}, mail {count}", data, None, modified)
    if held is not None:
        lone = inner if b"\nX-Mozilla-Status:" in held.data[:_STATUS_WITHIN] else folders(within)
        yield Piece("mail", lone, own, held.data, None, modified)


def folders(steps: tuple[str, ...]) -> tuple[str, ...]:
    """Return names on disk as names of mail folders."""
    named = (_folder_name(step) for step in steps if step not in ("", ".", ".."))
    return tuple(name for name in named if name)[:_DEEPEST]


def _folder_name(step: str) -> str:
    text = step.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    for ending in _FOLDERS:
        text = text[: -len(ending)] if text.lower().endswith(ending) else text
    return "".join(letter for letter in text if letter.isprintable()).strip()[:_LONGEST]


def _maildir_steps(steps: tuple[str, ...]) -> tuple[str, ...]:
    """Return the folders of a Maildir++ name such as `.Archive.2020`, in IMAP's UTF-7."""
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
