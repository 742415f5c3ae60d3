"""Writes database files of format 7.1, for tests and measurements.

The items are structs as the server sent them.

    with Format71Writer(path, identity) as writer:
        writer.folder(Folder(...))
        writer.item(item, contents={0: [b"..."]})   # by the place in item.attachments
        writer.pending(AddChange(...))
        writer.sync_key(key)

A member of a struct goes into its column only if the column gives back the same value; otherwise it goes into PROPS.
`split_struct` is the inverse of `decode_columns` and `decode_flags` for any JSON object.
"""

from __future__ import annotations

import base64
import json
import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from kerio_resync.cache.format71.columns import (
    COLUMNS,
    FLAGS,
    PART_TYPES,
    PRIORITIES,
    Struct,
    decode_headers,
    decode_int,
    decode_people,
    decode_person,
    decode_priority,
    decode_text,
    decode_time,
    linked_attachments,
)
from kerio_resync.cache.format71.schema import (
    ACTIONS,
    COUNTED_TABLES,
    FORMAT,
    KIND_NUMBERS,
    LINE_BYTES,
    PAGE_SIZE,
    SLOTS,
    TABLE_BY_KIND,
    TABLES,
    USER_VERSION,
)
from kerio_resync.cache.mutations import AddChange
from kerio_resync.model import Folder, Identity, Item, Kind

Stored = str | int
Contents = Mapping[int, Iterable[bytes]]
LOCAL_ZONE: Final = timezone(timedelta(minutes=60))  # of the machine that the file pretends to come from
ITEMS_PER_COMMIT: Final = 2000
_INT64: Final = range(-(2**63), 2**63)
_PART_MEMBERS: Final = {"id", "contentType", "content"}
_FILE_MEMBERS: Final = {"id", "url", "name", "contentType", "contentId", "size"}
_PERSON_MEMBERS: Final = ("name", "address", "contactId")


# Encoders: what a column stores for a value, or None if the value has to stay in PROPS


def encode_text(value: Any) -> str | None:
    """Return a text that SQLite can store unchanged."""
    if type(value) is not str or "\0" in value:
        return None
    try:
        value.encode()
    except UnicodeEncodeError:
        return None
    return value


def encode_int(value: Any) -> int | None:
    """Return an integer of at most 64 bits."""
    return value if type(value) is int and value in _INT64 else None


def encode_priority(value: Any) -> int | None:
    """Return the number of a known priority."""
    return PRIORITIES.index(value) if value in PRIORITIES else None


def encode_time(value: Any) -> str | None:
    """Return the local time of `20260301T093000Z`, the inverse of `decode_time`."""
    if type(value) is not str or not value.isascii():
        return None
    try:
        stored = _to_local(value)
        return stored if decode_time(stored) == value else None
    except (ValueError, OverflowError):
        return None


def _to_local(value: str) -> str:
    if not value:
        return ""
    if len(value) == 8:
        return f"{value[:4]}-{value[4:6]}-{value[6:]}"
    if value[-1] == "Z":
        year, month, day, hour, minute, second = (int(value[start:end]) for start, end in _TIME_FIELDS)
        moment = datetime(year, month, day, hour, minute, second, tzinfo=UTC)
        return f"{moment.astimezone(LOCAL_ZONE):%Y-%m-%d %H:%M:%S %z}".rjust(25, "0")
    return f"{datetime.strptime(value, '%Y%m%dT%H%M%S%z'):%Y-%m-%d %H:%M:%S %z}!"


_TIME_FIELDS: Final = ((0, 4), (4, 6), (6, 8), (9, 11), (11, 13), (13, 15))


def encode_person(value: Any) -> str | None:
    """Return name, address and contact id of a person, separated by tabs."""
    if type(value) is not dict or set(value) not in (set(_PERSON_MEMBERS), set(_PERSON_MEMBERS[:2])):
        return None
    words = [encode_text(value[name]) for name in _PERSON_MEMBERS[: len(value)]]
    if any(word is None or "\t" in word or "\n" in word for word in words):
        return None
    return "\t".join(word for word in words if word is not None)


def encode_people(value: Any) -> str | None:
    """Return persons, one per line."""
    if type(value) is not list:
        return None
    lines = [encode_person(person) for person in value]
    return None if None in lines else "\n".join(line for line in lines if line is not None)


def encode_headers(value: Any) -> str | None:
    """Return headers such as `mhMessageID: <…>`, one per line."""
    if type(value) is not list:
        return None
    lines = []
    for header in value:
        if type(header) is not dict or set(header) != {"type", "value"}:
            return None
        name, text = encode_text(header["type"]), encode_text(header["value"])
        if not name or text is None or "\n" in name + text or ": " in name:
            return None
        lines.append(f"{name}: {text}")
    return "\n".join(lines)


_ENCODERS: Final[Mapping[Callable[[Any], Any], Callable[[Any], Stored | None]]] = {
    decode_text: encode_text,
    decode_int: encode_int,
    decode_priority: encode_priority,
    decode_time: encode_time,
    decode_person: encode_person,
    decode_people: encode_people,
    decode_headers: encode_headers,
}


