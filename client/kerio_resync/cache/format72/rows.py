"""Rows of format 7.2 as values of today, each compared with its checksum.

The checksums are those that format 7.2 computed. They are the SHA-256 of a line of JSON, a newline and the struct, as
described in `cache/checksums.py`, with a single folder and a number as version. Today's columns `text`, `html` and
`details` are not in such a file: they are computed from the server's structs.

Early files lack the columns `code` and `version` of the outbox. They hold both in sentences in `reason`, and a token
in front of the record in `attempt`.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from json.encoder import encode_basestring_ascii as quoted
from typing import Any, Final, NamedTuple

from kerio_resync.cache.bulk_sql import json_array
from kerio_resync.cache.checksums import sha256
from kerio_resync.cache.mutations import ChangeFile, LocalChange
from kerio_resync.cache.old_values import neutral_change, version_text
from kerio_resync.model import Attachment, Item

_VERSION_IN_REASON: Final = "state = 'sent' AND reason GLOB 'version [0-9]*'"
_CODE_IN_REASON: Final = "state = 'refused' AND reason GLOB '*(code [-0-9]*)'"
_EARLY: Final = {  # expressions that give the columns of late files in an early one
    "attempt": "CASE instr(attempt, ' ') WHEN 0 THEN '' ELSE substr(attempt, instr(attempt, ' ') + 1) END",
    "reason": f"CASE WHEN {_VERSION_IN_REASON} THEN '' ELSE reason END",
    "code": f"CASE WHEN {_CODE_IN_REASON} THEN CAST(substr(reason, 1 + length(rtrim(rtrim(reason, ')'), '0123456789')))"
    " AS INTEGER) ELSE 0 END",
    "version": f"CASE WHEN {_VERSION_IN_REASON} THEN CAST(substr(reason, 9) AS INTEGER) ELSE 0 END",
}
_CHANGE_COLUMNS: Final = (
    "number, files, checksum, uuid, action, kind, item_id, folder_id, target_id, watermark, made,"
    " CAST(struct AS BLOB), state, attempts, new_id"
)
_ITEM_SQL: Final = (
    "SELECT item.number, folder.number, item.checksum, item.watermark, item.id, folder.id, item.kind, title, who,"
    ' recipients, date, item."end", item.size, seen, flagged, answered, draft, message_id, CAST(item.payload AS BLOB),'
    " CAST(item.extra AS BLOB)"
    " FROM item LEFT JOIN folder ON folder.number = item.folder WHERE "
)
_ATTACHMENTS_SQL: Final = (
    "SELECT item, number, received, id, url, name, content_type, content_id, size, role FROM attachment"
    " WHERE item IN (SELECT value FROM json_each(?)) ORDER BY item, ordinal"
)


class StoredContent(NamedTuple):
    """An attachment's row number, and the bytes of its content that are stored."""

    number: int
    received: int


class Format72Item(NamedTuple):
    """An item without today's columns, the row numbers of it and of its folder."""

    number: int
    folder: int
    item: Item
    contents: tuple[StoredContent, ...]


class Format72Change(NamedTuple):
    """A local change in today's form, and whether its row matches its checksum.

    The checksum does not cover the contents of its files.
    """

    change: LocalChange
    intact: bool


def items(db: sqlite3.Connection, condition: str, values: Sequence[Any], max_bytes: int = 0) -> list[Format72Item]:
    """Return the items that satisfy `condition`.

    `max_bytes`: of payloads, after which the rest is left out; 0: no limit. ValueError if an item does not match its
    checksum.
    """
    rows, size = [], 0
    for row in db.execute(_ITEM_SQL + condition, values):
        rows.append(row)
        size += len(row[18])
        if 0 < max_bytes <= size:
            break
    attachments: dict[int, list[Attachment]] = {}
    contents: dict[int, list[StoredContent]] = {}
    for number, attachment, received, *fields in db.execute(_ATTACHMENTS_SQL, (json_array(row[0] for row in rows),)):
        attachments.setdefault(number, []).append(Attachment._make((*fields, None, False)))
        contents.setdefault(number, []).append(StoredContent(attachment, received))
    return [_item(row, attachments.get(row[0], []), contents.get(row[0], [])) for row in rows]


