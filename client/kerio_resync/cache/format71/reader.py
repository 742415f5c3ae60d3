"""Reads a file of format 7.1, each table once and in order, in bounded memory.

Promises that every row comes back as it was written, and that what doesn't fit (a row missing, too much, of another
length, a text that is none) is CacheDamaged, not a guess. While it is open nobody else can open the file (CacheInUse
if someone has); what a killed writer left half done in it is rolled back first, as SQLite does; nothing else changes.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self, cast

import orjson
import pybase64

from kerio_resync.cache.db_errors import map_db_error
from kerio_resync.cache.files import sync_folder
from kerio_resync.cache.format71.columns import (
    COLUMNS,
    PART_TYPES,
    Struct,
    chosen,
    get_int,
    get_text,
    get_time,
    joined,
    linked,
    truths,
)
from kerio_resync.cache.format71.schema import (
    ACTIONS,
    COUNTED,
    FORMAT,
    HOMES,
    KIND_NUMBERS,
    LINE,
    NAMES,
    USER_VERSION,
    slots,
)
from kerio_resync.cache.mutations import Action, AddChange, LocalChange, LocalFile
from kerio_resync.cache.schema_guard import require_tables, restrict
from kerio_resync.errors import CacheDamaged
from kerio_resync.model import Folder, Identity, Kind, Place, Role

_KINDS: Final[dict[int, Kind]] = {number: cast(Kind, kind) for kind, number in KIND_NUMBERS.items()}
_MOST: Final = 2**31  # no run of lines, no text, is longer


@dataclass(frozen=True, slots=True)
class Run:
    """A content: `bytes` long, in `lines` lines from `first` on. `place`: among the item's attachments."""

    place: int
    bytes: int
    first: int
    lines: int


@dataclass(frozen=True, slots=True)
class OldItem:
    """`struct` has the documented members and the others; `room`: bytes it takes, without contents, roughly."""

    number: int
    id: str
    kind: Kind
    struct: Struct
    contents: tuple[Run, ...]
    room: int


