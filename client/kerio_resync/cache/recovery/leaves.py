"""Rows out of the leaf pages of a damaged database file, one page after the other: no tree has to be whole for that.

SQLite finds a row through the pages above it; where one of those is spoilt, up to a fifth of a large table is out of
reach though every row of it stands. Here each page that says it is a table's leaf is taken apart by itself, and what a
row has on further pages is followed. What comes of it may be a row of any table, or of none: callers know their tables
by the columns, and their rows by the checksums. Free pages, which hold rows that were deleted, are left out.

Source: SQLite's file format, https://sqlite.org/fileformat2.html, sections 1.3, 1.5, 1.6 and 2.1.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final

from kerio_resync.errors import CacheDamaged

Value = int | float | bytes | str | None
Row = tuple[int, tuple[Value, ...]]
MAGIC: Final = b"SQLite format 3\0"
LARGEST: Final = 64 * 1024 * 1024  # bytes of a row; more than that is no row
_INTERIOR, _LEAF = 5, 13
_FIXED: Final = {1: 1, 2: 2, 3: 3, 4: 4, 5: 6, 6: 8, 7: 8}  # bytes by serial type: integers, and a real number
_REAL: Final = 7
_NO_ROW: Final = (ValueError, IndexError, struct.error)


def rows(path: Path, *, without: int = 0) -> Iterator[Row]:
    """(row id, values) of every row that can be decoded, in the order of pages; an INTEGER PRIMARY KEY is None among
    the values. `without`: the root page of a table whose rows are not wanted. CacheDamaged if the head of the file or
    its list of free pages can't be read: then rows that were deleted can't be told from others."""
    with path.open("rb") as file:
        pages = _Pages(file)
        left_out = pages.free() | pages.leaves(without)
        for number in range(2, pages.count + 1):
            if number not in left_out:
                yield from pages.rows(pages.read(number))


class _Pages:
    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        head = file.read(100)
        if len(head) < 100 or not head.startswith(MAGIC):
            raise CacheDamaged("the head of the file can't be read")
        size = int.from_bytes(head[16:18], "big")
        self._size = 65536 if size == 1 else size
        self._usable = self._size - head[20]
        if self._size < 512 or self._size & (self._size - 1) or self._usable < 480:
            raise CacheDamaged("the head of the file is not right")
        self._trunk, self._free = struct.unpack_from(">II", head, 32)
        self.count = file.seek(0, 2) // self._size

    def read(self, number: int) -> bytes:
        """ValueError if there is no such page."""
        if not 1 < number <= self.count:
            raise ValueError("no such page")
        self._file.seek((number - 1) * self._size)
        return self._file.read(self._size)

    def free(self) -> set[int]:
        """The pages that hold nothing any more."""
        found: set[int] = set()
        trunk = self._trunk
        try:
            while trunk and trunk not in found:
                page = self.read(trunk)
                following, count = struct.unpack_from(">II", page)
                found.add(trunk)
                found.update(struct.unpack_from(f">{count}I", page, 8))
                trunk = following
        except _NO_ROW:
            found = set()
        if len(found) != self._free:
            raise CacheDamaged("the list of free pages can't be read")
        return found

    def leaves(self, root: int) -> set[int]:
        """The pages of a table that can be reached from its root."""
        found: set[int] = set()
        todo = [root]
        while todo:
            number = todo.pop()
            try:
                page = self.read(number)
                if number not in found and page[0] == _INTERIOR:
                    todo.append(int.from_bytes(page[8:12], "big"))
                    todo += [int.from_bytes(page[at : at + 4], "big") for at in self._cells(page, 12)]
            except _NO_ROW:
                continue
            found.add(number)
        return found

    def rows(self, page: bytes) -> Iterator[Row]:
        if page[0] != _LEAF:
            return
        for start in self._cells(page, 8):
            try:
                yield self._row(page, start)
            except _NO_ROW:
                continue

    def _cells(self, page: bytes, head: int) -> tuple[int, ...]:
        """Where the cells begin; () if their list can't be one."""
        (count,) = struct.unpack_from(">H", page, 3)
        if head + 2 * count > self._usable:
            return ()
        found: tuple[int, ...] = struct.unpack_from(f">{count}H", page, head)
        return found

    def _row(self, page: bytes, start: int) -> Row:
        size, at = _varint(page, start)
        rowid, at = _varint(page, at)
        if size > LARGEST:
            raise ValueError("too large for a row")
        here = self._here(size)
        payload = page[at : at + here]
        if here < size:
            payload += self._beyond(int.from_bytes(page[at + here : at + here + 4], "big"), size - here)
        return rowid - (1 << 64 if rowid >> 63 else 0), _values(payload)

    def _here(self, size: int) -> int:
        """How many bytes of a row of `size` are on its leaf."""
        if size <= self._usable - 35:
            return size
        least = (self._usable - 12) * 32 // 255 - 23
        rest = least + (size - least) % (self._usable - 4)
        return rest if rest <= self._usable - 35 else least

    def _beyond(self, number: int, size: int) -> bytes:
        """`size` bytes from a chain of pages."""
        found = []
        while size > 0:
            page = self.read(number)
            found.append(page[4 : min(self._usable, 4 + size)])
            size -= len(found[-1])
            number = int.from_bytes(page[:4], "big")
        return b"".join(found)


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """(the number that begins at `at`, where it ends). IndexError."""
    value = 0
    for place in range(8):
        byte = data[at + place]
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            return value, at + place + 1
    return value << 8 | data[at + 8], at + 9


def _values(payload: bytes) -> tuple[Value, ...]:
    """The values of a record. ValueError, IndexError if it is none."""
    end, at = _varint(payload, 0)
    if end > len(payload):
        raise ValueError("a record's head is longer than the record")
    body, found = end, []
    while at < end:
        kind, at = _varint(payload, at)
        value, body = _value(payload, kind, body)
        found.append(value)
    if at != end or body != len(payload):
        raise ValueError("a record has another length than its head says")
    return tuple(found)


def _value(payload: bytes, kind: int, at: int) -> tuple[Value, int]:
    """(a value of that serial type, where it ends)"""
    if kind in (0, 8, 9):
        return (None if kind == 0 else kind - 8), at
    end = at + ((kind - 12) // 2 if kind >= 12 else _FIXED.get(kind, len(payload) + 1))
    if end > len(payload):
        raise ValueError("a value is longer than its record")
    data = payload[at:end]
    if kind >= 12:
        return (data.decode() if kind % 2 else data), end
    return (struct.unpack(">d", data)[0] if kind == _REAL else int.from_bytes(data, "big", signed=True)), end
