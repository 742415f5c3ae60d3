"""Reads a database of format 7.1, row by row, in bounded memory.

Whatever does not fit its table (a missing row, a wrong length, an invalid text) raises CacheDamaged. Nothing is
guessed, and messages quote no text of the file.
"""

from __future__ import annotations

import json
import sqlite3
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import closing
from functools import cached_property
from pathlib import Path
from typing import Any, Final, NamedTuple, Self, cast

import pybase64

from kerio_resync.cache.format71.columns import (
    COLUMNS,
    PART_TYPES,
    Struct,
    decode_choice,
    decode_columns,
    decode_flags,
    decode_folder,
    decode_int,
    decode_json_object,
    decode_text,
    decode_time,
    linked_attachments,
)
from kerio_resync.cache.format71.schema import (
    ACTIONS,
    CONTENT_TABLES,
    COUNTED_TABLES,
    FORMAT,
    KIND_BY_NUMBER,
    LINE_BYTES,
    OWNED_ROWS,
    SLOTS,
    TABLE_BY_KIND,
    TABLE_NAMES,
    USER_VERSION,
    slot_range,
)
from kerio_resync.cache.mutations import Action, AddChange, LocalChange, LocalFile
from kerio_resync.cache.old_file import mapped_errors, open_old_file, replace_old_file, used_bytes
from kerio_resync.cache.old_values import neutral_change, version_text
from kerio_resync.cache.schema_guard import require_tables
from kerio_resync.errors import CacheDamaged
from kerio_resync.model import KINDS, Folder, Identity, Kind

ROWS_PER_QUERY: Final = 8  # bounds the memory that items take
LINES_PER_PIECE: Final = 4
PIECES_AHEAD: Final = 16  # of a content that may be in use at the same time
_LINES_SQL: Final = "SELECT CAST(DATA AS BLOB) FROM CONTENT_LINES WHERE ID BETWEEN ? AND ? ORDER BY ID"
_ITEM_SQL: Final = {
    kind: f"SELECT ID, KID, FOLDER, WATERMARK, PROPS, EXTRA, {', '.join(column.name for column in COLUMNS[kind])}"
    f"{ {'mail': ', FLAGS, PARTS, FILES', 'contact': ', PHOTOS'}.get(kind, '')}"
    f" FROM {TABLE_BY_KIND[kind]} WHERE ID > ? ORDER BY ID LIMIT ?"
    for kind in KINDS
}  # fmt: skip
_OWNED_SQL: Final[dict[Kind, tuple[str, ...]]] = {
    "mail": (
        "SELECT ID, PART, TYPE, CHARS, TEXT FROM MAIL_BODIES WHERE ID BETWEEN ? AND ? ORDER BY ID",
        "SELECT ID, KID, URL, NAME, TYPE, CID, SIZE, BYTES, FIRST_LINE, LINES FROM ATTACHMENTS"
        " WHERE ID BETWEEN ? AND ? ORDER BY ID",
    ),
    "contact": ("SELECT ID, BYTES, FIRST_LINE, LINES FROM CONTACT_PHOTOS WHERE ID BETWEEN ? AND ? ORDER BY ID",),
}
_FILES_SQL: Final = "SELECT ID, NAME, TYPE, CID, BYTES, FIRST_LINE, LINES FROM PENDING_FILES WHERE ID BETWEEN ? AND ?"
_OwnedRows = list[tuple[Any, ...]]


class ContentExtent(NamedTuple):
    """Where a content lies: `bytes` long, in `lines` lines from number `first`.

    `ordinal`: the place of its attachment among those of the item that have a URL, from 0.
    """

    ordinal: int
    bytes: int
    first: int
    lines: int


class Format71Item(NamedTuple):
    """An item: row number, the server's id and struct, and the contents that exist."""

    number: int
    id: str
    struct: Struct
    contents: tuple[ContentExtent, ...]