def split_struct(kind: Kind, struct: Struct) -> tuple[dict[str, Stored | None], Struct]:
    """Return (columns by name, the members that are left for PROPS)."""
    rest = dict(struct)
    columns: dict[str, Stored | None] = {}
    for column in COLUMNS[kind]:
        stored = _ENCODERS[column.decode](rest[column.member]) if column.member in rest else None
        columns[column.name] = stored
        if stored is not None:
            del rest[column.member]
    if kind == "mail":
        flags = 0
        for bit, member in enumerate(FLAGS):
            if type(rest.get(member)) is bool:
                flags |= (1 << bit) * rest.pop(member) | 1 << bit + 16
        columns["FLAGS"] = flags
    return columns, rest


class Format71Writer:
    """One new file; `close`, or leaving `with`, completes it.

    FileExistsError if there is a file already.

    `holes`: the share of the rows that are written twice and deleted once at the end, so that the file has as many
    free pages as one that was in use for years.
    """

    def __init__(self, path: Path, identity: Identity, *, holes: float = 0.15) -> None:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        self._db = sqlite3.connect(path, isolation_level=None)
        for pragma in (f"page_size = {PAGE_SIZE}", "auto_vacuum = 0", "journal_mode = OFF", "synchronous = OFF"):
            self._db.execute(f"PRAGMA {pragma}")
        self._db.execute(f"PRAGMA user_version = {USER_VERSION}")
        self._db.executescript(TABLES)
        self._info = {"VERSION": FORMAT, "SERVER": identity.server, "ACCOUNT": identity.account,
                      "USER": identity.user, "ADDRESS": identity.address}  # fmt: skip
        self._path = path
        self._last_number: dict[str, int] = {}
        self._last_line = 0
        self._folders: dict[str, int] = {}
        self._holes, self._pending_holes, self._items = holes, 0.0, 0
        self._to_delete: list[tuple[str, int]] = []
        self._db.execute("BEGIN")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.close()
        else:
            self._db.close()

    def close(self) -> None:
        """Write INFO and sync the file."""
        for table, number in self._to_delete:
            self._db.execute(f"DELETE FROM {table} WHERE ID = ?", (number,))
        for table in COUNTED_TABLES:
            self._info[f"COUNT_{table}"] = str(self._db.execute(f"SELECT count(*) FROM {table}").fetchone()[0])
        self._db.executemany("INSERT INTO INFO VALUES (?, ?)", self._info.items())
        self._db.execute("COMMIT")
        self._db.close()
        with self._path.open("rb") as file:
            os.fsync(file.fileno())

    def sync_key(self, key: str) -> None:
        """Set the sync key."""
        self._info["SYNCKEY"] = key

    def folder(self, folder: Folder) -> None:
        """Write a folder."""
        number = self._next_number("FOLDERS")
        kind = KIND_NUMBERS[folder.kind] if folder.kind else 0
        self._folders[folder.id] = number
        self._insert("FOLDERS", (
            number, folder.id, folder.parent_id, folder.name, kind, folder.role, folder.place, folder.owner,
            int(folder.readable), folder.count, folder.unread, folder.size, folder.payload.decode(),
            _to_text(folder.extra),
        ))  # fmt: skip

    def item(self, item: Item, contents: Contents | None = None) -> None:
        """Write an item with the given contents. KeyError if its folder was not written."""
        contents = contents or {}
        table, struct = TABLE_BY_KIND[item.kind], json.loads(item.payload)
        columns, rest = split_struct(item.kind, struct)
        number = self._next_number(table)
        watermark = int(item.version or 0)
        head = {"ID": number, "KID": item.id, "FOLDER": self._folders[item.folder_id], "WATERMARK": watermark}
        if item.kind == "mail":
            columns["PARTS"] = self._parts(number, rest)
            columns["FILES"] = self._files(number, item, rest, contents)
        elif item.kind == "contact":
            columns["PHOTOS"] = len(contents)
            for place, pieces in contents.items():
                self._insert("CONTACT_PHOTOS", (number * SLOTS + place, *self._content(pieces)))
        for member, value in (("id", item.id), ("folderId", item.folder_id), ("watermark", watermark)):
            if type(rest.get(member)) is type(value) and rest[member] == value:
                del rest[member]
        implied = ("id", "folderId", "watermark", *(("displayableParts", "attachments") if item.kind == "mail" else ()))
        if absent := [member for member in implied if member not in struct]:
            rest["-"] = absent
        row = head | columns | {"PROPS": json.dumps(rest) if rest else None, "EXTRA": _to_text(item.extra)}
        self._insert_named(table, row)
        if self._is_hole_due():
            self._insert_named(table, row | {"ID": self._delete_later(table, self._next_number(table))})
        self._items += 1
        if self._items % ITEMS_PER_COMMIT == 0:
            self._db.execute("COMMIT")
            self._db.execute("BEGIN")

    def _parts(self, mail: int, rest: Struct) -> int:
        parts = rest.get("displayableParts")
        if type(parts) is not list or len(parts) >= SLOTS:
            return 0
        rows = []
        for place, part in enumerate(parts):
            if type(part) is not dict or set(part) != _PART_MEMBERS or part["contentType"] not in PART_TYPES:
                return 0
            name, content = encode_text(part["id"]), encode_text(part["content"])
            if name is None or content is None:
                return 0
            rows.append((mail * SLOTS + place, name, PART_TYPES.index(part["contentType"]), len(content), content))
        for row in rows:
            self._insert("MAIL_BODIES", row)
        del rest["displayableParts"]
        return len(rows)

    def _files(self, mail: int, item: Item, rest: Struct, contents: Contents) -> int:
        files = rest.get("attachments")
        pieces_by_slot = {
            slot: contents[place]
            for place, slot in enumerate(linked_attachments(files)[: len(item.attachments)])
            if place in contents
        }
        slots: Iterable[int] = pieces_by_slot
        regular: list[Struct] = []
        if isinstance(files, list) and len(files) < SLOTS and all(map(_is_regular, files)):
            regular = rest.pop("attachments")
            slots = range(len(regular))
        count = 0
        for slot in slots:
            file = regular[slot] if regular else {}
            extent = self._content(pieces_by_slot[slot]) if slot in pieces_by_slot else (None, None, None)
            self._insert("ATTACHMENTS", (
                mail * SLOTS + slot, file.get("id"), file.get("url"), file.get("name"), file.get("contentType"),
                file.get("contentId"), file.get("size"), *extent,
            ))  # fmt: skip
            count += 1
        return count

    def pending(self, pending: AddChange) -> None:
        """Write a pending change with its files."""
        number, change = self._next_number("PENDING"), pending.change
        for place, file in enumerate(pending.files):
            extent = self._content([file.data])
            self._insert(
                "PENDING_FILES", (number * SLOTS + place, file.name, file.content_type, file.content_id, *extent)
            )
        made = encode_time(change.made.replace("-", "").replace(":", "")) or ""
        struct = _old_flags(change.struct) if change.action == "flags" else change.struct.decode()
        self._insert("PENDING", (
            number, change.uuid, ACTIONS.index(change.action) + 1, KIND_NUMBERS[change.kind], change.item_id,
            change.folder_id, change.target_id, int(change.version or 0), made, len(pending.files), len(struct), struct,
        ))  # fmt: skip

    def _content(self, pieces: Iterable[bytes]) -> tuple[int, int, int]:
        """Write a content; (bytes, first line, lines)."""
        first, size, holes = self._last_line + 1, 0, list[str]()
        for line in _split_lines(pieces):
            self._last_line += 1
            size += len(line)
            text = base64.b64encode(line).decode()
            self._insert("CONTENT_LINES", (self._last_line, text))
            holes += [text] * self._is_hole_due()
        lines = self._last_line + 1 - first
        for text in holes:
            self._last_line += 1
            self._insert("CONTENT_LINES", (self._delete_later("CONTENT_LINES", self._last_line), text))
        return size, first, lines

    def _delete_later(self, table: str, number: int) -> int:
        """Delete a row at the end, when its pages cannot be used for another row."""
        self._to_delete.append((table, number))
        return number

    def _is_hole_due(self) -> bool:
        self._pending_holes += self._holes
        if self._pending_holes < 1:
            return False
        self._pending_holes -= 1
        return True

    def _next_number(self, table: str) -> int:
        self._last_number[table] = self._last_number.get(table, 0) + 1
        return self._last_number[table]

    def _insert(self, table: str, row: tuple[Any, ...]) -> None:
        self._db.execute(f"INSERT INTO {table} VALUES ({', '.join('?' * len(row))})", row)

    def _insert_named(self, table: str, row: Mapping[str, Any]) -> None:
        names = ", ".join(row)
        self._db.execute(f"INSERT INTO {table} ({names}) VALUES ({', '.join('?' * len(row))})", tuple(row.values()))


def _is_regular(file: Any) -> bool:
    return (
        type(file) is dict
        and set(file) == _FILE_MEMBERS
        and encode_int(file["size"]) is not None
        and all(encode_text(file[name]) is not None for name in _FILE_MEMBERS - {"size"})
    )


def _old_flags(struct: bytes) -> str:
    """Return the flags of a change with the server's names."""
    names = {"seen": "isSeen", "flagged": "isFlagged", "answered": "isAnswered", "draft": "isDraft"}
    return json.dumps({names[name]: value for name, value in json.loads(struct).items()})


def _split_lines(pieces: Iterable[bytes]) -> Iterator[bytes]:
    rest = bytearray()
    for piece in pieces:
        rest += piece
        while len(rest) >= LINE_BYTES:
            yield bytes(rest[:LINE_BYTES])
            del rest[:LINE_BYTES]
    if rest:
        yield bytes(rest)


def _to_text(value: bytes | None) -> str | None:
    return None if value is None else value.decode()
