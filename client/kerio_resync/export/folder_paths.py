"""Names on disk for folders and items.

    nested        Archive/2026/        names as they are
    maildir++     .Archive.2026/       one level; the Inbox is the folder itself; IMAP's UTF-7
    thunderbird   Archive.sbd/2026     for mbox files

Characters that a file system or the layout forbids become "_". Two folders never share a path, also where upper and
lower case are the same.
"""

from __future__ import annotations

import base64
import hashlib
import re
import unicodedata
from collections.abc import Sequence
from typing import Final

from kerio_resync.export.options import Layout
from kerio_resync.export.read_cache import FolderRow

_FORBIDDEN: Final = re.compile(r"[\\/:*?\"<>|\x00-\x1f\x7f]")
_RESERVED: Final = frozenset(
    {"cur", "new", "tmp", "con", "prn", "aux", "nul", *(f"{name}{n}" for name in ("com", "lpt") for n in range(10))}
)
_SHIFTED: Final = re.compile(r"&|[^ -~]+")
MAX_NAME_BYTES: Final = 200  # of 255 that file systems allow; suffixes follow


def folder_paths(folders: Sequence[FolderRow], layout: Layout) -> dict[int, tuple[str, ...]]:
    """Return the path of each folder, as names from the top, by row number.

    () is the Inbox of a Maildir++.
    """
    paths: dict[int, tuple[str, ...]] = {}
    numbers = {row.folder.id: row.number for row in folders}
    taken: set[str] = set()
    for row in sorted(folders, key=lambda row: (_depth(row.path), row.path, row.folder.id)):
        parent = paths.get(numbers.get(row.folder.parent_id, -1))
        above = parent if parent is not None else tuple(map(_safe, split_path(row.path)[:-1]))
        is_inbox = layout == "maildir++" and row.folder.role == "inbox" and row.folder.place == "own"
        name = "INBOX" if is_inbox else _safe(row.folder.name)
        if layout == "maildir++":
            name = name.replace(".", "_")
        paths[row.number] = (*above, _unique(above, name, taken, row.folder.id))
    return paths


def maildir_name(path: tuple[str, ...]) -> str:
    """Return the one name of a folder in a Maildir++; "" for the Inbox."""
    return "" if path == ("INBOX",) else "".join(f".{_utf7(name)}" for name in path)


def split_path(path: str) -> list[str]:
    r"""Divide a path of the cache, in which a "/" within a name is written "\/"."""
    return [name.replace("\\/", "/") for name in re.split(r"(?<!\\)/", path)]


def safe_stem(text: str, most: int = 80) -> str:
    """Return a text as the beginning of a file's name; it may be empty."""
    return _truncated(" ".join(_FORBIDDEN.sub("_", _printable(text)).split())[:most].strip(". "), MAX_NAME_BYTES - 60)


def _safe(name: str) -> str:
    text = _FORBIDDEN.sub("_", _printable(name)).strip()
    text = f"_{text[1:]}" if text.startswith(".") else text
    text = f"{text[:-1]}_" if text.endswith(".") else text
    text = f"{text}_" if text.casefold() in _RESERVED else text
    return _truncated(text, MAX_NAME_BYTES) or "_"


def _printable(text: str) -> str:
    text = unicodedata.normalize("NFC", text.encode("utf-8", "replace").decode())
    return "".join(letter if letter.isprintable() else "_" for letter in text)


def _truncated(text: str, most: int) -> str:
    return text.encode()[:most].decode("utf-8", "ignore")


def _unique(above: tuple[str, ...], name: str, taken: set[str], folder_id: str) -> str:
    """Return the name, with a mark if the folder above has it already."""
    key = "/".join((*above, name)).casefold()
    if key in taken:
        name = f"{name}-{hashlib.sha256(folder_id.encode('utf-8', 'replace')).hexdigest()[:8]}"
        key = "/".join((*above, name)).casefold()
    taken.add(key)
    return name


def _depth(path: str) -> int:
    return len(split_path(path))


def _utf7(name: str) -> str:
    """Return a name in IMAP's UTF-7 (RFC 3501)."""

    def shifted(match: re.Match[str]) -> str:
        if match[0] == "&":
            return "&-"
        coded = base64.b64encode(match[0].encode("utf-16-be")).decode().rstrip("=").replace("/", ",")
        return f"&{coded}-"

    return _SHIFTED.sub(shifted, name)


def is_renamed(row: FolderRow, path: tuple[str, ...]) -> bool:
    """Return whether a folder has another name on disk than on the server."""
    return path[-1] not in (row.folder.name, "INBOX")