class Old:
    """An open file of format 7.1. Not for two threads at once. Close it."""

    def __init__(self, path: Path, *, exclusive: bool = True, held: bool = False) -> None:
        """CacheDamaged, CacheInUse, BadSettings. `exclusive` False: others may read it meanwhile; `held`: another
        process that has it exclusively sees to it that nothing changes (in the same one it would lose its lock)."""
        self._path, self._open, self._lines = path, set[sqlite3.Cursor](), _Lines()
        exclusive = exclusive and not held
        mode = "rw" if exclusive else "ro&immutable=1" if held else "ro"
        try:
            self._db = sqlite3.connect(
                f"{path.absolute().as_uri()}?mode={mode}", uri=True, isolation_level=None, timeout=2.0,
                check_same_thread=False,
            )  # fmt: skip
        except sqlite3.Error as error:
            raise map_db_error(error, path) from error
        try:
            with self._read():
                restrict(self._db, path)
                self._db.execute("PRAGMA cache_size = -8192")
                if exclusive:  # and no log or journal stays that would be played into the file that comes in its place
                    self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
                    self._db.execute("PRAGMA journal_mode = DELETE").fetchone()
                self._db.execute("BEGIN EXCLUSIVE" if exclusive else "BEGIN")
                if self._db.execute("PRAGMA user_version").fetchone()[0] != USER_VERSION:
                    raise CacheDamaged(f"{path} is not of format {FORMAT}")
                self._db.execute("PRAGMA query_only = 1")
                require_tables(self._db, NAMES)
                self.info = {
                    get_text(name): get_text(value) for name, value in self._all("SELECT NAME, VALUE FROM INFO")
                }
            self._folders = {row[0]: get_text(row[1]) for row in self._all("SELECT ID, KID FROM FOLDERS")}
        except BaseException:
            self._db.close()
            raise

    @classmethod
    def over(cls, db: sqlite3.Connection, path: Path) -> Self:
        """Reads through a connection that is open already, and is not closed."""
        old = cls.__new__(cls)
        old._db, old._path, old.info, old._folders, old._open, old._lines = db, path, {}, {}, set(), _Lines()
        return old

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        for each in self._open:  # a statement that is under way keeps the lock, even beyond the end of the connection
            each.close()
        self._db.close()

    def _stream(self, sql: str, values: tuple[Any, ...]) -> sqlite3.Cursor:
        """Rows to be read one by one; `close` ends it too."""
        rows = self._db.execute(sql, values)
        self._open.add(rows)
        return rows

    @property
    def identity(self) -> Identity:
        return Identity(*(self._info(name) for name in ("SERVER", "ACCOUNT", "USER", "ADDRESS")))

    @property
    def sync_key(self) -> str | None:
        return self.info.get("SYNCKEY")

    def replace_by(self, new: Path) -> None:
        """Gives the sealed file `new` this file's name, under the lock, durably. Then only `close` is left."""
        with self._read():
            os.replace(new, self._path)
            sync_folder(self._path.parent)

    def proven(self) -> tuple[int, int]:
        """(contents that are here, their bytes), of items."""
        with self._read():
            rows = [
                self._db.execute(f"SELECT count(BYTES), coalesce(sum(BYTES), 0) FROM {table}").fetchone()
                for table in ("ATTACHMENTS", "CONTACT_PHOTOS")
            ]
        return sum(row[0] for row in rows), sum(row[1] for row in rows)

    def counts(self) -> dict[str, int]:
        """How many rows each table says it has."""
        with self._read():
            return {table: int(self._info(f"COUNT_{table}")) for table in COUNTED}

    def sizes(self) -> tuple[int, int]:
        """(bytes of the file that are in use, bytes of contents once they are no base64)."""
        with self._read():
            page, pages, free = (
                self._db.execute(f"PRAGMA {name}").fetchone()[0]
                for name in ("page_size", "page_count", "freelist_count")
            )
            contents = sum(
                self._db.execute(f"SELECT coalesce(sum(BYTES), 0) FROM {table}").fetchone()[0]
                for table in ("ATTACHMENTS", "CONTACT_PHOTOS", "PENDING_FILES")
            )
        return page * (pages - free), max(0, int(contents))

    def folders(self) -> tuple[Folder, ...]:
        rows = self._all(
            "SELECT KID, PARENT, NAME, KIND, ROLE, PLACE, OWNER, RIGHTS, ITEMS, UNREAD, BYTES, PROPS, EXTRA"
            " FROM FOLDERS"
        )
        found = []
        with self._read():
            for row in rows:
                texts = [get_text(row[place]) for place in (0, 1, 2, 4, 5, 6, 11)]
                numbers = [get_int(row[place]) for place in (3, 7, 8, 9, 10)]
                payload = texts[6]
                orjson.loads(payload)
                found.append(
                    Folder(
                        texts[0], texts[1], texts[2], _KINDS[numbers[0]] if numbers[0] else None, cast(Role, texts[3]),
                        cast(Place, texts[4]), texts[5], bool(numbers[1]), numbers[2], numbers[3], numbers[4],
                        payload.encode(), None if row[12] is None else get_text(row[12]).encode(),
                    )
                )  # fmt: skip
        self._expect("FOLDERS", len(found))
        return tuple(found)

    def items(self, kind: Kind, after: int = 0) -> Iterator[OldItem]:
        """The items of a kind with higher numbers than `after`, in order. Each is read when it is asked for."""
        columns = COLUMNS[kind]
        counts = {"mail": ", FLAGS, PARTS, FILES", "contact": ", PHOTOS"}.get(kind, "")
        end = 6 + len(columns)
        names = ", ".join(column.name for column in columns)
        with self._read():
            below = self._below(kind, slots(after)[1])
            for row in self._stream(
                f"SELECT ID, KID, FOLDER, WATERMARK, PROPS, EXTRA, {names}{counts}"
                f" FROM {HOMES[kind]} WHERE ID > ? ORDER BY ID",
                (after,),
            ):
                struct = joined(columns, row[6:end], _json(row[4]))
                struct.update(_json(row[5]))
                contents, room = below.take(struct, row[0], row[end:])
                self._complete(struct, row)
                yield OldItem(row[0], get_text(row[1]), kind, struct, contents, room + 2000)
            below.end()

    def _complete(self, struct: Struct, row: tuple[Any, ...]) -> None:
        absent = struct.pop("-", ())
        struct.setdefault("id", get_text(row[1]))
        struct.setdefault("folderId", self._folders[row[2]])
        struct.setdefault("watermark", get_int(row[3]))
        for member in absent:
            del struct[member]

    def _below(self, kind: Kind, after: int) -> _Below:
        match kind:
            case "mail":
                parts = self._stream(
                    "SELECT ID, PART, TYPE, CHARS, TEXT FROM MAIL_BODIES WHERE ID > ? ORDER BY ID", (after,)
                )
                files = self._stream(
                    "SELECT ID, KID, URL, NAME, TYPE, CID, SIZE, BYTES, FIRST_LINE, LINES FROM ATTACHMENTS"
                    " WHERE ID > ? ORDER BY ID", (after,),
                )  # fmt: skip
                return _BelowMail(parts, files)
            case "contact":
                return _BelowContact(self._stream(
                    "SELECT ID, BYTES, FIRST_LINE, LINES FROM CONTACT_PHOTOS WHERE ID > ? ORDER BY ID", (after,)
                ))  # fmt: skip
        return _Below()

    def content(self, run: Run) -> Iterator[bytes]:
        """The bytes of a content, at most 65,536 at a time."""
        size, expected, end = 0, run.first, run.first + run.lines
        with self._read():
            if not 0 <= run.lines <= _MOST:
                raise ValueError("a content is of no length")
            row = self._line(expected) if expected < end else None
            while row is not None:
                number, text = row
                line = pybase64.b64decode(text, validate=True)
                if number != expected or len(line) > LINE:
                    raise ValueError("lines of a content are missing")
                expected, size = expected + 1, size + len(line)
                yield line
                row = self._lines.next() if expected < end else None
            if expected != end or size != run.bytes:
                raise ValueError(f"a content is {size} bytes long, not {run.bytes}")

    def _line(self, first: int) -> tuple[int, bytes] | None:
        """The row of a content's first line. Contents mostly lie one after the other, so it is mostly the next one."""
        row = self._lines.next() if 0 <= self._lines.at < first else None
        if row is None or row[0] < first:
            self._let_go()
            sql = "SELECT ID, CAST(DATA AS BLOB) FROM CONTENT_LINES WHERE ID >= ? ORDER BY ID"
            self._lines = _Lines(self._stream(sql, (first,)))
            row = self._lines.next()
        return row

    def _let_go(self) -> None:
        """Ends the reading of lines."""
        if self._lines.rows is not None:
            self._lines.rows.close()
            self._open.discard(self._lines.rows)
        self._lines = _Lines()

    def pending(self) -> Iterator[AddChange]:
        """The changes not yet sent, in their order. CacheDamaged at the first that is not whole."""
        numbers = [row[0] for row in self._all("SELECT ID FROM PENDING ORDER BY ID")]
        self._expect("PENDING", len(numbers))
        for number in numbers:
            yield self.change(number)

    def change(self, number: int) -> AddChange:
        """One of them. CacheDamaged if it is not whole."""
        (row,) = self._all(
            "SELECT ID, GUID, ACTION, KIND, KID, FOLDER, TARGET, WATERMARK, MADE, FILES, CHARS, STRUCT"
            " FROM PENDING WHERE ID = ?",
            (number,),
        )
        try:
            with self._read():
                return self._change(row)
        finally:
            self._let_go()

    def _change(self, row: tuple[Any, ...]) -> AddChange:
        files = []
        for place, file in enumerate(self._all(
            "SELECT ID, NAME, TYPE, CID, BYTES, FIRST_LINE, LINES FROM PENDING_FILES WHERE ID BETWEEN ? AND ?",
            slots(row[0]),
        )):  # fmt: skip
            if file[0] != slots(row[0])[0] + place:
                raise ValueError("a file is missing")
            run = Run(place, get_int(file[4]), get_int(file[5]), get_int(file[6]))
            name, content_type, content_id = (get_text(text) for text in file[1:4])
            files.append(LocalFile(name, content_type, b"".join(self.content(run)), content_id))
        struct = get_text(row[11])
        if len(files) != row[9] or len(struct) != row[10]:
            raise ValueError("a pending change is not whole")
        json.loads(struct)
        made = get_time(row[8])
        change = LocalChange(
            uuid=get_text(row[1]), action=cast(Action, chosen(ACTIONS, get_int(row[2]) - 1)), kind=_KINDS[row[3]],
            item_id=get_text(row[4]), folder_id=get_text(row[5]), target_id=get_text(row[6]),
            watermark=get_int(row[7]), struct=struct.encode(),
            made=made and f"{made[:4]}-{made[4:6]}-{made[6:11]}:{made[11:13]}:{made[13:]}",
        )  # fmt: skip
        return AddChange(change, tuple(files))

    def _expect(self, table: str, count: int) -> None:
        if self.counts()[table] != count:
            raise CacheDamaged(f"{self._path}: {table} has {count:,} rows, not {self.counts()[table]:,}")

    def _info(self, name: str) -> str:
        if name not in self.info:
            raise CacheDamaged(f"{self._path}: INFO does not say {name}")
        return self.info[name]

    def _all(self, sql: str, values: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
        with self._read():
            return self._db.execute(sql, values).fetchall()

    @contextmanager
    def _read(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise map_db_error(error, self._path) from error
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
            raise CacheDamaged(f"{self._path}: {_said(error)}") from error


def _said(error: Exception) -> str:
    """Our own words; those of libraries may quote mail."""
    if type(error) is ValueError:
        return str(error)
    if isinstance(error, UnicodeError):
        return "a text in it is not valid"
    if isinstance(error, KeyError):
        return "a row refers to one that is missing"
    return "a content or a member can't be decoded" if isinstance(error, ValueError) else "a row doesn't fit its table"


class _Lines:
    """Rows of CONTENT_LINES; `at`: the number of the last one that was read, -1 if none was."""

    def __init__(self, rows: sqlite3.Cursor | None = None) -> None:
        self.rows, self.at = rows, -1

    def next(self) -> tuple[int, bytes] | None:
        row: tuple[int, bytes] | None = next(self.rows, None) if self.rows is not None else None
        self.at = -1 if row is None else row[0]
        return row


class _Below:
    """The rows of other tables that belong to a kind's items, read side by side with them."""

    def take(self, struct: Struct, number: int, counts: tuple[Any, ...]) -> tuple[tuple[Run, ...], int]:
        """Puts into `struct` what belongs to item `number`; its contents, and the room it took. ValueError."""
        return (), 0

    def end(self) -> None:
        """ValueError if a row belongs to no item."""


class _Rows:
    """Rows whose number is a slot, taken owner by owner."""

    def __init__(self, rows: Iterator[tuple[Any, ...]]) -> None:
        self._rows = rows
        self._next = next(rows, None)

    def of(self, owner: int) -> list[tuple[Any, ...]]:
        first, last = slots(owner)
        found: list[tuple[Any, ...]] = []
        while self._next is not None and self._next[0] <= last:
            if self._next[0] < first:
                raise ValueError("a row belongs to no item")
            found.append(self._next)
            self._next = next(self._rows, None)
        return found

    def end(self) -> None:
        if self._next is not None:
            raise ValueError("a row belongs to no item")


class _BelowMail(_Below):
    def __init__(self, parts: Iterator[tuple[Any, ...]], files: Iterator[tuple[Any, ...]]) -> None:
        self._parts, self._files = _Rows(parts), _Rows(files)

    def take(self, struct: Struct, number: int, counts: tuple[Any, ...]) -> tuple[tuple[Run, ...], int]:
        flags, parts, files = counts
        struct.update(truths(flags))
        bodies, room = self._parts.of(number), 0
        if len(bodies) != parts:
            raise ValueError("a part of a mail is missing")
        found = []
        for place, (slot, name, kind, chars, text) in enumerate(bodies):
            if slot != slots(number)[0] + place or len(get_text(text)) != chars:
                raise ValueError("a part of a mail is not whole")
            found.append({"id": get_text(name), "contentType": chosen(PART_TYPES, kind), "content": text})
            room += chars
        struct.setdefault("displayableParts", found)
        return self._attach(struct, number, files), room

    def _attach(self, struct: Struct, number: int, count: Any) -> tuple[Run, ...]:
        rows, first = self._files.of(number), slots(number)[0]
        if len(rows) != count:
            raise ValueError("an attachment is missing")
        if "attachments" not in struct:
            struct["attachments"] = [
                {
                    "id": get_text(row[1]), "url": get_text(row[2]), "name": get_text(row[3]),
                    "contentType": get_text(row[4]), "contentId": get_text(row[5]), "size": get_int(row[6]),
                }
                for row in rows
            ]  # fmt: skip
            if any(row[0] != first + place for place, row in enumerate(rows)):
                raise ValueError("an attachment is missing")
        places = {slot: place for place, slot in enumerate(linked(struct["attachments"]))}
        return tuple(
            Run(places[row[0] - first], get_int(row[7]), get_int(row[8]), get_int(row[9]))
            for row in rows
            if row[7] is not None
        )

    def end(self) -> None:
        self._parts.end()
        self._files.end()


class _BelowContact(_Below):
    def __init__(self, photos: Iterator[tuple[Any, ...]]) -> None:
        self._photos = _Rows(photos)

    def take(self, struct: Struct, number: int, counts: tuple[Any, ...]) -> tuple[tuple[Run, ...], int]:
        rows = self._photos.of(number)
        if len(rows) != counts[0]:
            raise ValueError("a photo is missing")
        return tuple(Run(row[0] - slots(number)[0], *(get_int(value) for value in row[1:])) for row in rows), 0

    def end(self) -> None:
        self._photos.end()


def _json(text: Any) -> Struct:
    if text is None:
        return {}
    try:
        value = orjson.loads(get_text(text))
    except orjson.JSONDecodeError:
        value = json.loads(text)  # it knows lone surrogates, which a sloppy server sent
    if type(value) is not dict:
        raise ValueError("members are none")
    return value