def _item(row: Sequence[Any], attachments: list[Attachment], contents: list[StoredContent]) -> Format72Item:
    number, folder, checksum, watermark, item_id, folder_id, kind, title, who, recipients, date, end, size = row[:13]
    seen, flagged, answered, draft = map(bool, row[13:17])
    item = Item(
        item_id, (folder_id,), kind, version_text(watermark), title, who, recipients, date, end, size, seen, flagged,
        answered, draft, row[17], payload=row[18], extra=row[19], attachments=tuple(attachments),
    )  # fmt: skip
    if item_checksum(item, watermark) != checksum:
        raise ValueError(f"item number {number} does not match its checksum")
    return Format72Item(number, folder, item, tuple(contents))


def item_checksum(item: Item, watermark: int) -> bytes:
    """Return the checksum that format 7.2 has for an item."""
    q, texts = quoted, (item.title, item.who, item.recipients, item.message_id)
    head = (
        f"[{q(item.kind)}, {q(item.id)}, {q(item.folder_id)}, {watermark:d}, {_quoted_or_null(item.date)},"
        f" {_quoted_or_null(item.end)}, {item.seen:d}, {item.flagged:d}, {item.answered:d}, {item.draft:d},"
        f" {item.size}, {', '.join(map(q, texts))}, [{', '.join(map(_description, item.attachments))}],"
        f" {len(item.payload)}, {'false' if item.extra is None else 'true'}]\n"
    )
    return sha256(head.encode(), item.payload, item.extra or b"")


def _description(attachment: Attachment) -> str:
    q, size = quoted, "null" if attachment.size is None else attachment.size
    return (
        f"[{q(attachment.id)}, {q(attachment.url)}, {q(attachment.name)}, {q(attachment.content_type)},"
        f" {q(attachment.content_id)}, {size}, {q(attachment.role)}]"
    )


def _quoted_or_null(text: str | None) -> str:
    return "null" if text is None else quoted(text)


def changes(db: sqlite3.Connection, condition: str = "TRUE", values: Sequence[Any] = ()) -> list[Format72Change]:
    """Return the local changes that satisfy `condition`, oldest first.

    Files come without their contents.
    """
    late = "version" in {row[1] for row in db.execute("PRAGMA table_info(outbox)")}
    names = ("attempt", "reason", "code", "version")
    columns = ", ".join([_CHANGE_COLUMNS, *(name if late else _EARLY[name] for name in names)])
    rows = db.execute(f"SELECT {columns} FROM outbox WHERE {condition} ORDER BY number", tuple(values)).fetchall()
    return [_change(row, _files(db, row[0])) for row in rows]


def _change(row: Sequence[Any], files: tuple[ChangeFile, ...]) -> Format72Change:
    number, count, checksum, uuid, action, kind, item_id, folder_id, target_id, watermark, made, struct = row[:12]
    state, attempts, new_id, attempt, reason, code, version = row[12:]
    head = (uuid, action, kind, item_id, folder_id, target_id, watermark, made)
    intact = count == len(files) and checksum == change_checksum(head, files, struct)
    action, struct = neutral_change(action, struct) if intact else (action, struct)
    change = LocalChange(
        uuid, action, kind, item_id, folder_id, target_id, version_text(watermark), made, struct, state, attempt,
        attempts, reason, code, version_text(version), new_id, number, files,
    )  # fmt: skip
    return Format72Change(change, intact)


def change_checksum(head: Sequence[Any], files: Sequence[ChangeFile], struct: bytes) -> bytes:
    """Return the checksum that format 7.2 has for a local change.

    `head`: its columns from `uuid` to `made`.
    """
    described = [(file.name, file.content_type, file.content_id, file.size, file.sha256.hex()) for file in files]
    return sha256(json.dumps([*head, described]).encode() + b"\n", struct)


def _files(db: sqlite3.Connection, change: int) -> tuple[ChangeFile, ...]:
    rows = db.execute(
        "SELECT number, name, content_type, content_id, size, sha256 FROM outbox_attachment"
        " WHERE change = ? ORDER BY ordinal",
        (change,),
    )
    return tuple(ChangeFile._make(row) for row in rows)
