"""Writes local changes, their states, and the losers of conflicts."""

from __future__ import annotations

from typing import Final

from kerio_resync.cache.bulk_sql import insert_many
from kerio_resync.cache.checksums import change_checksum, sha256
from kerio_resync.cache.mutations import (
    AddChange,
    ChangeFile,
    FinishAttachment,
    LocalChange,
    LocalFile,
    MarkChange,
    PutLocal,
)
from kerio_resync.cache.schema import CONFLICTS_FOLDER_ID
from kerio_resync.cache.write import items
from kerio_resync.cache.write.attachments import finish_attachment
from kerio_resync.cache.write.chunks import chunk_rows, insert_chunks
from kerio_resync.cache.write.folders import ensure_conflicts_folder
from kerio_resync.cache.write.session import WriteSession
from kerio_resync.model import Attachment, Item

_COLUMNS: Final = tuple(name for name in (*LocalChange._fields, "checksum") if name != "number")
_VALUES: Final = ", ".join("CAST(:struct AS TEXT)" if name == "struct" else f":{name}" for name in _COLUMNS)


def with_described_files(mutation: AddChange) -> LocalChange:
    """Return the change with the descriptions of the files that come with it."""
    files = (
        ChangeFile(0, file.name, file.content_type, file.content_id, len(file.data), sha256(file.data))
        for file in mutation.files
    )
    return mutation.change._replace(files=tuple(files))


def add_change(mutation: AddChange, session: WriteSession) -> None:
    """Insert a change with its files, unless its uuid is known."""
    change, db = with_described_files(mutation), session.db
    values = {**change._asdict(), "files": len(change.files), "checksum": change_checksum(change)}
    inserted = db.execute(
        f"INSERT INTO outbox ({', '.join(_COLUMNS)}) VALUES ({_VALUES}) ON CONFLICT (uuid) DO NOTHING", values
    )
    if not inserted.rowcount:
        return
    for ordinal, (file, content) in enumerate(zip(change.files, mutation.files, strict=True)):
        attachment = db.execute(
            "INSERT INTO outbox_attachment (change, ordinal, name, content_type, content_id, size, sha256)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            (inserted.lastrowid, ordinal, *file[1:]),
        ).lastrowid
        insert_many(
            db,
            'INSERT INTO outbox_chunk (attachment, "offset", crc32, data)',
            "(?, ?, ?, ?)",
            [(number, offset, crc, data) for number, offset, _, crc, data in chunk_rows(attachment or 0, content.data)],
        )


def mark_change(mutation: MarkChange, session: WriteSession) -> None:
    """Set the state of a change. A change that was sent or withdrawn stays so."""
    session.db.execute(
        "UPDATE outbox SET state = :state, reason = :reason, code = :code, sent_version = :sent_version,"
        " attempts = attempts + (:state = 'sending'),"
        " attempt = CASE :state WHEN 'sending' THEN :attempt ELSE attempt END,"
        " new_id = CASE :new_id WHEN '' THEN new_id ELSE :new_id END"
        " WHERE uuid = :uuid AND state NOT IN ('sent', 'withdrawn')",
        mutation._asdict(),
    )


def put_local_item(mutation: PutLocal, session: WriteSession) -> None:
    """Store an item in "Conflicts" with its files; mark the change that lost.

    An item that is stored already stays as it is.
    """
    ensure_conflicts_folder(session)
    number = items.insert_local_item(session, _local_item(mutation.item, mutation.files))
    if number:
        for ordinal, file in enumerate(mutation.files):
            _store_file(session, number, ordinal, file)
    if mutation.uuid:
        mark_change(MarkChange(mutation.uuid, "conflict", reason=mutation.reason), session)


def _local_item(item: Item, files: tuple[LocalFile, ...]) -> Item:
    """Return the item with the files in place of the server's attachments."""
    attachments = tuple(
        Attachment(f"{item.id}/{ordinal}", "", file.name, file.content_type, file.content_id, len(file.data))
        for ordinal, file in enumerate(files)
    )
    return item._replace(folder_ids=(CONFLICTS_FOLDER_ID,), attachments=attachments)


def _store_file(session: WriteSession, item: int, ordinal: int, file: LocalFile) -> None:
    (attachment,) = session.db.execute(
        "SELECT number FROM attachment WHERE item = ? AND ordinal = ?", (item, ordinal)
    ).fetchone()
    insert_chunks(session.db, chunk_rows(attachment, file.data))
    session.db.execute("UPDATE attachment SET received = ? WHERE number = ?", (len(file.data), attachment))
    finish_attachment(FinishAttachment(attachment, sha256(file.data), len(file.data)), session)
