"""Writes a database of format 7.2 from one of the current format.

It must have come from a Kerio server: versions are numbers there, and an item is in one folder.
"""

from __future__ import annotations

import json
import sqlite3
import threading
from contextlib import closing
from pathlib import Path

from benchmarks import format71_files
from kerio_resync.cache import outbox_rows
from kerio_resync.cache.format72.rows import change_checksum, item_checksum
from kerio_resync.cache.format72.schema import APPLICATION_ID, TABLES, USER_VERSION
from kerio_resync.cache.mutations import LocalChange
from kerio_resync.cache.schema import PAGE_SIZE
from kerio_resync.cache.write.items import read_item_row
from kerio_resync.upgrade.migration import format71

ITEMS_PER_QUERY = 200
_FLAGS = {"seen": "isSeen", "flagged": "isFlagged", "answered": "isAnswered", "draft": "isDraft"}
_FOLDER = (
    "number, id, parent_id, name, path, kind, role, place, owner, readable, count, unread, size, payload, extra, rank,"
    " position, listed, standing"
)
_ATTACHMENT = (
    "number, item, ordinal, role, id, url, name, content_type, content_id, size, state, reason, etag, received, sha256"
)
_WANTED = "id, folder, kind, size, date, has_attachment, rank, keep, late"
_COPY = (
    f"INSERT INTO folder ({_FOLDER}) SELECT {_FOLDER} FROM new.folder",
    f"INSERT INTO attachment ({_ATTACHMENT}) SELECT {_ATTACHMENT} FROM new.attachment",
    'INSERT INTO chunk (attachment, "offset", crc32, data) SELECT attachment, chunk."offset", crc32, data'
    " FROM new.chunk ORDER BY chunk.rowid",
    f"INSERT INTO wanted ({_WANTED}, watermark) SELECT {_WANTED}, CAST(version AS INTEGER) FROM new.wanted",
    "INSERT INTO seen SELECT * FROM new.seen",
    "INSERT INTO skipped SELECT * FROM new.skipped",
    "INSERT INTO outbox_attachment SELECT * FROM new.outbox_attachment",
    "INSERT INTO outbox_chunk SELECT * FROM new.outbox_chunk",
    "INSERT INTO meta SELECT key, iif(key = 'format', '7.2.0', value) FROM new.meta",
)
_INSERT_ITEM = (
    'INSERT INTO item (number, id, folder, kind, watermark, date, "end", seen, flagged, answered, draft, size, title,'
    f" who, recipients, message_id, checksum, extra, payload) VALUES ({', '.join(['?'] * 17)}, CAST(? AS TEXT),"
    " CAST(? AS TEXT))"
)
_INSERT_CHANGE = (
    "INSERT INTO outbox (uuid, action, kind, item_id, folder_id, target_id, watermark, made, number, files, checksum,"
    f" state, attempt, attempts, reason, code, version, new_id, struct) VALUES ({', '.join(['?'] * 18)},"
    " CAST(? AS TEXT))"
)


def write(out: Path, messages: int, size: int, *, pending: int = 3, seed: int = 1) -> None:
    """Write a database of format 7.2 with the mailbox of `format71_files.write`."""
    today = out.with_name(out.name + ".today")
    format71_files.write(today, messages, size, pending=pending, seed=seed)
    format71.migrate(today, today.with_name(today.name + ".next"), lambda *_: None, threading.Event())
    convert(today, out)
    today.unlink()


def convert(today: Path, out: Path) -> None:
    """Write the database that version 7.2 would have in place of the file `today`."""
    out.unlink(missing_ok=True)
    with closing(sqlite3.connect(out, isolation_level=None)) as db, closing(sqlite3.connect(today)) as new:
        db.execute(f"PRAGMA page_size = {PAGE_SIZE}")
        db.executescript(TABLES)
        db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        db.execute(f"PRAGMA user_version = {USER_VERSION}")
        db.execute("PRAGMA synchronous = OFF")
        db.execute("ATTACH ? AS new", (str(today),))
        db.execute("BEGIN")
        for statement in _COPY:
            db.execute(statement)
        _copy_items(new, db)
        for change in outbox_rows.changes(new, outbox_rows.ALL_STATES):
            _write_change(db, change)
        db.execute("COMMIT")


def _copy_items(new: sqlite3.Connection, db: sqlite3.Connection) -> None:
    folders, after = dict(new.execute("SELECT id, number FROM folder")), 0
    while rows := read_item_row(new, "number > ? ORDER BY number LIMIT ?", (after, ITEMS_PER_QUERY)):
        after = rows[-1][0]
        for number, item, _ in rows:
            watermark = int(item.version or 0)
            db.execute(_INSERT_ITEM, (
                number, item.id, folders[item.folder_id], item.kind, watermark, item.date, item.end, item.seen,
                item.flagged, item.answered, item.draft, item.size, item.title, item.who, item.recipients,
                item.message_id, item_checksum(item, watermark), item.extra, item.payload,
            ))  # fmt: skip


def _write_change(db: sqlite3.Connection, change: LocalChange) -> None:
    struct = change.struct
    if change.action == "flags":
        struct = json.dumps({_FLAGS[name]: value for name, value in json.loads(struct).items()}).encode()
    head = (
        change.uuid, change.action, change.kind, change.item_id, change.folder_id, change.target_id,
        int(change.version or 0), change.made,
    )  # fmt: skip
    db.execute(_INSERT_CHANGE, (
        *head, change.number, len(change.files), change_checksum(head, change.files, struct), change.state,
        change.attempt, change.attempts, change.reason, change.code, int(change.sent_version or 0), change.new_id,
        struct,
    ))  # fmt: skip