class Format71Reader:
    """An open file of format 7.1, used by one thread at a time."""

    def __init__(self, db: sqlite3.Connection, path: Path) -> None:
        """Read through an open connection; `path` names the file in errors."""
        self.path, self._db = path, db
        # used in turns: new memory for each piece would be slow
        self._buffers = deque(memoryview(bytearray(LINES_PER_PIECE * LINE_BYTES)) for _ in range(PIECES_AHEAD))

    @classmethod
    def open(cls, path: Path, *, locked_elsewhere: bool = False) -> Self:
        """Open and lock a file; see `open_old_file`. CacheDamaged, CacheInUse."""
        return cls(open_old_file(path, _require_format71, locked_elsewhere=locked_elsewhere), path)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection and release the lock."""
        self._db.close()

    def replace_by(self, new: Path) -> None:
        """Give the sealed file `new` this file's name, under the lock, durably.

        Only `close` may follow.
        """
        replace_old_file(self.path, new)

    @cached_property
    def info(self) -> dict[str, str]:
        """Return what the table INFO says, by name."""
        with mapped_errors(self.path):
            return {decode_text(name): decode_text(value) for name, value in self._rows("SELECT NAME, VALUE FROM INFO")}

    @property
    def identity(self) -> Identity:
        """Return whose cache the file is."""
        return Identity(*(self._info(name) for name in ("SERVER", "ACCOUNT", "USER", "ADDRESS")))

    @property
    def sync_key(self) -> str | None:
        """Return the sync key, or None if there is none."""
        return self.info.get("SYNCKEY")

    def count(self, table: str) -> int:
        """Return how many rows a table should have, as INFO says."""
        with mapped_errors(self.path):
            return int(self._info(f"COUNT_{table}"))

    def item_count(self) -> int:
        """Return the number of items."""
        return sum(map(self.count, TABLE_BY_KIND.values()))

    def require_counts(self) -> None:
        """Raise CacheDamaged unless every table has all of its rows.

        Each row that belongs to another one must have its owner, too.
        """
        for table in COUNTED_TABLES:
            found, expected = self._number(f"SELECT count(*) FROM {table}"), self.count(table)
            if found != expected:
                raise CacheDamaged(f"{self.path}: {table} has {found:,} rows, not {expected:,}")
        for table, owned in OWNED_ROWS.items():
            if self._number(owned) != self.count(table):
                raise CacheDamaged(f"{self.path}: a row of {table} belongs to no other row")

    def used_bytes(self) -> int:
        """Return how many bytes of the file are in use."""
        with mapped_errors(self.path):
            return used_bytes(self._db)

    def contents(self, tables: Sequence[str] = CONTENT_TABLES) -> tuple[int, int]:
        """Return how many contents are in the file, and their bytes once decoded."""
        counts, sizes = (
            [self._number(f"SELECT {figure} FROM {table}") for table in tables]
            for figure in ("count(BYTES)", "coalesce(sum(BYTES), 0)")
        )
        return sum(counts), sum(sizes)

    def folders(self) -> tuple[Folder, ...]:
        """Return all folders."""
        with mapped_errors(self.path):
            return tuple(map(decode_folder, self._rows(
                "SELECT KID, PARENT, NAME, ROLE, PLACE, OWNER, PROPS, KIND, RIGHTS, ITEMS, UNREAD, BYTES, EXTRA"
                " FROM FOLDERS"
            )))  # fmt: skip

    def items(self, kind: Kind, after: int = 0) -> Iterator[Format71Item]:
        """Yield the items of a kind with a row number above `after`.

        They come in the order of these numbers.
        """
        with mapped_errors(self.path):
            while rows := self._rows(_ITEM_SQL[kind], (after, ROWS_PER_QUERY)):
                owned = [self._owned_rows(sql, [row[0] for row in rows]) for sql in _OWNED_SQL.get(kind, ())]
                for row in rows:
                    yield self._item(kind, row, [rows_by_owner.get(row[0], []) for rows_by_owner in owned])
                after = rows[-1][0]

    def content(self, extent: ContentExtent) -> Iterator[memoryview]:
        """Yield the bytes of a content, 262,144 at a time.

        A piece is valid until PIECES_AHEAD more were yielded.
        """
        size, end = 0, extent.first + extent.lines
        with mapped_errors(self.path):
            for first in range(extent.first, end, LINES_PER_PIECE):
                last = min(first + LINES_PER_PIECE, end) - 1
                length = self._read_lines(first, last, is_end=last == end - 1)
                size += length
                yield self._buffers[0][:length]
            if size != extent.bytes:
                raise ValueError(f"a content is {size} bytes long, not {extent.bytes}")

    def _read_lines(self, first: int, last: int, *, is_end: bool) -> int:
        """Decode these lines into the next buffer; return the number of bytes.

        Only the last line may be shorter.
        """
        self._buffers.rotate()
        buffer, number, length = self._buffers[0], first, 0
        with closing(self._db.execute(_LINES_SQL, (first, last))) as rows:  # an open statement would keep the lock
            for (text,) in rows:
                line = pybase64.b64decode(text, validate=True)
                if len(line) != LINE_BYTES and not (is_end and number == last and len(line) < LINE_BYTES):
                    raise ValueError("a line of a content has an invalid length")
                buffer[length : length + len(line)] = line
                number, length = number + 1, length + len(line)
        if number != last + 1:
            raise ValueError("lines of a content are missing")
        return length

    def pending(self) -> Iterator[AddChange]:
        """Yield the changes that were not sent yet, in their order."""
        with mapped_errors(self.path):
            numbers = [row[0] for row in self._rows("SELECT ID FROM PENDING ORDER BY ID")]
        yield from map(self.change, numbers)

    def change(self, number: int) -> AddChange:
        """Return one pending change. CacheDamaged if it is incomplete."""
        with mapped_errors(self.path):
            (row,) = self._rows(
                "SELECT GUID, KID, FOLDER, TARGET, STRUCT, ACTION, KIND, WATERMARK, MADE, FILES, CHARS"
                " FROM PENDING WHERE ID = ?",
                (number,),
            )
            uuid, item_id, folder_id, target_id, struct = map(decode_text, row[:5])
            files = tuple(self._files(number, row[9]))
            if len(struct) != row[10]:
                raise ValueError("a pending change is incomplete")
            json.loads(struct)
            made = decode_time(row[8])
            old_action = cast(Action, decode_choice(ACTIONS, decode_int(row[5]) - 1))
            action, neutral_struct = neutral_change(old_action, struct.encode())
            change = LocalChange(
                uuid=uuid, action=action,
                kind=KIND_BY_NUMBER[row[6]], item_id=item_id, folder_id=folder_id, target_id=target_id,
                version=version_text(decode_int(row[7])), struct=neutral_struct,
                made=made and f"{made[:4]}-{made[4:6]}-{made[6:11]}:{made[11:13]}:{made[13:]}",
            )  # fmt: skip
            return AddChange(change, files)

    def _files(self, change: int, count: int) -> Iterator[LocalFile]:
        rows = self._owned_rows(_FILES_SQL, [change]).get(change, [])
        _require_owned(rows, change, count)
        for row in rows:
            name, content_type, content_id = map(decode_text, row[1:4])
            extent = ContentExtent(0, *map(decode_int, row[4:]))
            yield LocalFile(name, content_type, b"".join(map(bytes, self.content(extent))), content_id)

    def _item(self, kind: Kind, row: Sequence[Any], owned: Sequence[_OwnedRows]) -> Format71Item:
        number, item_id, folder, watermark = row[0], decode_text(row[1]), row[2], decode_int(row[3])
        props, end = decode_json_object(row[4]), 6 + len(COLUMNS[kind])
        struct: Struct = {"id": item_id, "folderId": self._folder_ids[folder], "watermark": watermark}
        struct |= decode_columns(kind, row[6:end])
        contents: tuple[ContentExtent, ...] = ()
        if kind == "mail":
            flags, parts, files = row[end:]
            struct |= decode_flags(flags)
            _require_owned(owned[0], number, parts)
            struct["displayableParts"] = [_part(*part[1:]) for part in owned[0]]
            _require_owned(owned[1], number, files, gapless="attachments" not in props)
            struct["attachments"], contents = _attachments(number, owned[1], props)
        elif kind == "contact":
            _require_owned(owned[0], number, row[end])
            contents = tuple(ContentExtent(place, *map(decode_int, photo[1:])) for place, photo in enumerate(owned[0]))
        struct |= props | decode_json_object(row[5])
        for member in struct.pop("-", ()):
            del struct[member]
        return Format71Item(number, item_id, struct, contents)

    def _owned_rows(self, sql: str, owners: Sequence[int]) -> dict[int, _OwnedRows]:
        """Return rows of a table by the row of another table that owns them.

        The owners are the rows from `owners[0]` to `owners[-1]`.
        """
        rows_by_owner: dict[int, _OwnedRows] = {}
        for row in self._rows(sql, (slot_range(owners[0])[0], slot_range(owners[-1])[1])):
            rows_by_owner.setdefault(row[0] // SLOTS, []).append(row)
        return rows_by_owner

    @cached_property
    def _folder_ids(self) -> dict[int, str]:
        return {number: decode_text(folder_id) for number, folder_id in self._rows("SELECT ID, KID FROM FOLDERS")}

    def _info(self, name: str) -> str:
        if name not in self.info:
            raise CacheDamaged(f"{self.path}: INFO has no {name}")
        return self.info[name]

    def _number(self, sql: str) -> int:
        with mapped_errors(self.path):
            return decode_int(self._db.execute(sql).fetchone()[0] or 0)

    def _rows(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        return self._db.execute(sql, values).fetchall()


def _require_format71(db: sqlite3.Connection) -> None:
    if db.execute("PRAGMA user_version").fetchone()[0] != USER_VERSION:
        raise CacheDamaged(f"it is not of format {FORMAT}")
    require_tables(db, TABLE_NAMES)


def _require_owned(rows: _OwnedRows, owner: int, count: int, *, gapless: bool = True) -> None:
    """Raise ValueError unless row `owner` has `count` rows, numbered without gaps."""
    if len(rows) != count or (gapless and rows and rows[-1][0] != slot_range(owner)[0] + count - 1):
        raise ValueError("a row that belongs to another is missing")


def _part(part_id: Any, kind: Any, chars: Any, text: Any) -> Struct:
    if len(decode_text(text)) != chars:
        raise ValueError("a part of a mail is incomplete")
    return {"id": decode_text(part_id), "contentType": decode_choice(PART_TYPES, kind), "content": text}


def _attachments(mail: int, rows: _OwnedRows, props: Struct) -> tuple[Any, tuple[ContentExtent, ...]]:
    """Return the list of attachments, and the contents.

    A list in PROPS replaces that of the table.
    """
    files = props.get("attachments")
    if "attachments" not in props:
        files = [
            {
                "id": decode_text(row[1]), "url": decode_text(row[2]), "name": decode_text(row[3]),
                "contentType": decode_text(row[4]), "contentId": decode_text(row[5]), "size": decode_int(row[6]),
            }
            for row in rows
        ]  # fmt: skip
    if not rows:
        return files, ()
    ordinals = {place: ordinal for ordinal, place in enumerate(linked_attachments(files))}
    first, _ = slot_range(mail)
    return files, tuple(
        ContentExtent(ordinals[row[0] - first], *map(decode_int, row[7:])) for row in rows if row[7] is not None
    )
