"""Writing local changes: into the outbox with their files, what became of them, and the losers of conflicts."""

from __future__ import annotations

import json
from typing import Final

from kerio_resync.cache.checksums import sha256
from kerio_resync.cache.mutations import AddChange, FinishAttachment, LocalChange, LocalFile, MarkChange, PutLocal
from kerio_resync.cache.schema import CONFLICTS_FOLDER_ID
from kerio_resync.cache.write import items
from kerio_resync.cache.write.attachments import finish_attachment, put_chunks
from kerio_resync.cache.write.folders import ensure_conflicts_folder
from kerio_resync.cache.write.session import WriteSession
from kerio_resync.model import Attachment, Item

_COLUMNS: Final = (
    "uuid, action, kind, item_id, folder_id, target_id, watermark, made, files, checksum, state, attempt, attempts,"
    " reason, new_id, struct"
)


def change_checksum(change: LocalChange, files: list[tuple[str, str, str, int, str]]) -> bytes:
    """SHA-256 over a JSON array of the change, a newline, and the struct. `files`: name, content type, content id,
    size, and the content's SHA-256 in hex."""
    head = [
        change.uuid, change.action, change.kind, change.item_id, change.folder_id, change.target_id, change.watermark,
        change.made, files,
    ]  # fmt: skip
    return sha256(json.dumps(head).encode() + b"\n", change.struct)


def add_change(tables: WriteSession, fact: AddChange) -> None:
    change, db = fact.change, tables.db
    sums = [sha256(each.data) for each in change.files]
    described = [
        (each.name, each.content_type, each.content_id, len(each.data), each_sum.hex())
        for each, each_sum in zip(change.files, sums, strict=True)
    ]
    values = (
        change.uuid, change.action, change.kind, change.item_id, change.folder_id, change.target_id, change.watermark,
        change.made, len(change.files), change_checksum(change, described), fact.state, fact.attempt, fact.attempts,
        fact.reason, fact.new_id, change.struct,
    )  # fmt: skip
    places = ", ".join(["?"] * (len(values) - 1))
    row = db.execute(
        f"INSERT INTO outbox ({_COLUMNS}) VALUES ({places}, CAST(? AS TEXT)) ON CONFLICT (uuid) DO NOTHING", values
    )
    if not row.rowcount:
        return
    number = row.lastrowid
    for ordinal, (each, each_sum) in enumerate(zip(change.files, sums, strict=True)):
        attachment = db.execute(
            "INSERT INTO outbox_attachment (change, ordinal, name, content_type, content_id, size, sha256)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            (number, ordinal, each.name, each.content_type, each.content_id, len(each.data), each_sum),
        ).lastrowid
        put_chunks(tables, "outbox_chunk", attachment or 0, each.data)


def mark_change(tables: WriteSession, fact: MarkChange) -> None:
    """A change that was sent or withdrawn stays so."""
    tables.db.execute(
        "UPDATE outbox SET state = ?, reason = ?, attempts = attempts + (? <> ''),"
        " attempt = CASE ? WHEN '' THEN attempt ELSE ? END, new_id = CASE ? WHEN '' THEN new_id ELSE ? END"
        " WHERE uuid = ? AND state NOT IN ('sent', 'withdrawn')",
        (fact.state, fact.reason, fact.attempt, fact.attempt, fact.attempt, fact.new_id, fact.new_id, fact.uuid),
    )


def put_local_item(tables: WriteSession, fact: PutLocal) -> None:
    folder = ensure_conflicts_folder(tables)
    number = items.insert_local_item(tables, local_item_row(fact.item, fact.files), folder)
    if number:
        for ordinal, each in enumerate(fact.files):
            _store_file(tables, number, ordinal, each)
    if fact.uuid:
        mark_change(tables, MarkChange(fact.uuid, "conflict", reason=fact.reason))


def local_item_row(item: Item, files: tuple[LocalFile, ...]) -> Item:
    """The item as it stands in "Conflicts": an id of its own, the files in place of the server's attachments."""
    attachments = tuple(
        Attachment(f"{item.id}/{ordinal}", "", each.name, each.content_type, each.content_id, len(each.data))
        for ordinal, each in enumerate(files)
    )
    return item._replace(folder_id=CONFLICTS_FOLDER_ID, attachments=attachments)


def _store_file(tables: WriteSession, item: int, ordinal: int, file: LocalFile) -> None:
    (attachment,) = tables.db.execute(
        "SELECT number FROM attachment WHERE item = ? AND ordinal = ?", (item, ordinal)
    ).fetchone()
    put_chunks(tables, "chunk", attachment, file.data)
    tables.db.execute("UPDATE attachment SET received = ? WHERE number = ?", (len(file.data), attachment))
    finish_attachment(tables, FinishAttachment(attachment, sha256(file.data), len(file.data)))
