"""Reads the header of a SQLite file: its format, and whether it was truncated.

See https://www.sqlite.org/fileformat2.html#the_database_header. Every start of the mail program needs them, and opening
the database takes longer. The header counts the file's pages. The count is valid if it was written with the last change
("version valid for" equals the change counter); a file with fewer bytes was truncated. While a journal or a log is
beside the file, a change may be under way, and only SQLite can tell.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from kerio_resync.filesystem import open_regular

HEADER_BYTES: Final = 100
_MAGIC: Final = b"SQLite format 3\0"
_JOURNALS: Final = (
    ("-journal", (b"\xd9\xd5\x05\xf9\x20\xa1\x63\xd7",)),
    ("-wal", (b"\x37\x7f\x06\x82", b"\x37\x7f\x06\x83")),
)


@dataclass(frozen=True, slots=True)
class Header:
    """Header of a file; all but `bytes` are 0 if it is not a SQLite file (`valid`).

    `bytes`: its size. `version`, `mark`: its `user_version` and `application_id`. `expected`: the size it must at least
    have. `free_pages`: whether the list of free pages agrees with their count, which SQLite's own check ignores.
    """

    valid: bool
    bytes: int
    version: int = 0
    mark: int = 0
    expected: int = 0
    free_pages: bool = True

    @property
    def cut_short(self) -> bool:
        """Return whether the file has fewer bytes than its header says."""
        return self.bytes < self.expected


def read_header(path: Path) -> Header:
    """Read the header. OSError; BadSettings if `path` is not a regular file."""
    with os.fdopen(open_regular(path), "rb") as file:
        head = file.read(HEADER_BYTES)
        size = os.fstat(file.fileno()).st_size

    def number(start: int, length: int = 4) -> int:
        return int.from_bytes(head[start : start + length], "big")

    page = 65536 if number(16, 2) == 1 else number(16, 2)
    if len(head) < HEADER_BYTES or not head.startswith(_MAGIC) or page < 512 or page & (page - 1):
        return Header(False, size)
    expected = number(28) * page if number(24) == number(92) else page
    return Header(True, size, number(60), number(68), max(expected, page), (number(32) == 0) == (number(36) == 0))


def is_mid_change(path: Path) -> bool:
    """Return whether SQLite would apply a journal or a log to the file.

    OSError, BadSettings.
    """
    for suffix, magics in _JOURNALS:
        try:
            with os.fdopen(open_regular(path.with_name(path.name + suffix)), "rb") as file:
                if file.read(8).startswith(magics):
                    return True
        except FileNotFoundError:
            continue
    return False
