"""Writes a file of format 7.1 from items as the server sent them: for tests, measurements and trials.

    with Writer(path, identity) as old:
        folder = old.folder(Folder(...))
        old.item(item, folder, contents={0: [b"..."]})   # by the place in item.attachments
        old.pending(AddChange(...))
        old.sync_key(key)

The file is made anew; FileExistsError if there is one. `holes` is the share of the rows that are written twice and
deleted once at the end, so that the file has as many free pages as one that was in use for years.
"""

from __future__ import annotations

import base64
import json
import os
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from kerio_resync.cache.format71.columns import PART_TYPES, implied, linked, put_int, put_text, put_time, split
from kerio_resync.cache.format71.schema import (
    ACTIONS,
    COUNTED,
    FORMAT,
    HOMES,
    KIND_NUMBERS,
    LINE,
    PAGE_SIZE,
    SLOTS,
    TABLES,
    USER_VERSION,
)
from kerio_resync.cache.mutations import AddChange
from kerio_resync.model import Folder, Identity, Item

_COMMIT = 2000  # rows of items in a transaction
_PART = {"id", "contentType", "content"}
_FILE = {"id", "url", "name", "contentType", "contentId", "size"}
Contents = Mapping[int, Iterable[bytes]]


class Writer:
    """One file being written; `close` (or leaving `with`) makes it whole."""

    def __init__(self, path: Path, identity: Identity, *, holes: float = 0.15) -> None:
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        os.close(descriptor)
        self._db = sqlite3.connect(path, isolation_level=None)
        for pragma in (f"page_size = {PAGE_SIZE}", "auto_vacuum = 0", "journal_mode = OFF", "synchronous = OFF"):
            self._db.execute(f"PRAGMA {pragma}")
        self._db.execute(f"PRAGMA user_version = {USER_VERSION}")
        self._db.executescript(TABLES)
        self._info = {"VERSION": FORMAT, "SERVER": identity.server, "ACCOUNT": identity.account,
                      "USER": identity.user, "ADDRESS": identity.address}  # fmt: skip
        self._next: dict[str, int] = {}
        self._line = 0
        self._folders: dict[str, int] = {}
        self._holes, self._debt, self._written = holes, 0.0, 0
        self._doomed: list[tuple[str, int]] = []
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
        """Writes INFO and makes the file durable."""
        for table, number in self._doomed:
            self._db.execute(f"DELETE FROM {table} WHERE ID = ?", (number,))
        for table in COUNTED:
            self._info[f"COUNT_{table}"] = str(self._db.execute(f"SELECT count(*) FROM {table}").fetchone()[0])
        self._db.executemany("INSERT INTO INFO VALUES (?, ?)", self._info.items())
        self._db.execute("COMMIT")
        self._db.execute("PRAGMA synchronous = FULL")
        path = self._db.execute("PRAGMA database_list").fetchone()[2]
        self._db.close()
        descriptor = os.open(path, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)

    def sync_key(self, key: str) -> None:
        self._info["SYNCKEY"] = key

    def folder(self, folder: Folder) -> None:
        number = self._number("FOLDERS")
        self._folders[folder.id] = number
        self._insert("FOLDERS", (
            number, folder.id, folder.parent_id, folder.name, KIND_NUMBERS.get(folder.kind or "", 0), folder.role,
            folder.place, folder.owner, int(folder.readable), folder.count, folder.unread, folder.size,
            folder.payload.decode(), _text(folder.extra),
        ))  # fmt: skip

    def item(self, item: Item, contents: Contents | None = None) -> None:
        """Writes an item into its folder (KeyError if that was not written) with the contents that are given."""
        contents = contents or {}
        table, struct = HOMES[item.kind], json.loads(item.payload)
        columns, rest = split(item.kind, struct)
        number = self._number(table)
        head = {"ID": number, "KID": item.id, "FOLDER": self._folders[item.folder_id], "WATERMARK": item.watermark}
        if item.kind == "mail":
            columns["PARTS"] = self._parts(number, rest)
            columns["FILES"] = self._files(number, item, rest, contents)
        elif item.kind == "contact":
            columns["PHOTOS"] = len(contents)
            for place, pieces in contents.items():
                size, first, lines = self._content(pieces)
                self._insert("CONTACT_PHOTOS", (number * SLOTS + place, size, first, lines))
        for member, value in (("id", item.id), ("folderId", item.folder_id), ("watermark", item.watermark)):
            if type(rest.get(member)) is type(value) and rest[member] == value:
                del rest[member]
        if absent := [member for member in implied(item.kind) if member not in struct]:
            rest["-"] = absent
        row = head | columns | {"PROPS": json.dumps(rest) if rest else None, "EXTRA": _text(item.extra)}
        self._insert_named(table, row)
        if self._holed():
            self._insert_named(table, row | {"ID": self._doom(table, self._number(table))})
        self._written += 1
        if self._written % _COMMIT == 0:
            self._db.execute("COMMIT")
            self._db.execute("BEGIN")

    def _parts(self, mail: int, rest: dict[str, Any]) -> int:
        parts = rest.get("displayableParts")
        if type(parts) is not list or len(parts) >= SLOTS:
            return 0
        rows = []
        for place, part in enumerate(parts):
            if type(part) is not dict or set(part) != _PART or part["contentType"] not in PART_TYPES:
                return 0
            name, content = put_text(part["id"]), put_text(part["content"])
            if name is None or content is None:
                return 0
            rows.append((mail * SLOTS + place, name, PART_TYPES.index(part["contentType"]), len(content), content))
        for row in rows:
            self._insert("MAIL_BODIES", row)
        del rest["displayableParts"]
        return len(rows)

    def _files(self, mail: int, item: Item, rest: dict[str, Any], contents: Contents) -> int:
        files = rest.get("attachments")
        held = dict(zip(linked(files), (contents.get(place) for place in range(len(item.attachments))), strict=False))
        slots = [slot for slot, pieces in held.items() if pieces is not None]
        regular: list[dict[str, Any]] = []
        if isinstance(files, list) and len(files) < SLOTS and all(map(_is_regular, files)):
            regular = rest.pop("attachments")
            slots = list(range(len(regular)))
        for slot in slots:
            file = regular[slot] if regular else {}
            pieces = held.get(slot)
            content = (None, None, None) if pieces is None else self._content(pieces)
            self._insert("ATTACHMENTS", (
                mail * SLOTS + slot, file.get("id"), file.get("url"), file.get("name"), file.get("contentType"),
                file.get("contentId"), file.get("size"), *content,
            ))  # fmt: skip
        return len(slots)

    def pending(self, mutation: AddChange) -> None:
        number, change = self._number("PENDING"), mutation.change
        for place, file in enumerate(mutation.files):
            held = self._content([file.data])
            self._insert(
                "PENDING_FILES", (number * SLOTS + place, file.name, file.content_type, file.content_id, *held)
            )
        made = change.made.replace("-", "").replace(":", "")
        struct = change.struct.decode()
        self._insert("PENDING", (
            number, change.uuid, ACTIONS.index(change.action) + 1, KIND_NUMBERS[change.kind], change.item_id,
            change.folder_id, change.target_id, change.watermark, put_time(made) or "", len(mutation.files),
            len(struct), struct,
        ))  # fmt: skip

    def _content(self, pieces: Iterable[bytes]) -> tuple[int, int, int]:
        first, size, doomed = self._line + 1, 0, list[str]()
        for line in _in_lines(pieces):
            self._line += 1
            size += len(line)
            text = base64.b64encode(line).decode()
            self._insert("CONTENT_LINES", (self._line, text))
            doomed += [text] * self._holed()
        lines = self._line + 1 - first
        for text in doomed:
            self._line += 1
            self._insert("CONTENT_LINES", (self._doom("CONTENT_LINES", self._line), text))
        return size, first, lines

    def _doom(self, table: str, number: int) -> int:
        """A row that is deleted at the end, when its pages can't be used for another."""
        self._doomed.append((table, number))
        return number

    def _holed(self) -> bool:
        self._debt += self._holes
        if self._debt < 1:
            return False
        self._debt -= 1
        return True

    def _number(self, table: str) -> int:
        self._next[table] = self._next.get(table, 0) + 1
        return self._next[table]

    def _insert(self, table: str, row: tuple[Any, ...]) -> None:
        self._db.execute(f"INSERT INTO {table} VALUES ({', '.join('?' * len(row))})", row)

    def _insert_named(self, table: str, row: Mapping[str, Any]) -> None:
        names = ", ".join(row)
        self._db.execute(f"INSERT INTO {table} ({names}) VALUES ({', '.join('?' * len(row))})", tuple(row.values()))


def _is_regular(file: Any) -> bool:
    return (
        type(file) is dict
        and set(file) == _FILE
        and put_int(file["size"]) is not None
        and all(put_text(file[name]) is not None for name in _FILE - {"size"})
    )


def _in_lines(pieces: Iterable[bytes]) -> Iterator[bytes]:
    rest = bytearray()
    for piece in pieces:
        rest += piece
        while len(rest) >= LINE:
            yield bytes(rest[:LINE])
            del rest[:LINE]
    if rest:
        yield bytes(rest)


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode()
